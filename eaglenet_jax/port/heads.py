"""Tensor names of the heads of the released retrieval programs: EagleNet, T-MASS, X-Pool, CLIP4Clip, TS2-Net."""

from __future__ import annotations

import re

import numpy as np

from eaglenet_jax.port.clip_sizes import count_blocks
from eaglenet_jax.port.openai_clip import block_rules
from eaglenet_jax.port.table import LOGIT_SCALE, Tensors, linear_rules, norm_rules, rule
from eaglenet_jax.port.transforms import LINEAR, LINEAR_GROUPS, SCALAR, SPLIT_LINEAR

_RELATIONS = ("text_text", "frame_frame", "text_frame")

POOLING = (
    *linear_rules("pool_frames.cross_attn.q_proj", "head/pooling/query"),
    *linear_rules("pool_frames.cross_attn.k_proj", "head/pooling/key"),
    *linear_rules("pool_frames.cross_attn.v_proj", "head/pooling/value"),
    *linear_rules("pool_frames.cross_attn.out_proj", "head/pooling/output"),
    *linear_rules("pool_frames.linear_proj", "head/pooling/linear"),
    *norm_rules("pool_frames.layer_norm1", "head/pooling/norm1"),
    *norm_rules("pool_frames.layer_norm2", "head/pooling/norm2"),
    *norm_rules("pool_frames.layer_norm3", "head/pooling/norm3"),
)

RADIUS = linear_rules("stochastic.std_branch.linear_proj", "head/radius/linear")
RADIUS_UNUSED = "stochastic.std_branch.learnable_scalar"

CLIP_LOGIT_SCALE = rule("clip.logit_scale", LOGIT_SCALE)

# The graph's receiving node is row i of the attention matrix, the sending one column j.
GRAPH = (
    *(
        relation_rule
        for number, relation in enumerate(_RELATIONS)
        for relation_rule in (
            rule(
                f"gnn.layers.{{i}}.lin_rels.{number}.weight",
                f"head/relations/layer_{{i}}/{relation}/kernel",
                LINEAR_GROUPS,
            ),
            rule(
                f"gnn.layers.{{i}}.att_l_rels.{number}.weight", f"head/relations/layer_{{i}}/{relation}/receive", LINEAR
            ),
            rule(f"gnn.layers.{{i}}.att_r_rels.{number}.weight", f"head/relations/layer_{{i}}/{relation}/send", LINEAR),
        )
    ),
    rule("gnn.layers.{i}.lin_out.weight", "head/relations/layer_{i}/residual", LINEAR_GROUPS),
    # The graph attention variant has one relation.
    rule("gnn.layers.{i}.lin1.weight", "head/relations/layer_{i}/every/kernel", LINEAR_GROUPS),
    rule("gnn.layers.{i}.att_l.weight", "head/relations/layer_{i}/every/receive", LINEAR),
    rule("gnn.layers.{i}.att_r.weight", "head/relations/layer_{i}/every/send", LINEAR),
)

ENERGY = (
    *linear_rules("ebm.energy_net", "head/energy_function/text_map"),  # bilinear
    # The MLP's first layer reads [f ; t].
    rule(
        "ebm.energy_net.0.weight",
        ("head/energy_function/hidden_frame/kernel", "head/energy_function/hidden_text/kernel"),
        SPLIT_LINEAR,
    ),
    rule("ebm.energy_net.0.bias", "head/energy_function/hidden_frame/bias"),
    *linear_rules("ebm.energy_net.2", "head/energy_function/output"),
    rule("ebm.replay_buffer_txt", "head_state/text"),
    rule("ebm.replay_buffer_vid", "head_state/video"),
)

SIGMOID_LOSS = (
    rule("loss_fct.temp_prior", "head/matching_loss/log_scale", SCALAR),
    rule("loss_fct.bias", "head/matching_loss/bias", SCALAR),
)

# CLIP4Clip's seqTransf: blocks and positions as in the text tower.
TEMPORAL = (
    *block_rules("transformerClip.resblocks.{i}.", "head/transformer/block_{i}/"),
    rule("frame_position_embeddings.weight", "head/transformer/positions"),
)

