"""The house rules of CONTRIBUTING.md: imports, entry points, sizes, versions, documents."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import eaglenet_jax
from tests.search.conftest import NEEDS

ROOT = Path(__file__).parents[1]
PACKAGES = ("eaglenet_jax", "data_prep", "configs", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# Imports ------------------------------------------------------------------------------------------------------------

# What a part may import of this project, besides itself: modules, or packages with all that is in them.
BOTTOM = {
    "eaglenet_jax",
    "eaglenet_jax.accelerator",
    "eaglenet_jax.errors",
    "eaglenet_jax.draws",
    "eaglenet_jax.progress",
    "eaglenet_jax.wording",
}
LAYERS = {"eaglenet_jax.clip", "eaglenet_jax.layers", "eaglenet_jax.energy"}
CONTRACT = {"eaglenet_jax.heads.interface"}
BELOW_RUNS = (
    BOTTOM
    | {
        f"eaglenet_jax.{name}"
        for name in (
            *("clip", "energy", "layers", "heads", "system", "data", "metrics", "scoring", "training", "port"),
            *("reports", "config", "registry", "atomic", "waiting_lock", "spawning", "compilation_cache"),
        )
    }
    | {"data_prep"}
)
ABOVE_RUNS = BOTTOM | {
    f"eaglenet_jax.{name}" for name in ("runs", "reports", "metrics", "config", "data", "command", "progress")
}
ROOT_ENTRY_POINTS = ("train", "evaluate", "convert", "sweep", "report", "vision_tokens", "hub", "__main__")
MAY_IMPORT = {
    "eaglenet_jax.errors": set[str](),
    "eaglenet_jax.wording": set[str](),
    "eaglenet_jax.accelerator": set[str](),
    "eaglenet_jax.draws": {"eaglenet_jax.errors"},
    "eaglenet_jax.clip": BOTTOM,
    "eaglenet_jax.layers": BOTTOM,
    "eaglenet_jax.energy": BOTTOM | {"eaglenet_jax.layers"},
    "eaglenet_jax.registry": {"eaglenet_jax.errors"},
    "eaglenet_jax.heads": BOTTOM | LAYERS | {"eaglenet_jax.registry"},
    "eaglenet_jax.text_encoding": set[str](),
    "eaglenet_jax.metrics": (BOTTOM - {"eaglenet_jax.draws"}) | {"eaglenet_jax.text_encoding"},
    "eaglenet_jax.scoring": BOTTOM | LAYERS | CONTRACT | {"eaglenet_jax.metrics"},
    "eaglenet_jax.training": BOTTOM | LAYERS | CONTRACT | {"eaglenet_jax.scoring"},
    "eaglenet_jax.system": BOTTOM | LAYERS | {"eaglenet_jax.heads", "eaglenet_jax.registry"},
    "eaglenet_jax.data": {"eaglenet_jax"} | {f"eaglenet_jax.{name}" for name in ("errors", "wording", "spawning")},
    "eaglenet_jax.port": BOTTOM | {"eaglenet_jax.clip"},
    # config/checking.py asks what it checks for their choices: systems, tie rules, devices, traces.
    "eaglenet_jax.config": BOTTOM
    | {"eaglenet_jax.registry", "eaglenet_jax.system", "eaglenet_jax.metrics.ranks"}
    | {"eaglenet_jax.training.profile", "eaglenet_jax.training.sharding"},
    "eaglenet_jax.reports": BOTTOM | CONTRACT | {"eaglenet_jax.metrics", "eaglenet_jax.atomic"},
    "eaglenet_jax.runs": BELOW_RUNS,
    "eaglenet_jax.model": (BELOW_RUNS - {"data_prep"}) | {"eaglenet_jax.runs"},
    "eaglenet_jax.search": BELOW_RUNS | {"eaglenet_jax.runs", "eaglenet_jax.model", "eaglenet_jax.command"},
    # Files at the root: entry points, and what they share.
    "eaglenet_jax.atomic": {"eaglenet_jax.errors"},
    **{f"eaglenet_jax.{name}": set[str]() for name in ("waiting_lock", "spawning", "progress", "large_pages")},
    "eaglenet_jax.compilation_cache": {"eaglenet_jax.errors"},
    "eaglenet_jax.command": {f"eaglenet_jax.{name}" for name in ("errors", "compilation_cache", "large_pages")},
    **{f"eaglenet_jax.{name}": ABOVE_RUNS for name in ROOT_ENTRY_POINTS},
    "configs": {"eaglenet_jax", "eaglenet_jax.errors", "eaglenet_jax.config"},
    "data_prep": BOTTOM - {"eaglenet_jax.draws"}
    | {f"eaglenet_jax.{name}" for name in ("data", "atomic", "command", "waiting_lock", "spawning", "text_encoding")},
}
# These can be embedded where nothing more is installed; whatever else they need is imported inside a function.
EMBEDDABLE = ("clip", "heads", "layers", "energy", "training", "scoring", "metrics", "draws", "errors")
EMBEDDABLE_IMPORTS = {"jax", "flax", "optax", "numpy", "jaxtyping"}


def within(name: str, parts: set[str] | tuple[str, ...]) -> bool:
    """Whether module `name` is one of `parts` or in one of them. The root package names only itself."""
    return any(name == part or (part != "eaglenet_jax" and name.startswith(part + ".")) for part in parts)


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Modules that a syntax tree imports; of `from a import b`, a.b where that is a module of this project, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


def package_of(name: str) -> str:
    return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]


class DropTyping(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else node


class DropFunctions(DropTyping):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        return None


def without_typing(tree: ast.Module) -> ast.Module:
    """The module without what only type checkers read."""
    return DropTyping().visit(tree)


def runs_at_import(tree: ast.Module) -> ast.Module:
    """The module without function bodies and without what only type checkers read."""
    return DropFunctions().visit(tree)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_downward(part: str) -> None:
    wrong = []
    for name in (name for name in MODULES if within(name, (part,))):
        for target in imported_names(ast.parse(MODULES[name].read_text()), package_of(name)):
            of_project = target.split(".")[0] in PACKAGES
            if of_project and not within(target, (part,)) and not within(target, MAY_IMPORT[part]):
                wrong.append(f"{name} imports {target}")
    assert not wrong


def room_of(module: str) -> str:
    """A file or folder at the root of eaglenet_jax, or one of the other packages."""
    return ".".join(module.split(".")[:2]) if module.startswith("eaglenet_jax.") else module.split(".")[0]


def test_every_room_has_a_rule() -> None:
    # The root names what is public, and benchmarks use everything.
    assert {room_of(name) for name in MODULES} - {"eaglenet_jax", "benchmarks"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("part", EMBEDDABLE)
def test_embeddable_parts_import_only_the_model_libraries(part: str) -> None:
    allowed = EMBEDDABLE_IMPORTS | set(sys.stdlib_module_names) | {"eaglenet_jax"}
    wrong = []
    for name in (name for name in MODULES if within(name, (f"eaglenet_jax.{part}",))):
        for target in imported_names(runs_at_import(ast.parse(MODULES[name].read_text())), package_of(name)):
            if target.split(".")[0] not in allowed:
                wrong.append(f"{name} imports {target}")
    assert not wrong


IMPORT_EVERYTHING = """
import ast, importlib, json, os, sys
names, outside = json.loads(sys.argv[1])
for name in outside:  # other libraries may do as they like; what comes after is ours
    try:
        importlib.import_module(name)
    except ImportError:
        pass
