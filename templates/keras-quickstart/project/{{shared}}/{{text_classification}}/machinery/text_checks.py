"""What people want to know of texts before a network learns from them."""

from collections.abc import Sequence

import numpy as np

from machinery.ragged import Ragged
from machinery.words import UNKNOWN

SHOWN = 20  # Classes whose texts are counted one by one.


def say_texts(
    source: str, labels: np.ndarray, classes: Sequence[str], words: Ragged, unit: str = "words"
) -> None:
    """Print how many texts there are of each class, and how long they are.

    Args:
        source: where they are.
        labels: (N,) int
        classes: their names.
        words: of each text.
        unit: what they are called.
    """
    counts = np.bincount(labels, minlength=len(classes))
    shown = [f"{counts[i]:,} {classes[i]}" for i in np.argsort(-counts, kind="stable")[:SHOWN]]
    shown += [f"and {len(classes) - SHOWN} more"] if len(classes) > SHOWN else []
    print(f"Found {len(labels):,} texts of {len(classes)} classes in {source}: {', '.join(shown)}.")
    print(
        f"A text has {np.median(lengths_of(words)):,.0f} {unit} (median), at most "
        f"{words.longest:,}."
    )


def say_cut(words: Ragged, longest: int, unit: str = "words") -> None:
    """Print how many texts are cut because they are longer than is kept."""
    cut = int((lengths_of(words) > longest).sum())
    if cut:
        print(
            f"{cut:,} texts ({cut / len(words):.1%}) are cut after {longest:,} {unit} (--longest)."
        )


def lengths_of(words: Ragged) -> np.ndarray:
    """Return how many words each text has, (N,)."""
    return words.offsets[1:] - words.offsets[:-1]


def count_strange(texts: Sequence[np.ndarray]) -> int:
    """Return how many texts, as numbers of words, hold no word that is known."""
    return sum(bool((numbers == UNKNOWN).all()) for numbers in texts)


def say_unknown(tokens: Ragged, val: np.ndarray, vocabulary: Sequence[str]) -> None:
    """Print how many words the network knows, and the share in val that it does not.

    Args:
        tokens: the numbers of the words of all texts.
        val: the row numbers of val.
        vocabulary: the words.
    """
    found = np.concatenate([tokens[row] for row in val.tolist()])
    print(
        f"The vocabulary has {len(vocabulary):,} words of train; {(found == UNKNOWN).mean():.1%} "
        "of the words of val are unknown."
    )
