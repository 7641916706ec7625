"""Score matrices as PyTorch programs save them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.score_files import load_similarity

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("run_by_the_pickle",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_tensor_and_a_named_one(tmp_path, dtype):
    scores = torch.arange(6).reshape(2, 3).to(dtype) / 4
    torch.save(scores, tmp_path / "a.pt")
    torch.save({"sims": scores, "epoch": 3, "val": scores[:1]}, tmp_path / "b.pth")
    torch.save(scores, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("a.pt", "b.pth:sims", "old.pt"):
        np.testing.assert_array_equal(load_similarity(tmp_path / name), np.arange(6).reshape(2, 3) / 4)


def test_a_tensor_of_another_layout_or_deeper_in_the_file(tmp_path):
    scores = torch.arange(6, dtype=torch.float64).reshape(2, 3) / 3
    torch.save(scores.to_sparse(), tmp_path / "sparse.pt")
    torch.save({"test": {"sims": scores.requires_grad_(), "val": scores[:1]}, "epoch": 3}, tmp_path / "deep.pt")
    torch.save([scores], tmp_path / "list.pt")
    for name in ("sparse.pt", "deep.pt:test.sims", "list.pt"):
        np.testing.assert_array_equal(load_similarity(tmp_path / name), scores.detach().numpy())


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for legacy in (False, True):
        torch.save([Malicious()], tmp_path / "evil.pt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match="holds more than tensors, which is not opened"):
            load_similarity(tmp_path / "evil.pt")
    assert not (tmp_path / "run_by_the_pickle").exists()