import jax
from jax._src import xla_bridge
before, environment = dict(jax.config.values), dict(os.environ)
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in
    ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec") else None)
faults = []
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        faults.append(f"{name} does not import: {error!r}")
    changed = [flag for flag, value in jax.config.values.items() if before.get(flag, value) != value]
    faults += [f"{name} sets the jax flag {flag}" for flag in changed]
    faults += [f"{name} starts a process: {event}" for event in started]
    if dict(os.environ) != environment:
        faults.append(f"{name} changes the environment")
    if xla_bridge.backends_are_initialized():
        faults.append(f"{name} touches a device")
    if faults:
        break
print(json.dumps(faults))
"""


def test_every_module_imports_without_side_effects() -> None:
    outside = sorted(
        {
            target
            for name, path in MODULES.items()
            for target in imported_names(runs_at_import(ast.parse(path.read_text())), package_of(name))
            if target and target.split(".")[0] not in PACKAGES
        }
    )
    names = [name for name in MODULES if not name.endswith("__main__")]
    result = run("-c", IMPORT_EVERYTHING, json.dumps([names, outside]))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == []


# Entry points -------------------------------------------------------------------------------------------------------


def is_entry_point(path: Path) -> bool:
    return path.name == "__main__.py" or bool(re.search(r'^if __name__ == "__main__":', path.read_text(), re.MULTILINE))


ENTRY_POINTS = sorted(name.removesuffix(".__main__") for name, path in MODULES.items() if is_entry_point(path))


# In one process: most of them import the same libraries.
PRINT_HELPS = """
import contextlib, io, json, runpy, sys, traceback
found = {}
for name in json.loads(sys.argv[1]):
    sys.argv = [name, "--help"]
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(name, run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        except BaseException:
            traceback.print_exc()
    found[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


def test_help_of_every_entry_point_runs() -> None:
    result = run("-W", "ignore::RuntimeWarning", "-c", PRINT_HELPS, json.dumps(ENTRY_POINTS))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert list(found) == ENTRY_POINTS
    wrong = {name: said for name, said in found.items() if said[0] != 0 or "usage" not in said[1] or said[2]}
    assert not wrong


# Functions ----------------------------------------------------------------------------------------------------------

MOST_PARAMETERS = 7


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [each.arg for each in given if each.arg not in ("self", "cls")]


def test_functions_have_few_parameters() -> None:
    """Parameters that belong together are a dataclass, whose fields are not counted."""
    long = {
        f"{name}.{function.name}"
        for name, path in MODULES.items()
        if name.split(".")[0] in ("eaglenet_jax", "data_prep")
        for function in functions(ast.parse(path.read_text()))
        if len(parameters(function)) > MOST_PARAMETERS
    }
    assert long == set()


# Files --------------------------------------------------------------------------------------------------------------


def test_files_are_short_and_have_one_job() -> None:
    python = [path for path in tracked_files() if path.suffix == ".py"]
    long = {str(path.relative_to(ROOT)): lines for path in python if (lines := path.read_text().count("\n")) > 400}
    assert not long
    assert not [path for path in python if path.stem in ("utils", "util", "helpers", "misc")]


def test_tracked_files_name_no_machine() -> None:
    # Written in pieces, so that this file does not name them either.
    forbidden = re.compile("|".join(["/" + "work/", "/" + "root/", "/" + "Users/", "/home" + "/", r"\.\./" + "shared",
                                     "--index" + "-url", "--extra-index" + "-url", "file:" + "//"]))  # fmt: skip
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert not found


# Packaging ----------------------------------------------------------------------------------------------------------


def setup_arguments() -> dict[str, ast.expr]:
    (call,) = (
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup"
    )
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def test_versions_agree() -> None:
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation and citation[1] == eaglenet_jax.__version__
    assert importlib.metadata.version("eaglenet_jax") == eaglenet_jax.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{eaglenet_jax.__version__}]" in changes or "## [Unreleased]" in changes


def test_lock_file_fits_the_ranges() -> None:
    locked = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text()))
    arguments = setup_arguments()
    extras = ast.literal_eval(arguments["extras_require"])
    assert not [name for name in extras["test"] if name.startswith("torch")]
    for requirement in map(Requirement, ast.literal_eval(arguments["install_requires"]) + extras["test"]):
        version = locked.get(requirement.name.lower().replace("_", "-"))
        assert version is not None, f"requirements.lock lacks {requirement}"
        assert requirement.specifier.contains(version), f"requirements.lock has {requirement.name} {version}"


