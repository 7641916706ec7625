from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from eaglenet_jax.errors import UserError
from eaglenet_jax.training.optimizer import (
    clamp_logit_scale,
    clip_by_global_norm,
    clip_each_by_norm,
    describe_groups,
    make_optimizer,
    make_schedule,
    parameter_rates,
)

RELEASED = {
    "name": "bert_adam",
    "head_lr": 1e-4,
    "clip_lr": 1e-7,
    "weight_decay": 0.2,
    "warmup": 0.1,
    "schedule": "cosine",
    "global_clip": 1.0,
    "per_tensor_clip": 1.0,
    "groups": ((".*", {}),),
}


def _params() -> dict:
    return {
        "clip": {
            "visual": {"ln_post": {"scale": jnp.ones(3), "bias": jnp.ones(3)}},
            "text": {"token_embedding": jnp.ones((5, 2))},
            "logit_scale": jnp.asarray(4.7),
        },
        "head": {"radius": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "loss": {"bias": jnp.asarray(-12.9)}},
    }


def _records(records: Mapping[str, np.ndarray], prefix: str, dtype: type) -> dict:
    """Arrays below a prefix as a tree: "clip.visual.proj" → clip / visual.proj."""
    flat = {
        tuple(key[len(prefix) :].split(".", 1)): records[key].astype(dtype) for key in records if key.startswith(prefix)
    }
    return traverse_util.unflatten_dict(flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_released_optimiser_is_replayed_over_all_steps(golden: Callable, dtype: type) -> None:
    records = golden("bert_adam")
    recorded = json.loads(str(records["config"]))
    config = RELEASED | {"head_lr": recorded["base_lr"], "clip_lr": recorded["clip_lr"], "warmup": recorded["warmup"]}
    with jax.enable_x64(dtype == np.float64):
        params = jax.tree.map(jnp.asarray, _records(records, "param/", dtype))
        optimizer = make_optimizer(config, params, recorded["t_total"])
        state, update = jax.jit(optimizer.init)(params), jax.jit(optimizer.update)
        for step in range(recorded["t_total"]):
            gradients = jax.tree.map(jnp.asarray, _records(records, f"step{step}/grad/", dtype))
            updates, state = update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            expected = _records(records, f"step{step}/param/", dtype)
            for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
                assert ours.dtype == dtype
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=f"step {step}")


def test_clipping_is_pytorchs_formula() -> None:
    gradients = {"a": jnp.full(4, 3.0), "b": jnp.full(4, 0.1)}
    norm = np.sqrt(4 * 9 + 4 * 0.01)
    clipped, _ = clip_by_global_norm(2.0).update(gradients, optax.EmptyState())
    np.testing.assert_allclose(clipped["a"], 3.0 * 2.0 / (norm + 1e-6), rtol=1e-6)
    each, _ = clip_each_by_norm(1.0).update(gradients, optax.EmptyState(), gradients)
    np.testing.assert_allclose(each["a"], 3.0 / (6.0 + 1e-6), rtol=1e-6)
    np.testing.assert_array_equal(each["b"], gradients["b"])


def test_schedule_warms_up_from_zero_and_falls_to_zero() -> None:
    released = make_schedule("cosine", 0.1, 100)
    assert released(0) == 0
    np.testing.assert_allclose(
        [released(5), released(10), released(50), released(100)], [0.5, 0.97552826, 0.5, 0], atol=1e-6
    )
    assert released(120) == released(100)
    usual = make_schedule("warmup_cosine", 0.1, 100)
    reference = optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100)
    for step in range(101):
        np.testing.assert_allclose(usual(step), reference(step), atol=1e-6)
    assert [float(make_schedule("constant", 0.0, 10)(step)) for step in (0, 5, 10)] == [1, 1, 1]


