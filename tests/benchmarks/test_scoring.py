"""The benchmark of scoring at tiny sizes: it runs, its ways agree, its counts are what a compiler counts."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest

from benchmarks import scoring, scoring_ways
from benchmarks.dense_head import DenseEagleNet
from benchmarks.measure import compiled_flops
from benchmarks.random_features import Sizes, gallery, random_params, released_fields, text_noise
from benchmarks.scoring_counts import dense_products, folded_products, mflop
from benchmarks.scoring_ways import mflop_by_compiler, mflop_by_hand
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.scoring.gallery import score_gallery

pytestmark = pytest.mark.long

TINY = Sizes(frames=3, candidates=4, texts=5, videos=3, width=16, heads=2)
ARGUMENTS = [f"--{name}={value}" for name, value in dataclasses.asdict(TINY).items()] + ["--rounds=1"]


def test_prints_json_of_which_the_tables_are_made(monkeypatch, capsys) -> None:
    monkeypatch.setattr(scoring, "SCALED", {"gallery": (2,)})
    monkeypatch.setattr(scoring, "has_torch", lambda: False)
    scoring.main([*ARGUMENTS, "--json", "--scaling"])
    result = json.loads(capsys.readouterr().out)
    assert result["largest_difference"] < 1e-5 < result["spread_of_scores"]
    assert list(result["ways"]) == [scoring.ALL_NODES, scoring.DENSE, scoring.OURS]
    assert all(row["pairs_per_second"] > 0 for row in result["ways"].values())
    assert [(row["size"], row["pairs"]) for row in result["scaling"]] == [("gallery", 4)]
    assert "(c) ours" in scoring.table(result)
    assert scoring.scaling_table(result["scaling"]).count("\n") == 1


@pytest.mark.parity
def test_pytorch_computes_the_same_scores() -> None:
    pytest.importorskip("torch")
    from benchmarks.scoring_torch import TorchDense

    for sizes, positions in ((TINY, True), (dataclasses.replace(TINY, layers=1, texts=9, videos=10), False)):
        head = EagleNet(**released_fields(sizes), frame_positions=positions)
        params, (texts, videos), draws = random_params(head), gallery(sizes), Draws(jax.random.key(5))
        found = TorchDense(head, params).score(texts.pooled, videos.frames, text_noise(sizes, texts, draws))
        expected = score_gallery(head, params, texts, videos, draws=draws)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="released switches"):
        TorchDense(EagleNet(**released_fields(TINY), radius_bias=False), {})


def test_refuses_ways_that_differ(monkeypatch) -> None:
    """The graph of one way without frame–frame edges: a difference that only shows in the last digits of a score."""
    fields = released_fields(TINY)

    class Other(DenseEagleNet):
        def __post_init__(self) -> None:
            object.__setattr__(self, "graph", dataclasses.replace(self.graph, frame_frame_edges=False))
            super().__post_init__()

    assert fields["graph"].frame_frame_edges
    monkeypatch.setattr(scoring_ways, "DenseEagleNet", Other)
    with pytest.raises(UserError, match="differ by"):
        scoring.compare(TINY, "float32", [scoring.DENSE, scoring.OURS], 1)


def test_the_counts_by_hand_are_those_of_the_issue_and_of_the_compiler() -> None:
    sizes = Sizes(texts=8, videos=8)
    assert mflop(dense_products(sizes)) == pytest.approx(283, rel=0.05)
    assert mflop(folded_products(sizes)) < 30
    for name, frames in ((scoring.ALL_NODES, 12), (scoring.OURS, 12), (scoring.OURS, 30)):
        counted = dataclasses.replace(sizes, frames=frames)
        assert mflop_by_compiler(name, counted) == pytest.approx(mflop_by_hand(name, counted), rel=0.03)
    with pytest.raises(ValueError, match="one or two layers"):
        folded_products(Sizes(layers=3))


def test_refuses_to_count_a_program_with_a_loop() -> None:
    loop = (
        jax.jit(lambda x: jax.lax.fori_loop(0, 10, lambda i, y: y @ x, x)).lower(np.ones((4, 4), np.float32)).compile()
    )
    with pytest.raises(ValueError, match="while"):
        compiled_flops(loop)
    product = jax.jit(lambda x: x @ x).lower(np.ones((8, 8), np.float32)).compile()
    assert compiled_flops(product) == 2 * 8**3


def test_refuses_sizes_of_nothing() -> None:
    with pytest.raises(UserError, match="at least 1"):
        scoring.main(["--frames=0"])