# TS2-Net's score of a token. The second layer reads [token ; class token].
TOKEN_SCORES = (
    *norm_rules("visual_token_selector.score_predictor.in_conv.0", "head/selector/norm"),
    rule("visual_token_selector.score_predictor.in_conv.1.weight", "head/selector/up/kernel", LINEAR),
    rule(
        "visual_token_selector.score_predictor.out_conv.0.weight",
        ("head/selector/local/kernel", "head/selector/whole/kernel"),
        SPLIT_LINEAR,
    ),
    rule("visual_token_selector.score_predictor.out_conv.2.weight", "head/selector/score/kernel", LINEAR),
)
TS2NET_FRAMES, TS2NET_TOKENS = 12, 4  # frames of its scripts, and tokens of a frame: the class token and 3 patches
TS2NET_UNUSED = ("text_token_selector.*", "visual_prompt_encoder.*")

FRAME_POSITIONS = rule("frame_pe", "head/frame_positions")


def eaglenet_settings(tensors: Tensors) -> dict[str, object]:
    """Infer the config of a released EagleNet from its shapes: the head's options, and "max_frames"."""
    head: dict[str, object] = {
        "frame_positions": FRAME_POSITIONS.sources[0] in tensors,
        "loss_kind": "sigmoid" if SIGMOID_LOSS[0].sources[0] in tensors else "softmax",
    }
    settings: dict[str, object] = {"head": head}
    if "ebm.energy_net.0.weight" in tensors:
        head["energy"] = "mlp"
    else:
        head["energy"] = "bilinear" if "ebm.energy_net.weight" in tensors else "cosine"
    radius = tensors.get("stochastic.std_branch.linear_proj.weight")
    if radius is not None:
        settings["max_frames"] = radius.shape[1]
    layers = {name.split(".")[2] for name in tensors if name.startswith("gnn.layers.")}
    graph: dict[str, object] = {"layers": len(layers)}
    graph["kind"] = "gat" if "gnn.layers.0.lin1.weight" in tensors else "rgat"
    receive = tensors.get("gnn.layers.0.att_l.weight", tensors.get("gnn.layers.0.att_l_rels.0.weight"))
    if receive is not None and radius is not None and len(layers) > 1:
        graph["heads"] = radius.shape[0] // receive.shape[1]
    head["graph"] = graph
    if "ebm.replay_buffer_txt" in tensors:
        head["sampler"] = {"buffer_rows": tensors["ebm.replay_buffer_txt"].shape[0]}
    return settings


def clip4clip_settings(tensors: Tensors) -> dict[str, object]:
    """Infer the config of a CLIP4Clip checkpoint from its names."""
    blocks = {name.split(".")[2] for name in tensors if name.startswith("transformerClip.resblocks.")}
    return {"head": {"temporal": "transformer", "temporal_layers": len(blocks)} if blocks else {"temporal": "mean"}}


def ts2net_settings(tensors: Tensors) -> dict[str, object]:
    """Infer the config of a TS2-Net checkpoint: the head's options, and "max_frames" if it has few positions.

    How many patches are selected leaves no trace in a checkpoint; the program's number is assumed.
    """
    settings: dict[str, object] = {"head": {"temporal_layers": count_blocks(tensors, "transformerClip.resblocks.")}}
    positions = tensors.get("frame_position_embeddings.weight")
    if positions is not None and len(positions) < TS2NET_FRAMES * TS2NET_TOKENS:
        settings["max_frames"] = len(positions) // TS2NET_TOKENS
    return settings


def tmass_settings(tensors: Tensors) -> dict[str, object]:
    """Infer the config of a T-MASS checkpoint from its shapes."""
    radius = tensors.get("stochastic.std_branch.linear_proj.weight")
    return {} if radius is None else {"max_frames": radius.shape[1]}


def eaglenet_unused(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return the tensors that a released EagleNet contains and does not use, as the program initialises them.

    A temporal transformer of four blocks with positions, copies of the text tower's, and CLIP's logit scale.
    """
    unused = tmass_unused(tensors) | {"frame_position_embeddings.weight": tensors["clip.positional_embedding"]}
    for name, array in tensors.items():
        block = re.match(r"clip\.transformer\.(resblocks\.[0-3]\..*)", name)
        if block:
            unused[f"transformerClip.{block[1]}"] = array
    (logit_scale,) = CLIP_LOGIT_SCALE.sources
    return unused if logit_scale in tensors else unused | {logit_scale: np.asarray(np.log(1 / 0.07), np.float32)}


def tmass_unused(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return the tensors that a released T-MASS contains and does not use."""
    return {RADIUS_UNUSED: np.zeros(1, np.float32)}
