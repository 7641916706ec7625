"""Captions and queries as CLIP's byte-pair codes."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import ftfy
import numpy as np
from instant_clip_tokenizer import Tokenizer as BytePairEncoder

from eaglenet_jax.errors import UserError


def clean_text(text: str) -> str:
    """Text as CLIP's tokenizer sees it: mojibake repaired, HTML unescaped twice, white space collapsed, lower case."""
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", unescaped).strip().lower()


class Tokenizer:
    """CLIP's tokenizer with a fixed row length of `max_words` codes, start and end token included."""

    def __init__(self, max_words: int = 32) -> None:
        if max_words < 3:
            raise UserError(
                f"max_words is {max_words}; a row needs a start token, a word and an end token, so at least 3"
            )
        self.max_words = max_words
        self._encoder = BytePairEncoder()
        self._start, self._end = self._encoder.start_of_text(), self._encoder.end_of_text()

    def codes(self, text: str) -> list[int]:
        """All byte-pair codes of a text, not truncated, without start and end token. Empty for a text without words."""
        return self._encoder.encode(clean_text(text))

    def tokenize(self, texts: Sequence[str]) -> np.ndarray:
        """Rows of start token, at most `max_words - 2` codes, end token and zeros: [B, max_words] int32.

        Longer texts are cut (`count_truncated` says how many); a text without words becomes start and end token alone.
        """
        return self.rows([self.codes(text) for text in texts])

    def rows(self, codes: Sequence[Sequence[int]]) -> np.ndarray:
        """As `tokenize`, from the `codes` of every text."""
        tokens = np.zeros((len(codes), self.max_words), np.int32)
        for row, code in zip(tokens, codes, strict=True):
            kept = code[: self.max_words - 2]
            row[: len(kept) + 2] = [self._start, *kept, self._end]
        return tokens

    def spans(self, text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Which of `codes(text)` make up each word: the first, and the one behind the last.

        text: cleaned already (`clean_text`). words: first character of each and the one behind its last. A word that
        begins or ends within a piece of CLIP's own splitting has that piece, too.
        """
        codes = self._encoder.encode(text)

        def codes_before(place: int) -> int:
            before = self._encoder.encode(text[:place])
            pairs = zip(before, codes, strict=False)
            return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(before), len(codes)))

        firsts = [min(codes_before(start), max(len(codes) - 1, 0)) for start, _ in words]
        ends = [codes_before(stop) for _, stop in words]
        return [(first, max(first + 1, end)) for first, end in zip(firsts, ends, strict=True)]

    def count_truncated(self, codes: Sequence[Sequence[int]]) -> int:
        """How many texts, given by their `codes`, do not fit into a row."""
        return sum(len(code) > self.max_words - 2 for code in codes)


def word_mask(tokens: np.ndarray) -> np.ndarray:
    """True at start token, words and end token, [B, L] bool. Not `tokens != 0`: code 0 is the exclamation mark."""
    return np.arange(tokens.shape[1]) <= tokens.argmax(axis=1)[:, None]
