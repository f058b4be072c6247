"""Every combination of a template and its choices that the harness renders and checks.

python tests/combinations.py    # a table of them, and which ones are also trained
"""

from itertools import product
from typing import NamedTuple

# The question that a template alone asks.
own_questions = {"torch-research": "loop", "keras-quickstart": "backend"}


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
        return self.licence == "MIT"

    @property
    def first(self) -> bool:
        """Whether it is the first of its template."""
        return self == next(each for each in combinations if each.template == self.template)

    def __str__(self) -> str:
        return "-".join(self)


licences = ["MIT", "BSD-3-Clause", "Apache-2.0", "none"]

combinations = [
    *map(
        Combination._make,
        product(["torch-research"], ["image-classification"], ["plain"], licences),
    ),
    Combination("torch-research", "image-classification", "lightning", "MIT"),
    *map(Combination._make, product(["tf-production"], ["image-classification"], ["-"], licences)),
    *map(
        Combination._make,
        product(
            ["keras-quickstart"], ["image-classification"], ["tensorflow", "jax", "torch"], ["MIT"]
        ),
    ),
]

trained_combinations = [combination for combination in combinations if combination.trained]


def main() -> None:
    rows = [(*Combination._fields, "checked"), ("-" * 14,) * (len(Combination._fields) + 1)]
    for combination in combinations:
        checks = "files, lint, types, pipeline" if combination.trained else "files"
        rows.append((*combination, checks))
    for row in rows:
        print("  ".join(cell.ljust(20) for cell in row).rstrip())


if __name__ == "__main__":
    main()
