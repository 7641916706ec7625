"""CrossTVR's query transformer equals transformers' Q-Former with random weights, read through the real file format."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.crosstvr import CrossTvr, TokenShape
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.layers.query_transformer import Dropout, QueryShape, QueryTransformer, Tokens
from eaglenet_jax.port.blip2 import start_from_blip2

pytestmark = pytest.mark.parity
SHAPE = QueryShape(width=8, layers=3, heads=2, hidden=12, cross_every=2, dropout_rate=0.0)
QUERIES, WORDS, TOKENS, TOKEN_WIDTH = 3, 4, 5, 6


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    """(folder, Q-Former, query tokens) of a checkpoint in two shards, with a vision model that is not read."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    torch.manual_seed(0)
    config = Blip2QFormerConfig(
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=12,
        encoder_hidden_size=TOKEN_WIDTH,
        cross_attention_frequency=2,
        use_qformer_text_input=True,
    )
    model = Blip2QFormerModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    queries = torch.randn(1, QUERIES, 8)
    folder = tmp_path_factory.mktemp("blip2")
    first = {f"qformer.{name}": value for name, value in model.state_dict().items()}
    second = {
        "query_tokens": queries,
        "itm_head.weight": torch.randn(2, 8),
        "itm_head.bias": torch.randn(2),
        "vision_model.embeddings.class_embedding": torch.randn(3),
    }
    places = {}
    for number, tensors in enumerate((first, second), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(tensors, folder / file)
        places |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"model_type": "blip-2", "qformer_config": config.to_dict()}))
    return folder, model, queries


def params_of(head):
    ids, mask = jnp.arange(2, dtype=jnp.uint32), jnp.ones((2, 2), bool)
    text = TextFeatures(ids, jnp.ones((2, 4)), jnp.ones((2, WORDS, 4)), jnp.ones((2, WORDS), bool))
    tokens = jnp.ones((2, 2, head.tokens.count, head.tokens.width))
    video = VideoFeatures(ids, jnp.ones((2, 2, 4)), None, mask, {"tokens": tokens})
    draws = Draws(jax.random.key(0), train=True)
    return jax.jit(lambda key: head.init(key, text, video, (), draws, whole, method="loss"))(draws.key)["params"]


def head_of(width, **changes):
    return CrossTvr(Clip4Clip(4), 2, TokenShape(TOKENS, width, "another"), SHAPE, queries=QUERIES, **changes)


def test_the_layers_equal_transformers(blip2):
    import torch

    folder, model, queries = blip2
    params = start_from_blip2(params_of(head_of(TOKEN_WIDTH)), SHAPE, str(folder))
    rng = np.random.default_rng(0)
    words = rng.normal(size=(2, WORDS, 8)).astype(np.float32)
    tokens = rng.normal(size=(2, TOKENS, TOKEN_WIDTH)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    with torch.no_grad():
        expected = model(
            query_embeds=torch.cat([queries.expand(2, -1, -1), torch.tensor(words)], dim=1),
            query_length=QUERIES,
            attention_mask=torch.cat([torch.ones(2, QUERIES), torch.tensor(mask)], dim=1),
            encoder_hidden_states=torch.tensor(tokens),
        ).last_hidden_state[:, :QUERIES]

    def normalised(x):
        x = x - x.mean(axis=-1, keepdims=True)
        norm = params["embedding_norm"]
        return jnp.asarray(x / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12) * norm["scale"] + norm["bias"])

    start = np.broadcast_to(np.asarray(params["query_tokens"]), (2, QUERIES, 8))
    np.testing.assert_array_equal(start[0], queries[0].numpy())
    found = QueryTransformer(SHAPE).apply(
        {"params": params["layers"]},
        Tokens(normalised(start), jnp.ones((2, QUERIES), bool)),
        Tokens(normalised(words), jnp.asarray(mask)),
        Tokens(jnp.asarray(tokens), jnp.ones((2, TOKENS), bool)),
        Dropout(Draws(jax.random.key(0)), (jnp.arange(2),), 0.0, "test"),
    )
    np.testing.assert_allclose(found, expected.numpy(), atol=3e-6)


def test_parts_that_a_file_lacks_keep_their_start(blip2, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder, *_ = blip2
    before = params_of(head_of(TOKEN_WIDTH + 1, shared_weights=False))
    found = start_from_blip2(before, SHAPE, str(folder))
    cross, same = found["layers"]["cross_attention_0"], before["layers"]["cross_attention_0"]
    np.testing.assert_array_equal(cross["key"]["kernel"], same["key"]["kernel"])
    assert np.abs(cross["query"]["kernel"] - same["query"]["kernel"]).max() > 0.01
    for name, layer in found["temporal_layers"].items():
        jax.tree.map(np.testing.assert_array_equal, layer, found["layers"][name])
    itm = load_file(folder / "model-00002-of-00002.safetensors")["itm_head.weight"]
    np.testing.assert_array_equal(found["classifier"]["kernel"], itm.T)
    assert found["word_projection"] is before["word_projection"]

    tensors = load_file(folder / "model-00001-of-00002.safetensors") | {"query_tokens": np.ones((1, QUERIES, 8), "f")}
    captioning = {name: value for name, value in tensors.items()
                  if ".intermediate.dense" not in name and ".output.dense" not in name.replace("attention.output", "")
                  and ".output.LayerNorm" not in name.replace("attention.output", "")}  # fmt: skip
    save_file(captioning, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    fewer = start_from_blip2(before, SHAPE, str(tmp_path))
    for name in ("classifier", "word_projection"):
        jax.tree.map(np.testing.assert_array_equal, fewer[name], before[name])
    jax.tree.map(np.testing.assert_array_equal, fewer["layers"]["word_feed_0"], before["layers"]["word_feed_0"])
    assert np.abs(
        fewer["layers"]["query_feed_0"]["up"]["kernel"] - before["layers"]["query_feed_0"]["up"]["kernel"]
    ).max()

    save_file({"query_tokens": captioning["query_tokens"]}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"missing qformer\.layernorm\.weight"):
        start_from_blip2(before, SHAPE, str(tmp_path))
    with pytest.raises(UserError, match=r"layers is 3, config\.head\.transformer\.layers is 2"):
        start_from_blip2(before, QueryShape(8, 2, 2, 12), str(tmp_path))
    with pytest.raises(UserError, match="describes no BLIP-2"):
        start_from_blip2(before, SHAPE, str(tmp_path / "nothing"))