# Documents ----------------------------------------------------------------------------------------------------------

RUN = "pip install -e . && python -m eaglenet_jax.train --config=configs/demo.py"
TEST = "pip install -e '.[test]' && pytest"


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").rglob("*.py")]


def test_readme_has_the_two_commands_each_on_a_line() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert RUN in lines
    assert TEST in lines


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_exist(document: Path) -> None:
    text = document.read_text()
    own = [
        name
        for name in re.findall(r"python3? -m ([a-z_0-9]+(?:\.[a-z_0-9]+)*)(?![.\w])", text)
        if name.split(".")[0] in (*PACKAGES, "tests")
    ]
    absent = [name for name in own if not any((ROOT / f).is_file() for f in module_files(name))]
    configs = re.findall(r"--config=(configs/[\w/]+\.py)", text)
    absent += [config for config in configs if not (ROOT / config).is_file()]
    linked = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text) if document.suffix == ".md" else []
    absent += [link for link in linked if not (document.parent / link).exists()]
    assert not absent


def module_files(name: str) -> list[str]:
    path = name.replace(".", "/")
    return [f"{path}.py", f"{path}/__main__.py"]


# Tests --------------------------------------------------------------------------------------------------------------


def test_tests_of_search_are_collected_where_their_packages_are() -> None:
    """Without its row in NEEDS a module ends the whole run of who has only the extra `test`."""
    modules = (ROOT / "tests/search").glob("test_*.py")
    marked = {module.name for module in modules if re.search(r"mark\.(search|browser)\b", module.read_text())}
    assert marked == set(NEEDS)
