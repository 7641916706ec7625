"""The notebooks run from top to bottom, in an empty folder, at tiny sizes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.search
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks_without_outputs():
    assert [file.stem for file in NOTEBOOKS] == ["jitted_steps", "own_dataset", "quickstart"]
    for file in NOTEBOOKS:
        cells = nbformat.read(file, as_version=4).cells
        assert not [cell for cell in cells if cell.get("outputs")], f"{file.name}: clear the outputs"
        assert "[search,notebook]" in cells[0].source or "[notebook]" in cells[0].source


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('CONFIG = "demo"', 'CONFIG = "demo:tiny"')
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "error:" not in printed and "Traceback" not in printed, printed
    if "NOTEBOOKS_RUN" in os.environ:
        nbformat.write(notebook, Path(os.environ["NOTEBOOKS_RUN"]) / file.name)
