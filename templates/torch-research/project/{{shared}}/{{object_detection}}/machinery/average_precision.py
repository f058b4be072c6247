"""Average precision of predicted boxes, as COCO measures it: https://cocodataset.org/#detection-eval

Boxes are (left, top, right, bottom). The numbers are those of pycocotools, with areas of all sizes,
no crowds, and the 100 boxes of an image and a class that have the highest scores.
"""

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the overlap that makes a predicted box a right one
RECALLS = np.linspace(0, 1, 101)  # at which the precision is read off
MOST = 100  # boxes of an image and a class that count
EPSILON = np.spacing(1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box with each other one.

    Args:
        boxes: (P, 4)
        others: (Q, 4)

    Returns:
        (P, Q) float64, from 0 to 1
    """
    a, b = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    corners = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = corners.clip(0).prod(axis=2)
    area, other_area = ((x[..., 2:] - x[..., :2]).prod(axis=2) for x in (a, b))
    union = area + other_area - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def find_right(predicted: np.ndarray, true: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Say which predicted boxes are right: each true box belongs to one of them, the surest.

    Args:
        predicted: (P, 4), those with the highest scores first.
        true: (Q, 4)
        thresholds: (T,), of the overlap.

    Returns:
        (P, T) bool
    """
    right = np.zeros((len(predicted), len(thresholds)), bool)
    if not len(predicted) or not len(true):
        return right
    overlap = overlaps(predicted, true)
    thresholds = np.minimum(thresholds, 1 - 1e-10)
    free = np.ones((len(thresholds), len(true)), bool)
    for row in np.flatnonzero(overlap.max(axis=1) >= thresholds.min()):
        allowed = np.where(free & (overlap[row] >= thresholds[:, None]), overlap[row], -1.0)
        # Of equal overlaps the last box, as in pycocotools.
        best = len(true) - 1 - allowed[:, ::-1].argmax(axis=1)
        found = allowed[np.arange(len(thresholds)), best] >= 0
        free[np.flatnonzero(found), best[found]] = False
        right[row] = found
    return right


class AveragePrecision:
    """Gathers predicted and true boxes image by image.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.true = np.zeros(classes, np.int64)  # true boxes of each class
        self._scores: list[list[np.ndarray]] = [[] for _ in range(classes)]
        self._right: list[list[np.ndarray]] = [[] for _ in range(classes)]

    def add(
        self,
        boxes: np.ndarray,
        classes: np.ndarray,
        scores: np.ndarray,
        true_boxes: np.ndarray,
        true_classes: np.ndarray,
    ) -> None:
        """Add an image.

        Args:
            boxes: (P, 4), predicted.
            classes: (P,) int
            scores: (P,)
            true_boxes: (Q, 4)
            true_classes: (Q,) int
        """
        self.true += np.bincount(true_classes, minlength=len(self.true))
        for number in np.unique(classes):
            mine = np.flatnonzero(classes == number)
            mine = mine[np.argsort(-scores[mine], kind="stable")][:MOST]
            right = find_right(boxes[mine], true_boxes[true_classes == number], THRESHOLDS)
            self._scores[number].append(scores[mine])
            self._right[number].append(right)

    def by_class(self) -> np.ndarray:
        """Return the average precision of each class at each of the THRESHOLDS.

        Returns:
            (classes, thresholds), NaN for a class without a true box
        """
        found = np.full((len(self.true), len(THRESHOLDS)), np.nan)
        for number in np.flatnonzero(self.true):
            found[number] = 0
            if self._scores[number]:
                scores = np.concatenate(self._scores[number])
                right = np.concatenate(self._right[number])
                order = np.argsort(-scores, kind="stable")
                found[number] = _area(right[order], int(self.true[number]))
        return found


def _area(right: np.ndarray, true: int) -> np.ndarray:
    """Return the mean precision at the RECALLS, for each threshold.

    Args:
        right: (P, T) bool, whether each predicted box is right, the highest score first.
        true: how many boxes there are to find.
    """
    hits = right.cumsum(axis=0, dtype=np.float64)
    precision = hits / (np.arange(1, len(right) + 1)[:, None] + EPSILON)
    # The best precision at this recall or a higher one.
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    precision = np.concatenate([precision, np.zeros((1, right.shape[1]))])
    recall = hits / true
    means = [
        precision[np.searchsorted(recall[:, column], RECALLS), column].mean()
        for column in range(right.shape[1])
    ]
    return np.array(means)
