from __future__ import annotations

import json
import time
from types import SimpleNamespace

import jax
import ml_dtypes
import numpy as np
import pytest

from eaglenet_jax.clip import NAMED_SIZES, Clip, ClipConfig
from eaglenet_jax.clip.parameters import clip_shapes
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.clip_sizes import sizes_from_shapes
from eaglenet_jax.port.files import read_tensors, write_tensors
from eaglenet_jax.port.hf_clip import HF_CLIP, config_from_hf, config_to_hf
from eaglenet_jax.port.load import clip_from_tensors, hub_file, load_clip, save_clip
from eaglenet_jax.port.openai_clip import OPENAI_CLIP, SIZE_NAMES
from eaglenet_jax.port.table import to_pytorch

CONFIG = ClipConfig(6, 16, 4, 8, 2, 2, 12, 1, 3, vocab_size=40, context_length=10)
LOGIT_SCALE = np.asarray(2.5, np.float32)


@pytest.fixture(scope="module")
def params():
    random = np.random.default_rng(0)
    return {
        "clip": jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), clip_shapes(Clip(CONFIG)))
    }


@pytest.fixture
def folder(tmp_path, params):
    save_clip(tmp_path / "clip", CONFIG, params, LOGIT_SCALE)
    return tmp_path / "clip"


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_hugging_face_folder_round_trips(folder, params):
    config, loaded, logit_scale = load_clip(folder)
    assert config == CONFIG and logit_scale == LOGIT_SCALE
    assert_same(loaded, params)


def test_openai_names_round_trip(golden):
    stored = golden("clip_token_shift")
    tensors = {name.removeprefix("param/"): array for name, array in stored.items() if name.startswith("param/")}
    config = sizes_from_shapes(tensors, SIZE_NAMES)
    written = json.loads(str(stored["config"]))
    assert (config.image_size, config.vision_heads) == (written["image_resolution"], written["vision_heads"])
    assert (config.text_layers, config.text_heads) == (written["transformer_layers"], written["transformer_heads"])
    sizes = {"input_resolution": np.array(32), "context_length": np.array(16), "vocab_size": np.array(512)}
    loaded, logit_scale = clip_from_tensors(OPENAI_CLIP, tensors | sizes, config)
    back = to_pytorch(OPENAI_CLIP, {**loaded, "head": {"matching_loss": {"logit_scale": logit_scale}}})
    assert back.keys() == tensors.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, tensors[name].astype(np.float32))


def test_both_sources_name_every_parameter_of_the_full_size():
    config = NAMED_SIZES["ViT-B/32"]
    tree = {"clip": clip_shapes(Clip(config)), "head": {"matching_loss": {"logit_scale": np.zeros(())}}}
    tree = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), tree)
    openai = to_pytorch(OPENAI_CLIP, tree)
    assert sizes_from_shapes(openai, SIZE_NAMES) == config
    assert len(to_pytorch(HF_CLIP, tree)) == len(openai) + 4 * (config.vision_layers + config.text_layers)


def test_config_file_says_all_sizes(tmp_path):
    for config in (CONFIG, *NAMED_SIZES.values(), ClipConfig(6, 16, 4, 8, 2, 2, 12, 1, 3, activation="gelu")):
        (tmp_path / "config.json").write_text(json.dumps(config_to_hf(config)))
        assert config_from_hf(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model_type="siglip"), "a model of type 'siglip', not a CLIP"),
        (lambda c: c["vision_config"].update(hidden_act="relu"), "activations 'relu' and 'quick_gelu'"),
        (lambda c: c["text_config"].update(intermediate_size=7), "intermediate_size is 7"),
        (lambda c: c["vision_config"].update(layer_norm_eps=1e-6), "layer_norm_eps is 1e-06"),
    ],
)
def test_a_clip_that_computes_something_else_is_refused(folder, change, message):
    written = json.loads((folder / "config.json").read_text())
    change(written)
    (folder / "config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=message):
        load_clip(folder)


def test_strict_loading_lists_every_name(folder):
    tensors = read_tensors(folder / "model.safetensors")
    del tensors["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    tensors["text_projection.weight"] = tensors["text_projection.weight"][:, :5]
    tensors["lora.weight"] = np.zeros(3, np.float32)
    tensors["text_model.embeddings.position_ids"] = np.arange(10)[None]
    write_tensors(folder / "model.safetensors", tensors)
    with pytest.raises(UserError) as caught:
        load_clip(folder)
    message = str(caught.value)
    assert "3 names do not fit" in message and "\n" not in message
    assert "missing vision_model.encoder.layers.1.self_attn.k_proj.weight" in message
    assert "text_projection.weight has shape (6, 5), not (6, 12)" in message
    assert "not known here: lora.weight" in message


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_files_are_read_as_float32(folder, params, dtype):
    from safetensors.flax import save_file

    tensors = read_tensors(folder / "model.safetensors")
    save_file(
        {name: jax.numpy.asarray(array.astype(dtype)) for name, array in tensors.items()}, folder / "model.safetensors"
    )
    _, loaded, _ = load_clip(folder)
    assert_same(loaded, jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), params))


def test_damaged_and_foreign_files_get_one_line(folder, tmp_path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", b"hello, I am no weights at all", whole[: len(whole) // 2], whole[:-1]):
        weights.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.safetensors is truncated or no safetensors file"):
            load_clip(folder)
    weights.unlink()
    with pytest.raises(UserError, match="holds no CLIP"):
        load_clip(folder)
    (folder / "config.json").write_text("{")
    weights.write_bytes(whole)
    with pytest.raises(UserError, match=r"config\.json is no readable config\.json"):
        load_clip(folder)
    with pytest.raises(UserError, match="no such folder"):
        load_clip(tmp_path / "nowhere")
    (tmp_path / "clip.h5").write_bytes(whole)
    with pytest.raises(UserError, match=r"'\.h5' are not read"):
        read_tensors(tmp_path / "clip.h5")


def test_a_hub_name_without_a_connection_gets_one_line():
    with pytest.raises(UserError, match=r"no-such-org/no-such-clip: no such folder.*cannot be read") as caught:
        load_clip("no-such-org/no-such-clip")
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    closed = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", closed)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no-such-org/no-such-clip: no such folder.*cannot be read"):
        load_clip("no-such-org/no-such-clip")
    assert not caplog.records and time.monotonic() - started < 20  # asking six times takes half a minute


def test_a_large_download_is_announced(monkeypatch, tmp_path):
    sizes = {"model.safetensors": 605_000_000, "config.json": 4_000}

    def download(source, name, local_files_only=False):
        if local_files_only:
            raise FileNotFoundError("not in the cache")
        return tmp_path / name

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr(
        "huggingface_hub.get_hf_file_metadata", lambda url: SimpleNamespace(size=sizes[url.rpartition("/")[2]])
    )
    said = []
    assert hub_file("org/clip", "config.json", report=said.append).name == "config.json" and not said
    assert hub_file("org/clip", "model.safetensors", "other.bin", report=said.append).name == "model.safetensors"
    assert len(said) == 1 and "model.safetensors of org/clip, 605 MB" in said[0]


def test_sizes_of_something_else_are_refused():
    with pytest.raises(UserError, match=r"not a CLIP with a vision transformer: visual\.conv1\.weight is missing"):
        sizes_from_shapes({"visual.layer1.0.conv1.weight": np.zeros((4, 4, 1, 1))}, SIZE_NAMES)
