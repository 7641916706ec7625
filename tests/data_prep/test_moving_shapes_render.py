from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_prep import demo as demo_command
from data_prep.moving_shapes.__main__ import main as moving_shapes
from data_prep.moving_shapes.drawing import draw_frames
from data_prep.moving_shapes.events import Events
from data_prep.moving_shapes.flags import splits_of
from data_prep.moving_shapes.render import clip_of, describe, render, write_video
from eaglenet_jax.errors import UserError
from tests.data_prep.conftest import SMALL_SPLITS
from tests.data_prep.killing import run_and_kill, workers_are_gone


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_files_and_annotations_have_the_form_of_a_real_dataset(shapes_folder: Path) -> None:
    content = json.loads((shapes_folder / "annotations.json").read_text())
    assert set(content) == {"info", "videos", "sentences"}
    assert {video["split"] for video in content["videos"]} == set(SMALL_SPLITS)
    assert {path.stem for path in (shapes_folder / "videos").iterdir()} == {v["video_id"] for v in content["videos"]}
    assert len(content["sentences"]) == 5 * len(content["videos"])
    for video in content["videos"]:
        with av.open(str(shapes_folder / "videos" / f"{video['video_id']}.mp4")) as container:
            stream = container.streams.video[0]
            clip, _ = clip_of(video["video_id"], seed=0)
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height) == (clip.width, clip.height)
            assert stream.average_rate == Fraction(*clip.rate)
            assert stream.frames == clip.frames
            assert video["end time"] == pytest.approx(clip.frames * clip.rate[1] / clip.rate[0], abs=1e-3)


def test_the_same_seed_gives_the_same_captions_scenes_and_pictures(tmp_path: Path, shapes_folder: Path) -> None:
    first, second = (describe(SMALL_SPLITS, seed=7) for _ in range(2))
    assert json.dumps(first[0]) == json.dumps(second[0])
    assert first[1] == second[1]
    _, shots = describe(SMALL_SPLITS, seed=0)
    video_id = "train_0003"
    write_video(tmp_path / "again.mp4", shots[video_id])
    (shot,) = shots[video_id]
    drawn = ([np.asarray(picture) for picture in draw_frames(shot.scene, shot.clip)] for _ in range(2))
    np.testing.assert_array_equal(*drawn)
    assert (tmp_path / "again.mp4").read_bytes() == (shapes_folder / "videos" / f"{video_id}.mp4").read_bytes()


def test_a_file_has_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    """x264's code for AVX-512 gave this clip other bytes in one run of four."""
    _, shots = describe({"test": 8}, seed=0, events=Events(3))
    found = set()
    for _ in range(20):
        write_video(tmp_path / "a.mp4", shots["test_0006"])
        found.add((tmp_path / "a.mp4").read_bytes())
    assert len(found) == 1


def test_another_seed_gives_other_captions() -> None:
    texts = [[s["caption"] for s in describe(SMALL_SPLITS, seed=seed)[0]["sentences"]] for seed in (0, 1)]
    assert texts[0] != texts[1]


def test_rendering_again_changes_nothing_and_restores_a_lost_file(tmp_path: Path) -> None:
    render(tmp_path, splits={"test": 3}, progress=False)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    (tmp_path / "videos" / "test_0001.mp4").unlink()
    (tmp_path / "videos" / ".test_0002.mp4.123.tmp").write_bytes(b"abandoned")
    render(tmp_path, splits={"test": 3}, progress=False)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    assert after.keys() == times.keys()
    assert {name for name in times if after[name] != times[name]} == {"test_0001.mp4"}


def test_a_folder_of_another_seed_is_refused(tmp_path: Path) -> None:
    render(tmp_path, splits={"test": 1}, progress=False)
    with pytest.raises(UserError, match="another seed, version, events or splits; give another --out"):
        render(tmp_path, splits={"test": 1}, seed=1, progress=False)


def test_splits_are_read_alike_by_the_commands_that_have_them(tmp_path: Path) -> None:
    assert splits_of("train, test=5") == {"train": 2000, "test": 5}
    commands = {"--out": moving_shapes, "--root": demo_command.main}
    for place, main in commands.items():
        for splits, message in {
            "trian=2": "'trian=2' is not one of train, validate, test, test_1k",
            "test=-1": "'test=-1' is not one of .*NAME=COUNT of 1 or more",
            "test=0": "COUNT of 1 or more",
            "test=²": "COUNT of 1 or more",
            "test=": "COUNT of 1 or more",
            "": "'' is not one of",
            "test=1,test=2": "test is given twice; give each split once",
        }.items():
            with pytest.raises(UserError, match=f"--splits={splits}: .*{message}"):
                main([f"{place}={tmp_path / 'new'}", f"--splits={splits}"])
        with pytest.raises(UserError, match="--seed is -1; give 0 or more"):
            main([f"{place}={tmp_path / 'new'}", "--splits=test=1", "--seed=-1"])
    with pytest.raises(UserError, match="--workers is -1; give 1 or more"):
        moving_shapes([f"--out={tmp_path / 'new'}", "--splits=test=20", "--workers=-1"])
    with pytest.raises(UserError, match="--size is 0; give 1 or more"):
        demo_command.main([f"--root={tmp_path / 'new'}", "--splits=test=1", "--size=0"])
    assert not (tmp_path / "new").exists()


@pytest.mark.long
def test_a_killed_renderer_continues_where_it_stopped(tmp_path: Path) -> None:
    command = ["data_prep.moving_shapes", f"--out={tmp_path}", "--splits=train=60", "--workers=2"]
    videos = tmp_path / "videos"
    killed = run_and_kill(command, when=lambda: len(list(videos.glob("[!.]*.mp4"))) >= 5)
    workers_are_gone(killed)
    finished = {path.name: path.stat().st_mtime_ns for path in videos.glob("[!.]*.mp4")}
    assert 5 <= len(finished) < 60
    render(tmp_path, splits={"train": 60}, workers=1, progress=False)
    assert sorted(path.name for path in videos.iterdir()) == [f"train_{i:04d}.mp4" for i in range(60)]
    assert all((videos / name).stat().st_mtime_ns == time for name, time in finished.items())
    for path in videos.iterdir():
        assert len(decoded(path)) == clip_of(path.stem, seed=0)[0].frames
