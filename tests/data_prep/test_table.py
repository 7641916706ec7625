"""Videos of one's own: tables of every kind, cells that are not what they seem, held-out videos, parts of files."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from data_prep import build as build_command
from data_prep import doctor as doctor_command
from data_prep.assemble import assemble
from data_prep.cells import BadCell, seconds_cell, text_cells
from data_prep.datasets import held_out_parts
from data_prep.readers.files import Gathering
from data_prep.readers.msrvtt import read_msrvtt_json
from data_prep.readers.table import read_table
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.data_name import named_after_data

ROWS = [
    {"video": "a.mp4", "caption": "a dog, running", "split": "train"},
    {"video": "a.mp4", "caption": "it runs", "split": "training"},
    {"video": "sub/b", "caption": 'a "cat"', "split": "validation"},
    {"video": "é.MKV", "caption": "un café", "split": "TEST"},
]
BY_VIDEO = {
    name: [{k: row[k] for k in ("caption", "split")} for row in ROWS if row["video"].startswith(name)]
    for name in ("a", "sub/b", "é")
}
PARTS = (("train", 0, 2), ("dev", 2, 3), ("test", 3, 4))
EXPECTED = {
    "train": [("a", (("a#0", "a dog, running"), ("a#1", "it runs")))],
    "val": [("sub/b", (("sub/b#0", 'a "cat"'),))],
    "test": [("é", (("é#0", "un café"),))],
}
CSV = 'video,caption,split\na.mp4,"a dog, running",train\na.mp4,it runs,training\nsub/b,"a ""cat""",validation\n'
CSV += "é.MKV,un café,TEST\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def columns() -> dict[str, list[str]]:
    return {name: [row[name] for row in ROWS] for name in ROWS[0]}


def delimited(between: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=between).writerows([list(ROWS[0]), *(list(row.values()) for row in ROWS)])
    return text.getvalue()


FORMS = {
    "t.csv": CSV,
    "bom.csv": "\ufeff" + delimited(","),
    "semicolon.csv": delimited(";"),
    "t.tsv": delimited("\t"),
    "excel.csv": delimited("\t").encode("utf-16"),
    "no_mark.csv": delimited("\t").encode("utf-16-le"),
    "blank_rows.csv": delimited(";").replace("\r\n", ";;\r\n").replace("\r\n", "\r\n;;;;\r\n", 1) + ";;;;\r\n",
    "sep.csv": "sep=;\n" + delimited(";"),
    "pipe.csv": delimited("|"),
    "spaces.csv": CSV.replace(",", ", ", 2).replace(".mp4,", ".mp4, "),
    "comma_in_header.csv": delimited(";").replace("\r\n", ";x\r\n").replace(";x", ";rest (a, b)", 1),
    "nfd.csv": unicodedata.normalize("NFD", CSV),
    "rows.json": "\ufeff" + json.dumps(ROWS),
    "columns.json": json.dumps(columns()),
    "pandas.json": json.dumps({name: dict(enumerate(values)) for name, values in columns().items()}),
    "by_video.json": json.dumps(
        {"a": {"caption": ["a dog, running", "it runs"], "split": "train"}} | {row["video"]: row for row in ROWS[2:]}
    ),
    "by_video_captions.json": json.dumps(
        {"a": {"captions": ["a dog, running", "it runs"], "split": "train"}}
        | {row["video"]: {"captions": [row["caption"]], "split": row["split"]} for row in ROWS[2:]}
    ),
    "rows_by_video.json": json.dumps(BY_VIDEO),
    "by_split.json": json.dumps(
        {name: [{k: row[k] for k in ("video", "caption")} for row in ROWS[a:b]] for name, a, b in PARTS}
    ),
    "inside.json": json.dumps({"info": {"year": 1}, "annotations": ROWS}),
    "t.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n",
    "lines.json": "\n".join(map(json.dumps, ROWS)) + "\n",
}


def content(found: object) -> dict:
    return {split: [(v.video_id, v.captions) for v in videos] for split, videos in found.splits.items()}


