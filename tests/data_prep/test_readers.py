"""Each dataset's files in their true formats, written small."""

from __future__ import annotations

import csv
import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_prep.annotations import Annotations
from data_prep.datasets import DATASETS, dataset_spec, is_held_out
from data_prep.readers.msvd import read_plain_pickle
from eaglenet_jax.errors import UserError


def read(name: str, folder: Path, variant: str = "") -> Annotations:
    spec = DATASETS[name]
    return spec.read(folder, variant or spec.default_variant)


def content(annotations: Annotations) -> dict[str, dict[str, list[str]]]:
    return {
        split: {video.video_id: [text for _, text in video.captions] for video in videos}
        for split, videos in annotations.splits.items()
    }


def write_table(path: Path, rows: Sequence[Sequence[str]], **dialect: str) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **dialect).writerows(rows)


@pytest.fixture
def msrvtt(tmp_path: Path) -> Path:
    videos = [("video0", "train"), ("video1", "validate"), ("video2", "test"), ("video3", "test")]
    sentences = [(name, f"{word} of {name}") for word in ("first", "second") for name, _ in reversed(videos)]
    write_msrvtt_json(tmp_path / "MSRVTT_data.json", videos, sentences)
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo1\nvideo3\n")
    (tmp_path / "MSRVTT_train.7k.csv").write_text("video_id\nvideo1\nvideo0\n")
    rows = [["key", "vid_key", "video_id", "sentence"], ["ret0", "msr2", "video2", "a man, a dog"]]
    write_table(tmp_path / "MSRVTT_JSFUSION_test.csv", rows)
    return tmp_path


def write_msrvtt_json(path: Path, videos: list[tuple[str, str]], sentences: list[tuple[str, str]]) -> None:
    rows = [{"video_id": name, "caption": text, "sen_id": i} for i, (name, text) in enumerate(sentences)]
    path.write_text(json.dumps({"videos": [{"video_id": n, "split": s} for n, s in videos], "sentences": rows}))


def both(name: str) -> list[str]:
    return [f"first of {name}", f"second of {name}"]


def test_msrvtt_splits(msrvtt: Path) -> None:
    found = read("msrvtt", msrvtt)
    assert content(found) == {
        "train": {name: both(name) for name in ("video0", "video1", "video3")},
        "test": {"video2": ["a man, a dog"]},
    }
    assert found.splits["test"][0].captions == (("ret0", "a man, a dog"),)
    assert found.splits["train"][0].captions[1][0] == "video0#1"
    assert found.facts["test sentences that differ in form"] == 1
    assert list(content(read("msrvtt", msrvtt, "1ka-7k"))["train"]) == ["video1", "video0"]
    assert content(read("msrvtt", msrvtt, "full")) == {
        "train": {"video0": both("video0")},
        "val": {"video1": both("video1")},
        "test": {name: both(name) for name in ("video2", "video3")},
    }


def test_msrvtt_in_its_two_official_parts_is_the_same(msrvtt: Path) -> None:
    whole = json.loads((msrvtt / "MSRVTT_data.json").read_text())
    expected = {variant: content(read("msrvtt", msrvtt, variant)) for variant in DATASETS["msrvtt"].variants}
    (msrvtt / "MSRVTT_data.json").unlink()
    for name, test in (("train_val_videodatainfo.json", False), ("test_videodatainfo.json", True)):
        ids = {v["video_id"] for v in whole["videos"] if (v["split"] == "test") == test}
        part = {key: [row for row in whole[key] if row["video_id"] in ids] for key in ("videos", "sentences")}
        (msrvtt / name).write_text(json.dumps(part))
    assert {variant: content(read("msrvtt", msrvtt, variant)) for variant in expected} == expected
    (msrvtt / "test_videodatainfo.json").unlink()
    with pytest.raises(UserError, match=r"has only train_val_videodatainfo\.json"):
        read("msrvtt", msrvtt)


@pytest.fixture
def msvd(tmp_path: Path) -> Path:
    for split, ids in (("train", ["-4w_5_15", "b_0_1"]), ("val", ["c_0_1"]), ("test", ["d_0_1"])):
        (tmp_path / f"{split}_list.txt").write_text("\n".join(ids) + "\n\n")
    return tmp_path


