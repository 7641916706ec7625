"""Matrices and ids as other programs write them, each read to the numbers that were written."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from scipy.io import savemat

from eaglenet_jax.errors import UserError
from eaglenet_jax.metrics.id_files import read_list, relevance_from_captions, relevance_from_ids
from eaglenet_jax.metrics.measured_files import RelevanceFiles, measure_files
from eaglenet_jax.metrics.score_files import MatrixForm, load_similarity, read_scores
from eaglenet_jax.metrics.score_report import MeasureOptions

# Halves and quarters: every type and every decimal notation holds them exactly.
SCORES = np.round(4 * np.random.default_rng(0).normal(size=(5, 3))) / 4
FAST = MeasureOptions(resamples=5)


def csv_of(scores: np.ndarray, between: str = ",", header: str = "", rows: tuple[str, ...] = ()) -> str:
    lines = [between.join(map(repr, map(float, row))) for row in scores]
    lines = [between.join(pair) for pair in zip(rows, lines, strict=True)] if rows else lines
    return "\n".join([*([header] if header else []), *lines, ""])


def write(folder: Path, kind: str) -> Path:
    """SCORES in a file of a kind."""
    file = folder / f"sims.{kind.split()[0]}"
    if kind == "npy float16":
        np.save(file, SCORES.astype(np.float16))
    elif kind == "npy bfloat16":
        np.save(file, SCORES.astype(ml_dtypes.bfloat16))
    elif kind == "npz":
        np.savez(file, sims=SCORES, ids=np.array(["a"]), loss=np.float32(3))
    elif kind == "mat":
        savemat(file, {"sims": SCORES, "note": "mine"})
    elif kind == "parquet":
        parquet.write_table(pyarrow.table({f"v{i}": SCORES[:, i] for i in range(3)}), file)
    elif kind == "csv":
        file.write_text(csv_of(SCORES))
    elif kind == "csv of pandas":
        file.write_text(csv_of(SCORES, header=",0,1,2", rows=tuple("01234")))
    elif kind == "csv of pandas without index":
        file.write_text(csv_of(SCORES, header="0,1,2"))
    elif kind == "csv with names and a BOM":
        file.write_text("\ufeff" + csv_of(SCORES, header="id,a,b,c", rows=tuple("vwxyz")), newline="\r\n")
    elif kind == "csv with decimal commas":
        file.write_text(csv_of(SCORES, ";").replace(".", ","))
    elif kind == "csv with a comma at the end of each line":
        file.write_text(csv_of(SCORES).replace("\n", ",\n"))
    elif kind == "csv for Excel":
        file.write_text("\ufeffsep=;\n" + csv_of(SCORES, ";").replace(".", ","))
    elif kind == "csv in UTF-16":
        file.write_text(csv_of(SCORES, header="a,b,c"), encoding="utf-16")
    elif kind == "csv of an old Mac":
        file.write_bytes(csv_of(SCORES).replace("\n", "\r").encode())
    elif kind == "csv with a comment":
        np.savetxt(file, SCORES, delimiter=",", header="texts × videos", encoding="utf-8")
    elif kind == "npz with objects":
        np.savez(file, sims=SCORES, ids=np.array([{"a": 1}], object))
    elif kind == "mat with a struct":
        savemat(file, {"sims": SCORES, "options": {"rate": 1.0}})
    elif kind == "parquet of lists":
        parquet.write_table(pyarrow.table({"id": list("vwxyz"), "scores": list(SCORES)}), file)
    elif kind == "tsv":
        file.write_text(csv_of(SCORES, "\t"))
    elif kind == "txt":
        np.savetxt(file, SCORES)
    return file


@pytest.mark.parametrize(
    "kind",
    [
        *("npy float16", "npy bfloat16", "npz", "mat", "parquet", "tsv", "txt", "csv", "csv of pandas"),
        *("csv of pandas without index", "csv with names and a BOM", "csv with decimal commas"),
        "csv with a comma at the end of each line",
        *("csv for Excel", "csv in UTF-16", "csv of an old Mac", "csv with a comment", "npz with objects"),
        *("mat with a struct", "parquet of lists"),
    ],
)
def test_every_kind_of_file_has_the_numbers_that_were_written(tmp_path, kind) -> None:
    found = read_scores(write(tmp_path, kind))
    np.testing.assert_array_equal(found.scores.scores, SCORES)
    if kind == "npy bfloat16":
        assert "read as bfloat16" in found.notes[0]
    if kind == "csv with names and a BOM":
        assert (list(found.text_ids), list(found.video_ids)) == (list("vwxyz"), list("abc"))


def test_one_of_several_arrays_is_named(tmp_path) -> None:
    np.savez(tmp_path / "all.npz", val=SCORES[:3], test=SCORES)
    savemat(tmp_path / "all.mat", {"val": SCORES[:3], "test": SCORES})
    for name in ("all.npz", "all.mat"):
        np.testing.assert_array_equal(load_similarity(f"{tmp_path / name}:test"), SCORES)
        with pytest.raises(UserError, match=rf"val \(3, 3\), test \(5, 3\)\): name one, as .*{name}:val"):
            load_similarity(tmp_path / name)
        with pytest.raises(UserError, match=r"no array 'train'; it has val, test"):
            load_similarity(f"{tmp_path / name}:train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mat", b"\x89HDF\r\n\x1a\n" + bytes(200), "save it with -v7 in MATLAB"),
        (
            "a.mat",
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n",
            "save it with -v7 in MATLAB",
        ),
        ("a.npz", b"PK\x03\x04cut", "damaged or cut short"),
        ("a.parquet", b"PAR1cut", "damaged or no Parquet file"),
        ("a.pkl", b"\x80\x04\x95abc", "not a .npy file, nor another that is read"),
        ("a.csv", b"1,2\n3,\n", "an empty cell in column 2"),
        ("a.csv", b"1,2\n3\n", "not a table of numbers"),
        ("a.csv", b"id,text,score\na,b,1\n", "text where numbers are expected, as 'b' in column 2"),
        ("a.csv", b"", "is empty"),
        ("a.json", b"[[1, 2], [3, 4]]", r'scores = json.load\(open\("a.json".* and numpy.save\("a.npy"'),
        ("a.txt", b'\xef\xbb\xbf{"a": [1, 2]}', r"is JSON; scores are read from .npy, .npz, .pt, .mat, .csv"),
        ("a.txt", b"a dog\na cat\n", "nor a table of numbers"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_similarity(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", "vidé1\nvid2\nvid3\n".encode()),
        ("ids.txt", "\ufeffvidé1\r\nvid2\r\nvid3\r\n\r\n".encode()),
        ("ids.json", ("\ufeff" + json.dumps(["vidé1", "vid2", "vid3"])).encode()),
        ("ids.csv", "vidé1\nvid2\nvid3\n".encode()),
        ("ids.csv", "video_id\nvidé1\nvid2\nvid3\n".encode()),
        ("ids.csv", '\ufeffkey,video_id,sentence\nk,vidé1,"a, b"\nk,vid2,c\nk,vid3,d\n'.encode()),
        ("ids.csv:clip", "clip,sentence\nvidé1,b\nvid2,c\nvid3,d\n".encode()),
        ("ids.tsv:clip", "clip\tsentence\nvidé1\tb, c\nvid2\tc\nvid3\td\n".encode()),
        ("ids.npy", npy(np.array(["vidé1", "vid2", "vid3"]))),
        ("ids.npy", npy(np.array(["vidé1".encode(), b"vid2", b"vid3"]))),
        ("ids.txt", "vidé1\nvid2\nvid3\n".encode("utf-16")),
        ("ids.jsonl", '{"video_id": "vidé1", "n": 1}\n{"video_id": "vid2"}\n{"video_id": "vid3"}\n'.encode()),
        ("ids.json", json.dumps([{"video": "vidé1"}, {"video": "vid2"}, {"video": "vid3"}]).encode()),
        ("ids.json:clip", json.dumps([{"clip": name, "id": 1} for name in ("vidé1", "vid2", "vid3")]).encode()),
        ("ids.npz:names", npz(names=np.array(["vidé1", "vid2", "vid3"]), more=np.eye(3))),
        ("ids.npz", npz(names=np.array(["vidé1", "vid2", "vid3"]))),
        ("ids.txt", "vidé1.mp4\nvid2.avi\nvid3.MKV\n".encode()),
        ("ids.txt", unicodedata.normalize("NFD", "vidé1\nvid2\nvid3\n").encode()),
    ],
)
def test_ids_of_every_kind_meet_each_other(tmp_path, name, content) -> None:
    (tmp_path / name.partition(":")[0]).write_bytes(content)
    ids = read_list(tmp_path / name, 3)
    assert relevance_from_ids(["vid3#0", "vidé1#0", "vid2#1"], ids, (3, 3)).tolist() == [2, 0, 1]
    assert relevance_from_ids(ids, ["vid3.mov", "vidé1", "vid2"], (3, 3)).tolist() == [1, 2, 0]


def test_names_that_say_nothing_and_columns_that_are_not_there_are_refused(tmp_path) -> None:
    (tmp_path / "ids.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"columns a, b: name one, as .*ids\.csv:a"):
        read_list(tmp_path / "ids.csv", 1)
    with pytest.raises(UserError, match="no column 'c'; it has a, b"):
        read_list(f"{tmp_path / 'ids.csv'}:c", 1)
    (tmp_path / "ids.jsonl").write_text('{"video_id": "v"}\n{"id": "w"}\n')
    with pytest.raises(UserError, match="entry 1 has no 'video_id': write each entry as the others"):
        read_list(tmp_path / "ids.jsonl", 2)
    assert relevance_from_ids(["1", "0"], [0.0, 1.0], (2, 2)).tolist() == [1, 0]
    with pytest.raises(UserError, match=r"text id 'v' .* as the video ids have it \('clips/v.mp4' is the first\)"):
        relevance_from_ids(["v"], ["clips/v.mp4"], (1, 1))
    # Two files that differ only in their ending stay two videos.
    assert relevance_from_ids(["a.avi", "a.mp4"], ["a.mp4", "a.avi"], (2, 2)).tolist() == [1, 0]
    with pytest.raises(UserError, match=r"'a' .* names no video"):
        relevance_from_ids(["a", "a.mp4"], ["a.mp4", "a.avi"], (2, 2))


def test_names_in_a_table_say_what_belongs_to_what(tmp_path) -> None:
    scores = np.eye(3)[[2, 0, 1]]
    (tmp_path / "s.csv").write_text(csv_of(scores, header=",a,b,c", rows=("c.mp4", "a#0", "b#7")))
    found = measure_files(tmp_path / "s.csv", options=FAST).summary
    assert found["metrics"]["t2v"]["R@1"] == 100.0 and "from the names in the file" in " ".join(found["notes"])
    (tmp_path / "s.csv").write_text(csv_of(scores, header=",a,b,c", rows=("x", "y", "z")))
    found = measure_files(tmp_path / "s.csv", options=FAST).summary
    assert found["metrics"]["t2v"]["R@1"] == 0.0 and "'x' (row 0) names no video" in " ".join(found["notes"])


def test_padding_is_left_out_in_every_form_of_it(tmp_path) -> None:
    """Three videos with 2, 3 and 1 captions, filled up to three each."""
    rng = np.random.default_rng(1)
    counts, owners = [2, 3, 1], np.array([0, 0, 1, 1, 1, 2])
    real = rng.normal(size=(6, 3))
    stack, mask = np.full((3, 3, 3), -np.inf), np.zeros((3, 3), bool)
    for video, count in enumerate(counts):
        stack[video, :count], mask[video, :count] = real[owners == video], True
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "flat.npy", stack.reshape(9, 3))
    np.save(tmp_path / "zeros.npy", np.where(np.isfinite(stack), stack, 0.0))
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "low.npy", np.where(np.isfinite(stack), stack, -1e9))
    np.save(tmp_path / "nan.npy", np.where(np.isfinite(stack), stack, np.nan))
    np.save(tmp_path / "counts.npy", counts)
    (tmp_path / "mask.csv").write_text("\n".join(",".join(map(str, row)) for row in mask.tolist()))
    np.save(tmp_path / "flat_zeros.npy", np.where(np.isfinite(stack), stack, 0.0).reshape(9, 3))
    np.save(tmp_path / "floats.npy", np.array(counts, np.float64))
    (tmp_path / "counts.txt").write_text("2\n3\n1\n")
    (tmp_path / "mask.txt").write_text("\n".join(map(str, mask.reshape(-1))))
    np.save(tmp_path / "real.npy", real)
    expected = measure_files(tmp_path / "real.npy", relevance=RelevanceFiles("2,3,1"), options=FAST).summary
    for file, form in (
        *((file, MatrixForm(padded=True)) for file in ("stack.npy", "flat.npy", "low.npy", "nan.npy")),
        *(("zeros.npy", MatrixForm(mask=tmp_path / file)) for file in ("mask.npy", "mask.csv", "mask.txt")),
        *(("zeros.npy", MatrixForm(mask=tmp_path / file)) for file in ("counts.npy", "counts.txt", "floats.npy")),
        ("flat_zeros.npy", MatrixForm(mask=tmp_path / "counts.txt")),
    ):
        found = measure_files(tmp_path / file, form=form, options=FAST).summary
        assert found["metrics"] == expected["metrics"] and "3 rows are padding" in found["notes"][0]
    with pytest.raises(UserError, match=r"\[videos, captions, videos\], add --padded .* or --mask=FILE"):
        load_similarity(tmp_path / "stack.npy")
    with pytest.raises(UserError, match=r"text 2 and video 0 is -inf. If this is padding, add --padded"):
        load_similarity(tmp_path / "flat.npy")
    with pytest.raises(UserError, match="as many videos first as last"):
        np.save(tmp_path / "odd.npy", stack[:2])
        load_similarity(tmp_path / "odd.npy", MatrixForm(padded=True))


def test_a_mask_that_says_nothing_is_refused_and_padding_without_a_flag_is_warned_of(tmp_path) -> None:
    stack = np.random.default_rng(1).normal(size=(3, 3, 3))
    stack[2, 2] = -1e4
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "flat.npy", stack.reshape(9, 3))
    for values, message in (
        ([3, 4, 1], r"video 1 has 4 captions, but there are 3 rows for each video"),
        ([3.0, 2.5, 1.0], r"video 1 has 2.5 captions"),
        ([1.0, np.nan] + [1.0] * 7, "neither a truth value nor a count"),
        ([True] * 8, "8 values for 9 rows: give one for each, or a count for each of 3 videos"),
    ):
        np.save(tmp_path / "mask.npy", values)
        with pytest.raises(UserError, match=message):
            load_similarity(tmp_path / "stack.npy", MatrixForm(mask=tmp_path / "mask.npy"))
    found = measure_files(tmp_path / "flat.npy", relevance=RelevanceFiles("3"), options=FAST).summary
    assert "1 of 9 texts have one score with all videos (text 8: -10000)" in found["warnings"][0]
    np.save(tmp_path / "ones.npy", np.ones((3, 3)))
    found = measure_files(tmp_path / "ones.npy", options=FAST).summary
    assert any("they tell no video from another" in said and "--padded" not in said for said in found["warnings"])
    found = measure_files(tmp_path / "stack.npy", form=MatrixForm(padded=True), options=FAST).summary
    assert not any("one score" in warning for warning in found["warnings"])


def test_one_matrix_in_a_stack_is_that_matrix(tmp_path) -> None:
    for number, stack in enumerate((SCORES[None], SCORES[:, :, None])):
        np.save(tmp_path / f"{number}.npy", stack)
        np.testing.assert_array_equal(load_similarity(tmp_path / f"{number}.npy"), SCORES)
        assert f"shape {stack.shape} was read as a matrix" in read_scores(tmp_path / f"{number}.npy").notes


def test_pairs_that_were_not_scored_stand_below_all_others(tmp_path) -> None:
    np.save(tmp_path / "a.npy", [[-5.0, -np.inf, -9.0], [-np.inf, -7.0, -6.0], [1.0, -np.inf, -np.inf]])
    ranks = measure_files(tmp_path / "a.npy", form=MatrixForm(padded=True), options=FAST).placement.t2v.ranks("mean")
    assert ranks.tolist() == [1.0, 2.0, 2.5]


def test_a_matrix_that_is_turned_round_or_holds_distances(tmp_path) -> None:
    scores = np.random.default_rng(2).normal(size=(6, 3)) + 3 * np.repeat(np.eye(3), 2, axis=0)
    np.save(tmp_path / "turned.npy", -scores.T)
    np.save(tmp_path / "plain.npy", scores)
    form = MatrixForm(transpose=True, distances=True)
    np.testing.assert_array_equal(load_similarity(tmp_path / "turned.npy", form), scores)
    with pytest.raises(UserError, match=r"videos × texts: add --transpose"):
        relevance_from_captions("2", (3, 6))
    with pytest.raises(UserError, match=r"videos × texts: add --transpose"):
        relevance_from_ids(list("aabbcc"), list("abc"), (3, 6))


@pytest.mark.parametrize("kind", ["mat", "npy"])
def test_flipped_bits_are_one_line(tmp_path, kind) -> None:
    """Compressed parts raise errors of zlib, the header of a .npy those of Python's tokenizer."""
    values = np.round(np.random.default_rng(0).normal(size=(20, 20)), 1)  # which can be compressed
    content = io.BytesIO()
    {
        "mat": lambda: savemat(content, {"s": values}, do_compression=True),
        "npy": lambda: np.save(content, values),
    }[kind]()
    whole, file = content.getvalue(), tmp_path / f"sims.{kind}"
    refused = 0
    for position in range(*{"mat": (160, 900, 16), "npy": (10, 80)}[kind]):
        flipped = bytearray(whole)
        flipped[position : position + 4] = b"\xff\x00\xff\x54"
        file.write_bytes(flipped)
        try:
            read_scores(file)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(file) in str(error)
    assert refused > 5
