from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.training.checkpoint_files import reason
from eaglenet_jax.training.checkpoints import Checkpoints
from eaglenet_jax.training.sharding import make_mesh, place_state, state_shardings
from eaglenet_jax.training.state import TrainState
from tests.training.eight_devices import needs_eight_devices


def _state(step: int, width: int = 64) -> TrainState:
    params = {"clip": {"w": jnp.full((64, width), 0.1 * step + jnp.arange(width))}, "head": {"bias": jnp.ones(3)}}
    buffer = {"text": jnp.full((5, 2), float(step)), "calls": jnp.asarray(step)}
    return TrainState(jnp.asarray(step), params, optax.adam(1e-3).init(params), buffer)


def _assert_same(ours: Any, expected: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def _save(directory: Path, *steps: int, best: int | None = None, keep: int = 2) -> None:
    with Checkpoints(directory, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, _state(step), {"recall": step / 2}, best=step == best)


def _largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_whole_state_and_metadata_come_back(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "new") as checkpoints:
        assert checkpoints.latest() is None
        assert checkpoints.best() is None
        checkpoints.save(3, _state(3), {"seed": 1, "config": {"name": "demo"}}, best=True)
        state, metadata = checkpoints.restore(_state(0))
        _assert_same(state, _state(3))
        assert (metadata["seed"], metadata["config"], metadata["step"]) == (1, {"name": "demo"}, 3)
        assert metadata["versions"]["jax"] == jax.__version__
        checkpoints.save(4, _state(4), {})
    shapes = jax.eval_shape(lambda: _state(0))
    assert int(Checkpoints(tmp_path / "new").restore(shapes)[0].step) == 4


def test_saved_arrays_may_be_donated_at_once(tmp_path: Path) -> None:
    overwrite = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0 - 1, state), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        state = _state(7, width=20_000)
        checkpoints.save(7, state, {})
        overwrite(state)
    _assert_same(Checkpoints(tmp_path).restore(_state(0, width=20_000))[0], _state(7, width=20_000))


def test_newest_and_best_are_kept(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2, 3, 4, 5, best=2)
    assert Checkpoints(tmp_path).steps() == [2, 4, 5]
    assert (Checkpoints(tmp_path).latest(), Checkpoints(tmp_path).best()) == (5, 2)
    _save(tmp_path, 6, 7, best=6)  # another process goes on
    assert Checkpoints(tmp_path).steps() == [6, 7]
    assert Checkpoints(tmp_path).best() == 6


def test_saving_a_step_again_changes_nothing(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _state(1), {"which": "first"})
        checkpoints.save(1, _state(2), {"which": "second"})
        checkpoints.close()
        checkpoints.save(1, _state(2), {"which": "third"})
        with pytest.raises(ValueError, match="already"):
            checkpoints.save(1, _state(2), {}, best=True)
    assert Checkpoints(tmp_path).metadata(1)["which"] == "first"


def test_metadata_can_be_fixed_for_all_saves(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.with_metadata(lambda: {"seed": 3}).save(1, _state(1), {"recall": 0.5}, best=True)
    metadata = Checkpoints(tmp_path).metadata(1)
    assert (metadata["seed"], metadata["recall"], metadata["is_best"]) == (3, 0.5, True)


def test_parameters_alone(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2, 3, best=2)
    checkpoints = Checkpoints(tmp_path)
    _assert_same(checkpoints.restore_params("best"), _state(2).params)
    _assert_same(checkpoints.restore_params("last"), _state(3).params)
    _assert_same(checkpoints.restore_params(3), _state(3).params)
    with pytest.raises(UserError, match=r"no checkpoint 9 in .*choose one of its steps: 2, 3"):
        checkpoints.restore_params(9)
    with pytest.raises(UserError, match="no averaged parameters"):
        checkpoints.restore_params("last", averaged=True)


def _flip_a_bit(folder: Path) -> None:
    path = _largest_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(folder: Path) -> None:
    path = _largest_file(folder)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_bit,
        _truncate,
        lambda folder: _largest_file(folder).unlink(),
        lambda folder: (folder / "metadata/metadata").write_text("{"),
        lambda folder: (folder / "SHA256SUMS").unlink(),
    ],
    ids=["bit flipped", "truncated", "file missing", "metadata", "checksums missing"],
)
def test_damaged_newest_is_reported_and_the_one_before_is_used(tmp_path: Path, damage: Any) -> None:
    _save(tmp_path, 1, 2)
    damage(tmp_path / "2")
    lines: list[str] = []
    with Checkpoints(tmp_path, report=lines.append) as checkpoints:
        with pytest.raises(UserError, match="damaged"):
            checkpoints.restore_params("last")
        _assert_same(checkpoints.restore(_state(0))[0], _state(1))
        assert len(lines) == 1
        assert f"{tmp_path / '2'} is damaged" in lines[0]
        checkpoints.save(2, _state(2), {})  # the run gets there again
    _assert_same(Checkpoints(tmp_path).restore(_state(0))[0], _state(2))
    assert (tmp_path / "2.damaged").is_dir()


def test_nothing_is_moved_when_all_are_damaged(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2)
    for step in "12":
        _truncate(tmp_path / step)
    with pytest.raises(UserError, match="all 2 are damaged"):
        Checkpoints(tmp_path, report=lambda _: None).restore(_state(0))
    assert Checkpoints(tmp_path).steps() == [1, 2]