MSVD = {
    "train": {"-4w_5_15": ["a man runs", "a man"], "b_0_1": ["é x"]},
    "val": {"c_0_1": ["y"]},
    "test": {"d_0_1": ["z"]},
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_msvd_pickle_and_json_are_the_same(msvd: Path, protocol: int) -> None:
    captions = {name: texts for videos in MSVD.values() for name, texts in videos.items()}
    (msvd / "captions_msvd.json").write_text(json.dumps(captions))
    assert content(read("msvd", msvd)) == MSVD
    (msvd / "captions_msvd.json").unlink()
    words = {name: [text.split() for text in texts] for name, texts in captions.items()}
    (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(words, protocol))
    assert content(read("msvd", msvd)) == MSVD


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # {'vid': [['caf\xc3\xa9', 'x']]} as Python 2 wrote it, with byte strings.
    (tmp_path / "old.pkl").write_bytes(b"(dp0\nS'vid'\np1\n(lp2\n(lp3\nS'caf\\xc3\\xa9'\np4\naS'x'\np5\naas.")
    assert read_plain_pickle(tmp_path / "old.pkl") == {"vid": [["café", "x"]]}


class _Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def test_a_malicious_pickle_is_refused_and_nothing_is_executed(msvd: Path) -> None:
    trace = msvd / "trace"
    attacks = [pickle.dumps({"d_0_1": [_Runs(f"touch {trace}")]}, protocol) for protocol in (0, 2, 4)]
    attacks.append(b"cbuiltins\neval\n(S'open(" + repr(str(trace)).encode() + b', "w")\'\ntR.')
    attacks.append(b"(S'touch'\nios\nsystem\n.")  # the old way to name a class
    for attack in attacks:
        (msvd / "raw-captions.pkl").write_bytes(attack)
        with pytest.raises(UserError, match=r"not a pickle of plain data \(it needs .*nothing of it was executed"):
            read("msvd", msvd)
        assert not trace.exists()
    for damaged in (b"", b"\x80\x04", pickle.dumps([1] * 9)[:-4], b"no pickle"):
        (msvd / "raw-captions.pkl").write_bytes(damaged)
        with pytest.raises(UserError, match=r"is damaged|not a pickle"):
            read("msvd", msvd)
    for other in ([1], {"a": 3}, {"a": [[1]]}):
        (msvd / "raw-captions.pkl").write_bytes(pickle.dumps(other))
        with pytest.raises(UserError, match="not in the expected form"):
            read("msvd", msvd)


def test_didemo_tables_and_moments_give_the_same_paragraphs(tmp_path: Path) -> None:
    names = ["1@N0_2.3gp", "4@N1_5.", "6@N2_7.mov"]
    rows = [["success", "video_path", "starts", "ends", "text", "formatted_data"]]
    texts = ["a dog runs. then,  it sits", 'he says "no"', "one"]
    for name, text in zip(names, texts, strict=True):
        rows.append(["True", f"/somewhere/all_videos/{name}", "tensor([[0]])", "tensor([[31]])", text, "x.pth"])
    write_table(tmp_path / "didemo_test_label.csv", rows, lineterminator="\r\n")
    paragraphs = read("didemo", tmp_path)
    assert content(paragraphs) == {
        "test": {"1@N0_2": ["a dog runs. then, it sits"], "4@N1_5": ['he says "no"'], "6@N2_7": ["one"]}
    }
    assert paragraphs.absent == {"train": "didemo_train_label.csv", "val": "didemo_val_label.csv"}
    moments = [
        (names[0], "a dog runs."),
        (names[2], "one"),
        ("6@N2_7.mp4", "under another name"),
        (names[0], "then,  it sits"),
        ("9@N9_9.avi", "no longer to be had"),
        (names[1], 'he says "no"'),
    ]
    (tmp_path / "test_data.json").write_text(json.dumps([{"video": v, "description": d} for v, d in moments]))
    (tmp_path / "test_list.txt").write_text("\n".join(names))
    assert content(read("didemo", tmp_path, "moments")) == content(paragraphs)
    (tmp_path / "test_list.txt").unlink()
    every = content(read("didemo", tmp_path, "moments"))["test"]
    assert list(every) == ["1@N0_2", "6@N2_7", "9@N9_9", "4@N1_5"]
    assert every["6@N2_7"] == ["one under another name"]


def test_vatex_official_and_reference_captions_are_the_same(tmp_path: Path) -> None:
    lists = {"train": ["t_000_010"], "val": ["v1_0_1", "v2_0_1"], "test": ["w1_0_1", "w2_0_1"]}
    for split, ids in lists.items():
        (tmp_path / f"{split}_list.txt").write_text("\n".join(ids))
    captions = {name: [f"{i} of {name}" for i in range(10)] for ids in lists.values() for name in ids}
    expected = {split: {name: captions[name] for name in ids} for split, ids in lists.items()}

    def official(name: str) -> dict:
        return {"videoID": name, "enCap": captions[name], "chCap": ["一"]}

    (tmp_path / "vatex_training_v1.0.json").write_text(json.dumps([official("t_000_010")]))
    (tmp_path / "yuqi657_val.json").write_text(
        json.dumps([{"video": n, "caption": captions[n], "video_id": n} for n in lists["val"] + lists["test"]])
    )
    assert content(read("vatex", tmp_path)) == expected
    (tmp_path / "vatex_training_v1.0.json").unlink()
    found = read("vatex", tmp_path)
    assert content(found)["train"] == {"t_000_010": []} and "ref_captions.json" in found.absent["train"]
    (tmp_path / "yuqi657_val.json").unlink()
    (tmp_path / "ref_captions.json").write_text(json.dumps(captions))
    assert content(read("vatex", tmp_path)) == expected
    (tmp_path / "test1k5_sec_list.txt").write_text("v2_0_1\nw1_0_1\n")
    second = content(read("vatex", tmp_path, "1k5-sec"))
    assert {split: list(videos) for split, videos in second.items()} == {
        "train": ["t_000_010"], "val": ["v1_0_1", "w2_0_1"], "test": ["v2_0_1", "w1_0_1"]
    }  # fmt: skip


def test_activitynet_sentences_become_a_paragraph(tmp_path: Path) -> None:
    for name in ("train", "val_1", "val_2"):
        video = {"duration": 9.5, "timestamps": [[0, 1], [1, 2]], "sentences": [f"A {name}. ", "  He sits."]}
        (tmp_path / f"{name}.json").write_text(json.dumps({f"v_{name[:3]}": video}))
    assert content(read("activitynet", tmp_path)) == {
        "train": {"v_tra": ["A train. He sits."]},
        "test": {"v_val": ["A val_1. He sits."]},
    }
    assert content(read("activitynet", tmp_path, "val_2"))["test"] == {"v_val": ["A val_2. He sits."]}


def test_lsmdc_with_and_without_a_header(tmp_path: Path) -> None:
    clip = "0001_American_Beauty_00.00.51.926-00.00.54.129"
    row = f'{clip}\t00.00.51.926\t00.00.54.129\t00.00.51.926\t00.00.54.129\tHe looks\x85 at \u2028 3 "of" them.\n'
    header = "video_id\tstart_aligned\tend_aligned\tstart_extracted\tend_extracted\tsentence\n"
    for text in (row, header + row):
        (tmp_path / "LSMDC16_annos_training.csv").write_text(text, encoding="utf-8")
        assert content(read("lsmdc", tmp_path)) == {"train": {clip: ['He looks\x85 at \u2028 3 "of" them.']}}
    (tmp_path / "LSMDC16_annos_training.csv").write_text(row.replace("\t", ","))
    with pytest.raises(UserError, match="columns separated by tabs"):
        read("lsmdc", tmp_path)


def test_charades_script_and_descriptions(tmp_path: Path) -> None:
    columns = "id subject scene quality relevance verified script objects descriptions actions length"
    cells = ("46GP8", "HR43", "Kitchen", "6", "7", "Yes", "A person\ncooks, eats.", "food", "He cooks.;She eats;")
    row = [*cells, "c059 11.9 17.2", "24.83"]
    write_table(tmp_path / "Charades_v1_train.csv", [columns.split(), row])
    assert content(read("charades", tmp_path)) == {"train": {"46GP8": ["A person cooks, eats."]}}
    several = read("charades", tmp_path, "descriptions")
    assert content(several) == {"train": {"46GP8": ["He cooks.", "She eats"]}} and not several.wordless


def test_repeated_ids_and_captions_without_a_word_are_kept_apart_and_told(msvd: Path) -> None:
    (msvd / "train_list.txt").write_text("b_0_1\n-4w_5_15\nb_0_1\n")
    captions = {"b_0_1": ["x", " "], "-4w_5_15": ["y"], "c_0_1": ["z"]}
    (msvd / "captions_msvd.json").write_text(json.dumps(captions))
    found = read("msvd", msvd)
    assert found.repeated == {"train": ("b_0_1",)} and found.wordless == ("b_0_1#1",)
    assert content(found) == {
        "train": {"b_0_1": ["x"], "-4w_5_15": ["y"]},
        "val": {"c_0_1": ["z"]},
        "test": {"d_0_1": []},
    }


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_without_the_files_is_refused_by_their_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has no(ne of this dataset's annotation files| captions of) .*\.(json|csv|pkl)"
    ):
        read(name, tmp_path)
    with pytest.raises(
        UserError, match=r"there is no annotation folder .*; give the folder that holds the annotation files"
    ):
        read(name, tmp_path / "absent")


def test_unknown_datasets_and_variants_are_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean 'msrvtt'"):
        dataset_spec("msr-vtt")
    with pytest.raises(UserError, match="choose one of 1ka-9k, 1ka-7k, full"):
        dataset_spec("msrvtt").variant("1k-A")


def test_the_videos_held_out_for_validation_never_change() -> None:
    ids = [f"video{i}" for i in range(9000)]
    held = [name for name in ids if is_held_out(name)]
    assert len(held) == 442
    assert held[:4] == ["video28", "video43", "video48", "video53"]
