"""The replay command on records: it agrees, and it notices a number that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from tests.parity import replay

GOLDEN = Path(__file__).parents[1] / "golden"
# A whole model of twelve vision blocks in float64, with gradients: compiling it takes most of half a minute.
LONG = ("ts2net_dev.npz",)
FILES = [
    pytest.param(file.name, marks=pytest.mark.long) if file.name in LONG else file.name
    for file in sorted(GOLDEN.iterdir())
]


@pytest.mark.parametrize("name", FILES)
def test_records_are_replayed_within_tolerance(name, capsys):
    assert replay.main([str(GOLDEN / name)]) == 0
    printed = capsys.readouterr().out
    assert "agrees:" in printed and " 0 failed" in printed


def test_a_wrong_number_fails(tmp_path, capsys):
    with np.load(GOLDEN / "xpool_tmass.npz") as file:
        record = dict(file)
    record["tmass/eval_similarity"] = record["tmass/eval_similarity"] + 2e-5
    np.savez(tmp_path / "wrong.npz", **record)
    assert replay.main([str(tmp_path / "wrong.npz")]) == 1
    printed = capsys.readouterr().out
    assert printed.count("BEYOND TOLERANCE") == 1 and "1 failed" in printed


def test_tolerances():
    def good(kind, ours, recorded):
        return replay.judge(replay.Row("x", kind, np.asarray(ours), np.asarray(recorded))).good

    assert good("value", [1.000009], [1.0]) and not good("value", [1.00002], [1.0])
    assert good("gradient", [100.009, 5.009], [100.0, 5.0]) and not good("gradient", [100.02], [100.0])
    assert good("gradient", [9e-7], [0.0]) and not good("gradient", [2e-6], [0.0])
    assert not good("value", [np.nan], [1.0]) and not good("value", [1.0, 1.0], [1.0])
    assert good("forward", [0.1 + 3e-7], [0.1]) and not good("forward", [0.1 + 5e-7], [0.1])
    assert good("norm", [2.00001], [2.0]) and not good("norm", [2.00003], [2.0])


def test_what_is_compared_with_nothing_is_named(tmp_path):
    with np.load(GOLDEN / "metrics.npz") as file:
        record = dict(file)
    np.savez(tmp_path / "more.npz", **record, extra=np.zeros(3))
    with pytest.raises(UserError, match="1 recorded quantities are compared with nothing, first extra"):
        list(replay.replay(tmp_path / "more.npz"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("gnn_type", "gcn", "config.gnn_type of the record is 'gcn'; known are rgat, gat"),
        ("energy_fn", "rbf", "config.energy_fn of the record is 'rbf'; known are cos, "),
        ("pooling", None, "config.pooling of the record is None; known are avg, mean, max, min"),
        ("prior", "laplace", "known are normal, uniform01"),
        ("loss_fn", "hinge", "known are sig, clip"),
    ],
)
def test_an_option_that_is_not_known_is_one_line(option, value, message, tmp_path):
    with np.load(GOLDEN / "eaglenet_msrvtt.npz") as file:
        record = dict(file)
    config = json.loads(str(record["config"])) | {option: value}
    np.savez(tmp_path / "other.npz", **{**record, "config": json.dumps(config)})
    with pytest.raises(UserError, match=message) as caught:
        list(replay.replay(tmp_path / "other.npz"))
    assert "\n" not in str(caught.value)


def test_a_foreign_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UserError, match="not one of the records"):
        list(replay.replay(tmp_path / "other.npz"))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="cannot be read"):
        list(replay.replay(tmp_path / "torn.npz"))
