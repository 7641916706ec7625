"""BLIP-2's vision encoder equals transformers' with random weights, read from sharded files."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip.eva import EvaVision
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.blip2_files import is_blip2, open_blip2
from eaglenet_jax.port.blip2_vision import load_blip2_vision

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

# name: width, layers, heads, hidden width of the MLP, image, patch
SIZES = {"small": (24, 2, 3, 40, 28, 14), "deep": (88, 5, 1, 384, 56, 14)}


@pytest.fixture(scope="module", params=SIZES)
def saved(request, tmp_path_factory):
    from safetensors.torch import save_file
    from transformers import Blip2VisionConfig, Blip2VisionModel

    width, layers, heads, hidden, image, patch = SIZES[request.param]
    config = Blip2VisionConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=hidden,
        image_size=image,
        patch_size=patch,
    )
    torch.manual_seed(0)
    model = Blip2VisionModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # transformers' own start is too small to tell anything
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("blip2")
    tensors = {f"vision_model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {"qformer.layernorm.weight": torch.ones(8), "language_model.head": torch.ones(2)}
    places = {}
    for number in range(3):
        file = f"model-0000{number + 1}-of-00003.safetensors"
        part = dict(list(tensors.items())[number::3])
        save_file(part, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    written = {"model_type": "blip-2", "vision_config": config.to_dict(), "qformer_config": {}}
    (folder / "config.json").write_text(json.dumps(written))
    return folder, model


def test_tokens_equal_transformers(saved):
    folder, model = saved
    assert is_blip2(str(folder))
    config, params = load_blip2_vision(open_blip2(str(folder)))
    pixels = np.random.default_rng(1).normal(size=(2, 3, config.image_size, config.image_size, 3)).astype(np.float32)
    flat = torch.tensor(pixels.reshape(-1, *pixels.shape[2:]).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = model(pixel_values=flat).last_hidden_state.numpy()
    mask = jnp.array([[1, 1, 1], [1, 1, 0]], bool)
    found = jax.jit(lambda p, x: EvaVision(config).apply({"params": p}, x, mask))(params, jnp.asarray(pixels))
    assert not found[1, 2].any()
    expected = expected.reshape(found.shape)[np.asarray(mask)]
    np.testing.assert_allclose(found[np.asarray(mask)], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    # Keys have a bias in the file's array as well. It changes nothing.
    assert np.abs(params["block_0"]["attention"]["qkv_bias"]).reshape(3, -1).max(axis=1).min() > 0


def test_what_is_missing_or_different_is_named(saved, tmp_path):
    folder, _ = saved
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    written = json.loads((tmp_path / "config.json").read_text())
    written["vision_config"]["hidden_act"] = "quick_gelu"
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"hidden_act is 'quick_gelu'; ours is 'gelu'"):
        load_blip2_vision(open_blip2(str(tmp_path)))
    written["vision_config"] |= {"hidden_act": "gelu", "num_hidden_layers": 6}
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"missing vision_model\.encoder\.layers\.5\.layer_norm1\.weight"):
        load_blip2_vision(open_blip2(str(tmp_path)))
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00003\.safetensors: no such file"):
        load_blip2_vision(open_blip2(str(tmp_path)))
    index["weight_map"]["adapter.weight"] = "model-00001-of-00003.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"no part of BLIP-2, first adapter\.weight"):
        load_blip2_vision(open_blip2(str(tmp_path)))
    assert not is_blip2(str(tmp_path / "nothing"))
