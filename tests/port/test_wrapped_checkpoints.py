"""Checkpoints as people have them, as far as safetensors can hold them; those of PyTorch are in tests/parity."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eaglenet_jax import convert
from eaglenet_jax.clip.config import NAMED_SIZES
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.clip.parameters import clip_shapes
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.files import read_checkpoint, read_tensors, write_tensors
from eaglenet_jax.port.hf_clip import config_to_hf
from eaglenet_jax.port.load import load_clip, save_clip
from eaglenet_jax.port.openai_clip import OPENAI_CLIP, config_of_architecture
from eaglenet_jax.port.sources import SOURCES, fitting_sources
from eaglenet_jax.port.table import to_pytorch
from eaglenet_jax.runs.convert import converted_parameters, to_hf_folder, to_workdir
from eaglenet_jax.runs.initial_parameters import initial_parameters
from eaglenet_jax.runs.saved_config import saved_config
from eaglenet_jax.runs.workdir import load_checkpoint
from eaglenet_jax.system import build_system
from tests.port.released import MAKERS, clip_config, hf_clip, openai_clip

INNER_CONFIG = {"embed_dim": 32, "vision_cfg": {"width": 64}, "text_cfg": {"width": 64, "heads": 1}}


def split(folder, tensors, stem="model"):
    """Write tensors as two files and their index → the index."""
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-0000{number}-of-00002.safetensors"
        write_tensors(folder / file, {name: tensors[name] for name in part})
        places |= dict.fromkeys(part, file)
    index = folder / f"{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_split_hugging_face_clip_opens(golden, tmp_path):
    tensors = hf_clip(golden)
    split(tmp_path, tensors)
    (tmp_path / "config.json").write_text(json.dumps(config_to_hf(clip_config(golden))))
    _, _, logit_scale = load_clip(tmp_path)
    assert logit_scale == tensors["logit_scale"]
    file, found, notes = SOURCES["hf"].read(str(tmp_path))
    assert_equal(found, tensors)
    assert notes == ["read the files of model.safetensors.index.json"] and file.name.endswith(".index.json")


def test_a_split_file_that_is_not_whole_is_refused(golden, tmp_path):
    tensors = openai_clip(golden)
    index = split(tmp_path, tensors)
    assert_equal(SOURCES["openai"].read(str(tmp_path))[1], tensors)
    part = tmp_path / "model-00002-of-00002.safetensors"
    with pytest.raises(UserError, match=r"only a part of the weights; give .*model\.safetensors\.index\.json"):
        read_checkpoint(part)
    write_tensors(part, {"logit_scale": np.ones(())})
    with pytest.raises(UserError, match=r"index\.json and its files differ in \d+ names"):
        read_checkpoint(index)
    part.unlink()
    with pytest.raises(UserError, match=r"1 of 2 files are missing: model-00002-of-00002\.safetensors"):
        read_checkpoint(index)
    for text, message in {
        "{": "no readable index",
        '{"weight_map": {}}': "names no tensor",
        '{"weight_map": {"a": "../../secret.bin"}}': "not in its folder",
    }.items():
        index.write_text(text)
        with pytest.raises(UserError, match=message):
            read_checkpoint(index)


def test_wrapped_names_of_every_source_are_stripped(golden, tmp_path):
    for name in ("hf", "eaglenet", "xpool"):
        tensors = MAKERS[name](golden)
        wrapped = {f"module._orig_mod.{key}": value for key, value in tensors.items()}
        write_tensors(tmp_path / f"{name}.safetensors", wrapped)
        _, found, notes = SOURCES[name].read(str(tmp_path / f"{name}.safetensors"))
        assert_equal(found, tensors)
        assert notes == ["stripped `_orig_mod.`, `module.`"]


def test_a_prefix_is_said_with_the_activation_and_buffers_are_kept(golden, tmp_path):
    tensors = {
        **openai_clip(golden),
        "attn_mask": np.zeros((16, 16), np.float32),
        "logit_bias": np.asarray(-10, np.float32),
    }
    write_tensors(tmp_path / "w.safetensors", {f"module.{name}": value for name, value in tensors.items()})
    line = to_workdir("openai", str(tmp_path / "w.safetensors"), tmp_path / "run")
    assert "stripped `module.`; activation quick_gelu, as OpenAI's weights have; the file does not tell; " in line
    assert "2 that nothing is computed from" in line and "\n" not in line

    said = to_hf_folder(tmp_path / "run", tmp_path / "hf")
    assert "CLIPModel.from_pretrained" in said and "token shift" not in said
    config, params, logit_scale = load_clip(tmp_path / "hf")
    assert config == clip_config(golden) and logit_scale == tensors["logit_scale"]
    np.testing.assert_array_equal(params["clip"]["text"]["projection"], tensors["text_projection"])
    with pytest.raises(UserError, match="is there already"):
        to_hf_folder(tmp_path / "run", tmp_path / "hf")


def test_a_shifted_clip_says_what_transformers_lacks(golden, tmp_path):
    write_tensors(tmp_path / "w.safetensors", MAKERS["eaglenet"](golden))
    to_workdir("eaglenet", str(tmp_path / "w.safetensors"), tmp_path / "run")
    assert "no token shift there (blocks 0, 1)" in to_hf_folder(tmp_path / "run", tmp_path / "hf")


@pytest.mark.parametrize(
    ("held", "asked", "fitting"),
    [
        ("clip4clip", "eaglenet", ["clip4clip"]),
        ("eaglenet", "clip4clip", ["eaglenet"]),
        ("ts2net", "clip4clip", ["ts2net"]),
        ("xpool", "clip4clip", ["xpool"]),
        ("tmass", "xpool", ["tmass"]),
        ("hf", "openai", ["hf"]),
        ("openai", "hf", ["openai", "open_clip"]),
        ("openai", "open_clip", []),
        ("clip4clip", "clip4clip", []),
    ],
)
def test_the_source_that_fits_better_is_known(held, asked, fitting, golden):
    assert fitting_sources(MAKERS[held](golden), SOURCES[asked]) == fitting


def test_an_error_names_the_source_that_fits(golden, tmp_path):
    write_tensors(tmp_path / "w.safetensors", MAKERS["xpool"](golden))
    with pytest.raises(UserError, match=r"--from=xpool fits this file; not a CLIP.*visual\.conv1\.weight is missing"):
        to_workdir("clip4clip", str(tmp_path / "w.safetensors"), tmp_path / "run")
    write_tensors(tmp_path / "other.safetensors", {"layer.weight": np.ones((2, 2))})
    with pytest.raises(UserError, match=r"^not a CLIP"):
        to_workdir("clip4clip", str(tmp_path / "other.safetensors"), tmp_path / "run")


def shapes_of(name):
    tree = {"clip": clip_shapes(Clip(NAMED_SIZES[name])), "head": {"matching_loss": {"logit_scale": np.zeros(())}}}
    return to_pytorch(OPENAI_CLIP, {**tree, "clip": _views(tree["clip"])})


def _views(tree):
    return {
        key: _views(each) if isinstance(each, dict) else np.broadcast_to(np.int8(0), each.shape)
        for key, each in tree.items()
    }


def test_an_architecture_gives_the_activation_and_heads():
    tensors = shapes_of("ViT-B/32")
    assert config_of_architecture("ViT-B-32-quickgelu", tensors) == NAMED_SIZES["ViT-B/32"]
    assert config_of_architecture("ViT-B-32", tensors).activation == "gelu"
    for name, message in {
        "ViT-B-16": "does not fit the file: vision width 768, .* patch 32.*those of ViT-B-32 or ViT-B-32-quickgelu",
        "ViT-B-32-256": "its images have 224 pixels",
        "RN50": "'RN50' is none of .*; the shapes are those of ViT-B-32",
    }.items():
        with pytest.raises(UserError, match=message):
            config_of_architecture(name, tensors)


def test_open_clip_without_a_config_asks_for_the_architecture(golden, tmp_path, capsys):
    tensors = openai_clip(golden)
    moved = {name if name.startswith(("visual.", "logit_")) else f"text.{name}": each for name, each in tensors.items()}
    both = {f"{model}.module.{name}": each for model in ("model", "ema") for name, each in moved.items()}
    file, run = tmp_path / "epoch_5.safetensors", str(tmp_path / "run")
    write_tensors(file, both)
    with pytest.raises(UserError, match=r"open_clip_config\.json .*give --architecture, such as ViT-B-32"):
        to_workdir("open_clip", str(file), tmp_path / "run")
    (tmp_path / "small.json").write_text(json.dumps(INNER_CONFIG))
    flags = ["--from=open_clip", f"--input={file}", f"--output={run}", f"--architecture={tmp_path}/small.json"]
    convert.main([*flags, "--weights=ema"])
    line = capsys.readouterr().out
    assert "took the names that start with `ema.`" in line and "stripped `module.`" in line and "`text.`" in line
    assert f"activation gelu, by --architecture={tmp_path}/small.json" in line
    with pytest.raises(UserError, match="--architecture belongs to --from=open_clip"):
        to_workdir("openai", str(file), tmp_path / "other", architecture="ViT-B-32")
    for flag in ("--weights=ema", "--architecture=ViT-B-32"):
        with pytest.raises(UserError, match="not given with --to=hf"):
            convert.main([f"--input={run}", f"--output={tmp_path}/hf", "--to=hf", flag])
    convert.main([f"--input={run}", f"--output={tmp_path}/hf", "--to=hf"])
    assert load_clip(tmp_path / "hf")[0].activation == "gelu"


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_what_was_downloaded_in_place_of_weights_is_named(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(UserError, match="is a pointer of Git LFS, not the weights; fetch them with: git lfs pull"):
        read_checkpoint(tmp_path / name)
    (tmp_path / name).write_text("\n<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(UserError, match="is a web page, not the weights"):
        read_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match=r"other\.bin: no such file; give the path of a checkpoint"):
        read_checkpoint(tmp_path / "other.bin")


def test_convert_without_its_file_shows_how():
    with pytest.raises(UserError, match=r"required: --input, --output, for example --from=eaglenet --input=pytorch_mo"):
        convert.main(["--from=hf"])


def test_a_key_that_is_not_there_is_refused(golden, tmp_path):
    write_tensors(tmp_path / "w.safetensors", openai_clip(golden))
    with pytest.raises(UserError, match=r"w\.safetensors has nothing called 'ema'"):
        read_checkpoint(tmp_path / "w.safetensors", "ema")


def test_names_beside_the_model_are_left_by_a_choice_that_the_error_names(golden, tmp_path):
    tensors = openai_clip(golden)
    beside = {f"clip_model.{name}": value for name, value in tensors.items()} | {"metric.total": np.ones(())}
    write_tensors(tmp_path / "w.safetensors", beside)
    with pytest.raises(
        UserError, match=r"^only the names under `clip_model.` fit --from=openai: .* --weights=clip_model$"
    ):
        to_workdir("openai", str(tmp_path / "w.safetensors"), tmp_path / "run")
    assert_equal(SOURCES["openai"].read(str(tmp_path / "w.safetensors"), "clip_model")[1], tensors)


def test_a_logit_scale_in_a_vector_is_read_and_a_factor_is_said(golden, tmp_path):
    tensors = openai_clip(golden)
    for scale, notes in ((tensors["logit_scale"], []), (np.float32(100.0), ["the logit scale is 100, where its log"])):
        write_tensors(tmp_path / "w.safetensors", {**tensors, "logit_scale": np.reshape(scale, (1,))})
        _, found, said = SOURCES["openai"].read(str(tmp_path / "w.safetensors"))
        assert_equal(found, {**tensors, "logit_scale": scale})
        assert [note[:37] for note in said] == notes


def test_the_content_decides_what_a_file_is(golden, tmp_path):
    tensors = openai_clip(golden)
    write_tensors(tmp_path / "w.safetensors", tensors)
    (tmp_path / "w.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert_equal(read_tensors(tmp_path / "pytorch_model.bin"), tensors)


def test_weights_that_are_not_finite_are_refused_by_name(golden, tmp_path):
    tensors = openai_clip(golden)
    tensors["visual.proj"] = np.where(np.eye(*tensors["visual.proj"].shape), np.nan, tensors["visual.proj"])
    mask = np.where(np.tri(16), 0, -np.inf).astype(np.float32)  # of attention, from which nothing is computed
    write_tensors(tmp_path / "w.safetensors", {**tensors, "attn_mask": mask})
    with pytest.raises(UserError, match=r"1 names do not fit the model: visual\.proj holds a value that is not finite"):
        to_workdir("openai", str(tmp_path / "w.safetensors"), tmp_path / "run")


def test_a_hugging_face_config_that_does_not_name_the_activation(golden, tmp_path):
    config = clip_config(golden)
    save_clip(tmp_path, config, *load_written(golden, tmp_path / "first"))
    file, tensors, _ = SOURCES["hf"].read(str(tmp_path))
    assert SOURCES["hf"].sizes(file, tensors, "") == (config, "")
    written = json.loads((tmp_path / "config.json").read_text())
    for tower in ("vision_config", "text_config"):
        del written[tower]["hidden_act"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert SOURCES["hf"].sizes(file, tensors, "") == (config, "transformers' default; config.json does not tell")


def load_written(golden, folder):
    folder.mkdir()
    write_tensors(folder / "model.safetensors", hf_clip(golden))
    (folder / "config.json").write_text(json.dumps(config_to_hf(clip_config(golden))))
    return load_clip(folder)[1:]


def test_evaluation_and_init_from_say_what_they_found(golden, tmp_path, capsys):
    wrapped = {f"module.{name}": value for name, value in openai_clip(golden).items()}
    write_tensors(tmp_path / "w.safetensors", wrapped)
    to_workdir("openai", str(tmp_path / "w.safetensors"), tmp_path / "run")
    capsys.readouterr()
    params = converted_parameters("openai", str(tmp_path / "w.safetensors"), saved_config(tmp_path / "run"))
    said = capsys.readouterr().err
    assert f"{tmp_path / 'w.safetensors'}: stripped `module.`; activation quick_gelu, as OpenAI's" in said
    np.testing.assert_array_equal(
        params["clip"]["text"]["projection"], load_checkpoint(tmp_path / "run").params["clip"]["text"]["projection"]
    )
    config = clip_config(golden)
    save_clip(tmp_path / "hf", config, *load_written(golden, tmp_path / "first"))
    assert "stripped" not in capsys.readouterr().err
    tensors = read_tensors(tmp_path / "hf/model.safetensors")
    write_tensors(tmp_path / "hf/model.safetensors", {f"student.{name}": value for name, value in tensors.items()})
    system = build_system(saved_config(tmp_path / "run"))
    started = initial_parameters(system, str(tmp_path / "hf"), 0)
    assert capsys.readouterr().err == f"{tmp_path / 'hf/model.safetensors'}: stripped `student.`\n"
    np.testing.assert_array_equal(started["clip"]["text"]["projection"], tensors["text_projection.weight"].T)
