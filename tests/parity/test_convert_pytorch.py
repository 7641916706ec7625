"""Conversion of files that PyTorch wrote, both ways, into module trees of the released names."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from eaglenet_jax.runs.convert import to_pytorch_file, to_workdir
from tests.port.released import MAKERS

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")


def module_tree(tensors):
    """Modules nested as the dots in the names say, with a parameter or buffer of its own for every tensor."""
    root = torch.nn.Module()
    for name, array in tensors.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        value = torch.zeros(array.shape, dtype=torch.from_numpy(np.array(array)).dtype)
        if value.is_floating_point():
            module.register_parameter(leaf, torch.nn.Parameter(value))
        else:
            module.register_buffer(leaf, value)
    root.forward = lambda x: x + root.logit_scale if hasattr(root, "logit_scale") else x
    return root


def torchscript(tensors, file):
    module = module_tree(tensors)
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, torch.ones(1)).save(str(file))


def state_dict(tensors, file):
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}, file)


def trainer_checkpoint(tensors, file):
    state = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    torch.save({"arch": "CLIPTransformer", "epoch": 3, "state_dict": state, "optimizer": {"lr": 1e-5}}, file)


@pytest.mark.parametrize(
    ("name", "file", "write"),
    [
        ("openai", "ViT-B-32.pt", torchscript),
        ("openai", "ViT-B-32.pt", state_dict),
        ("eaglenet", "pytorch_model.bin", state_dict),
        ("clip4clip", "pytorch_model.bin.4", state_dict),
        ("clip4clip_seqtransf", "pytorch_model.bin.4", state_dict),
        ("ts2net", "pytorch_model.bin.4", state_dict),
        ("xpool", "model_best.pth", trainer_checkpoint),
        ("tmass", "model_best.pth", trainer_checkpoint),
    ],
)
def test_pytorch_files_convert_both_ways(name, file, write, golden, tmp_path):
    tensors = MAKERS[name](golden)
    sizes = {"input_resolution": np.array(32), "context_length": np.array(16), "vocab_size": np.array(512)}
    tensors |= sizes if name == "openai" else {}
    write(tensors, tmp_path / file)
    source = name.removesuffix("_seqtransf")
    to_workdir(source, str(tmp_path / file), tmp_path / "run")
    to_pytorch_file(tmp_path / "run", tmp_path / "back.bin", source)
    back = torch.load(tmp_path / "back.bin", weights_only=True)
    module_tree(tensors).load_state_dict(back, strict=True)
    for key, value in back.items():
        np.testing.assert_array_equal(value.numpy(), tensors[key], err_msg=key)
