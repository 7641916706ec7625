"""Both towers against transformers' CLIPModel, with random weights that travel through the real files."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip import Clip
from eaglenet_jax.port.load import load_clip, save_clip

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")

# name: (projection, vision (width, layers, heads, image, patch), text (width, layers, heads, vocabulary, context), act)
SIZES = {
    "small": (16, (48, 3, 3, 16, 4), (32, 2, 2, 99, 12), "gelu"),
    "wide": (64, (192, 6, 6, 64, 16), (128, 4, 4, 1000, 77), "quick_gelu"),
}


@pytest.fixture(scope="module", params=SIZES)
def saved(request, tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel

    projection, vision, text, act = SIZES[request.param]
    width, layers, heads, image, patch = vision
    common = {"projection_dim": projection, "hidden_act": act}
    vision_config = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, **common}
    vision_config |= {"num_attention_heads": heads, "image_size": image, "patch_size": patch}
    width, layers, heads, vocabulary, context = text
    text_config = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, **common}
    text_config |= {"num_attention_heads": heads, "vocab_size": vocabulary, "max_position_embeddings": context}
    text_config |= {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": 0}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(vision_config=vision_config, text_config=text_config, projection_dim=projection)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # transformers' own start is too small to tell anything
            parameter.add_(torch.randn_like(parameter) * 0.05)
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return folder, model


def test_text_tower(saved):
    folder, model = saved
    config, params, logit_scale = load_clip(folder)
    random = np.random.default_rng(0)
    tokens = random.integers(1, config.vocab_size - 2, (5, config.context_length))
    for row, end in enumerate(random.integers(3, config.context_length, 5)):
        tokens[row, end:] = 0
        tokens[row, end - 1] = config.vocab_size - 1
    with torch.no_grad():
        hidden = model.text_model(input_ids=torch.tensor(tokens))
        words = model.text_projection(hidden.last_hidden_state).numpy()
        pooled = model.text_projection(hidden.pooler_output).numpy()
    encode = jax.jit(lambda p, x: Clip(config).apply({"params": p["clip"]}, x, True, method="encode_text"))
    ours, our_words = encode(params, jnp.asarray(tokens, jnp.int32))
    np.testing.assert_allclose(ours, pooled, rtol=0, atol=1e-5 * np.abs(pooled).max())
    np.testing.assert_allclose(our_words, words, rtol=0, atol=1e-5 * np.abs(words).max())
    assert logit_scale == model.logit_scale.detach().numpy()


def test_vision_tower(saved):
    folder, model = saved
    config, params, _ = load_clip(folder)
    pixels = np.random.default_rng(1).normal(size=(2, 3, config.image_size, config.image_size, 3)).astype(np.float32)
    flat = torch.tensor(pixels.reshape(-1, *pixels.shape[2:]).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        hidden = model.vision_model(pixel_values=flat)
        features = model.visual_projection(hidden.pooler_output).numpy()
        tokens = model.visual_projection(model.vision_model.post_layernorm(hidden.last_hidden_state)).numpy()
    mask = jnp.ones((2, 3), bool)
    encode = jax.jit(lambda p, x: Clip(config).apply({"params": p["clip"]}, x, mask, True, method="encode_video"))
    ours, patches = encode(params, jnp.asarray(pixels))
    np.testing.assert_allclose(ours.reshape(features.shape), features, rtol=0, atol=1e-5 * np.abs(features).max())
    flat_patches = patches.reshape(-1, *patches.shape[2:])
    np.testing.assert_allclose(flat_patches, tokens[:, 1:], rtol=0, atol=1e-5 * np.abs(tokens).max())


def test_what_we_write_transformers_reads(saved, tmp_path):
    from transformers import CLIPModel

    folder, model = saved
    config, params, logit_scale = load_clip(folder)
    save_clip(tmp_path, config, params, logit_scale)
    again, report = CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