def test_biases_are_not_decayed_and_everything_else_is() -> None:
    config = RELEASED | {"warmup": 0.0, "schedule": "constant", "head_lr": 0.1, "clip_lr": 0.1}
    params = _params()
    optimizer = make_optimizer(config, params, 10)
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(lambda params: optimizer.update(zeros, optimizer.init(params), params))(params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        name = jax.tree_util.keystr(path)
        expected = 0.0 if "bias" in name else -0.1 * 0.2 * (4.7 if "logit_scale" in name else 1.0)
        np.testing.assert_allclose(update, expected, rtol=1e-6, err_msg=name)


def test_first_matching_group_sets_rate_and_decay() -> None:
    groups = (
        ("clip/visual/.*", {"frozen": True}),
        ("head/radius/.*", {"lr_multiple": 3, "decay": 0.01}),
        ("clip/.*", {}),
        (".*", {"lr": 5e-3}),
    )
    rates = parameter_rates(RELEASED | {"groups": groups}, _params())
    assert rates["clip/visual/ln_post/bias"].frozen
    assert rates["clip/text/token_embedding"][1:] == (1e-7, 0.2, False)
    assert rates["head/radius/bias"][1:] == (pytest.approx(3e-4), 0.01, False)
    assert rates["head/loss/bias"][1:] == (5e-3, 0.0, False)


def test_frozen_parameters_stay_keep_no_moments_and_do_not_count_in_the_norm() -> None:
    groups = (("clip/.*", {"frozen": True}), (".*", {}))
    config = RELEASED | {"groups": groups, "warmup": 0.0}
    params = _params()
    optimizer = make_optimizer(config, params, 10)
    state = optimizer.init(params)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(2, 2), (2,), ()}  # head's moments and counts
    gradients = jax.tree.map(jnp.ones_like, params)
    huge = gradients | {"clip": jax.tree.map(lambda g: 1e6 * g, gradients["clip"])}
    updates, _ = optimizer.update(gradients, state, params)
    same, _ = optimizer.update(huge, state, params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(updates["clip"]))
    jax.tree.map(np.testing.assert_array_equal, updates, same)
    assert np.all(np.asarray(updates["head"]["radius"]["kernel"]) != 0)


def test_adamw_is_optaxs() -> None:
    config = RELEASED | {
        "name": "adamw",
        "head_lr": 0.1,
        "clip_lr": 0.1,
        "schedule": "warmup_cosine",
        "global_clip": None,
        "per_tensor_clip": None,
        "groups": ((".*", {"decay": 0.2}),),
    }
    params = expected = _params()
    ours = make_optimizer(config, params, 20)
    reference = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 20), weight_decay=0.2)
    our_state, state = jax.jit(ours.init)(params), jax.jit(reference.init)(params)
    our_update, reference_update = jax.jit(ours.update), jax.jit(reference.update)
    for step in range(6):
        gradients = jax.tree.map(lambda p, step=step: np.sin(3 * np.asarray(p) + np.float32(step)), params)
        updates, our_state = our_update(gradients, our_state, params)
        reference_updates, state = reference_update(gradients, state, expected)
        params, expected = (jax.tree.map(np.add, *each) for each in ((params, updates), (expected, reference_updates)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected)


def test_groups_are_described_in_a_table_that_adds_up() -> None:
    groups = (("clip/visual/.*", {"frozen": True}), ("clip/.*", {}), ("head/.*", {}))
    lines = describe_groups(RELEASED | {"groups": groups}, _params()).splitlines()
    assert [line.split() for line in lines] == [
        ["pattern", "lr", "decay", "tensors", "parameters"],
        ["clip/visual/.*", "frozen", "2", "6"],
        ["clip/.*", "1e-07", "0.2", "2", "11"],
        ["head/.*", "0.0001", "0.2", "1", "4"],
        ["head/.*", "(biases)", "0.0001", "0", "2", "3"],
        ["total", "7", "24"],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": (("clip/.*", {}),)}, "3 of 7 parameters: head/loss/bias, head/radius/bias, head/radius/kernel"),
        ({"groups": (("clip/vision/.*", {"frozen": True}), (".*", {}))}, "'clip/vision/.*' decides no parameter"),
        ({"groups": ((".*", {"learning_rate": 1}),)}, "unknown keys ['learning_rate']"),
        ({"name": "adam"}, "optimizer.name='adam' is none of bert_adam, adamw"),
        ({"schedule": "step"}, "optimizer.schedule='step' is none of"),
        ({"warmup": 100}, "optimizer.warmup=100"),
        ({"freeze": "("}, "optimizer.freeze: '(' is no regular expression"),
        ({"freeze": "clip/.{1,2}"}, "'clip/.{1' decides no parameter"),
        ({"groups": (("clip/[", {}), (".*", {}))}, "optimizer.groups: 'clip/[' is no regular expression"),
        ({"groups": ((3, {}),)}, "optimizer.groups: 3 is no regular expression"),
        ({"groups": 1}, "optimizer.groups is 1; give pairs"),
        ({"groups": (1,)}, "optimizer.groups is (1,); give pairs"),
        ({"groups": ((".*", 1e-4),)}, "the rule of '.*' is 0.0001; give a mapping"),
        ({"groups": ((".*", {"lr": "fast"}),)}, "lr of '.*' is 'fast'; give a number"),
    ],
)
def test_a_config_that_fits_no_model_is_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        make_optimizer(RELEASED | change, _params(), 10)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_logit_scale_is_clamped_at_100_and_nothing_else_is() -> None:
    params = {
        "clip": {"logit_scale": jnp.asarray(9.0), "w": jnp.full(2, 9.0)},
        "head": {"loss": {"log_scale": jnp.asarray(9.0)}},
    }
    clamped = clamp_logit_scale(params)
    np.testing.assert_allclose(jnp.exp(clamped["clip"]["logit_scale"]), 100, rtol=1e-5)
    assert clamped["head"]["loss"]["log_scale"] == 9
    np.testing.assert_array_equal(clamped["clip"]["w"], 9)
    assert clamp_logit_scale({"logit_scale": jnp.asarray(2.0)})["logit_scale"] == 2


