from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.saved_scores import SavedScores, load_scores, save_scores

SCORES = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
TEXT_IDS, VIDEO_IDS, TEXT_VIDEO = ["v\u00e9#0", "v\u00e9#1", "w#0"], ["v\u00e9", "w"], np.array([0, 0, 1])
SAVED = SavedScores(SCORES, TEXT_IDS, VIDEO_IDS, TEXT_VIDEO)


def test_what_is_saved_is_loaded(tmp_path) -> None:
    rng = np.random.default_rng(1)
    texts = {"id": np.arange(3, dtype=np.uint32), "pooled": jnp.asarray(rng.normal(size=(3, 4)), jnp.bfloat16)}
    videos = {"frames": rng.normal(size=(2, 5, 4)).astype(np.float32), "mask": np.arange(10).reshape(2, 5) < 7}
    folder = tmp_path / "new" / "folder"
    paths = save_scores(folder, SAVED, texts=texts, videos=videos)
    assert sorted(path.name for path in paths) == ["features.npz", "ids.json", "scores.npy"]
    assert sorted(path.name for path in folder.iterdir()) == ["features.npz", "ids.json", "scores.npy"]
    saved = load_scores(folder)
    np.testing.assert_array_equal(saved.scores, SCORES)
    assert (saved.text_ids, saved.video_ids, saved.text_video.tolist()) == (TEXT_IDS, VIDEO_IDS, [0, 0, 1])
    with np.load(paths[2], allow_pickle=False) as features:
        assert set(features) == {"text/id", "text/pooled", "video/frames", "video/mask"}
        assert features["text/pooled"].dtype == np.float32
        np.testing.assert_array_equal(features["text/pooled"], np.asarray(texts["pooled"], np.float32))
        np.testing.assert_array_equal(features["video/frames"], videos["frames"])
        np.testing.assert_array_equal(features["video/mask"], videos["mask"])


def test_saving_again_replaces_and_a_failure_keeps_the_old_file(tmp_path) -> None:
    save_scores(tmp_path, SAVED)
    with pytest.raises(TypeError):
        save_scores(tmp_path, SavedScores(SCORES + 1, TEXT_IDS, [object(), object()], TEXT_VIDEO))
    assert load_scores(tmp_path).video_ids == VIDEO_IDS
    assert not list(tmp_path.glob(".*"))


def test_refuses_a_folder_that_is_a_file(tmp_path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot save scores to .*taken"):
        save_scores(tmp_path / "taken", SAVED)


@pytest.mark.parametrize("damage", ["missing", "truncated", "not json", "keys", "other shape"])
def test_refuses_a_damaged_folder_in_one_line(tmp_path, damage) -> None:
    save_scores(tmp_path, SAVED)
    if damage == "missing":
        (tmp_path / "scores.npy").unlink()
    elif damage == "truncated":
        whole = (tmp_path / "scores.npy").read_bytes()
        (tmp_path / "scores.npy").write_bytes(whole[:-4])
    elif damage == "not json":
        (tmp_path / "ids.json").write_text("{")
    elif damage == "keys":
        (tmp_path / "ids.json").write_text(json.dumps({"texts": []}))
    else:
        np.save(tmp_path / "scores.npy", SCORES.T)
    with pytest.raises(UserError) as caught:
        load_scores(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
