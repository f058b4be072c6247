"""Every combination of a template and its choices that the harness renders, and what proves it.

python tests/combinations.py    # a table of what is covered by what
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
    ("keras-quickstart", "tensorflow"),
    ("keras-quickstart", "jax"),
    ("keras-quickstart", "torch"),
]

# The first is proven in full in every way, the others by the contract suite.
tasks = ["image-classification", "tabular", "object-detection"]

licences = ["MIT", "BSD-3-Clause", "Apache-2.0", "none"]


class Combination(NamedTuple):
    """A template and the answers that pick its overlays."""

    template: str
    task: str
    choice: str  # the answer to the template's own question
    licence: str

    @property
    def answers(self) -> dict[str, str]:
        """What to answer to the template's questions."""
        answers = {"task": self.task, "licence": self.licence}
        own = own_questions.get(self.template)
        return answers | {own: self.choice} if own else answers

    @property
    def trained(self) -> bool:
        """Whether its code is checked and run too. A licence changes none: one of them will do."""
        return self.licence == licences[0]

    @property
    def in_full(self) -> bool:
        """Whether the expensive proofs run with it, and not the contract suite alone."""
        return self.trained and self.task == tasks[0]

    @property
    def of_a_loop(self) -> bool:
        """Whether it has a training loop that no quicker one has with its task.

        Keras has one loop for all backends. On PyTorch it starts the fastest.
        """
        return self.in_full or (self.trained and self.choice not in ("tensorflow", "jax"))

    @property
    def first_of_template(self) -> bool:
        """Whether it is the first of its template with its task."""
        return (self.template, self.choice) == next(way for way in ways if way[0] == self.template)

    @property
    def first_of_task(self) -> bool:
        """Whether it is the first with its task."""
        return (self.template, self.choice) == ways[0]

    @property
    def runs_every_project_test(self) -> bool:
        """Whether the project's own tests all run in it, and not only those of its framework.

        The rest of them know no framework. So each loop has them once, the tasks taking turns; the
        backends of Keras have one.
        """
        if self.choice in ("jax", "torch"):
            return False
        turn = [*ways].index((self.template, self.choice)) + tasks.index(self.task)
        return self.trained and turn % len(tasks) == 0

    @property
    def proofs(self) -> str:
        """What runs with it, in words."""
        if not self.trained:
            return "files"
        project_tests = "all" if self.runs_every_project_test else "of the framework"
        proofs = "in full" if self.in_full else "contracts"
        return f"files, lint, types; proofs {proofs}; project tests {project_tests}"

    def __str__(self) -> str:
        return "-".join(self)


combinations = [
    *(
        Combination(template, task, choice, licences[0])
        for task, (template, choice) in product(tasks, ways)
    ),
    # A licence is a file that nothing else depends on: all of them with the first way.
    *(Combination(ways[0][0], tasks[0], ways[0][1], licence) for licence in licences[1:]),
]

trained_combinations = [combination for combination in combinations if combination.trained]


def find_combination(choice: str, task: str = tasks[0]) -> Combination:
    """Return the combination of a loop or backend with a task."""
    return next(each for each in trained_combinations if (each.choice, each.task) == (choice, task))


legend = """
files       the tree is what the overlays hold, names work on every system, no template tags
lint, types ruff check, ruff format and ty in the rendered project
contracts   trained, evaluated and tabulated beside all the others; stopped at a few steps and
            continued to the same bits; killed once; a damaged checkpoint; every parameter error;
            what each parameter does, for Keras on one backend;
            a damaged data folder; bad sources; data of one's own; once a template a search
in full     and stopped at every step, crashed at every file operation, killed many times, another
            network, optimizer, data and code, a full disk, no memory, signals, a diverged loss
project     the tests that the project ships with. Those that know no framework run once for each
tests       way, the tasks taking turns"""


def main() -> None:
    rows = [(*Combination._fields, "covered by"), ("-" * 14,) * (len(Combination._fields) + 1)]
    rows += [(*combination, combination.proofs) for combination in combinations]
    for row in rows:
        print("  ".join(cell.ljust(20) for cell in row).rstrip())
    print(legend)


if __name__ == "__main__":
    main()