@pytest.mark.parametrize("name", [*FORMS, "t.parquet"])
def test_every_form_of_a_table_is_the_same(tmp_path, name) -> None:
    if name == "t.parquet":
        parquet.write_table(pyarrow.table(columns()), tmp_path / name)
    else:
        write(tmp_path, name, FORMS[name])
    assert content(read_table(tmp_path / name)) == EXPECTED


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("video,caption\na,x\nb,\n", 3),
        ("sep=,\nvideo,caption\na,x\nb,\n", 4),
        ("\n\nvideo,caption\n\na,x\n\nb,\n", 7),
        ('video,caption\na,"x\ny"\nb,\n', 3),  # a cell of two lines is in one row
        ("sep=,\nvideo,caption\na,x\nb,x,y\n", 4),
    ],
)
def test_an_error_names_the_row_of_the_file(tmp_path, text, row) -> None:
    with pytest.raises(UserError, match=rf"row {row} (is no word|has 3 cells)"):
        read_table(write(tmp_path, "t.csv", text))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "video,caption\na,\"['x' 'y']\"\n", "a list without commas; write it with .tolist"),
        ("t.csv", 'video,caption\na,"[1, 2]"\n', "caption of row 2 is 1, no text but int"),
        ("t.csv", "video,caption\na,\"{'t': 'x'}\"\n", "no text but dict"),
        ("t.csv", "video,caption\na,3.5\n", "'3.5', a number"),
        ("t.csv", "video,caption\na,#REF!\n", "write for a missing value"),
        ("t.csv", "video,caption\na,\u200b\n", "caption of row 2 is no word"),
        ("t.csv", "video,caption\na,x\0y\n", "half a character or none"),
        ("t.csv", "PK\x03\x04", "is an Excel workbook or another archive; save its table as CSV"),
        ("t.json", '[{"video": "a", "caption": "x \\ud83d"}]', "half a character or none"),
        ("t.json", '{"a": "x", "a": "y"}', "'a' stands in it twice: give all values of one name in a list"),
        ("t.jsonl", '{"video": "a", "caption": "x"}\n\n{"video": "b", "caption": null}', "row 3 is no value"),
    ],
)
def test_what_is_no_caption_is_refused(tmp_path, name, text, said) -> None:
    with pytest.raises(UserError, match=said):
        read_table(write(tmp_path, name, text))


def test_words_in_brackets_and_times_with_decimal_commas_are_read(tmp_path) -> None:
    file = write(tmp_path, "t.csv", "video;caption;start;end\na;[music] plays;0,5;1:02,25\nb;[music];;\n")
    first, second = read_table(file).splits["train"]
    assert first.clip == (0.5, 62.25) and first.captions[0][1] == "[music] plays"
    assert second.captions[0][1] == "[music]"


def test_a_video_of_two_splits_has_the_captions_of_each(tmp_path) -> None:
    file = write(tmp_path, "t.csv", "video,caption,split\na,one,train\na,two,test\na,three,train\n")
    assert content(read_table(file)) == {
        "train": [("a", (("a#0", "one"), ("a#2", "three")))],
        "test": [("a", (("a#1", "two"),))],
    }


def test_files_that_differ_in_their_ending_alone_are_two_videos(tmp_path) -> None:
    file = write(tmp_path, "t.csv", "video,caption\nsub/a.mp4,one\nsub/a.mkv,two\nb.mp4,three\nb,four\nb.MP4,five\n")
    assert content(read_table(file))["train"] == [
        ("sub/a.mp4", (("sub/a.mp4#0", "one"),)),
        ("sub/a.mkv", (("sub/a.mkv#0", "two"),)),
        ("b", (("b#0", "three"), ("b#1", "four"), ("b#2", "five"))),
    ]


def test_lists_of_rows_of_several_names_are_refused_by_their_names(tmp_path) -> None:
    file = write(tmp_path, "t.json", json.dumps({"train": ROWS, "test": ROWS}))
    with pytest.raises(UserError, match="it has several lists of rows, train, test"):
        read_table(file)


def test_a_list_of_captions_is_several_captions(tmp_path) -> None:
    lists = {"a": ["one", "two"], "b": ["three"]}
    files = [write(tmp_path, "map.json", json.dumps(lists))]
    lines = "\n".join(json.dumps({"video": video, "caption": captions}) for video, captions in lists.items())
    files.append(write(tmp_path, "rows.jsonl", lines))
    files.append(write(tmp_path, "pandas.csv", "video,caption\na,\"['one', 'two']\"\nb,\"['three']\"\n"))
    parquet.write_table(pyarrow.table({"video": list(lists), "caption": list(lists.values())}), tmp_path / "t.parquet")
    for file in [*files, tmp_path / "t.parquet"]:
        (videos,) = read_table(file).splits.values()
        assert [[text for _, text in video.captions] for video in videos] == [["one", "two"], ["three"]]


