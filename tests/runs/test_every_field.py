"""Every field of a config: another value changes what is computed, or is refused, or the field is listed as free."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.config.checking import leaves
from eaglenet_jax.config.loading import is_free, load_config
from eaglenet_jax.config.systems import SYSTEMS
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs import evaluate_split as splitting
from eaglenet_jax.runs import experiment as opening
from eaglenet_jax.runs import stage_step as making
from eaglenet_jax.runs import train_stage as one_stage
from eaglenet_jax.runs.experiment import Experiment
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.system import build_system
from eaglenet_jax.training.optimizer import make_optimizer
from tests.runs.traced_system import plain, system

SHOWN = ("name",)  # written into tables and nothing else
# Field → (another value, what shows that it is used): a function of this file that says what a config computes;
# "refused" with a part of the message. Free fields stand in FREE_FIELDS of config/loading.py and have no row.
COMMON = {
    "seed": (3, "stage"),
    "batch_size": (4, "stage"),
    "accumulate": (2, "stage"),
    "encode_micro_batches": (2, "stage"),
    "pairwise_block": (4, "stage"),
    "ema_decay": (0.9, "stage"),
    "early_stop": (2, "stage"),
    "epochs": (1.0, "refused: config.steps takes precedence"),
    "steps": (5, "stage"),
    "max_words": (12, "system"),
    "max_frames": (3, "system"),
    "queries": ("all", "evaluation"),
    "selection": ("test", "chosen"),
    "cached_features": (True, "refused: freezes the CLIP, which would stay random"),
    "init_from": ("openai/clip", "stage"),
    "preset": ("released", "system"),
    "system": ("xpool", "system"),
    "clip.name": ("ViT-B/32", "refused: config.clip gives every size"),
    "clip.image_size": (32, "refused: token shift needs at least 7 tokens"),
    "clip.context_length": (40, "system"),
    "clip.dtype": ("bfloat16", "system"),
    "clip.embed_dim": (32, "system"),
    "clip.mask_padding": (False, "system"),
    "clip.patch_size": (8, "system"),
    "clip.remat": (True, "gradient"),
    "clip.shift_blocks": ((0,), "system"),
    "clip.text_heads": (4, "system"),
    "clip.text_layers": (2, "system"),
    "clip.text_width": (32, "system"),
    "clip.vision_heads": (4, "system"),
    "clip.vision_layers": (3, "system"),
    "clip.vision_width": (64, "system"),
    "clip.vocab_size": (50000, "system"),
    "data.dataset": ("msvd", "refused: no folder"),
    "data.events.count": (2, "data"),
    "data.events.distractors": (0.5, "data"),
    "data.events.pairs": (0.5, "data"),
    "data.events.paragraph": (True, "refused: leave out pairs or paragraph"),
    "data.fps": (1.0, "data"),
    "data.seed": (1, "data"),
    "data.size": (32, "refused: the prepared frames are 32 pixels wide"),
    "data.splits.train": (50, "data"),
    **{f"data.splits.{split}": (13, "data") for split in ("validate", "test")},
    "evaluation.batch_size": (3, "evaluation"),
    "evaluation.count_missing": (False, "evaluation"),
    "evaluation.every": (2, "stage"),
    "evaluation.noise": ("per_pair", "evaluation"),
    "evaluation.seed": (4, "evaluation"),
    "evaluation.ties": ("optimistic", "evaluation"),
    "optimizer.name": ("bert_adam", "updates"),
    "optimizer.clip_lr": (0.5, "updates"),
    "optimizer.head_lr": (0.5, "updates"),
    "optimizer.weight_decay": (0.5, "updates"),
    "optimizer.schedule": ("constant", "updates"),
    "optimizer.warmup": (0.3, "updates"),
    "optimizer.global_clip": (0.5, "updates"),
    "optimizer.per_tensor_clip": (0.5, "updates"),
    "optimizer.freeze": ("clip/.*", "updates"),
    "optimizer.clip_storage": ("float16", "updates"),
    "optimizer.logit_scale": ("clip", "updates"),
    "optimizer.groups": (((".*", {"lr": 0.25}),), "updates"),
}
MASKS = {"mask_padding": False, "mask_repeated_videos": False}
LOSS = {
    "loss_kind": "sigmoid",
    "initial_logit_scale": 2.0,
    "initial_log_scale": "refused: loss starts, and loss_kind is",
    "initial_bias": "refused: loss starts, and loss_kind is",
}
RADIUS = {"radius_kind": "scalar", "radius_bias": False}
SUPPORT = {"support": "own", "support_weight": 0.3}
SEQTRANSF = dict.fromkeys(("temporal_layers", "temporal_epsilon"), "refused: use the system seqtransf")
POOLING = {"pooling_heads": 2, "pooling_dropout": 0.5}
# System → field of its head → another value, which changes the system, or "refused: …".
HEADS = {
    "clip4clip": {**MASKS, **LOSS, "temporal": "transformer", **SEQTRANSF},
    "seqtransf": {**MASKS, **LOSS, "temporal": "mean", "temporal_layers": 2, "temporal_epsilon": 1e-12},
    "xpool": {**MASKS, **LOSS, **POOLING},
    "tmass": {**MASKS, **LOSS, **RADIUS, **SUPPORT, **POOLING, "samples": 7, "text_weight": 0.5},
    "ts2net": {
        **MASKS,
        **LOSS,
        "selected": 2,
        "samples": 7,
        "sigma": 0.1,
        "selection_gradient": "diagonal",
        "evaluation_noise": True,
        "tiled_mask": True,
        "temporal_layers": 2,
    },
    "shenet": {
        **MASKS,
        **LOSS,
        "loss_kind": "softmax",
        "initial_logit_scale": "refused: loss starts, and loss_kind is",
        **dict.fromkeys(("most_verbs", "most_nouns", "most_adjectives", "frames_per_verb", "patches_per_noun"), 1),
        **dict.fromkeys(("nouns", "adjectives", "text_syntax", "video_syntax", "weighted_nodes", "normalise"), False),
        "verbs": "refused: SheNet.nouns is on and SheNet.verbs off",
        **dict.fromkeys(("normalise_attention", "learned_attention_scale"), False),
        **dict.fromkeys(("attention_scale", "logit_scale"), 3.0),
        "scale_kind": "factor",
        "temporal_layers": 2,
    },
    "eaglenet": {
        **MASKS,
        **SUPPORT,
        **POOLING,
        **dict.fromkeys(("radius_bias", "frame_positions", "pooling_input_norm", "eam_negatives"), False),
        **dict.fromkeys(("pooling_bias", "energy_bias", "graph.shared_residual", "graph.frame_frame_edges"), False),
        "loss_kind": "softmax",
        "initial_logit_scale": "refused: loss starts, and loss_kind is",
        "initial_log_scale": 2.0,
        "initial_bias": -3.0,
        "candidates": 5,
        "candidate_choice": "best",
        "candidate_noise": "normal",
        "support_unit_length": "refused: the support text has no energy",
        "energy": "mlp",
        "energy_pooling": "max",
        "eam_weight": 0.5,
        "eam_support_weight": 0.5,
        "graph.kind": "gat",
        "graph.layers": 1,
        "graph.heads": 2,
        "graph.dropout_rate": 0.4,
        "graph.readout": "paper",
        "sampler.steps": 3,
        "sampler.step_size": 0.5,
        "sampler.noise_deviation": 0.1,
        "sampler.start": "paper",
        "sampler.buffer_rows": 40,
        "sampler.buffer_probability": 0.2,
    },
    "crosstvr": {
        **MASKS,
        "first.system": "refused: XPool has no option temporal",
        "first.head.mask_padding": "refused: there mask_padding is True, not False",
        "first.head.mask_repeated_videos": "refused: there mask_repeated_videos is True, not False",
        "first.head.temporal": "refused: there temporal is mean, not transformer",
        "first.head.temporal_layers": "refused: temporal is 'mean', which has no layers",
        "first.head.temporal_epsilon": "refused: temporal is 'mean', which has no layers",
        "first.head.loss_kind": "refused: there loss_kind is softmax, not sigmoid",
        "first.head.initial_logit_scale": "refused: initial_logit_scale is ",
        "first.head.initial_log_scale": "refused: loss starts, and loss_kind is",
        "first.head.initial_bias": "refused: loss starts, and loss_kind is",
        "tokens.source": "refused: give the count and width of the tokens",
        "tokens.count": "refused: give --config.head.tokens.source as well",
        "tokens.width": "refused: give --config.head.tokens.source as well",
        "transformer.width": 32,
        "transformer.layers": 1,
        "transformer.heads": 2,
        "transformer.hidden": 64,
        "transformer.cross_every": 2,
        "transformer.dropout_rate": 0.4,
        "queries": 4,
        "selected": 2,
        "spatial": False,
        "temporal": False,
        "shared_weights": False,
        "negative_scale": 5.0,
        "top_k": 4,
        "match_weight": 0.1,
        "blip2": "refused: no such folder; give that of a BLIP-2",
    },
}
ANOTHER = {True: False, "mean": "transformer", "clip4clip": "xpool", "softmax": "sigmoid", "": "nowhere", 0: 7, 4: 2}


def one_stage_config(*overrides: str):
    """CLIP4Clip in one stage: what demo trains first."""
    return load_config("demo:tiny,clip4clip", [f"--config.first_stage.{each}" for each in overrides]).first_stage


# What a config computes ----------------------------------------------------------------------------------------------


def gradient(config, _) -> str:
    """The backward pass of the video encoder."""
    built = build_system(config)
    params = jax.eval_shape(built.init, jax.random.key(0))
    frames = jnp.zeros((2, config.max_frames, 48, 48, 3))
    ones = jnp.ones(frames.shape[:2], bool)

    def loss(params):
        return built.encode_video(params, jnp.arange(2, dtype=jnp.uint32), frames, ones).frames.sum()

    return plain(jax.make_jaxpr(jax.grad(loss))(params))


def data(config, _) -> tuple:
    """What is trained on."""
    planned = plan_run(config, Path("run")).data
    return str(planned.folder), dict(planned.splits)


def chosen(config, _) -> str:
    """The split that chooses the best checkpoint."""
    return Experiment(config, None, None, None).selection_split


def updates(config, _) -> str:
    """The arithmetic of the optimiser."""
    (stage,) = plan_run(config, Path("run")).stages
    optimizer = make_optimizer(stage.optimizer, stage.shapes, stage.steps)
    state = jax.eval_shape(optimizer.init, stage.shapes)
    return plain(jax.make_jaxpr(optimizer.update)(stage.shapes, state, stage.shapes))


class _State(NamedTuple):
    """Of a state, what `train_stage` reads before its first step."""

    step: int
    params: None


class _Begun(Exception):
    """Training got to its first step."""


def stage(config, monkeypatch) -> dict:
    """What `train_stage` asks of the parts that it puts together, up to the first step."""
    (planned,) = plan_run(config, Path("run")).stages
    asked = {}

    def note(name, result=None):
        def called(*values, **named):
            shown = [value for value in values if isinstance(value, int | float | str)]
            asked[name] = (shown, {key: value for key, value in named.items() if key != "mesh"})
            return result

        return called

    def begin(*values):
        asked["Schedule"] = values
        raise _Begun

    with monkeypatch.context() as patched:
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), planned.shapes)
        patched.setattr(one_stage, "initial_parameters", note("initial_parameters", zeros))
        patched.setattr(making, "with_average", note("with_average"))
        patched.setattr(one_stage, "initial_state", lambda *_: _State(0, None))
        patched.setattr(making, "make_train_step", note("make_train_step"))
        patched.setattr(opening, "train_dataset", note("train_dataset"))
        patched.setattr(
            one_stage, "Checkpoints", lambda *_, **__: contextlib.nullcontext(SimpleNamespace(latest=lambda: None))
        )
        patched.setattr(one_stage, "Schedule", begin)
        dataset = SimpleNamespace(split=lambda name: name)
        with pytest.raises(_Begun):
            one_stage.train_stage(Experiment(config, planned.system, dataset, None), planned)
    return asked


def evaluation(config, monkeypatch) -> str:
    """What an evaluation reads, the noise it draws, and the metrics of scores with ties and lost videos."""
    read = []
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [2.0, 0.0, 1.0]])

    def both_ways(*_, draws, **__):
        read.append((draws.noise, jax.random.key_data(draws.key).tolist()))
        return _Both(scores, scores)

    split = SimpleNamespace(name="val", video_ids="abc", queries=lambda which: read.append(which) or _Captions())
    dataset = SimpleNamespace(split=lambda _: split, left_out=lambda *_: (2, 1))
    with monkeypatch.context() as patched:
        patched.setattr(splitting, "text_batches", lambda *_, **named: read.append(named) or [])
        patched.setattr(splitting, "video_batches", lambda *_, **named: read.append(named) or [])
        patched.setattr(splitting, "encode_all", lambda *_, **__: None)
        patched.setattr(splitting, "score_both_ways", both_ways)
        experiment = Experiment(config, build_system(config), dataset, None)
        found = splitting.evaluate_split(experiment, {"head": {}}, "val")
    return f"{read} {found.metrics}"


class _Both(NamedTuple):
    t2v: np.ndarray
    v2t: np.ndarray


@dataclasses.dataclass
class _Captions:
    text_video: np.ndarray = dataclasses.field(default_factory=lambda: np.arange(3))
    intervals: np.ndarray = dataclasses.field(default_factory=lambda: np.full((3, 2), np.nan))

    def __len__(self) -> int:
        return 3


WITNESSES = {each.__name__: each for each in (system, gradient, data, chosen, updates, stage, evaluation)}


# The tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", SYSTEMS)
def test_every_field_has_a_row(word):
    config = load_config(f"demo:tiny,{word}")
    head = HEADS.get(word, HEADS["crosstvr"])
    fields = [name for name, _ in leaves(config) if not name.startswith("first_stage.")]
    unknown = [
        name
        for name in fields
        if not (name in SHOWN or is_free(name) or name in COMMON)
        and not (name.startswith("head.") and name.removeprefix("head.") in head)
        and not (name.startswith("head.first.head.") and word.startswith("crosstvr_"))  # the same check as for crosstvr
    ]
    assert not unknown, "add rows: another value, and what shows that it is used"


@pytest.fixture(scope="module")
def as_it_is() -> dict:
    """What the unchanged configs compute, by witness or system."""
    return {}


@pytest.mark.parametrize("field", COMMON)
def test_another_value_changes_what_is_computed(field, monkeypatch, as_it_is):
    value, how = COMMON[field]
    if field in ("system", "preset"):  # words behind the colon
        other = "demo:tiny,xpool" if field == "system" else "demo:tiny,clip4clip,released"
        assert system(load_config("demo:tiny,clip4clip"), None) != system(load_config(other), None)
        return
    if how.startswith("refused"):
        with pytest.raises(UserError, match=re.escape(how.removeprefix("refused: "))):
            plan_run(one_stage_config(f"{field}={value}"), Path("run"))
        return
    witness = WITNESSES[how]
    if how not in as_it_is:
        as_it_is[how] = witness(one_stage_config(), monkeypatch)
        assert witness(one_stage_config(), monkeypatch) == as_it_is[how], "the witness must not change by itself"
    assert witness(one_stage_config(f"{field}={value}"), monkeypatch) != as_it_is[how]


@pytest.mark.long
@pytest.mark.parametrize(("word", "field"), [(word, field) for word, fields in HEADS.items() for field in fields])
def test_another_option_of_a_head_changes_the_system(word, field, as_it_is):
    value = HEADS[word][field]
    name = f"demo:tiny,{word}"
    if isinstance(value, str) and value.startswith("refused"):
        old = dict(leaves(load_config(name)))[f"head.{field}"]
        other = ANOTHER.get(old, 1.5)
        with pytest.raises(UserError, match=re.escape(value.removeprefix("refused: "))):
            plan_run(load_config(name, [f"--config.head.{field}={other}"]), Path("run"))
        return
    if word not in as_it_is:
        as_it_is[word] = system(load_config(name), None)
    assert system(load_config(name, [f"--config.head.{field}={value}"]), None) != as_it_is[word]
