"""MSR-VTT's JSON form, which MovingShapes is written in too."""

from __future__ import annotations

import json
from pathlib import Path

from data_prep.annotations import VideoEntry, first_few, require_file, require_folder
from eaglenet_jax.errors import UserError

SPLIT_NAMES = {"validate": "val"}


def read_msrvtt_json(annotations_json: Path, videos_dir: Path) -> list[VideoEntry]:
    """Entries in the file's order of videos, captions in its order of sentences.

    `videos[].video_id` names `videos_dir/{video_id}.mp4`; the split "validate" is called "val"; a caption's id is its
    "sen" and its `sen_id`. Raises `UserError` for a missing file or folder, a file of another form, and a sentence
    about a video that the file does not list.
    """
    require_file(annotations_json, "annotation file")
    require_folder(videos_dir, "video folder")
    try:
        content = json.loads(annotations_json.read_text(encoding="utf-8"))
        videos = [(str(video["video_id"]), str(video["split"])) for video in content["videos"]]
        sentences = [(str(s["video_id"]), f"sen{s['sen_id']}", str(s["caption"])) for s in content["sentences"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{annotations_json} is not in MSR-VTT's form ({type(error).__name__}: {error}); expected"
            ' {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption", "sen_id"}]}.'
        ) from error
    captions: dict[str, list[tuple[str, str]]] = {video_id: [] for video_id, _ in videos}
    unknown = sorted({video_id for video_id, _, _ in sentences if video_id not in captions})
    if unknown:
        raise UserError(f"{annotations_json}: sentences about videos that it does not list: {first_few(unknown)}.")
    for video_id, caption_id, text in sentences:
        captions[video_id].append((caption_id, text))
    return [
        VideoEntry(video_id, videos_dir / f"{video_id}.mp4", SPLIT_NAMES.get(split, split), tuple(captions[video_id]))
        for video_id, split in videos
    ]
