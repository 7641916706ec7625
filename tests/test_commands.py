"""The flags of every command: one spelling each, none that does nothing, a help that answers at once."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eaglenet_jax import __main__ as listing
from eaglenet_jax import evaluate, train
from eaglenet_jax.command import Parser
from eaglenet_jax.errors import UserError
from tests.test_conventions import ENTRY_POINTS, MODULES

ROOT = Path(__file__).parents[1]
# Every flag of every command, by where it is shown to do something: a test that gives it, or the file that reads it.
# A new flag needs a row here.
FLAGS: dict[str, dict[str, str]] = {
    "benchmarks.cached_features": {
        "tests/benchmarks/test_cached_features.py": "config systems captions batch rounds whole json",
    },
    "benchmarks.collectives": {"tests/benchmarks/test_collectives.py": "devices config clips params json"},
    "benchmarks.decode": {
        "tests/data_prep/test_decode_benchmark.py": "videos files json",
        "benchmarks/decode.py": "rounds",
    },
    "benchmarks.kernel_registers": {},
    "benchmarks.gallery": {
        "benchmarks/gallery.py": "split",
        "tests/benchmarks/test_gallery.py": "rounds json",
    },
    "benchmarks.gpu": {
        "tests/benchmarks/test_gpu.py": "out rounds tiny parts types",
    },
    "benchmarks.gpu_memory": {"benchmarks/gpu_memory.py": "configs dtype tiny out"},
    "benchmarks.gpu_torch": {},
    "benchmarks.gpu_plan": {"benchmarks/gpu_plan.py": "what tiny out"},
    "benchmarks.input": {
        "tests/benchmarks/test_input.py": "prepared workers batch frames batches rounds json",
        "benchmarks/input.py": "clip dtype steps",
    },
    "benchmarks.match_weight": {
        "tests/benchmarks/test_match_weight.py": "weights json",
        "benchmarks/match_weight.py": "split",
    },
    "benchmarks.moments": {"tests/search/test_benchmark.py": "clips films folder json"},
    "benchmarks.page": {"tests/search/test_page_benchmark.py": "videos seconds height folder json"},
    "benchmarks.paired_systems": {"benchmarks/paired_systems.py": "reference split json"},
    "benchmarks.moving_shapes_curves": {
        "benchmarks/moving_shapes_curves.py": "split",
        "tests/benchmarks/test_moving_shapes_curves.py": "dial out match-weights",
    },
    "benchmarks.moving_shapes_errors": {
        "benchmarks/moving_shapes_errors.py": "split",
        "tests/runs/test_demo_run.py": "workdir json",
    },
    "benchmarks.moving_shapes_oracle": {
        "benchmarks/moving_shapes_oracle.py": "split",
        "tests/runs/test_demo_run.py": "workdir json",
    },
    "benchmarks.one_query": {
        "tests/benchmarks/test_one_query.py": "tiny rounds json",
        "benchmarks/one_query.py": "config systems videos batch",
    },
    "benchmarks.rerank": {
        "tests/benchmarks/test_rerank.py": "workdir json",
        "benchmarks/rerank.py": "split direction combine top-k",
    },
    "benchmarks.scoring": {
        "tests/benchmarks/test_scoring.py": "frames rounds json scaling",
        "benchmarks/scoring.py": "candidates texts videos layers dtype",
        "benchmarks/random_features.py": "width heads",
    },
    "benchmarks.search": {
        "tests/search/test_benchmark.py": "rows folder",
        "benchmarks/search.py": "encode json",
    },
    "benchmarks.vision_tokens": {
        "tests/benchmarks/test_vision_tokens.py": "tiny frames clips rounds dtype json",
        "benchmarks/vision_tokens.py": "layers",
    },
    "benchmarks.train_step": {
        "benchmarks/train_step.py": "clip dtype",
        "tests/benchmarks/test_train_step.py": "batch frames steps what json",
    },
    "benchmarks.training_memory": {
        "tests/benchmarks/test_training_memory.py": "batches width rounds time json",
        "benchmarks/training_memory.py": "timed-batches candidates",
    },
    "data_prep": {
        "tests/data_prep/test_damaged_input.py": "annotations videos out fps size workers",
        "data_prep/__main__.py": "allow-missing",
    },
    "data_prep.build": {
        "tests/data_prep/test_fake_doctor_build.py": "dataset videos out no-hold-out fps size workers strict",
        "tests/data_prep/test_damaged_input.py": "annotations",
        "data_prep/build.py": "variant released-frames beam columns",
    },
    "data_prep.demo": {
        "data_prep/demo.py": "root splits seed fps size syntax",
        "data_prep/moving_shapes/flags.py": "events distractors pairs paragraph",
    },
    "data_prep.doctor": {
        "tests/data_prep/test_fake_doctor_build.py": "dataset videos out no-hold-out fps size workers json",
        "tests/runs/test_datasets_end_to_end.py": "annotations",
        "data_prep/doctor.py": "variant released-frames video columns",
    },
    "data_prep.fake": {
        "tests/data_prep/test_fake_doctor_build.py": "dataset videos out workers",
        "data_prep/fake.py": "seed",
    },
    "data_prep.moving_shapes": {
        "tests/data_prep/test_moving_shapes_render.py": "out splits workers",
        "data_prep/moving_shapes/__main__.py": "seed",
        "data_prep/moving_shapes/flags.py": "events distractors pairs paragraph",
    },
    "data_prep.syntax": {
        "tests/data_prep/test_syntax.py": "prepared check model json dataset annotations max-words",
    },
    "eaglenet_jax": {},
    "eaglenet_jax.convert": {
        "tests/runs/test_convert.py": "from input output to config",
        "tests/port/test_wrapped_checkpoints.py": "weights architecture",
    },
    "eaglenet_jax.evaluate": {
        "tests/runs/test_evaluate_command.py": "workdir checkpoint similarity baseline postprocess report json config "
        "from split save noise-seeds check-leak captions-per-video text-ids video-ids captions query-bank",
        "tests/test_commands.py": "temperature qb-temperature validation ties v2t-among validation-captions-per-video "
        "validation-text-ids validation-video-ids relevance share-captions padded mask transpose distances "
        "query-bank-v2t",
        "eaglenet_jax/evaluate.py": "shuffle-frames step",
    },
    "eaglenet_jax.hub": {"tests/runs/test_hub.py": "private revision trust"},
    "eaglenet_jax.report": {
        "tests/runs/test_report_command.py": "out split",
        "eaglenet_jax/report.py": "title",
    },
    "eaglenet_jax.search": {
        "tests/search/test_index.py": "index window rerank html clips",
        "eaglenet_jax/search/commands/index.py": "checkpoint overlap shots prune workers watch",
        "eaglenet_jax/search/commands/query.py": "video image top windows",
        "tests/runs/test_demo_run.py": "json workdir",
        "tests/search/test_server.py": "host port token",
        "tests/data_prep/test_damaged_input.py": "out",
        "eaglenet_jax/search/commands/export.py": "dtype how own-words",
    },
    "eaglenet_jax.sweep": {
        "tests/runs/test_sweep.py": "config seeds workdir",
    },
    "eaglenet_jax.train": {
        "tests/config/test_configs.py": "config",
        "tests/reliability/kill_resume.py": "workdir",
        "tests/runs/test_plan.py": "print-config dry-run",
    },
    "eaglenet_jax.vision_tokens": {
        "tests/runs/test_vision_tokens.py": "config dtype",
        "eaglenet_jax/vision_tokens.py": "batch-size",
    },
}


class _Found(Exception):
    """Carries a command's parser out of its main function."""


