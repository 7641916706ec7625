"""Reader of LSMDC: tab-separated tables, clip in the first column, sentence in the last, with or without a header."""

from __future__ import annotations

from pathlib import Path

from data_prep.annotations import Annotations
from data_prep.readers.files import Gathering, find, numbered, read_lines, wrong_form

FILES = {
    "train": ("LSMDC16_annos_training.csv", "LSMDC16_annos_train.csv"),
    "val": ("LSMDC16_annos_val.csv",),
    "test": ("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv"),
}
PUBLIC_TEST = "LSMDC16_annos_test.csv"


def read_lsmdc(folder: Path, variant: str = "1000") -> Annotations:
    """Read the annotation files of the retrieval task of LSMDC 2016: 1,000 test clips, one sentence a clip."""
    found = Gathering(folder)
    for split, names in FILES.items():
        path = found.find(split, *names)
        if path is not None:
            found.add(split, [(clip, numbered(clip, [text])) for clip, text in _rows(path)])
    public = find(folder, PUBLIC_TEST)
    if public is not None:
        found.facts[f"clips in {PUBLIC_TEST}, of which the 1000 are drawn"] = len(_rows(public))
    return found.annotations()


def _rows(path: Path) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in read_lines(path)]
    short = next((row for row in rows if len(row) < 2), None)
    if not rows or short is not None:
        raise wrong_form(path, "columns separated by tabs, clip first, sentence last", ValueError(f"a row is {short}"))
    # Names of clips end in their times, and names of columns have no digit.
    if not any(character.isdigit() for character in rows[0][0]):
        rows = rows[1:]
    return [(row[0], row[-1]) for row in rows]
