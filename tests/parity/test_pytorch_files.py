"""Files as PyTorch programs write them: state dicts, TorchScript archives, damaged, foreign and malicious ones."""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.files import read_tensors, write_tensors

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")


class Toy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(3.0).half())
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, x):
        return x * self.weight


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("run_by_the_pickle",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
def test_state_dicts(tmp_path, suffix, wrap):
    file = tmp_path / f"weights{suffix}"
    torch.save(wrap(Toy().state_dict()), file)
    tensors = read_tensors(file)
    assert tensors["weight"].dtype == np.float16 and tensors["weight"].tolist() == [0, 1, 2]
    assert tensors["input_resolution"] == 224


def test_torchscript_archive(tmp_path):
    file = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Toy(), torch.ones(3)).save(str(file))
    tensors = read_tensors(file)
    assert tensors["weight"].dtype == np.float16 and set(tensors) == {"weight", "input_resolution"}


def test_bfloat16(tmp_path):
    torch.save({"a": torch.tensor([1.5], dtype=torch.bfloat16)}, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt")["a"].tolist() == [1.5]


def test_malicious_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, legacy in enumerate((False, True)):
        file = tmp_path / f"evil{number}.pt"
        torch.save({"state_dict": {"a": Malicious()}}, file, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match=r"needs \w+\.mkdir") as caught:
            read_tensors(file)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run_by_the_pickle").exists()


def test_damaged_and_foreign_files_get_one_line(tmp_path):
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.save({"a": torch.ones(1000)}, good)
    whole = good.read_bytes()
    for content in (b"", b"hello, I am no weights at all", whole[: len(whole) // 2], whole[:-30], b"\x80\x02]."):
        bad.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.pt is (truncated or no PyTorch file|no state dict)") as caught:
            read_tensors(bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("foreign", [torch.ones(3), {"epoch": 3}, {}, [1, 2], {"state_dict": {"a": 1}}])
def test_files_without_a_state_dict(tmp_path, foreign):
    torch.save(foreign, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="is no state dict"):
        read_tensors(tmp_path / "foreign.pt")


def test_written_files_are_read_back_and_by_torch(tmp_path):
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "scale": np.asarray(2.5, np.float32)}
    for name in ("out.bin", "out.safetensors"):
        write_tensors(tmp_path / name, tensors)
        again = read_tensors(tmp_path / name)
        for key, value in tensors.items():
            assert again[key].shape == value.shape
            np.testing.assert_array_equal(again[key], value)
    assert torch.load(tmp_path / "out.bin", weights_only=True)["scale"].shape == ()


def test_without_pytorch_the_extra_is_asked_for(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="needs PyTorch: pip install"):
        read_tensors(tmp_path / "a.pt")
