"""Checkpoints as training programs write them with PyTorch, and folders that transformers opens."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import json
import os
import pathlib
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip import Clip
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.files import read_checkpoint
from eaglenet_jax.port.sources import SOURCES
from eaglenet_jax.runs.convert import to_hf_folder, to_workdir
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.runs.workdir import load_checkpoint
from eaglenet_jax.system import build_clip_config
from tests.port.released import MAKERS, openai_clip

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

INNER_CONFIG = {"embed_dim": 32, "vision_cfg": {"width": 64}, "text_cfg": {"width": 64, "heads": 1}}


def as_torch(tensors, prefix=""):
    return collections.OrderedDict(
        (prefix + name, torch.from_numpy(np.array(array))) for name, array in tensors.items()
    )


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


class Runs:
    """What a malicious file would have run, were it allowed to."""

    def __reduce__(self):
        return os.mkdir, ("run_by_the_pickle",)


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_values_and_numpy_next_to_the_model(legacy, golden, tmp_path):
    tensors = openai_clip(golden)
    held = {
        "epoch": np.int64(3),
        "best": np.float64(43.5),
        "metric": np.float32(1.5),
        "recalls": np.arange(3.0),
        "args": argparse.Namespace(lr=1e-4, out=pathlib.PosixPath("runs"), seeds={1, 2}),
        "when": datetime.datetime(2025, 1, 2),
        "history": collections.defaultdict(list, loss=collections.deque([1.0], maxlen=3)),
        "numpy": (np.str_("x"), np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.array(["a", "b"])),
        "frozen": (frozenset([1]), slice(1, 2), range(3), decimal.Decimal("1.5"), fractions.Fraction(1, 2)),
        "zone": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]},
        "model_state_dict": as_torch(tensors, "module."),
    }
    file = tmp_path / "epoch_3.pt"
    torch.save(held, file, _use_new_zipfile_serialization=not legacy)
    found, notes = read_checkpoint(file)
    assert_equal(found, tensors)
    assert notes[:2] == ["stripped `module.`", "took `model_state_dict`"]
    assert notes[2] == "passed over epoch, best, metric, recalls and 7 more"


def test_numpy_arrays_and_numbers_in_the_model_itself(golden, tmp_path):
    tensors = openai_clip(golden)
    scale = float(tensors["logit_scale"])
    torch.save({**tensors, "logit_scale": scale, "epoch": 3}, tmp_path / "w.pth")
    found, notes = read_checkpoint(tmp_path / "w.pth")
    assert_equal(found, {**tensors, "logit_scale": np.asarray(scale)})
    assert notes == ["passed over epoch, no tensors"]


def test_a_model_in_a_tuple_is_found(golden, tmp_path):
    tensors = openai_clip(golden)
    torch.save((as_torch(tensors, "module."), 3, {"lr": 0.1}), tmp_path / "w.pth")
    found, notes = read_checkpoint(tmp_path / "w.pth")
    assert_equal(found, tensors)
    assert notes == ["stripped `module.`", "took `0`"]


def test_names_of_numpy_one_are_read(tmp_path, golden):
    """NumPy 1 wrote numpy.core where NumPy 2 writes numpy._core."""
    torch.save({"best": np.float64(1.0), "state_dict": {"a": torch.ones(2)}}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert (tmp_path / "old.pt").read_bytes() != (tmp_path / "new.pt").read_bytes()
    assert read_checkpoint(tmp_path / "old.pt")[0]["a"].tolist() == [1, 1]


@pytest.mark.parametrize("key", ["args", "ema", "state_dict"])
def test_nothing_is_executed(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held = {"state_dict": {"a": torch.ones(2)}, key: {"a": Runs()} if key == "state_dict" else Runs()}
    hidden = np.array([Runs()], dtype=object)  # in an array of objects, which is read with NumPy's own functions
    for number, content in enumerate((held, {**held, key: hidden})):
        file = tmp_path / f"evil{number}.ckpt"
        torch.save(content, file)
        with pytest.raises(UserError, match=r"needs (\w+\.mkdir|numpy\.dtype\.O8?),"):
            read_checkpoint(file)
    assert not (tmp_path / "run_by_the_pickle").exists()


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.arange(2.0))


def test_a_whole_module_is_refused_with_the_lines_that_help(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Whole(), "model.pt")
    with pytest.raises(UserError, match=r"needs tests\.parity\.test_wrapped_files\.Whole") as caught:
        read_checkpoint(pathlib.Path("model.pt"))
    message = str(caught.value)
    assert "\n" not in message
    first = 'held = torch.load("model.pt", map_location="cpu", weights_only=False)'
    second = 'torch.save(held.state_dict(), "model_weights.pt")'
    assert f"{first} and then {second}" in message
    exec(f"{first}\n{second}", {"torch": torch})
    assert read_checkpoint(pathlib.Path("model_weights.pt"))[0]["a"].tolist() == [0, 1]


def test_a_lightning_checkpoint_of_eaglenet_and_a_moving_average(golden, tmp_path):
    tensors = MAKERS["eaglenet"](golden)
    zeros = {name: np.zeros_like(array) for name, array in tensors.items()}
    held = {"state_dict": as_torch(tensors, "model."), "ema": {"module": as_torch(zeros)}, "callbacks": {}}
    torch.save(held, tmp_path / "last.ckpt")
    _, found, notes = SOURCES["eaglenet"].read(str(tmp_path / "last.ckpt"))
    assert_equal(found, tensors)
    assert notes[:3] == ["stripped `model.`", "took `state_dict`", "left `ema` (--weights=ema takes it)"]
    assert not any(np.any(array) for array in read_checkpoint(tmp_path / "last.ckpt", "ema")[0].values())


def test_split_pytorch_files(golden, tmp_path):
    tensors = MAKERS["hf"](golden)
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[:40], names[40:]), start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save(as_torch({name: tensors[name] for name in part}), tmp_path / file)
        places |= dict.fromkeys(part, file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text("{}")
    assert_equal(SOURCES["hf"].read(str(tmp_path))[1], tensors)


def test_open_clip_folders_with_bin_and_training_checkpoints(golden, tmp_path):
    tensors = openai_clip(golden)
    folder = tmp_path / "folder"
    folder.mkdir()
    torch.save(as_torch(tensors), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": INNER_CONFIG}))
    line = to_workdir("open_clip", str(folder), tmp_path / "run")
    assert "activation gelu, open_clip's default; open_clip_config.json does not tell" in line
    assert saved_config(tmp_path / "run").clip.activation == "gelu"

    held = {"epoch": 5, "name": "run", "state_dict": as_torch(tensors, "module."), "optimizer": {}, "scaler": {}}
    torch.save(held, tmp_path / "epoch_5.pt")
    (tmp_path / "small.json").write_text(json.dumps({**INNER_CONFIG, "quick_gelu": True}))
    name = str(tmp_path / "small.json")
    line = to_workdir("open_clip", str(tmp_path / "epoch_5.pt"), tmp_path / "trained", architecture=name)
    assert "stripped `module.`; took `state_dict`" in line and "activation quick_gelu, by --architecture" in line


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_transformers_opens_what_we_convert_and_the_features_agree(activation, golden, tmp_path):
    from transformers import CLIPModel

    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**INNER_CONFIG, "quick_gelu": activation == "quick_gelu"}})
    )
    torch.save(as_torch(openai_clip(golden)), tmp_path / "epoch_1.pt")
    to_workdir("open_clip", str(tmp_path / "epoch_1.pt"), tmp_path / "run")
    to_hf_folder(tmp_path / "run", tmp_path / "hf")
    model, report = CLIPModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]

    config = build_clip_config(saved_config(tmp_path / "run").clip)
    params = {"params": load_checkpoint(tmp_path / "run").params["clip"]}
    random = np.random.default_rng(0)
    tokens = random.integers(1, config.vocab_size - 2, (3, config.context_length))
    tokens[:, 7:], tokens[:, 6] = 0, config.vocab_size - 1
    pixels = random.normal(size=(3, 1, config.image_size, config.image_size, 3)).astype(np.float32)
    with torch.no_grad():
        text = model.text_projection(model.text_model(input_ids=torch.tensor(tokens)).pooler_output).numpy()
        flat = torch.tensor(pixels[:, 0].transpose(0, 3, 1, 2).copy())
        image = model.visual_projection(model.vision_model(pixel_values=flat).pooler_output).numpy()
    ours, _ = Clip(config).apply(params, jnp.asarray(tokens, jnp.int32), True, method="encode_text")
    np.testing.assert_allclose(ours, text, rtol=0, atol=1e-5 * np.abs(text).max())
    mask = jnp.ones((3, 1), bool)
    ours, _ = Clip(config).apply(params, jnp.asarray(pixels), mask, True, method="encode_video")
    np.testing.assert_allclose(ours[:, 0], image, rtol=0, atol=1e-5 * np.abs(image).max())


def test_a_plain_pickle_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": Runs()}))
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "w.pt")
    assert not (tmp_path / "run_by_the_pickle").exists()


def test_tensors_that_numpy_does_not_have_are_converted(tmp_path):
    sparse, tiny = torch.eye(3).to_sparse(), torch.tensor([0.5, 2.0]).to(torch.float8_e4m3fn)
    torch.save({"state_dict": {"a": sparse, "c": tiny}}, tmp_path / "w.pt")
    found, _ = read_checkpoint(tmp_path / "w.pt")
    assert {name: values.tolist() for name, values in found.items()} == {
        "a": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "c": [0.5, 2.0],
    }


def test_a_pytorch_file_of_another_name_and_a_choice_inside_a_container(golden, tmp_path):
    tensors = openai_clip(golden)
    torch.save(as_torch(tensors), tmp_path / "w.pt")
    (tmp_path / "w.pt").rename(tmp_path / "w.safetensors")
    assert_equal(read_checkpoint(tmp_path / "w.safetensors")[0], tensors)
    torch.save({"state_dict": {**as_torch(tensors, "clip."), "fc.weight": torch.ones(2)}}, tmp_path / "w.pt")
    found, notes = read_checkpoint(tmp_path / "w.pt", "clip")
    assert_equal(found, tensors)
    assert notes == ["took the names that start with `clip.`", "took `state_dict`"]
    with pytest.raises(UserError, match="has nothing called 'ema'"):
        read_checkpoint(tmp_path / "w.pt", "ema")


def test_tensors_without_values_or_of_few_bits_are_one_line(tmp_path):
    from safetensors.torch import save_file

    torch.save({"a": torch.ones(2), "b": torch.empty(2, device="meta")}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"1 tensors have a shape but no values, first b; save the weights again"):
        read_checkpoint(tmp_path / "w.pt")
    save_file({"a": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="numbers of 8 bits or fewer, which are not read; save it in float16"):
        read_checkpoint(tmp_path / "w.safetensors")
