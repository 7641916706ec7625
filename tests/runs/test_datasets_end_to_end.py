"""Every dataset from the download folder to its numbers: fake, doctor, build, two training steps, evaluation.

What is a dataset's own here: its files, its ids, its protocol and its config.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from data_prep import build, doctor
from data_prep.datasets import DATASETS, SEVERAL
from data_prep.fake import fake
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.config.moving_shapes import CLIP as TINY_CLIP
from eaglenet_jax.config.moving_shapes import SMALLEST_CLIP
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.reports.stage_results import print_results
from eaglenet_jax.runs.train import train_run

pytestmark = pytest.mark.long
VIDEOS = 24
# Test videos of the made-up folders and queries for each, by the dataset's protocol.
QUERIES = {
    "msrvtt": (4, 1),
    "msvd": (6, 20),
    "didemo": (6, 1),
    "vatex": (6, 10),
    "activitynet": (6, 1),
    "lsmdc": (6, 1),
    "charades": (6, 1),
}
SHARED = {
    "batch_size": 4,
    "accumulate": 1,
    "steps": 2,
    "max_words": 20,
    "max_frames": 3,
    "init_from": "",
    "evaluation.every": 1,
    "evaluation.batch_size": 8,
    "data.workers": 0,
}


def tiny_config(name: str, prepared: Path) -> ConfigDict:
    """The dataset's own config at the size of a test. With the head that compiles fastest: the demo tests EagleNet."""
    config = load_config(f"configs/{name}.py:clip4clip")
    with config.unlocked():
        config.clip = ConfigDict(TINY_CLIP | SMALLEST_CLIP)
        config.update_from_flattened_dict(SHARED)
        config.data.prepared = str(prepared)
    return config


@pytest.mark.parametrize("name", DATASETS)
def test_from_the_download_folder_to_numbers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, videos = fake(name, tmp_path / "fake", videos=VIDEOS, workers=1, progress=False)
    prepared = tmp_path / "prepared"
    arguments = [f"--dataset={name}", f"--annotations={annotations}", f"--videos={videos}", f"--out={prepared}"]
    arguments += ["--workers=1", "--size=48"]
    assert doctor.main(arguments) == 0
    assert build.main(arguments) == 0
    test_videos, captions = QUERIES[name]
    (result,) = train_run(tiny_config(name, prepared), tmp_path / "run")
    assert result.gallery["test"] == [test_videos * captions, test_videos]
    print_results([result], "test")
    printed, errors = capsys.readouterr()
    assert f"test split: {test_videos * captions} texts, {test_videos} videos" in printed and "warning" not in errors
    assert (tmp_path / "run/report.html").is_file()
    assert result.selection == "validation" and set(result.metrics) >= {"val", "test"}
    ranks = result.metrics["test"]["t2v"]
    assert 0 <= ranks["R@1"] <= ranks["R@5"] <= ranks["R@10"] <= 100 and 1 <= ranks["MdR"] <= test_videos
    if DATASETS[name].variant("")[1].test_protocol != SEVERAL:
        every = PreparedDataset.open(prepared).split("test").queries("all")
        assert len(every) == test_videos, "one query a video, whatever the config says"
