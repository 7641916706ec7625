"""CLIP's byte-pair codes of captions and queries."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import ftfy
import numpy as np
from instant_clip_tokenizer import Tokenizer as BytePairEncoder

from eaglenet_jax.errors import UserError


def clean_text(text: str) -> str:
    """Clean a text as CLIP does: repair mojibake, unescape HTML twice, collapse white space, lower the case."""
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", unescaped).strip().lower()


class Tokenizer:
    """CLIP's tokenizer with a fixed row length.

    Args:
        max_words: L, codes of a row, start and end token included.

    Raises:
        UserError: `max_words` is below 3.
    """

    def __init__(self, max_words: int = 32) -> None:
        if max_words < 3:
            raise UserError(
                f"max_words is {max_words}; a row needs a start token, a word and an end token, so at least 3"
            )
        self.max_words = max_words
        self._encoder = BytePairEncoder()
        self._start, self._end = self._encoder.start_of_text(), self._encoder.end_of_text()

    def codes(self, text: str) -> list[int]:
        """Return all byte-pair codes of a text without start and end token, not truncated; may be empty."""
        return self._encoder.encode(clean_text(text))

    def tokenize(self, texts: Sequence[str]) -> np.ndarray:
        """Tokenize texts to rows of start token, at most `max_words - 2` codes, end token and zeros.

        Longer texts are truncated (`count_truncated` counts them); a text without words becomes start and end token
        alone.

        Returns:
            [B, max_words] int32.
        """
        return self.rows([self.codes(text) for text in texts])

    def rows(self, codes: Sequence[Sequence[int]]) -> np.ndarray:
        """Do the same as `tokenize`, from the `codes` of every text."""
        tokens = np.zeros((len(codes), self.max_words), np.int32)
        for row, code in zip(tokens, codes, strict=True):
            kept = code[: self.max_words - 2]
            row[: len(kept) + 2] = [self._start, *kept, self._end]
        return tokens

    def spans(self, text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return which of `codes(text)` make up each word: the first code, and the one after the last.

        A word that begins or ends within a piece of CLIP's own splitting includes that piece.

        Args:
            text: A text that is cleaned already (`clean_text`).
            words: For each word its first character and the one after its last.
        """
        codes = self._encoder.encode(text)

        def codes_before(place: int) -> int:
            before = self._encoder.encode(text[:place])
            pairs = zip(before, codes, strict=False)
            return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(before), len(codes)))

        firsts = [min(codes_before(start), max(len(codes) - 1, 0)) for start, _ in words]
        ends = [codes_before(stop) for _, stop in words]
        return [(first, max(first + 1, end)) for first, end in zip(firsts, ends, strict=True)]

    def text(self, codes: Sequence[int] | np.ndarray) -> str:
        """Return the words that some codes spell."""
        return self._encoder.decode([int(code) for code in codes]).strip()

    def count_truncated(self, codes: Sequence[Sequence[int]]) -> int:
        """Count the texts, given by their `codes`, that do not fit into a row."""
        return sum(len(code) > self.max_words - 2 for code in codes)
