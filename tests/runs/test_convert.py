"""Checkpoints of every source become work directories that open, and go back bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from eaglenet_jax import convert
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.files import read_tensors, write_tensors
from eaglenet_jax.port.hf_clip import config_to_hf
from eaglenet_jax.runs.convert import to_pytorch_file, to_workdir
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.system import build_system
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.state import TrainState
from tests.port.released import MAKERS, clip_config

OPEN_CLIP_CONFIG = {
    "model_cfg": {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 12, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 512, "width": 64, "heads": 1, "layers": 3},
    }
}


def write_source(name, golden, folder):
    """The checkpoint of a source in its real layout → what --input would be."""
    tensors = MAKERS[name](golden)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / {"hf": "model.safetensors", "open_clip": "open_clip_model.safetensors"}.get(name, "w.safetensors")
    write_tensors(file, tensors)
    (folder / "config.json").write_text(json.dumps(config_to_hf(clip_config(golden))))
    (folder / "open_clip_config.json").write_text(json.dumps(OPEN_CLIP_CONFIG))
    return tensors, folder if name in ("hf", "open_clip") else file


def shapes(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)


@pytest.mark.parametrize("name", MAKERS)
def test_every_source_opens_and_goes_back_bit_for_bit(name, golden, tmp_path):
    tensors, given = write_source(name, golden, tmp_path / "source")
    source = name.removesuffix("_seqtransf")
    line = to_workdir(source, str(given), tmp_path / "run")
    assert f"{len(tensors)} tensors of {source}" in line and "\n" not in line

    config = saved_config(tmp_path / "run")
    assert config.clip.embed_dim == 32 and config.clip.vision_layers == (12 if name == "ts2net" else 2)
    system = build_system(config)
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        params = checkpoints.restore_params("best")
    expected = system.shapes()
    assert shapes(params) == shapes(expected)

    to_pytorch_file(tmp_path / "run", tmp_path / "back.safetensors", source)
    back = read_tensors(tmp_path / "back.safetensors")
    assert back.keys() == tensors.keys()
    for key, array in back.items():
        assert array.shape == tensors[key].shape
        np.testing.assert_array_equal(array, tensors[key], err_msg=key)


def test_released_eaglenet_keeps_its_buffer_and_settings(golden, tmp_path):
    tensors, given = write_source("eaglenet", golden, tmp_path / "source")
    tensors["ebm.replay_buffer_txt"][9:] = 0  # the program starts with zeros, and had pushed nine rows
    write_tensors(given, tensors)
    to_workdir("eaglenet", str(given), tmp_path / "run")
    config = saved_config(tmp_path / "run")
    assert (config.system, config.preset, config.max_frames, config.max_words) == ("eaglenet", "released", 5, 16)
    assert config.clip.shift_blocks == (0, 1) and not config.clip.mask_padding
    assert config.head.sampler.buffer_rows == 12
    system = build_system(config)
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        params = system.shapes()
        state = TrainState(np.zeros((), np.int32), params, (), jax.eval_shape(system.head.initial_state))
        state, metadata = checkpoints.restore(state)
    assert metadata["converted_from"] == "eaglenet"
    np.testing.assert_array_equal(state.head_state.video, tensors["ebm.replay_buffer_vid"])
    assert (int(state.head_state.valid_rows), int(state.head_state.calls), int(state.step)) == (9, 0, 0)


@pytest.mark.parametrize("name", ["eaglenet", "tmass"])
def test_what_we_trained_gets_the_unused_tensors_that_the_program_expects(name, golden, tmp_path):
    tensors, given = write_source(name, golden, tmp_path / "source")
    to_workdir(name, str(given), tmp_path / "run")
    (tmp_path / "run/unused.safetensors").unlink()
    to_pytorch_file(tmp_path / "run", tmp_path / "back.safetensors")
    back = read_tensors(tmp_path / "back.safetensors")
    expected = {key: array.shape for key, array in tensors.items() if "position_ids" not in key}
    assert {key: array.shape for key, array in back.items()} == expected


def test_a_head_gives_its_encoders_under_openais_names(golden, tmp_path):
    _, given = write_source("eaglenet", golden, tmp_path / "source")
    to_workdir("eaglenet", str(given), tmp_path / "run")
    to_pytorch_file(tmp_path / "run", tmp_path / "clip.safetensors", "openai")
    back, openai = read_tensors(tmp_path / "clip.safetensors"), MAKERS["openai"](golden)
    assert back.keys() == openai.keys()
    assert all(np.array_equal(back[key], openai[key]) for key in openai if key != "logit_scale")


def test_a_file_that_does_not_fit_is_named_whole(golden, tmp_path):
    tensors, given = write_source("eaglenet", golden, tmp_path / "source")
    del tensors["gnn.layers.1.lin_out.weight"]
    tensors["frame_pe"] = tensors["frame_pe"][:3]
    tensors["sim_head.weight"] = np.zeros((2, 2), np.float32)
    write_tensors(given, tensors)
    with pytest.raises(UserError) as caught:
        to_workdir("eaglenet", str(given), tmp_path / "run")
    message = str(caught.value)
    assert "3 names do not fit" in message and "\n" not in message
    for part in ("missing gnn.layers.1.lin_out.weight", "frame_pe has shape (3, 32)", "known here: sim_head.weight"):
        assert part in message
    assert not (tmp_path / "run").exists()


def test_training_starts_from_a_converted_checkpoint(golden, tmp_path):
    tensors, given = write_source("openai", golden, tmp_path / "source")
    to_workdir("openai", str(given), tmp_path / "run")
    system = build_system(saved_config(tmp_path / "run"))
    params = initial_parameters(system, str(tmp_path / "run"), seed=0)
    np.testing.assert_array_equal(params["clip"]["text"]["projection"], tensors["text_projection"])
    np.testing.assert_array_equal(params["head"]["matching_loss"]["logit_scale"], tensors["logit_scale"])


def test_an_override_of_what_the_checkpoint_decides_is_refused(golden, tmp_path):
    _, given = write_source("eaglenet", golden, tmp_path / "source")
    for override, message in {
        "max_frames=64": "the checkpoint says max_frames=5",
        "head.sampler.buffer_rows=7": "the checkpoint says head.sampler.buffer_rows=12",
        "init_from=somewhere": "all parameters come from --input",
    }.items():
        with pytest.raises(UserError, match=f"{override.split('=')[0]}.* would change nothing: {message}"):
            to_workdir("eaglenet", str(given), tmp_path / "run", overrides=[f"--config.{override}"])
    assert not (tmp_path / "run").exists()
    to_workdir("eaglenet", str(given), tmp_path / "run", overrides=["--config.max_frames=5", "--config.seed=3"])
    assert saved_config(tmp_path / "run").seed == 3


def test_bad_input_gets_one_line(golden, tmp_path):
    _, given = write_source("clip4clip", golden, tmp_path / "source")
    cases = [
        (lambda: to_workdir("clip4clip", str(tmp_path / "none.bin"), tmp_path / "run"), "no such file"),
        (lambda: to_workdir("eaglenet", str(tmp_path / "source/config.json"), tmp_path / "run"), "are not read"),
        (lambda: to_workdir("xpool", str(given), tmp_path / "run"), "not a CLIP with a vision transformer"),
        (lambda: to_workdir("clip4clip", str(given), tmp_path / "source"), "is there already"),
        (lambda: to_workdir("clip4clip", str(given), tmp_path / "run", "msrvtt:clip4clip"), "holds another CLIP"),
        (lambda: to_workdir("clip4clip", str(given), tmp_path / "run", "msrvtt:b32"), "of the system eaglenet"),
        (lambda: to_pytorch_file(tmp_path / "nowhere", tmp_path / "x.bin"), "no work directory"),
    ]
    for run, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            run()
        assert "\n" not in str(caught.value)
    to_workdir("clip4clip", str(given), tmp_path / "run")
    with pytest.raises(UserError, match="holds a clip4clip, not a eaglenet"):
        to_pytorch_file(tmp_path / "run", tmp_path / "x.safetensors", "eaglenet")
    with pytest.raises(UserError, match=r"'\.ckpt' are not written"):
        to_pytorch_file(tmp_path / "run", tmp_path / "x.ckpt")


def test_command_line(golden, tmp_path, capsys):
    _, given = write_source("openai", golden, tmp_path / "source")
    run = str(tmp_path / "run")
    convert.main(["--from=openai", f"--input={given}", f"--output={run}", "--config.data.prepared=here"])
    assert "as clip4clip in" in capsys.readouterr().out
    assert saved_config(tmp_path / "run").data.prepared == str(Path("here").absolute())
    convert.main([f"--input={run}", f"--output={tmp_path}/back.safetensors", "--to=pytorch"])
    assert "with the names of clip4clip" in capsys.readouterr().out
    with pytest.raises(UserError, match="required: --from"):
        convert.main([f"--input={given}", f"--output={run}2"])
