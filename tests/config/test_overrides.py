"""An override is used, or refused with the reason."""

from __future__ import annotations

import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "pretrain.steps=3",
            r"config\.pretrain is called .* write --config\.first_stage\.steps=3",
        ),
        ("optimizer.lr=0.1", r"write --config\.optimizer\.head_lr=0\.1"),
        ("first_stage.optimizer.lr=0.1", r"write --config\.first_stage\.optimizer\.head_lr=0\.1"),
        ("first_stage.pretrain.steps=1", r"write --config\.first_stage\.first_stage\.steps=1"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(override, message):
    with pytest.raises(UserError, match=message):
        load_config("demo:tiny", [f"--config.{override}"])


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("demo", "epochs=3.0", r"config\.steps takes precedence"),
        ("demo:tiny", "first_stage.epochs=3.0", r"config\.steps takes precedence"),
        ("demo", "data.prepared=somewhere data.seed=3", "rendered already"),
        ("demo", "data.splits.train=9 data.prepared=somewhere", "rendered already"),
        ("demo", "cached_features=True optimizer.clip_lr=0.1", r"config\.cached_features freezes the CLIP"),
        ("demo", "cached_features=True optimizer.clip_storage=float16", r"config\.cached_features freezes the CLIP"),
        ("demo:crosstvr", "head.tokens.width=32", r"give --config\.head\.tokens\.source"),
        ("demo:clip4clip", "head.temporal_layers=2", "use the system seqtransf"),
        ("demo", "head.eam_weight=0.0 head.sampler.steps=3", "no energy is trained"),
        ("demo", "head.candidate_choice=best head.graph.layers=3", "no graph"),
        ("demo", "head.loss_kind=softmax head.initial_bias=0.0", "where the sigmoid loss starts"),
    ],
)
def test_what_another_field_makes_meaningless_is_refused(name, overrides, reason):
    with pytest.raises(UserError, match=f"would change nothing: .*{reason}"):
        load_config(name, [f"--config.{each}" for each in overrides.split()])


@pytest.mark.parametrize("field", ["name", "claim", "first_stage.claim"])
def test_what_follows_from_the_words_behind_the_colon_is_not_overridden(field):
    if field != "name":
        with pytest.raises(UserError, match="follow from the dataset, the CLIP size and the system"):
            load_config("msrvtt:crosstvr", [f"--config.{field}=foo"])
    else:
        with pytest.raises(UserError, match="other fields follow from this one"):
            load_config("msrvtt", ["--config.name=foo"])


def test_the_same_fields_are_taken_where_they_are_read():
    assert load_config("demo", ["--config.epochs=3.0", "--config.steps=0"]).epochs == 3
    assert load_config("demo:seqtransf", ["--config.head.temporal_layers=2"]).head.temporal_layers == 2
    assert load_config("demo", ["--config.head.sampler.steps=3"]).head.sampler.steps == 3
    assert load_config("demo", ["--config.data.seed=3"]).data.seed == 3
