"""The benchmark of the second stage's weight, on a small gallery in place of a run's."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import match_weight
from benchmarks.match_weight import best_weight, numbers, opened, weighted_sum
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.ranks import place, placement_metrics
from eaglenet_jax.scoring.both_directions import score_both_ways
from eaglenet_jax.scoring.gallery import score_gallery
from tests.heads.test_crosstvr import CROSSTVR, DRAWS, features, random_params


def test_the_best_candidates_stay_first_and_are_ordered_by_the_sum() -> None:
    first = np.array([[0.3, 0.2, 0.1, -0.4]])
    match = np.array([[0.1, 0.9, 99.0, 99.0]])
    orders = [np.argsort(-weighted_sum(first, match, 2, weight)[0]).tolist() for weight in (0.0, 0.1, 0.2)]
    assert orders == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 0, 2, 3]]
    assert np.argsort(-weighted_sum(first[:, :2], match[:, :2], 15, 0.2)[0]).tolist() == [1, 0]  # fewer than top_k


def test_the_weight_is_chosen_by_the_mean_over_runs() -> None:
    def metrics(recall: float, total: float) -> dict:
        return {"t2v": {"R@1": recall}, "v2t": {"R@1": 0.0}, "Rsum": total}

    runs = [
        [metrics(50, 300), metrics(54, 310), metrics(52, 320)],
        [metrics(52, 300), metrics(50, 310), metrics(52, 320)],
    ]
    assert best_weight(runs, [0.0, 0.1, 1.0]) == 1.0  # means of 51, 52 and 52; of equal ones the higher Rsum


@pytest.mark.long
def test_a_run_is_measured_as_its_evaluation_does(monkeypatch, capsys, tmp_path) -> None:
    (text, video), params, head = features(5), random_params(CROSSTVR), CROSSTVR.clone(top_k=4)
    encoded = SimpleNamespace(texts=text, videos=video, text_video=np.arange(5))
    experiment = SimpleNamespace(system=SimpleNamespace(head=head))
    for name, value in {
        "opened": lambda _: (experiment, {"head": params}),
        "encode_split": lambda *_, **__: encoded,
        "evaluation_draws": lambda _: DRAWS,
    }.items():
        monkeypatch.setattr(match_weight, name, value)
    for seed in ("seed_0", "seed_1"):
        (tmp_path / seed / "checkpoints").mkdir(parents=True)
    match_weight.main([str(tmp_path), "--weights=0,1,1000", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [len(found["test"]), len(found["val"]), len(found["test"][0])] == [2, 2, 3]
    alone, once, most = found["test"][0]
    assert alone == placement_metrics(place(score_gallery(CROSSTVR.first, {}, text, video, draws=DRAWS)))
    for weight, metrics in ((1.0, once), (1000.0, most)):
        both = score_both_ways(head.clone(match_weight=weight), params, text, video, draws=DRAWS)
        assert metrics == placement_metrics(place(both.t2v, v2t_scores=both.v2t))
    assert len({metrics["t2v"]["MnR"] + metrics["v2t"]["MnR"] for metrics in (alone, once, most)}) > 1
    match_weight.main([str(tmp_path / "seed_0"), "--weights=0,1"])
    assert "| 1 | " in (shown := capsys.readouterr().out) and "--config.head.match_weight=" in shown


def test_what_cannot_be_measured_is_said(monkeypatch, tmp_path) -> None:
    with pytest.raises(UserError, match="holds no checkpoints and no seed_N"):
        match_weight.main([str(tmp_path)])
    for weights in ("a", "-1", "inf"):
        with pytest.raises(UserError, match=f"--weights={weights}: "):
            numbers(weights)
    loaded = SimpleNamespace(config=load_config("demo:tiny,xpool"), params={})
    monkeypatch.setattr(match_weight, "load_checkpoint", lambda _: loaded)
    with pytest.raises(UserError, match=r"trained xpool, which has no head\.match_weight"):
        opened(tmp_path)


def test_a_run_with_another_weight_is_opened_with_1(monkeypatch, tmp_path) -> None:
    config = load_config("demo:tiny,crosstvr", ["--config.head.match_weight=0.1"])
    monkeypatch.setattr(match_weight, "load_checkpoint", lambda _: SimpleNamespace(config=config, params="params"))
    monkeypatch.setattr(match_weight, "open_experiment", lambda config: config)
    experiment, params = opened(tmp_path)
    assert (experiment.head.match_weight, params) == (1.0, "params")
