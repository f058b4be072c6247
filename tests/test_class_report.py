"""What the harness has to see of the report on classes, which is machinery of several tasks."""

from collections.abc import Callable
from pathlib import Path

from combinations import Combination, checked_combinations
from projects import run

CODE = """
from pathlib import Path
import numpy as np
from matplotlib.figure import Figure
from machinery import class_report

def draw(path, plot, width, height):
    figure = Figure()
    plot(figure)
    print([label.get_text() for label in figure.axes[0].get_yticklabels()])

class_report.draw = draw
class_report.draw_confusion_matrix(np.array([[3, 1], [0, 2]]), ["cat", "dog"], "x", Path("x"))
"""


def test_a_confusion_matrix_shows_the_recall_of_each_class(
    rendered: Callable[[Combination], Path],
) -> None:
    shown = run(rendered(checked_combinations[0]), "-c", CODE).stdout
    assert shown == "['cat  75%', 'dog  100%']\n"
