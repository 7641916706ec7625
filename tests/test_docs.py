"""The Python that the docs show runs as it stands there, pasted into a fresh file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Says what the pasted program made, in a form that can be checked.
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


@pytest.mark.slow
def test_steps_encoders_scores_and_heads_in_ones_own_code(tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL))
    file = tmp_path / "own_loop.py"
    file.write_text(code + REPORT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, file.name], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loop, recall, report = ran.stdout.splitlines()[-3:]
    made = json.loads(report)
    assert re.fullmatch(rf"{made['steps']} steps, loss [\d.]+", loop) and made["steps"] > 1
    assert 0 <= float(recall.removeprefix("R@1 ")) <= 100
    assert made["scores"][0] == made["scores"][1] > 1 and made["gradient"] > 0
    assert len(set(made["losses"])) == 3 and all(0 < loss < 10 for loss in made["losses"])
