"""The documents: the Python that they show runs as it stands there, and they keep to their form."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
COLUMNS = 100


def _python(document: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL))


def _batches():
    rng = np.random.default_rng(0)
    tokens = np.zeros((4, 20), np.int32)
    tokens[:, :3] = [49406, 320, 49407]
    ids = np.arange(4, dtype=np.uint32)
    frames = rng.integers(0, 256, size=(4, 6, 48, 48, 3), dtype=np.uint8)
    return [{"text_id": ids, "tokens": tokens, "video_id": ids, "frames": frames, "frame_mask": np.ones((4, 6), bool)}]


@pytest.mark.slow
def test_steps_encoders_scores_and_heads_in_ones_own_code(capsys):
    names = {"batches": _batches()}
    exec(_python(DOCS / "training.md").replace('"demo:tiny"', '"demo:tiny,clip4clip"'), names)
    assert int(names["state"].step) == 1 and np.isfinite(names["metrics"]["loss"])
    assert names["scores"].shape == (4, 4) and capsys.readouterr().out == "25.0\n"  # four equal captions
    assert names["losses"].shape == (3,) and np.isfinite(names["losses"]).all()
    assert np.abs(names["gradients"]["clip"]["vision"]["projection"]).max() > 0


@pytest.mark.slow
def test_the_tutorial_computes_eaglenet_by_hand_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(_python(DOCS / "tutorial.md"), names)  # it holds the scores by hand against those of the model itself
    assert "[ 0.99  0.77 -0.32]" in capsys.readouterr().out
    assert names["ranks"](names["by_eaglenet"]).mean() < 3  # of 40 clips, where chance is 20.5
    assert names["losses"][-1] < names["losses"][0]
    pictures = {picture.name for picture in tmp_path.glob("*.png")}
    assert pictures == {picture.name for picture in (DOCS / "pictures").glob("*.png")}
    shown = set(re.findall(r"\]\(pictures/(\S+?)\)", (DOCS / "tutorial.md").read_text()))
    assert shown == pictures


@pytest.mark.parametrize("document", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_wrapped(document):
    too_long = [
        f"line {number}: {len(line)} columns"
        for number, line in enumerate(document.read_text().splitlines(), start=1)
        if len(line) > COLUMNS and not line.startswith("|")  # a row of a table cannot be broken
    ]
    assert not too_long, f"{document.name} is wrapped at {COLUMNS} columns"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_nothing_links_to_an_address_that_is_to_be_filled_in():
    texts = [*PROSE, ROOT / "CHANGELOG.md", *(ROOT / "notebooks").glob("*.ipynb")]
    assert not [text.name for text in texts if re.search(r"\bOWNER\b", text.read_text())]


def test_every_page_is_in_the_sites_menu():
    menu = re.findall(r"^  - [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(menu) == sorted(page.name for page in DOCS.glob("*.md"))
