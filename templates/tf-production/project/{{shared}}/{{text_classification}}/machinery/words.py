"""Words: how a text becomes numbers, the same when data is built, when it is predicted, and served.

A text in lower case is cut by one regular expression. A word is a run of letters, digits and their
marks; what separates words is left out. Characters of scripts that are written without blanks
(Chinese, Japanese, Thai, Lao, Khmer, Burmese) are words of their own, and so are emoji. The ranges
are written out, so that every version of Python, and RE2 in TensorFlow, cuts at the same places.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from machinery.ragged import Ragged

PADDING, UNKNOWN = 0, 1  # The first word of the vocabulary has the number 2.
LEAST = 2  # A word that stands in the training texts less often is unknown: it teaches too little.

# Characters that are words of their own.
SINGLE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\u2600-\u27bf\U0001f000-\U0001faff"
    r"\U00020000-\U0003ffff"
)
# Characters between words: all of ASCII but letters and digits, punctuation of many scripts, signs.
BETWEEN = (
    r"\u0000-\u002f\u003a-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7"
    r"\u037e\u0387\u055a-\u055f\u0589\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u060d\u061b-\u061f"
    r"\u066a-\u066d\u06d4\u0964\u0965\u1361-\u1368\u2000-\u25ff\u27c0-\u2bff\u2e00-\u2e7f"
    r"\u3000-\u3004\u3008-\u303f\ufe00-\ufe6f\ufeff\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65\ufff0-\uffff"
)
WORD = re.compile(f"[{SINGLE}]|[^{BETWEEN}{SINGLE}]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return WORD.findall(text.lower())


def read_words(texts: Iterable[str]) -> tuple[Ragged, list[str]]:
    """Return texts as numbers of words, each (words,) int32, and which word has which number."""
    known: dict[str, int] = {}
    found = [
        np.array([known.setdefault(word, len(known)) for word in split_words(text)], np.int32)
        for text in texts
    ]
    return Ragged.join(found), list(known)


def choose_vocabulary(numbers: np.ndarray, words: Sequence[str], size: int) -> list[str]:
    """Return the most frequent words, the most frequent first, equally frequent ones by name.

    Args:
        numbers: (words in all training texts,) int, places in `words`.
        words: that there are.
        size: how many are chosen at most.
    """
    counts = np.bincount(numbers, minlength=len(words))
    often = np.flatnonzero(counts >= LEAST).tolist()
    often.sort(key=lambda number: (-counts[number], words[number]))
    return [words[number] for number in often[:size]]


def number_vocabulary(vocabulary: Sequence[str]) -> dict[str, int]:
    """Return the number of each word of a vocabulary."""
    return {word: number for number, word in enumerate(vocabulary, start=UNKNOWN + 1)}


def number_words(words: Sequence[str], numbers: Mapping[str, int], longest: int) -> np.ndarray:
    """Return the numbers of the first words of a text, (at most longest,) int32.

    Args:
        words: of the text.
        numbers: of the vocabulary; see number_vocabulary.
        longest: how many words are kept.
    """
    return np.array([numbers.get(word, UNKNOWN) for word in words[:longest]], np.int32)
