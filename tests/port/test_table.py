from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.port import transforms
from eaglenet_jax.port.table import Table, rule, to_flax, to_pytorch, unused_tensors

TABLE = Table(
    "toy",
    (
        rule("blocks.{i}.weight", "block_{i}/kernel", transforms.LINEAR),
        rule(("q.weight", "k.weight", "v.weight"), "qkv", transforms.FUSED_LINEAR),
        rule("pair.weight", ("left", "right"), transforms.SPLIT_LINEAR),
        rule("scale", "scale", transforms.SCALAR),
    ),
    unused=("old.*", "blocks.{i}.mask"),
)


def source(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"blocks.0.weight": (3, 2), "blocks.11.weight": (3, 2), "pair.weight": (4, 6), "scale": (1,)}
    shapes |= {f"{part}.weight": (2, 2) for part in "qkv"}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def expected() -> dict:
    shapes = {"qkv": (2, 6), "left": (3, 4), "right": (3, 4), "scale": ()}
    tree = {name: np.empty(shape) for name, shape in shapes.items()}
    return tree | {"block_0": {"kernel": np.empty((2, 3))}, "block_11": {"kernel": np.empty((2, 3))}}


def test_every_number_lands_where_the_rules_say():
    tensors = source()
    tree = to_flax(TABLE, tensors, expected())
    np.testing.assert_array_equal(tree["block_11"]["kernel"], tensors["blocks.11.weight"].T)
    x = np.ones(2, np.float32)
    fused = np.concatenate([tensors[f"{part}.weight"] @ x for part in "qkv"])
    np.testing.assert_allclose(x @ tree["qkv"], fused, rtol=1e-6)
    left, right = np.arange(3.0), np.arange(3.0) + 5
    both = tensors["pair.weight"] @ np.concatenate([left, right])
    np.testing.assert_allclose(left @ tree["left"] + right @ tree["right"], both, rtol=1e-6)
    assert tree["scale"].shape == ()


def test_round_trip_is_bit_exact_both_ways():
    tensors = source()
    tree = to_flax(TABLE, tensors, expected())
    back = to_pytorch(TABLE, tree)
    assert back.keys() == tensors.keys()
    for name, array in back.items():
        assert array.dtype == np.float32 and array.tobytes() == np.ascontiguousarray(tensors[name]).tobytes()
    again = to_flax(TABLE, back, expected())
    np.testing.assert_array_equal(again["qkv"], tree["qkv"])


@pytest.mark.parametrize(
    ("transform", "sources", "targets"),
    [
        (transforms.SAME, [(3, 2)], [(3, 2)]),
        (transforms.LINEAR, [(5, 2)], [(2, 5)]),
        (transforms.LINEAR_GROUPS, [(8, 3)], [(3, 4, 2)]),
        (transforms.FUSED_LINEAR, [(4, 3)] * 3, [(3, 12)]),
        (transforms.FUSED_BIAS, [(4,)] * 3, [(12,)]),
        (transforms.SPLIT_LINEAR, [(5, 6)], [(3, 5), (3, 5)]),
        (transforms.PATCHES, [(7, 3, 4, 4)], [(48, 7)]),
        (transforms.SCALAR, [(1,)], [()]),
    ],
)
def test_transforms_undo_themselves(transform, sources, targets):
    assert transform.source_shapes(targets) == sources
    arrays = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(sources)]
    moved = transform.to_flax(arrays, targets)
    assert [array.shape for array in moved] == targets
    for array, back in zip(arrays, transform.to_pytorch(moved), strict=True):
        np.testing.assert_array_equal(array, back)


def test_float16_is_read_as_float32():
    tensors = {name: array.astype(np.float16) for name, array in source().items()}
    tree = to_flax(TABLE, tensors, expected())
    assert tree["qkv"].dtype == np.float32
    np.testing.assert_array_equal(tree["left"], tensors["pair.weight"].T[:3].astype(np.float32))


def test_everything_that_does_not_fit_is_in_one_error():
    tensors = source()
    del tensors["blocks.11.weight"], tensors["k.weight"]
    tensors["pair.weight"] = np.zeros((4, 5), np.float32)
    tensors |= {"blocks.2.weight": np.zeros((3, 2)), "foreign": np.zeros(1), "module.old.a": np.zeros(1)}
    with pytest.raises(UserError) as caught:
        to_flax(TABLE, tensors, expected())
    message = str(caught.value)
    assert message.startswith("toy: 6 names do not fit")
    assert "\n" not in message
    for part in (
        "missing blocks.11.weight",
        "missing k.weight",
        "pair.weight has shape (4, 5), not (4, 6)",
        "not known here: blocks.2.weight",
        "not known here: foreign",
        "not known here: module.old.a",
    ):
        assert part in message


def test_unused_names_are_known_and_can_be_had():
    unused = {"old.thing": np.ones(3), "blocks.3.mask": np.ones(2)}
    tree = to_flax(TABLE, source() | unused, expected())
    assert tree.keys() == expected().keys()
    assert unused_tensors(TABLE, source() | unused).keys() == unused.keys()


def test_a_parameter_that_no_rule_names_is_an_error():
    with pytest.raises(UserError, match="toy: no rule for 2 parameters of the model: extra/a; extra/b"):
        to_pytorch(TABLE, {"extra": {"a": np.ones(1), "b": np.ones(1)}, "qkv": np.ones((2, 6))})
