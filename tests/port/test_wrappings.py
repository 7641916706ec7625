"""Models are found in what training programs save, and what was done is said."""

from __future__ import annotations

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.wrappings import strip, unwrap

STATE = {"visual.proj": np.ones((2, 2)), "logit_scale": np.ones(())}
OTHER = {"visual.proj": np.zeros((2, 2)), "logit_scale": np.zeros(())}
MOMENTS = {"state": {0: {"exp_avg": np.ones(3)}}}


@pytest.mark.parametrize(
    ("held", "notes"),
    [
        (STATE, []),
        ({"state_dict": STATE}, ["took `state_dict`"]),
        ({"model": STATE, "optimizer": MOMENTS}, ["took `model`", "passed over optimizer"]),
        ({"model_state_dict": STATE, "epoch": 3}, ["took `model_state_dict`", "passed over epoch"]),
        ({"model": STATE, "ema": OTHER}, ["took `model`", "left `ema` (--weights=ema takes it)"]),
        ({"state_dict": {"model": STATE}}, ["took `state_dict.model`"]),
        ({"checkpoint": {"model": STATE}, "loss": np.ones(())}, ["took `checkpoint.model`", "passed over loss"]),
        ({"video_text_net": STATE}, ["took `video_text_net`"]),
        ({"epoch": np.ones(()), "state_dict": STATE}, ["took `state_dict`", "passed over epoch"]),
        ({**STATE, "epoch": 3, "best": None, "name": "a"}, ["passed over epoch, best, name, no tensors"]),
    ],
)
def test_a_model_is_found_and_said(held, notes):
    tensors, said = unwrap(held)
    assert tensors.keys() == STATE.keys() and all(tensors[name] is STATE[name] for name in STATE)
    assert said == notes


def test_another_model_is_taken_by_its_key():
    tensors, said = unwrap({"model": STATE, "ema": {"module": OTHER}, "a.b": OTHER}, "ema.module")
    assert tensors["visual.proj"] is OTHER["visual.proj"] and said == ["took `ema.module`"]
    assert unwrap({"model": STATE, "a.b": OTHER}, "a.b")[1] == ["took `a.b`"]
    with pytest.raises(UserError, match="has nothing called 'emma' with tensors in it; it has model, ema"):
        unwrap({"model": STATE, "ema": OTHER}, "emma")


def test_plain_numbers_stand_for_tensors_where_a_model_has_them():
    tensors, said = unwrap({"visual.proj": STATE["visual.proj"], "logit_scale": 4.5, "clip.vocab_size": np.int64(7)})
    assert tensors["logit_scale"] == 4.5 and tensors["clip.vocab_size"] == 7 and said == []


@pytest.mark.parametrize(
    "held", [{}, {"epoch": 3}, 3, [STATE, STATE], {"state_dict": {"a": 1}}, {"optimizer": MOMENTS}]
)
def test_without_a_model_one_line_says_so(held):
    with pytest.raises(UserError, match="is no state dict") as caught:
        unwrap(held)
    assert "\n" not in str(caught.value)


def test_several_models_without_a_usual_key_are_asked_about():
    with pytest.raises(UserError, match="holds several, first, second; choose one, as --weights=first"):
        unwrap({"first": STATE, "second": OTHER})


@pytest.mark.parametrize(
    ("prefixes", "note"),
    [
        (("module.",), "stripped `module.`"),
        (("model.",), "stripped `model.`"),
        (("student.",), "stripped `student.`"),
        (("_orig_mod.",), "stripped `_orig_mod.`"),
        (("clip_model.",), "stripped `clip_model.`"),
        (("base_model.", "model."), "stripped `base_model.`, `model.`"),
        (("module.", "_orig_mod.", "model."), "stripped `_orig_mod.`, `module.`, `model.`"),
    ],
)
def test_prefixes_of_all_names_are_stripped_and_said(prefixes, note):
    tensors, said = strip({"".join(prefixes) + name: value for name, value in STATE.items()})
    assert tensors.keys() == STATE.keys() and said == [note]


def test_wrappers_inside_a_name_and_counters_of_averages():
    tensors, said = strip({"module.visual._orig_mod.proj": np.ones(2), "n_averaged": np.ones(())})
    assert list(tensors) == ["visual.proj"]
    assert said == ["stripped `_orig_mod.`, `module.`", "passed over n_averaged, of a moving average"]


def test_a_prefix_of_some_names_stays():
    mixed = {"module.visual.proj": np.ones(2), "logit_scale": np.ones(())}
    assert strip(mixed) == (mixed, [])
    assert strip(STATE) == (STATE, [])
    released = {f"clip.{name}": value for name, value in STATE.items()}
    tower = {"visual.proj": np.ones(2), "visual.conv1.weight": np.ones(2)}
    other = {"layers.0.weight": np.ones(2), "layers.1.weight": np.ones(2)}
    for names in (released, tower, other):
        assert strip(names) == (names, [])


def test_student_and_teacher_under_one_roof():
    both = {
        f"{who}.{name}": value for who, of in (("teacher", OTHER), ("student", STATE)) for name, value in of.items()
    }
    tensors, said = strip(both)
    assert tensors["visual.proj"] is STATE["visual.proj"]
    assert said == ["stripped `student.`", "left `teacher.` (--weights=teacher takes it)"]
    tensors, said = strip(both, "teacher")
    assert tensors["visual.proj"] is OTHER["visual.proj"] and said == ["took the names that start with `teacher.`"]


def test_names_that_become_one_are_refused():
    with pytest.raises(UserError, match="two names become one"):
        strip({"_orig_mod.a": np.ones(1), "a": np.ones(1)})
