"""Texts as numbers: of the words that a vocabulary knows, or of a pretrained network's tokens."""

from collections.abc import Sequence

from machinery.pretrained_tokens import Backbone
from machinery.ragged import Ragged
from machinery.text_sources import Texts
from machinery.words import number_vocabulary, number_words, read_words


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
