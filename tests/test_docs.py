"""The Python that the docs show runs as it stands there, on a tiny system."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def _batches():
    rng = np.random.default_rng(0)
    tokens = np.zeros((4, 20), np.int32)
    tokens[:, :3] = [49406, 320, 49407]
    ids = np.arange(4, dtype=np.uint32)
    frames = rng.integers(0, 256, size=(4, 6, 48, 48, 3), dtype=np.uint8)
    return [{"text_id": ids, "tokens": tokens, "video_id": ids, "frames": frames, "frame_mask": np.ones((4, 6), bool)}]


@pytest.mark.slow
def test_steps_encoders_scores_and_heads_in_ones_own_code(capsys):
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / "training.md").read_text(), re.DOTALL))
    names = {"batches": _batches()}
    exec(code.replace('"demo:tiny"', '"demo:tiny,clip4clip"'), names)
    assert int(names["state"].step) == 1 and np.isfinite(names["metrics"]["loss"])
    assert names["scores"].shape == (4, 4) and capsys.readouterr().out == "25.0\n"  # four equal captions
    assert names["losses"].shape == (3,) and np.isfinite(names["losses"]).all()
    assert np.abs(names["gradients"]["clip"]["vision"]["projection"]).max() > 0
