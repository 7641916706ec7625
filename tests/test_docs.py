"""The documents: the Python that they show runs as it stands there, and they keep to their form."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eaglenet_jax
from data_prep.moving_shapes.render import render

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
COLUMNS = 100
SOURCES = ("eaglenet_jax", "data_prep", "configs", "benchmarks", "tests")
CITATION = r"docs/systems\.md sections? (\d(?:\.\d)?(?:(?:, | and )\d(?:\.\d)?)*)"


def _python(document: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL))


# Prints what the pasted program made, in a form that can be checked.
REPORT = """
import json
import numpy as np
print(json.dumps({
    "scores": scores.shape,
    "losses": np.asarray(losses).tolist(),
    "gradient": float(np.abs(gradients["clip"]["vision"]["projection"]).max()),
    "steps": data.steps,
}))
"""


@pytest.mark.long
def test_steps_encoders_scores_and_heads_in_ones_own_code(tmp_path):
    file = tmp_path / "own_loop.py"
    file.write_text(_python(DOCS / "training.md") + REPORT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, file.name], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loop, recall, report = ran.stdout.splitlines()[-3:]
    made = json.loads(report)
    assert re.fullmatch(rf"{made['steps']} steps, loss [\d.]+", loop) and made["steps"] > 1
    assert 0 <= float(recall.removeprefix("R@1 ")) <= 100
    assert made["scores"][0] == made["scores"][1] > 1 and made["gradient"] > 0
    assert len(set(made["losses"])) == 3 and all(0 < loss < 10 for loss in made["losses"])


@pytest.mark.long
def test_the_tutorial_computes_eaglenet_by_hand_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(_python(DOCS / "tutorial.md"), names)  # it holds the scores by hand against those of the model itself
    assert "[ 0.99  0.77 -0.32]" in capsys.readouterr().out
    first = {name: (names["ranks"](names[name]) == 1).mean() for name in ("by_mean", "by_pooling", "by_eaglenet")}
    assert min(first["by_pooling"], first["by_eaglenet"]) > 2 * first["by_mean"]  # what the page is to show
    assert np.mean(names["on_event"]) > 2 * np.mean(names["by_chance"])
    assert names["losses"][-1] < names["losses"][0]
    pictures = {picture.name for picture in tmp_path.glob("*.png")}
    assert pictures == {picture.name for picture in (DOCS / "pictures").glob("*.png")}
    shown = set(re.findall(r"\]\(pictures/(\S+?)\)", (DOCS / "tutorial.md").read_text()))
    assert shown == pictures


@pytest.mark.long
def test_the_readmes_python_scores_two_sentences_and_two_clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    render(tmp_path, splits={"test": 2}, workers=1, progress=False)
    for clip, name in zip(sorted((tmp_path / "videos").iterdir()), ("first.mp4", "second.mp4"), strict=True):
        clip.rename(tmp_path / name)
    names = {}
    exec(_python(ROOT / "README.md").replace('"runs/demo"', '"demo"'), names)
    scores = names["model"].score(names["texts"], names["videos"])
    assert scores.shape == (2, 2) and len(set(scores.flat)) == 4 and (abs(scores) <= 1).all()


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


def test_the_api_reference_has_every_public_name():
    shown = re.findall(r"^::: eaglenet_jax\.(\S+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    for entry in shown:
        module, _, name = entry.rpartition(".")
        assert hasattr(importlib.import_module(f"eaglenet_jax.{module}"), name), entry
    assert {entry.rpartition(".")[2] for entry in shown} >= set(eaglenet_jax.__all__)


def test_sections_that_the_code_cites_exist():
    sections = set(re.findall(r"^##+ (\d+(?:\.\d+)?)", (DOCS / "systems.md").read_text(), re.MULTILINE))
    sources = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    cited = [
        (path.name, number)
        for path in sources
        for numbers in re.findall(CITATION, path.read_text())
        for number in re.findall(r"[\d.]*\d", numbers)
    ]
    assert len(cited) > 20
    assert not [each for each in cited if each[1] not in sections]
