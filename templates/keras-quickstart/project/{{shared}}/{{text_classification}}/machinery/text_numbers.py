"""Texts as numbers: of the words that a vocabulary knows, or of a pretrained network's tokens."""

from collections.abc import Sequence

import numpy as np

from machinery.pretrained_tokens import Backbone
from machinery.ragged import Ragged
from machinery.text_sources import Texts
from machinery.words import number_vocabulary, number_words, read_words, split_words


def number_texts(
    texts: Texts, longest: int, backbone: Backbone | None
) -> tuple[Ragged, Ragged, list[str]]:
    """Return the numbers of the words of each text: all, and those kept; and the words.

    With a backbone, its tokens take the place of words.
    """
    if backbone:
        numbers = Ragged.join(backbone.number(texts.texts))
        return numbers, Ragged.join(backbone.number(texts.texts, longest)), backbone.tokens()
    numbers, words = read_words(texts.texts)
    kept = Ragged.join([numbers[row][:longest] for row in range(len(numbers))])
    return numbers, kept, words


def renumber(kept: Ragged, words: Sequence[str], vocabulary: Sequence[str]) -> Ragged:
    """Return the words of each text by their numbers in a vocabulary.

    Args:
        kept: the words of each text by their numbers in `words`.
        words: all that were found.
        vocabulary: those that are known.
    """
    numbers = number_words(words, number_vocabulary(vocabulary), len(words))
    return Ragged(numbers[kept.values], kept.offsets, kept.longest, kept.fill)


class TextReader:
    """Turns texts into what a trained network takes.

    Args:
        vocabulary: the words that it knows.
        longest: how many words of a text it takes.
        backbone: whose tokens take the place of words; None: words.
    """

    def __init__(self, vocabulary: Sequence[str], longest: int, backbone: Backbone | None) -> None:
        self.longest, self.backbone = longest, backbone
        self._numbers = number_vocabulary(vocabulary)

    def number(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the numbers of the first words of each text, (at most longest,) int32."""
        if self.backbone:
            return self.backbone.number(texts, self.longest)
        return [number_words(split_words(text), self._numbers, self.longest) for text in texts]

    def pad(self, tokens: list[np.ndarray]) -> np.ndarray:
        """Return the numbers of some texts as one array, (N, longest) int32."""
        padded = Ragged.join(tokens)
        padded.longest = self.longest
        return padded.take(np.arange(len(tokens)))
