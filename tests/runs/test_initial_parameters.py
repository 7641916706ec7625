"""Parameters before the first step, of heads that copy parts of a CLIP."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.initial_parameters import check_shapes, initial_parameters
from eaglenet_jax.system import build_system


@pytest.mark.parametrize("name", ["seqtransf", "ts2net"])
def test_what_a_head_copies_from_a_clip_in_float16_is_float32(name):
    """Trained in float16 it would lose small updates, and the optimiser's state would change its type at a step."""
    system = build_system(load_config(f"demo:{name}"))
    found = initial_parameters(system, "moving_shapes_clip", 3)  # stored as float16
    wrong = {jax.tree_util.keystr(path): leaf.dtype for path, leaf in jax.tree.leaves_with_path(found)}
    assert set(wrong.values()) == {np.dtype(np.float32)}, wrong
    ours, clips = found["head"]["transformer"], found["clip"]["text"]
    np.testing.assert_array_equal(
        ours["block_0"]["attention"]["qkv_kernel"], clips["block_0"]["attention"]["qkv_kernel"]
    )


def test_many_parameters_that_do_not_fit_are_counted_and_some_are_named():
    wanted = {"head": {f"layer_{number}": np.zeros(2) for number in range(9)}}
    given = {"head": {f"layer_{number}": np.zeros(3) for number in range(9)}}
    with pytest.raises(UserError) as caught:
        check_shapes(wanted, given, "init_from=run")
    said = str(caught.value)
    assert said.startswith("init_from=run, 9 parameters do not fit: head/layer_0 (3,) instead of (2,); ")
    assert said.endswith("head/layer_4 (3,) instead of (2,) and 4 more")
