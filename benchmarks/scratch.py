"""Folders in which benchmarks make their files, deleted after use."""

from __future__ import annotations

import tempfile
from pathlib import Path


def temporary_folder(inside: Path | None) -> tempfile.TemporaryDirectory[str]:
    """Make a folder, in the system's for temporary files or in `inside`, which is made where it is missing."""
    if inside is not None:
        inside.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=inside)