def test_float16_storage_loses_small_updates_of_clip_alone() -> None:
    """Near 0.01 float16 numbers are 8e-6 apart: an update of 1e-7 vanishes, one of 1e-4 lands on the nearest."""
    start = np.float32(np.float16(0.01))
    params = {"clip": {"kernel": jnp.full(4, start)}, "head": {"kernel": jnp.full(4, start)}}
    gradient = jax.tree.map(jnp.ones_like, params)
    moved = {}
    for storage in ("float32", "float16"):
        for rate in (1e-7, 1e-4):
            config = RELEASED | {"head_lr": rate, "clip_lr": rate, "schedule": "constant", "warmup": 0.0}
            optimizer = make_optimizer(config | {"clip_storage": storage, "weight_decay": 0.0}, params, 10)
            updates, _ = optimizer.update(gradient, optimizer.init(params), params)
            moved[storage, rate] = optax.apply_updates(params, updates)
    for rate in (1e-7, 1e-4):
        exact, stored = moved["float32", rate], moved["float16", rate]
        np.testing.assert_array_equal(stored["clip"]["kernel"], np.float16(exact["clip"]["kernel"]).astype(np.float32))
        np.testing.assert_array_equal(stored["head"]["kernel"], exact["head"]["kernel"])
        assert (np.asarray(exact["clip"]["kernel"]) != start).all()
    assert (np.asarray(moved["float16", 1e-7]["clip"]["kernel"]) == start).all()
    assert (np.asarray(moved["float16", 1e-4]["clip"]["kernel"]) != start).all()
    with pytest.raises(UserError, match="clip_storage='half' is none of"):
        make_optimizer(RELEASED | {"clip_storage": "half"}, params, 10)


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_moments_are_float32_where_the_released_ones_underflow(storage: str) -> None:
    """0.02 g² is zero in float16, and the step becomes lr · m / 1e-6: not imitated (docs/DIFFERENCES.md)."""
    gradient, mean, square, place = 1e-4, 0.0, 0.0, 0.0
    assert np.float16(0.02 * gradient**2) == 0
    unlimited = {"global_clip": 0.0, "per_tensor_clip": 0.0, "weight_decay": 0.0}
    config = RELEASED | unlimited | {"clip_lr": 1.0, "schedule": "constant", "warmup": 0.0, "clip_storage": storage}
    params = {"clip": {"kernel": jnp.zeros(4)}}
    optimizer = make_optimizer(config, params, 10)
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update({"clip": {"kernel": jnp.full(4, gradient)}}, state, params)
        params = optax.apply_updates(params, updates)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.98 * square + 0.02 * gradient**2
        place -= mean / (square**0.5 + 1e-6)
    np.testing.assert_allclose(params["clip"]["kernel"], place, rtol=1e-3)  # with float16 moments 18 times as far
    assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim} == {np.dtype(np.float32)}


def test_patterns_may_freeze_the_same_parameters():
    config = {"head_lr": 0.1, "clip_lr": 0.1, "weight_decay": 0.0, "groups": ((".*", {}),)}
    params = {"clip": {"w": np.zeros(1)}, "head": {"first": {"w": np.zeros(1)}, "w": np.zeros(1)}}
    rates = parameter_rates({**config, "freeze": "clip/.*,(clip|head/first)/.*,clip/w"}, params)
    assert {name for name, rate in rates.items() if rate.frozen} == {"clip/w", "head/first/w"}
    with pytest.raises(UserError, match="'clip/x' decides no parameter"):
        parameter_rates({**config, "freeze": "clip/.*,clip/x"}, params)
