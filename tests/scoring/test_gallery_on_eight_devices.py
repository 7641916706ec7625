"""Scoring spread over eight devices. In a process with fewer, one test runs this file again where there are eight."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from eaglenet_jax.draws import Draws
from eaglenet_jax.scoring.gallery import ScoringOptions, make_score, score_gallery
from tests.scoring.fake_heads import Counting, NoisyAttention, at_once, gallery, initialised

EIGHT = jax.device_count() >= 8
needs_eight = pytest.mark.skipif(not EIGHT, reason="run again in a process with eight devices")


@pytest.mark.long
@pytest.mark.skipif(EIGHT, reason="this is that process")
def test_this_file_passes_on_eight_devices() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout and "failed" not in run.stdout, run.stdout


def mesh(count: int) -> Mesh:
    return Mesh(np.asarray(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))


HEAD, DRAWS = NoisyAttention(), Draws(jax.random.key(3))


@functools.cache
def expected() -> tuple[Any, np.ndarray]:
    params = initialised(HEAD)
    return params, at_once(HEAD, params, *gallery(37, 11), DRAWS)


@needs_eight
@pytest.mark.parametrize(("devices", "block", "video_block"), [(8, None, None), (3, 2, 5)])
def test_devices_do_not_change_scores(devices, block, video_block) -> None:
    params, scores = expected()
    options = ScoringOptions(block, video_block, mesh=mesh(devices))
    spread = score_gallery(HEAD, params, *gallery(37, 11), draws=DRAWS, options=options)
    np.testing.assert_allclose(spread, scores, atol=1e-5)


@needs_eight
def test_every_device_scores_its_own_rows_by_one_compilation() -> None:
    params, scores = expected()
    Counting.traces = 0
    spread = score_gallery(
        Counting(), params, *gallery(37, 11), draws=DRAWS, options=ScoringOptions(2, 4, mesh=mesh(8))
    )
    assert Counting.traces == 1
    np.testing.assert_allclose(spread, scores, atol=1e-5)
    score = make_score(Counting(), mesh(8))
    rows = score.take_texts(np.zeros((37, 2)), np.arange(16))
    assert {shard.data.shape[0] for shard in rows.addressable_shards} == {2}


@needs_eight
def test_features_from_any_device_and_more_devices_than_texts() -> None:
    params, scores = expected()
    params, draws = jax.device_put((params, DRAWS), jax.devices()[5])
    texts, videos = (jax.tree.map(lambda leaf: leaf[:3], side) for side in gallery(37, 11))
    texts = jax.device_put(texts, jax.devices()[2])
    spread = score_gallery(HEAD, params, texts, videos, draws=draws, options=ScoringOptions(mesh=mesh(8)))
    np.testing.assert_allclose(spread, scores[:3, :3], atol=1e-5)
