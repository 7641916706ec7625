"""How many words of each kind the captions of a dataset have, and the limits by which few of them are lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.datasets import dataset_spec
from data_prep.syntax.parsing import Parser
from data_prep.syntax.storing import parse_captions
from eaglenet_jax.data.syntax import KINDS, LOST_SHARE, Syntax, sufficient_limits, word_counts


def annotated_captions(dataset: str, annotations: Path) -> dict[str, list[str]]:
    """Read the captions of annotation files by split; videos are not needed.

    Args:
        dataset: Name of a supported dataset, of which the default variant is read.
        annotations: Folder of its annotation files.

    Raises:
        UserError: The dataset is not known, or its files are missing or damaged.
    """
    spec = dataset_spec(dataset)
    splits = spec.read(annotations, spec.default_variant).splits
    return {split: [text for video in videos for _, text in video.captions] for split, videos in splits.items()}


def count_words(texts: dict[str, list[str]], parser: Parser, max_words: int) -> dict[str, dict[str, np.ndarray]]:
    """Parse the captions of every split and count the words by split and kind, see `word_counts`."""
    counts = {split: word_counts(parse_captions(every, parser), max_words) for split, every in texts.items()}
    return {split: count for split, count in counts.items() if len(count[KINDS[0]])}


def limits_line(parses: Sequence[Syntax], max_words: int) -> str:
    """Format the limits that are sufficient for captions as flags of a training."""
    limits = sufficient_limits(word_counts(parses, max_words))
    flags = " ".join(f"--config.head.most_{kind}={most}" for kind, most in limits.items())
    return f"under {LOST_SHARE:.0%} of each kind is cut with {flags}"


def counts_table(parser: str, counts: dict[str, dict[str, np.ndarray]], max_words: int) -> str:
    """Format the counts of every split: words of a kind, the most of a caption, and the limit that is sufficient."""
    lines = [
        f"words in rows of {max_words} tokens, parsed by {parser}; limit: under {LOST_SHARE:.0%} of the words are cut",
        f"{'split':8}{'captions':>10}  {'kind':12}{'words':>10}{'a caption':>11}{'most':>6}{'limit':>7}{'cut':>8}",
    ]
    for split, by_kind in counts.items():
        limits = sufficient_limits(by_kind)
        for kind, count in by_kind.items():
            words = int(count.sum())
            cut = np.maximum(count - limits[kind], 0).sum() / max(words, 1)
            row = f"{words:10,}{count.mean():11.2f}{count.max():6}{limits[kind]:7}{cut:8.2%}"
            lines.append(f"{split:8}{len(count):10,}  {kind:12}{row}")
    return "\n".join(lines)
