"""Every combination of a template and its choices that the harness renders, and what proves it.

python tests/combinations.py    # a table of what is covered by what, at the gate and by --deep
"""

from itertools import product
from typing import NamedTuple

# The question that a template alone asks.
own_questions = {"torch-research": "loop", "keras-quickstart": "backend"}

# Each template with each of its loops or backends: the six ways to train.
ways = [
    ("torch-research", "plain"),
    ("torch-research", "lightning"),
    ("tf-production", "-"),
    ("keras-quickstart", "jax"),
    ("keras-quickstart", "tensorflow"),
    ("keras-quickstart", "torch"),
]

# The ways in which a person's evening runs with each task: one of each template, in turns, so that
# each loop and backend has its part. The first task has it in all six. The contract suite runs in
# the first way of each other task, so that each template has it with a second one.
evenings = {
    "image-classification": [choice for _, choice in ways],
    "tabular": ["jax", "lightning", "-"],
    "text-classification": ["-", "plain", "torch"],
    "semantic-segmentation": ["lightning", "-", "tensorflow"],
    "object-detection": ["plain", "-", "jax"],
}
tasks = [*evenings]

# The loops with which the gate, `make test`, runs the contract suite and the expensive proofs of
# the first task. The deeper tier, which `make prove` begins with, runs them in all six ways.
proven_at_the_gate = ["plain", "lightning"]
deep = False  # Whether it is the deeper tier: conftest.py reads the option --deep.

competition = "some-competition"  # the answer to the question `kaggle`, where one is given
licences = ["MIT", "BSD-3-Clause", "Apache-2.0", "none"]


class Combination(NamedTuple):
    """A template and the answers that pick its overlays."""

    template: str
    task: str
    choice: str  # the answer to the template's own question
    licence: str
    kaggle: str = ""  # the name of a competition

    @property
    def answers(self) -> dict[str, str]:
        """What to answer to the template's questions."""
        answers = {"task": self.task, "licence": self.licence}
        if self.kaggle:
            answers["kaggle"] = self.kaggle
        own = own_questions.get(self.template)
        return answers | {own: self.choice} if own else answers

    @property
    def checked(self) -> bool:
        """Whether its code is linted and type-checked. A licence changes none: one will do."""
        return self.licence == licences[0]

    @property
    def has_evening(self) -> bool:
        """Whether what a person does in an evening runs with it."""
        return self.checked and not self.kaggle and self.choice in evenings[self.task]

    @property
    def has_contracts(self) -> bool:
        """Whether the contract suite runs with it: all of the first task, one of each other."""
        return self.has_evening and (self.task == tasks[0] or self.first_of_task)

    @property
    def in_full(self) -> bool:
        """Whether the expensive proofs run with it, and not the contract suite alone."""
        return self.has_contracts and self.task == tasks[0]

    @property
    def at_the_gate(self) -> bool:
        """Whether not the deeper tier alone runs its contracts and expensive proofs."""
        first_task = self.task == tasks[0]
        return self.choice in proven_at_the_gate if first_task else self.first_of_task

    @property
    def first_of_template(self) -> bool:
        """Whether it is the first of its template that has an evening with its task."""
        of_template = [choice for template, choice in ways if template == self.template]
        with_evening = [each for each in of_template if each in evenings[self.task]]
        return with_evening[:1] == [self.choice]

    @property
    def first_of_task(self) -> bool:
        """Whether it is the first that has an evening with its task."""
        return self.choice == evenings[self.task][0]

    @property
    def proofs(self) -> str:
        """What runs with it, in words."""
        if not self.checked:
            return "files"
        proofs = ["files, lint, types"]
        proofs += ["evening"] * self.has_evening
        more = ["contracts"] * self.has_contracts + ["in full"] * self.in_full
        if more and not self.at_the_gate:
            more = ["in brief", f"deep: {', '.join(more)}"]
        return "; ".join([*proofs, *more])

    def __str__(self) -> str:
        return "-".join(filter(None, self))


combinations = [
    *(
        Combination(template, task, choice, licences[0])
        for task, (template, choice) in product(tasks, ways)
    ),
    # A licence is a file that nothing else depends on: all of them with the first way.
    *(Combination(ways[0][0], tasks[0], ways[0][1], licence) for licence in licences[1:]),
    # What takes part in a competition is one overlay, which knows no framework.
    *(
        Combination(template, task, choice, licences[0], competition)
        for template, task, choice in [
            ("torch-research", "tabular", "plain"),
            ("torch-research", "text-classification", "lightning"),
            ("keras-quickstart", "image-classification", "jax"),
        ]
    ),
]

checked_combinations = [combination for combination in combinations if combination.checked]
contract_combinations = [each for each in checked_combinations if each.has_contracts]
evening_combinations = [each for each in checked_combinations if each.has_evening]


def combinations_of_this_tier() -> list[Combination]:
    """Return those that updates are tested with: at the gate one of each template and of a task."""
    if deep:
        return contract_combinations
    at_the_gate = [each for each in contract_combinations if each.at_the_gate]
    return [*{each.template: each for each in reversed(at_the_gate)}.values()]


def find_combination(choice: str, task: str = tasks[0]) -> Combination:
    """Return the combination of a loop or backend with a task."""
    return next(each for each in checked_combinations if (each.choice, each.task) == (choice, task))


legend = """
files       the tree is what the overlays hold, names work on every system, no template tags
lint, types ruff check, ruff format and ty in the rendered project
evening     two short epochs and an evaluation: the same files, options, columns, rates and weights
            as in the other ways, and the losses that are on record; predictions that are those of
            the evaluation to the bit; once a template and task its network's own tests, and data
            of one's own to a metric that is clearly better than none (at the gate both in full
            with the contracts alone: the other ways overfit nothing and have the default data)
in brief    stopped at a few steps and continued to the same bits; with the first task also killed,
            with an average of the weights and steps of several parts, and what is asked of a device
contracts   and the shipped experiment learns what its page says; what each parameter does; another
            network; the doctor; updated from an earlier release (at the gate once a template, and
            trained over the update in one). Once a task: damaged data, bad sources, bad examples,
            and the tests of the project that know no framework
in full     and stopped at every step, crashed at many places, killed many times, searched; every
            parameter error; another optimizer, data and code, damaged checkpoints, a pretrained
            network, a full disk, no memory, signals, a diverged loss; what the doctor finds
deep        left to the deeper tier (--deep): at the gate another way stands for it"""


def main() -> None:
    rows = [(*Combination._fields, "covered by"), ("-" * 14,) * (len(Combination._fields) + 1)]
    rows += [(*(each or "-" for each in row), row.proofs) for row in combinations]
    for row in rows:
        print("  ".join(cell.ljust(20) for cell in row).rstrip())
    print(legend)


if __name__ == "__main__":
    main()