def test_names_and_captions_as_parquet_of_other_programs_has_them(tmp_path) -> None:
    """Text as bytes, and videos as a Hugging Face dataset stores them."""
    videos = [{"path": "sub/a.mp4", "bytes": None}, {"path": "b.mp4", "bytes": None}]
    parquet.write_table(pyarrow.table({"video": videos, "caption": ["é".encode(), b"two"]}), tmp_path / "t.parquet")
    assert content(read_table(tmp_path / "t.parquet"))["train"] == [
        ("sub/a", (("sub/a#0", "é"),)),
        ("b", (("b#0", "two"),)),
    ]
    parquet.write_table(pyarrow.table({"video": ["a"], "caption": [b"\xff\xfe"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="caption of row 1 is bytes that are no UTF-8 text"):
        read_table(tmp_path / "t.parquet")


def test_columns_of_other_names(tmp_path) -> None:
    file = write(tmp_path, "t.csv", "n,clip,words,text\n1,a.mp4,one,x\n")
    found = read_table(file, {"video": "clip", "caption": "words"})
    assert content(found) == {"train": [("a", (("a#0", "one"),))]}
    assert "column 'text' is not read" in found.facts and "column 'words' is read as caption" in found.facts
    for given, message in {
        (): r"no column 'video'; it has n, clip, words, text. Name it with --columns video=COLUMN",
        (("video", "nope"),): "has no column 'nope'; it has n, clip",
        (("film", "clip"),): "--columns: 'film' is unknown; the roles are video, caption, split, start, end, id",
    }.items():
        with pytest.raises(UserError, match=message):
            read_table(file, dict(given))


BAD = {
    "null": (json.dumps([{"video": "a", "caption": None}]), "caption of row 1 is no value"),
    "NaN": ('[{"video": "a", "caption": NaN}]', "caption of row 1 is no value"),
    "number": (json.dumps([{"video": "a", "caption": 12}]), "caption of row 1 is 12, no text but int"),
    "list of numbers": (json.dumps([{"video": "a", "caption": [1]}]), "caption of row 1 is 1, no text but int"),
    "empty list": (json.dumps([{"video": "a", "caption": []}]), "caption of row 1 is an empty list"),
    "missing key": (json.dumps([{"video": "a", "caption": "x"}, {"video": "b"}]), "caption of row 2 is no value"),
    "no video": (json.dumps([{"video": None, "caption": "x"}]), "video of row 1 is no value"),
    "no list": ('{"video": 3}', "is 3, no text but int"),
}
BAD_CSV = {
    "empty": ("video,caption\na,\n", "caption of row 2 is no word"),
    "nan": ("video,caption\na,x\nb,nan\n", "caption of row 3 is 'nan', which programs write for a missing value"),
    "comma": ("video,caption\na,a dog, running\n", r"row 2 has 3 cells, the header 2: put text .* in quotes"),
    "short": ("video,caption,split\na,b\n", r"row 2 has 2 cells, the header 3"),
    "split": ("video,caption,split\na,b,night\n", "'night'; the splits are train, val and test"),
    "time": ("video,caption,start\na,b,soon\n", "start of row 2 is 'soon', which is no time"),
    "order": ("video,caption,start,end\na,b,3,2\n", "end of row 2 is 2, which is not after the start 3"),
    "open quote": (
        'video,caption\na,one dog\nb,"two dogs\nc,three\n',
        "unexpected end of data, in the row after line 2",
    ),
    "two columns": ("video,caption,caption\na,b,c\n", "has several columns 'caption'"),
    "many": ("video,caption\n" + "a,\n" * 9, "and 6 more"),
    "header only": ("video,caption\n", "has no row"),
}


@pytest.mark.parametrize(("name", "case"), [*(("t.json", c) for c in BAD), *(("t.csv", c) for c in BAD_CSV)])
def test_doctor_and_build_refuse_the_same_cells(tmp_path, name, case) -> None:
    text, message = (BAD if name == "t.json" else BAD_CSV)[case]
    file = write(tmp_path, name, text)
    (tmp_path / "videos").mkdir()
    places = [f"--annotations={file}", f"--videos={tmp_path / 'videos'}", f"--out={tmp_path / 'out'}"]
    for command in (doctor_command, build_command):
        with pytest.raises(UserError, match=message) as caught:
            command.main(["--dataset=table", *places, "--workers=1"])
        assert "\n" not in str(caught.value)


def test_captions_of_other_readers_are_checked_as_well(tmp_path) -> None:
    (tmp_path / "videos").mkdir()
    videos = [{"video_id": "a", "split": "train"}]
    wrong = {"caption of sentence 0 is no value": None, "no text but list": ["x"], "is 3, no text but int": 3}
    for message, caption in wrong.items():
        sentences = [{"video_id": "a", "sen_id": 0, "caption": caption}]
        file = write(tmp_path, "a.json", "\ufeff" + json.dumps({"videos": videos, "sentences": sentences}))
        with pytest.raises(UserError, match=message):
            read_msrvtt_json(file, tmp_path / "videos")
    sentences = [{"video_id": "a", "sen_id": 0, "caption": "a dog"}]
    write(tmp_path, "a.json", "\ufeff" + json.dumps({"videos": videos, "sentences": sentences}))
    assert read_msrvtt_json(file, tmp_path / "videos")[0].captions == (("sen0", "a dog"),)


def test_a_caption_that_is_no_text_is_refused_whichever_reader_found_it(tmp_path) -> None:
    with pytest.raises(UserError, match="caption v#0 of video v is None, which is no text"):
        Gathering(tmp_path).add("train", [("v", [("v#0", None)])])


def test_times_and_lists_in_cells() -> None:
    assert [seconds_cell(value) for value in ("1:02.5", "1:00:01", 3, "", None, math.nan)] == [
        62.5,
        3601,
        3,
        *[None] * 3,
    ]
    assert text_cells("[not a list") == ["[not a list"]
    for value in ("-1", True, "1:2:3:4", "00:01:75", "0:75:00", "1.5:00"):
        with pytest.raises(BadCell):
            seconds_cell(value)


def test_held_out_videos_are_those_of_the_smallest_hashes_and_enough() -> None:
    ids = [f"v{i}" for i in range(400)]
    found = held_out_parts(ids, ["val", "test"])
    assert {part: len(chosen) for part, chosen in found.items()} == {"val": 40, "test": 40}
    assert not set(found["val"]) & set(found["test"])
    assert held_out_parts(list(reversed(ids)), ["val", "test"])["val"] == found["val"][::-1]  # whatever the order
    for size, counts in {30: [5, 5], 8: [1, 1], 3: [1, 1], 2: [1]}.items():
        assert [len(part) for part in held_out_parts(ids[:size], ["val", "test"]).values()] == counts
    assert list(held_out_parts(ids, ["test"])) == ["test"]


def places(folder: Path, table: str) -> list[str]:
    paths = {"annotations": folder / table, "videos": folder / "videos", "out": folder / "prepared"}
    return ["--dataset=table", *(f"--{name}={path}" for name, path in paths.items()), "--workers=1", "--size=16"]


def doctor(folder: Path, table: str, capsys) -> tuple[int, dict]:
    code = doctor_command.main([*places(folder, table), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def folder(tmp_path, write_video, counting_pictures) -> Path:
    """Videos of 60 frames, ten a second, whose brightness counts frames."""
    (tmp_path / "videos/sub").mkdir(parents=True)
    for name in ("a.mp4", "b.avi", "c.mkv", "sub/d.mp4"):
        write_video(tmp_path / "videos" / name, counting_pictures(60))
    return tmp_path


def test_a_table_is_prepared_and_its_run_is_named_after_it(folder, capsys) -> None:
    shutil.move(folder / "videos/a.mp4", folder / "videos" / (unicodedata.normalize("NFD", "é") + ".mp4"))
    write(folder, "t.csv", "file,text\né,one\né,two\nb.mp4,three\nc.mkv,four\nsub/d.mp4,five\n")
    code, found = doctor(folder, "t.csv", capsys)
    assert code == 0 and found["is_sound"], found["findings"]
    said = " ".join(each["what"] for each in found["findings"])
    assert "1 training video held out as val" in said and "as test" in said
    assert build_command.main([*places(folder, "t.csv"), "--strict"]) == 0
    printed = capsys.readouterr().out
    assert "held out of the training videos by the hash of their ids" in printed
    assert "train with --config=own" in printed
    assert "`val` and `test` held out of `train`" in (folder / "prepared/report.md").read_text()
    prepared = PreparedDataset.open(folder / "prepared")
    ids = [video for split in ("train", "val", "test") for video in prepared.split(split).video_ids]
    assert sorted(ids) == ["b", "c", "sub/d", "é"]
    prepared = f"--config.data.prepared={folder / 'prepared'}"
    config = named_after_data(load_config("own:xpool", [prepared]))
    captions = json.loads((folder / "prepared/manifest.json").read_text())["splits"]["train"]["captions"]
    assert config.name == folder.name and config.batch_size <= captions < 2 * config.batch_size
    assert named_after_data(load_config("own:crosstvr", [prepared])).first_stage.name.startswith(folder.name)
    with pytest.raises(UserError, match=r"data_prep.build --dataset=table"):
        named_after_data(load_config("own"))


def test_a_part_of_a_file_is_a_video_of_its_own(folder, frame_number) -> None:
    rows = "a,one,0,2,train\na,two,2,4.5,val\na,three,0:05,,test\nb,four,,,train\na,five,2.2,2.6,train\n"
    write(folder, "t.csv", "video,caption,start,end,split\n" + rows)
    assert build_command.main([*places(folder, "t.csv"), "--strict"]) == 0
    prepared = PreparedDataset.open(folder / "prepared")
    shown = {}
    for split in ("train", "val", "test"):
        for row, video in enumerate(prepared.split(split).video_ids):
            frames, mask = prepared.split(split).reader.frames(row, 8)
            shown[video] = [frame_number(frame) for frame in frames[mask]]
    assert shown == {
        "a_0_2": [0, 10],
        "a_2_4.5": [20, 30, 40],
        "a_5_end": [50],
        "b": [0, 10, 20, 30, 40, 50],
        "a_2.2_2.6": [22],  # no second begins within it: the picture at its start
    }


def test_a_part_behind_the_end_of_its_file_is_left_out_and_said(folder, capsys) -> None:
    write(folder, "t.csv", "video,caption,start,split\na,one,9,train\nb,two,0,train\nc,three,0,val\n")
    assert build_command.main(places(folder, "t.csv")) == 0
    assert "its part begins at 9 s, and the file has 6 s" in (folder / "prepared/report.md").read_text()


def test_the_doctor_finds_what_build_refuses(folder, capsys) -> None:
    write(folder, "t.csv", "video,caption,id,split\na,one,k,train\nb,two,k,train\nc,three,k,val\nc,x,y,test\n")
    code, found = doctor(folder, "t.csv", capsys)
    said = " ".join(each["what"] for each in found["findings"] if each["changes_results"])
    assert code == 1 and "build refuses this: 1 caption id given more than once: k" in said
    assert "1 video in val and in test" in said
    with pytest.raises(UserError, match="1 video in several splits: c"):
        build_command.main(places(folder, "t.csv"))
    write(folder, "u.csv", "video,caption,split\na,one,train\nb,two,test\n")
    found = doctor(folder, "u.csv", capsys)[1]
    assert "there is no val, which training needs" in [each["what"] for each in found["findings"]]


def test_of_two_files_of_a_name_the_table_says_which(folder) -> None:
    shutil.copy(folder / "videos/a.mp4", folder / "videos/sub/a.mp4")
    shutil.copy(folder / "videos/a.mp4", folder / "videos/a.mkv")
    rows = f"sub/a.mp4,x\na.mkv,y\nsub\\d.mp4,z\n{folder / 'videos/b.avi'},w\n/elsewhere/videos/c.mp4,v\n"
    write(folder, "t.csv", f"video,caption\n{rows}")
    found = assemble("table", folder / "t.csv", folder / "videos", hold_out=False)
    assert [str(entry.path.relative_to(folder / "videos")) for entry in found.entries] == [
        *("sub/a.mp4", "a.mkv", "sub/d.mp4", "b.avi", "c.mkv"),
    ]
    with pytest.raises(UserError, match="--columns names columns of a table, and msrvtt is none"):
        assemble("msrvtt", folder, folder / "videos", columns={"video": "x"})


def test_numbers_are_names_of_videos() -> None:
    """pandas reads ids of digits as numbers."""
    from data_prep.cells import name_cell

    assert [name_cell(value) for value in (7, 7.0, np.int64(7).item(), "007")] == ["7", "7", "7", "007"]