def test_no_checkpoint_is_a_users_error(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="no checkpoint in"):
            Checkpoints(directory).restore(_state(0))
        with pytest.raises(UserError, match="no checkpoint 'best' in"):
            Checkpoints(directory).restore_params()


def test_checkpoint_of_another_config_lists_what_differs(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    target = _state(0, width=32)
    other = {"clip": target.params["clip"], "head": {"scale": jnp.ones(3), "bias": jnp.ones(3, jnp.bfloat16)}}
    with pytest.raises(UserError) as error:
        Checkpoints(tmp_path).restore(target.replace(params=other))
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "params/clip/w float32[64, 64] in the checkpoint, float32[64, 32] here",
        "params/head/scale missing in the checkpoint",
        "params/head/bias float32[3] in the checkpoint, bfloat16[3] here",
        "opt_state/0/mu/clip/w",
    ):
        assert part in message


_FILL_THE_DISK = """
import resource, sys
import numpy as np
from eaglenet_jax.errors import UserError
from eaglenet_jax.training.checkpoints import Checkpoints
arrays = {str(i): np.random.default_rng(i).normal(size=(100, 100)).astype(np.float32) for i in range(10)}
try:
    with Checkpoints(sys.argv[1]) as checkpoints:
        checkpoints.save(1, arrays, {})
        checkpoints.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))  # writing fails half-way, as on a full disk
        checkpoints.save(2, arrays, {})
except UserError as error:
    sys.exit(str(error))
"""


def test_full_disk_is_one_line_and_leaves_the_one_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FILL_THE_DISK, str(tmp_path)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == (
        f"could not save the checkpoint of step 2 in {tmp_path}: File too large; the one of step 1 is intact. "
        "Free some space or make the directory writable, and start again\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    state, _ = Checkpoints(tmp_path).restore({str(i): np.zeros((100, 100), np.float32) for i in range(10)})
    np.testing.assert_array_equal(state["9"], np.random.default_rng(9).normal(size=(100, 100)).astype(np.float32))


@pytest.mark.parametrize(
    "notes", ["[os_error_code='27']", "[tensorstore_spec='{\"driver\":\"zarr\"}', os_error_code='27']", ""]
)
def test_the_systems_reason_is_found_in_tensorstores_messages(notes: str) -> None:
    message = (
        'OUT_OF_RANGE: Error opening "zarr" driver: Error writing "2/.zarray" in OCDBT database at local file "/a b/": '
        f'Failed writing: "/a b/d/24f6": Failed to write 17208 bytes to file 7: File too large {notes}'
    )
    assert reason(ValueError(message)) == "File too large"
    assert reason(ValueError("shapes differ: 3\nmore")) == "shapes differ: 3"


def test_unwritable_directory_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        Checkpoints(tmp_path / "file/inside") as checkpoints,
        pytest.raises(UserError, match="there is no earlier one"),
    ):
        checkpoints.save(1, _state(1), {})


@needs_eight_devices
def test_checkpoint_goes_to_another_number_of_devices(tmp_path: Path) -> None:
    state = _state(5, width=128)
    for saved_on, restored_on in ((1, 8), (8, 2), (8, 1)):
        source, target = (make_mesh(jax.devices()[:count]) for count in (saved_on, restored_on))
        directory = tmp_path / f"{saved_on}to{restored_on}"
        with Checkpoints(directory) as checkpoints:
            checkpoints.save(5, place_state(state, state_shardings(state, source, "fsdp")), {})
        shardings = state_shardings(state, target, "fsdp")
        shapes = jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state, shardings)
        restored, _ = Checkpoints(directory).restore(shapes)
        _assert_same(restored, state)
        assert restored.params["clip"]["w"].sharding == shardings.params["clip"]["w"]
        assert len(restored.params["clip"]["w"].sharding.device_set) == restored_on


_SAVE_FOREVER = """
import sys
from eaglenet_jax.training.checkpoints import Checkpoints
from tests.training.test_checkpoints import random_state
with Checkpoints(sys.argv[1], keep=1) as checkpoints:
    start = (checkpoints.latest() or 0) + 1
    for step in range(start, start + 10_000):
        checkpoints.save(step, random_state(step), {})
"""


def random_state(step: int) -> dict[str, np.ndarray]:
    arrays = np.random.default_rng(step).normal(size=(20, 200, 100)).astype(np.float32)
    return {"step": np.asarray(step, np.int32)} | {str(index): array for index, array in enumerate(arrays)}


@pytest.mark.long
def test_a_kill_at_any_moment_leaves_a_readable_checkpoint(tmp_path: Path) -> None:
    reached = 0
    for pause in np.random.default_rng(0).uniform(0.1, 1.0, 2):
        run = subprocess.Popen([sys.executable, "-c", _SAVE_FOREVER, str(tmp_path)], cwd=Path(__file__).parents[2])
        while (Checkpoints(tmp_path).latest() or 0) <= reached:
            assert run.poll() is None
            time.sleep(0.05)
        time.sleep(pause)
        run.kill()
        run.wait()
        lines: list[str] = []
        state, metadata = Checkpoints(tmp_path, report=lines.append).restore(random_state(0))
        assert lines == []
        assert metadata["step"] == int(state["step"]) > reached
        reached = metadata["step"]
        _assert_same({name: np.asarray(leaf) for name, leaf in state.items()}, random_state(reached))