def _flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Long flags of a parser and its subcommands → the names under which their values are read."""
    flags: dict[str, str] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                flags |= _flags(command)
        flags |= {each: action.dest for each in action.option_strings if each.startswith("--") and each != "--help"}
    return flags


@pytest.fixture
def parser_of(monkeypatch):
    """parser_of(entry point) → its parser, taken where it is about to read the arguments."""

    def caught(parser, *_):
        raise _Found(parser)

    def found(name: str) -> argparse.ArgumentParser:
        with monkeypatch.context() as patched:
            patched.setattr(Parser, "parse_known_args", caught)
            patched.setattr(Parser, "parse_args", caught)
            module = importlib.import_module(f"{name}.__main__" if f"{name}.__main__" in MODULES else name)
            with pytest.raises(_Found) as error:
                module.main([])
        return error.value.args[0]

    return found


def test_an_error_is_one_line_and_a_non_zero_exit(tmp_path):
    command = [sys.executable, "-m", "eaglenet_jax.evaluate", f"--workdir={tmp_path / 'nothing'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_the_list_of_commands_names_all_of_the_package(capsys):
    listing.main([])
    printed = capsys.readouterr().out
    assert [n for n in ENTRY_POINTS if n.startswith("eaglenet_jax.") and f" -m {n} " not in printed] == []
    assert set(listing.COMMANDS) <= set(ENTRY_POINTS)
    with pytest.raises(UserError, match=r"python -m eaglenet_jax\.train$"):
        listing.main(["train", "--config=demo"])


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_flag_does_something(name, parser_of):
    flags = _flags(parser_of(name))
    told = {f"--{flag}": where for where, several in FLAGS[name].items() for flag in several.split()}
    assert set(told) == set(flags), "the table FLAGS has to name every flag, and no other"
    assert not [flag for flag in flags if "_" in flag], "flags are declared with dashes"
    module = MODULES.get(f"{name}.__main__", MODULES[name])
    sources = {module, *(ROOT / where for where in told.values() if not where.startswith("tests/"))}
    sources |= set((module.parent / "commands").glob("*.py")) if module.name == "__main__.py" else set()
    assert not unread(flags, [ast.parse(source.read_text()) for source in sources])
    for flag, where in told.items():
        if where.startswith("tests/"):
            given = " ".join(_texts(ast.parse((ROOT / where).read_text())))
            assert re.search(rf"{flag}(?![\w-])", given), f"{where} does not give {flag}"


NAMESPACES = {"flags", "given", "known"}  # what commands call their parsed arguments


def unread(flags: dict[str, str], modules: list[ast.Module]) -> list[str]:
    """The flags whose values no module reads: as known.NAME, by the name as a string, or as a dataclass's field."""
    read: set[str] = set()
    filled = {  # dataclasses of which a command fills every field
        ast.unparse(call.args[0])
        for module in modules
        for call in ast.walk(module)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "dataclasses.fields"
    }
    for module in modules:
        declared = {
            id(part)
            for call in ast.walk(module)
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("add_argument")
            for part in ast.walk(call)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in NAMESPACES:
                read.add(node.attr)
            elif isinstance(node, ast.ClassDef) and node.name in filled:
                read |= {ast.unparse(field.target) for field in node.body if isinstance(field, ast.AnnAssign)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in declared:
                read.add(node.value)
    return [flag for flag, name in flags.items() if name not in read]


def _texts(tree: ast.Module) -> list[str]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_a_flag_that_nothing_reads_is_found():
    source = """
'A command. It says that unread is read, and so do its comments.'
parser.add_argument("--rounds", type=int)
parser.add_argument("--top-k", type=int)
parser.add_argument("--unread", dest="unread", help="unread")
known = parser.parse_args([])  # known.unread
print(known.rounds, vars(known)["top_k"], other.unread, unread)
"""
    flags = {"--rounds": "rounds", "--top-k": "top_k", "--unread": "unread"}
    assert unread(flags, [ast.parse(source)]) == ["--unread"]


def test_dashes_and_underscores_are_the_same_and_nothing_is_abbreviated():
    parser = Parser(prog="x")
    parser.add_argument("--first-words", type=int)
    for flag in ("--first-words=3", "--first_words=3"):
        assert parser.parse_args([flag]).first_words == 3
    assert parser.parse_args(["--first_words", "4"]).first_words == 4
    found, rest = parser.parse_known_args(["--config.max_words=3", "--first_words=1"])
    assert found.first_words == 1 and rest == ["--config.max_words=3"]
    for word, message in {
        "--first=3": r"unknown argument '--first=3', did you mean --first-words\?",
        "--first_word=3": r"did you mean --first-words\?",
        "--config.max_words=3": "this command reads no config",
        "three": "unknown argument 'three'",
        "--tops=3": r"argument '--tops=3'; --help lists",  # --first-words begins with the same dashes alone
    }.items():
        with pytest.raises(UserError, match=message):
            parser.parse_args([word])
    parser.add_argument("--kind", choices=("query", "serve"))
    parser.add_argument("--other", choices=("same", "quary"))
    with pytest.raises(UserError, match=r"invalid choice: 'qery' .*, did you mean 'query'\?; --help"):
        parser.parse_args(["--kind=qery"])
    with pytest.raises(UserError, match=r"invalid choice: 'x' \(choose from [^?]*\); --help"):
        parser.parse_args(["--kind=x"])
    with pytest.raises(UserError, match=r"invalid choice: 'same' \(choose from [^?]*\); --help"):
        parser.parse_args(["--kind=same"])  # a choice of another flag
    parser.add_argument("--config")
    with pytest.raises(UserError, match=r"argument '--batch_size=3'; a field of the config is given as --config\.NAME"):
        parser.parse_known_args(["--config=demo", "--batch_size=3"])


def test_help_names_what_can_be_given_and_loads_no_model_library(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("msrvtt", "ablations/graph", "crosstvr_xpool", "ours, released, paper", "b16 (ViT-B/16)"):
        assert words in printed
    assert "--config=msrvtt:xpool,released,b32" in printed and "--dry-run" in printed
    code = "import sys; from eaglenet_jax import train\ntry: train.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'jax', 'flax', 'tensorflow', 'grain'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_flags_of_a_matrix_change_its_numbers(tmp_path, capsys):
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(40, 20)) + np.repeat(np.eye(20), 2, axis=0))
    np.save(tmp_path / "sims.npy", scores)
    np.save(tmp_path / "held_out.npy", scores[::2])

    def measured(*flags: str) -> dict:
        arguments = [f"--similarity={tmp_path / 'sims.npy'}", "--captions-per-video=2", "--postprocess=dual_softmax"]
        assert evaluate.main([*arguments, "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)

    plain = measured()
    assert (
        measured("--ties=optimistic")["metrics"]["t2v"]["R@1"] > measured("--ties=pessimistic")["metrics"]["t2v"]["R@1"]
    )
    ways = [measured(f"--v2t-among={way}")["metrics"]["v2t"] for way in ("videos", "captions")]
    assert ways[0] != ways[1]
    assert measured("--temperature=0.001")["postprocessed"] != plain["postprocessed"]
    np.save(tmp_path / "bank.npy", rng.normal(size=(30, 20)))
    bank = ("--postprocess=qb_norm", f"--query-bank={tmp_path / 'bank.npy'}")
    assert measured(*bank)["postprocessed"] != measured(*bank, "--qb-temperature=0.1")["postprocessed"]
    chosen = measured(f"--validation={tmp_path / 'held_out.npy'}")["temperatures"]["dual_softmax"]
    assert chosen != plain["temperatures"]["dual_softmax"]


def test_the_flags_of_other_forms_of_a_matrix_change_its_numbers(tmp_path, capsys):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12, 12)) + np.eye(12)
    for name, array in {
        "plain": scores,
        "turned": -scores.T,
        "padded": np.concatenate([scores, np.full((12, 12), -np.inf)], axis=1).reshape(24, 12),
        "stack": np.stack([scores, scores * 0], axis=1),
        "mask": np.tile([True, False], (12, 1)),
        "bank": rng.normal(size=(12, 20)),
        "val": np.repeat(scores, 2, axis=0)[:, ::-1] / 9,
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "pairs.txt").write_text("".join(f"{i} {i}\n{i} {(i + 1) % 12}\n" for i in range(12)))
    (tmp_path / "captions.txt").write_text("a dog\n" * 6 + "".join(f"cat {i}\n" for i in range(6)))
    (tmp_path / "rows.txt").write_text("".join(f"v{11 - i // 2}\n" for i in range(24)))
    (tmp_path / "columns.txt").write_text("".join(f"v{i}\n" for i in range(12)))

    def measured(matrix: str, *flags: str) -> dict:
        assert evaluate.main([f"--similarity={tmp_path / matrix}.npy", "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)

    plain = measured("plain")["metrics"]
    assert measured("turned", "--transpose", "--distances")["metrics"] == plain
    assert measured("padded", "--padded")["metrics"] == plain
    assert measured("stack", f"--mask={tmp_path / 'mask.npy'}")["metrics"] == plain
    assert measured("plain", f"--relevance={tmp_path / 'pairs.txt'}")["metrics"]["t2v"]["R@1"] >= plain["t2v"]["R@1"]
    shared = measured("plain", f"--captions={tmp_path / 'captions.txt'}", "--share-captions")
    assert shared["metrics"]["t2v"]["MnR"] < plain["t2v"]["MnR"] and "MAP" in shared["ranking"]["v2t"]
    turned = measured("plain", "--postprocess=qb_norm", f"--query-bank-v2t={tmp_path / 'bank.npy'}")
    assert list(turned["postprocessed"]["qb_norm"]) == ["v2t"]
    validation = ("--postprocess=dual_softmax", f"--validation={tmp_path / 'val.npy'}")
    ids = [f"--validation-text-ids={tmp_path / 'rows.txt'}", f"--validation-video-ids={tmp_path / 'columns.txt'}"]
    chosen = measured("plain", *validation, *ids)["temperatures"]["dual_softmax"]
    assert chosen != measured("plain", *validation, "--validation-captions-per-video=2")["temperatures"]["dual_softmax"]
    for flags, message in {
        ("--share-captions",): "give --captions=FILE",
        (ids[0],): "give --validation=FILE",
        validation: "validation scores: .* give --validation-captions-per-video, or --validation-text-ids",
    }.items():
        with pytest.raises(UserError, match=message):
            measured("plain", *flags)


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m eaglenet_jax.train --config=demo:tiny --print-config | head -n 2"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(result.stdout.splitlines()) == 2 and result.stderr == ""
