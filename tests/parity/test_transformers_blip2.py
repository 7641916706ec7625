"""CrossTVR's query transformer equals transformers' Q-Former with random weights, read through the real file format."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.clip.eva import EvaConfig
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.clip4clip import Clip4Clip
from eaglenet_jax.heads.crosstvr import CrossTvr, TokenShape
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures, whole
from eaglenet_jax.layers.query_transformer import Dropout, QueryShape, QueryTransformer, Tokens
from eaglenet_jax.port.blip2 import convert, planned_start, start_from_blip2, table
from eaglenet_jax.port.blip2_files import OTHER_PARTS, QFORMER, VISION
from eaglenet_jax.port.blip2_vision import vision_from_tensors
from eaglenet_jax.port.table import unused_tensors

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
        "embeddings.word_embeddings.weight": torch.randn(9, 8),
        "language_projection.weight": torch.randn(2, 8),
    }
    places = {}
    for number, tensors in enumerate((first, second), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(tensors, folder / file)
        places |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"model_type": "blip-2", "qformer_config": config.to_dict()}))
    return folder, model, queries


def shapes_of(head):
    ids, mask = jnp.arange(2, dtype=jnp.uint32), jnp.ones((2, 2), bool)
    text = TextFeatures(ids, jnp.ones((2, 4)), jnp.ones((2, WORDS, 4)), jnp.ones((2, WORDS), bool))
    tokens = jnp.ones((2, 2, head.tokens.count, head.tokens.width))
    video = VideoFeatures(ids, jnp.ones((2, 2, 4)), None, mask, {"tokens": tokens})
    draws = Draws(jax.random.key(0), train=True)
    init = functools.partial(head.init, method="loss")
    return jax.eval_shape(lambda key: init(key, text, video, (), draws, whole), draws.key)["params"]


def params_of(head):
    rng = np.random.default_rng(7)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.02, leaf.shape).astype(np.float32), shapes_of(head))


def head_of(width, **changes):
    settings = {"transformer": SHAPE, "queries": 32 if "transformer" in changes else QUERIES, **changes}
    return CrossTvr(Clip4Clip(4), 2, TokenShape(TOKENS, width, "another"), **settings)


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


def test_keys_and_values_for_other_tokens_keep_their_start(blip2):
    from safetensors.numpy import load_file

    folder, *_ = blip2
    before = params_of(head_of(TOKEN_WIDTH + 1, shared_weights=False))
    found = start_from_blip2(before, SHAPE, str(folder))
    for layers in ("layers", "temporal_layers"):
        cross, same = found[layers]["cross_attention_0"], before[layers]["cross_attention_0"]
        for part in ("key", "value"):
            jax.tree.map(np.testing.assert_array_equal, cross[part], same[part])
        assert np.abs(cross["query"]["kernel"] - same["query"]["kernel"]).max() > 0.01
    same = params_of(head_of(TOKEN_WIDTH, shared_weights=False))
    found = start_from_blip2(same, SHAPE, str(folder))
    for name, layer in found["temporal_layers"].items():
        jax.tree.map(np.testing.assert_array_equal, layer, found["layers"][name])
    tensors = load_file(folder / "model-00001-of-00002.safetensors")
    key = tensors["qformer.encoder.layer.2.crossattention.attention.key.weight"]
    np.testing.assert_array_equal(found["layers"]["cross_attention_2"]["key"]["kernel"], key.T)
    itm = load_file(folder / "model-00002-of-00002.safetensors")["itm_head.weight"]
    np.testing.assert_array_equal(found["classifier"]["kernel"], itm.T)
    jax.tree.map(np.testing.assert_array_equal, found["word_projection"], same["word_projection"])


def test_missing_and_extra_tensors_are_errors(blip2, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder, *_ = blip2
    before = params_of(head_of(TOKEN_WIDTH))
    whole = load_file(folder / "model-00001-of-00002.safetensors") | load_file(
        folder / "model-00002-of-00002.safetensors"
    )
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())

    def started(tensors):
        save_file(tensors, tmp_path / "model.safetensors")
        both = (planned_start, start_from_blip2)
        messages = []
        for start in both:  # a plan finds what training would
            with pytest.raises(UserError) as error:
                start(before, SHAPE, str(tmp_path))
            messages.append(str(error.value))
        assert messages[0] == messages[1]
        return messages[0]

    captioning = {name: value for name, value in whole.items() if not name.startswith("itm_head")}
    assert "missing itm_head.bias; missing itm_head.weight; give a Blip2ForImageTextRetrieval" in started(captioning)
    words = {name: value for name, value in whole.items() if ".0.intermediate.dense" not in name}
    assert "missing qformer.encoder.layer.0.intermediate.dense.weight" in started(words)
    extra = whole | {"qformer.encoder.layer.0.adapter.weight": np.ones((1, 1), "f")}
    assert "not known here: qformer.encoder.layer.0.adapter.weight" in started(extra)
    middle = whole | {"qformer.encoder.layer.7.intermediate.dense.weight": np.ones((12, 8), "f")}
    assert "not known here: qformer.encoder.layer.7.intermediate" in started(middle)
    assert "no part of BLIP-2, first adapter.weight" in started(whole | {"adapter.weight": np.ones((1, 1), "f")})
    shaped = whole | {"query_tokens": np.ones((1, QUERIES + 1, 8), "f")}
    assert "query_tokens has shape (1, 4, 8), not (1, 3, 8)" in started(shaped)
    with pytest.raises(UserError, match=r"layers is 3, config\.head\.transformer\.layers is 2"):
        start_from_blip2(before, QueryShape(8, 2, 2, 12), str(tmp_path))
    with pytest.raises(UserError, match="no such folder; give that of a BLIP-2"):
        start_from_blip2(before, SHAPE, str(tmp_path / "nothing"))


def test_every_tensor_of_the_full_size_is_used_or_listed():
    """Abstract: neither transformers' model nor ours has values."""
    import torch
    from transformers import Blip2Config, Blip2ForImageTextRetrieval

    config = Blip2Config()
    config.qformer_config.use_qformer_text_input = True
    with torch.device("meta"):
        model = Blip2ForImageTextRetrieval(config)
    tensors = {name: np.broadcast_to(np.float32(0), value.shape) for name, value in model.state_dict().items()}
    eva = EvaConfig()
    vision = {name: value for name, value in tensors.items() if name.startswith(VISION)}
    assert sum(value.size for value in vision.values()) > 985e6
    vision_from_tensors(vision, eva)

    head = CrossTvr(Clip4Clip(4), 2, TokenShape(eva.tokens, eva.width, "vit-g"))
    shapes = shapes_of(head)
    queries = {name: value for name, value in tensors.items() if name.startswith(QFORMER)}
    found = convert(queries, shapes, 12, same_tokens=True)
    assert found["layers/cross_attention_10/value/kernel"].shape == (1408, 768)
    # What is given to us but not read is the words of the last layer, whose queries alone are classified.
    unused = unused_tensors(table(12, same_tokens=True), queries)
    assert {name.removeprefix("qformer.encoder.layer.11.") for name in unused} == {
        f"{part}.{kind}" for part in ("intermediate.dense", "output.dense", "output.LayerNorm")
        for kind in ("weight", "bias")
    }  # fmt: skip
    assert len(found) == len(queries) - len(unused)
    others = {name.split(".")[0] + "." for name in set(tensors) - set(vision) - set(queries)}
    assert others == {"embeddings.", "text_projection.", "vision_projection."} and others <= set(OTHER_PARTS)
    # Tokens of another width: all but keys and values.
    fewer = convert(queries, shapes_of(head_of(512, transformer=QueryShape())), 12, False)
    assert {path.split("/")[2] for path in set(found) - set(fewer)} == {"key", "value"}


def test_the_plan_says_which_parts_start_from_it(blip2):
    folder, *_ = blip2
    for width, random in ((TOKEN_WIDTH, set()), (TOKEN_WIDTH + 1, {"key", "value"})):
        shapes = shapes_of(head_of(width, shared_weights=False))
        found = planned_start(shapes, SHAPE, str(folder))
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(shapes), jax.tree_util.tree_leaves_with_path(found), strict=True
        )
        kept = {jax.tree_util.keystr(path) for (path, leaf), (_, other) in pairs if leaf is other}
        layers = {name for name in kept if "layers" in name}
        assert {name.split("'")[5] for name in layers} == random
        assert {name.split("'")[1] for name in kept - layers} == {"selector_up", "selector_down", "word_projection"}
