"""Reading of arrays that other programs wrote: .npy, .npz, .pt, .mat, .parquet and tables of text.

The content decides what a file is, not its suffix. Nothing in a file is ever executed. `FILE:NAME` names one array of a
file that holds several.
"""

from __future__ import annotations

import csv
import io
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eaglenet_jax.errors import UserError, first_line, near_path
from eaglenet_jax.metrics.text_files import delimiter_of, read_text, table_text
from eaglenet_jax.text_encoding import encoding_of

NUMPY, ZIP, PARQUET, HDF5, PICKLE = b"\x93NUMPY", b"PK", b"PAR1", b"\x89HDF", b"\x80"
MATLAB, MATLAB_HDF5 = b"MATLAB 5.0", b"MATLAB 7.3"
UTF8_MARK = b"\xef\xbb\xbf"
TRUE, FALSE = ("True", "true", "TRUE"), ("False", "false", "FALSE")  # of masks
DAMAGED = (
    ValueError, EOFError, SyntaxError, OverflowError, TypeError, KeyError, IndexError, zipfile.BadZipFile, zlib.error,
    tokenize.TokenError,
)  # fmt: skip
FORMS = ".npy, .npz, .pt, .mat, .csv, .tsv and .parquet"


@dataclass(frozen=True)
class FileArray:
    """An array of numbers from a file.

    Attributes:
        values: [Nt, Nv] or [V, C, Nv].
        row_ids: Names of the rows, None where the file has none.
        column_ids: Names of the columns, None where the file has none.
        notes: Sentences about how the file was read.
    """

    values: np.ndarray
    row_ids: Sequence[str] | None = None
    column_ids: Sequence[str] | None = None
    notes: tuple[str, ...] = ()


def read_array(path: str | Path) -> FileArray:
    """Open a matrix of numbers, or a stack of matrices, that any program wrote.

    Args:
        path: Of the file, see `open_array`.

    Returns:
        The array; a .npy file is mapped, not copied. bfloat16 becomes float32.

    Raises:
        UserError: As `open_array`, or if the array is not of real numbers with two or three dimensions.
    """
    found = open_array(path)
    values = found.values
    if 0 in values.shape:
        raise UserError(f"{path} is empty (shape {values.shape}): expected a matrix of numbers")
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        raise UserError(f"{path} has shape {values.shape} and type {values.dtype}: expected a matrix of numbers")
    return found


def open_array(path: str | Path) -> FileArray:
    """Open an array of any shape and type that any program wrote.

    Args:
        path: Of the file; `FILE:NAME` for one array of a .npz, .mat or .pt file with several.

    Returns:
        The array; a .npy file is mapped, not copied. bfloat16 becomes float32.

    Raises:
        UserError: If there is no such file, if it is damaged, or if it holds objects that would have to be executed.
    """
    file, name = split_name(path)
    try:
        with file.open("rb") as opened:
            start = opened.read(128)
        return _reader(start, file)(file, name)
    except OSError as error:
        raise UserError(f"cannot read scores from {file}: {error.strerror or error}{near_path(file)}") from error
    except DAMAGED as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise UserError(
                f"{file} holds Python objects, which are not opened: save a plain array of numbers"
            ) from error
        reason = first_line(error)
        raise UserError(f"{file} is damaged or cut short ({reason}): write it again, as with numpy.save") from error


def split_name(path: str | Path) -> tuple[Path, str]:
    """Split `FILE:NAME` into the file and the name of what is wanted in it; the name is "" where there is none."""
    file, colon, name = str(path).rpartition(":")
    if colon and not Path(path).exists() and Path(file).is_file():
        return Path(file), name
    return Path(path), ""


def parquet_table(file: Path) -> Any:
    """Read a Parquet file as a pyarrow table. Raises UserError for a damaged one."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file} is damaged or no Parquet file ({first_line(error)})") from error


def _reader(start: bytes, file: Path) -> Callable[[Path, str], FileArray]:
    """The reader of a file that begins with `start`."""
    if not start:
        raise UserError(f"{file} is empty: write it again")
    if start.startswith(ZIP):
        with zipfile.ZipFile(file) as archive:
            return _read_npz if any(member.endswith(".npy") for member in archive.namelist()) else _read_pytorch
    hdf5 = ((HDF5, _refuse_hdf5), (MATLAB_HDF5, _refuse_hdf5))
    for mark, reader in ((NUMPY, _read_npy), (PARQUET, _read_parquet), (MATLAB, _read_matlab), *hdf5):
        if start.startswith(mark):
            return reader
    if encoding_of(start).startswith("utf-16"):
        return _read_text
    if start.startswith(PICKLE) and file.suffix in (".pt", ".pth", ".bin"):
        return _read_pytorch
    if b"\0" in start or start.startswith(PICKLE):
        if file.suffix == ".mat":
            return _read_matlab  # version 4 has no mark
        raise UserError(f"{file} is not a .npy file, nor another that is read ({FORMS}); nothing of it was executed")
    if file.suffix.lower() in (".json", ".jsonl") or start.removeprefix(UTF8_MARK).lstrip()[:1] in (b"[", b"{"):
        return _refuse_json
    return _read_text


def _read_npy(file: Path, name: str) -> FileArray:
    _no_name(file, name)
    return _plain(np.load(file, mmap_mode="r", allow_pickle=False), file)


def _read_npz(file: Path, name: str) -> FileArray:
    with np.load(file, allow_pickle=False) as archive:
        return _plain(_chosen(_Lazy(archive), file, name), file)


def _read_matlab(file: Path, name: str) -> FileArray:
    from scipy.io import loadmat, matlab

    try:
        content = loadmat(file)
    except (NotImplementedError, matlab.MatReadError) as error:
        raise UserError(f"{file} cannot be read ({error}); save it with -v7, or as .npy") from error
    arrays = {
        key: value.toarray() if hasattr(value, "toarray") else np.asarray(value)
        for key, value in content.items()
        if not key.startswith("__")
    }
    return FileArray(_chosen(arrays, file, name))


def _refuse_hdf5(file: Path, name: str) -> FileArray:
    raise UserError(
        f"{file} is an HDF5 file (MATLAB's -v7.3 is one), which is not read: save it with -v7 in MATLAB, or with "
        "numpy.save from h5py"
    )


def _refuse_json(file: Path, name: str) -> FileArray:
    raise UserError(
        f"{file} is JSON; scores are read from {FORMS}. Two lines of Python convert nested lists: "
        f'scores = json.load(open("{file.name}", encoding="utf-8-sig")) and '
        f'numpy.save("{file.stem}.npy", numpy.array(scores, "float32"))'
    )


def _read_pytorch(file: Path, name: str) -> FileArray:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{file} is a PyTorch file, which needs PyTorch: pip install torch, or write "
            "numpy.save('scores.npy', scores.float().cpu().numpy())"
        ) from error
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many types on a damaged file
        raise UserError(
            f"{file} is damaged, or holds more than tensors, which is not opened; write it with "
            "torch.save(scores, file)"
        ) from error
    arrays = {}
    for key, value in _leaves(held):
        if isinstance(value, torch.Tensor):
            dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
            few_bits = dense.is_floating_point() and dense.dtype != torch.float64
            arrays[key] = (dense.float() if few_bits else dense).numpy()
    return FileArray(_chosen(arrays, file, name))


def _leaves(held: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of what dicts and lists hold, at any depth, with dots in the names."""
    items = held.items() if isinstance(held, Mapping) else enumerate(held) if isinstance(held, list | tuple) else None
    if items is None:
        yield name, held
    else:
        for key, value in items:
            yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _read_parquet(file: Path, name: str) -> FileArray:
    _no_name(file, name)
    return _of_table(parquet_table(file), file, named=True)


def _read_text(file: Path, name: str) -> FileArray:
    """Read a table of numbers, with commas, tabs, semicolons or white space; rows and columns may have names."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    _no_name(file, name)
    text, delimiter = table_text(read_text(file))
    content, lines = text.encode(), text.split("\n")
    first = lines[0]
    delimiter = delimiter or delimiter_of(first) or delimiter_of(lines[1] if len(lines) > 1 else "")
    if not delimiter:
        words = text.split()
        if words and all(word in (*TRUE, *FALSE) for word in words) and len(words) == len(text.strip().split("\n")):
            return FileArray(np.array([[word in TRUE] for word in words]))
        try:
            return FileArray(np.loadtxt(io.BytesIO(content), ndmin=2))
        except ValueError as error:
            raise UserError(f"{file} is not a .npy file, nor a table of numbers ({FORMS} are read)") from error
    fields = next(csv.reader([first], delimiter=delimiter))
    # A delimiter behind the last number of each line makes an empty column.
    trailing = len(fields) > 1 and not fields[-1].strip() and bool(fields[0].strip())
    fields = fields[:-1] if trailing else fields
    comma = delimiter == ";" and "," in lines[-2 if len(lines) > 1 else 0]
    header = _is_header([field.replace(",", ".") for field in fields] if comma else fields)
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(content),
            read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, skip_rows=int(header)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
            convert_options=arrow_csv.ConvertOptions(
                decimal_point="," if comma else ".",
                null_values=[""],
                true_values=TRUE,
                false_values=FALSE,
            ),
        )
    except pyarrow.ArrowException as error:
        raise UserError(f"{file} is not a table of numbers ({first_line(error)})") from error
    if trailing and table.num_columns > len(fields) and pyarrow.types.is_null(table.column(len(fields)).type):
        table = table.remove_column(len(fields))
    if header:
        table = table.rename_columns([f"{field}" if field else "" for field in fields][: table.num_columns])
    return _of_table(table, file, named=header)


def _of_table(table: Any, file: Path, *, named: bool) -> FileArray:
    """Numbers of a pyarrow table; one column of text, or one without a name, holds the names of the rows."""
    import pyarrow

    columns = [table.column(position) for position in range(table.num_columns)]
    names = list(table.column_names)
    texts = [
        position
        for position, column in enumerate(columns)
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)
    ]
    # pandas writes its index as a column without a name, in Parquet as __index_level_0__.
    index = texts or [position for position, title in enumerate(names) if named and title in ("", "__index_level_0__")]
    if len(index) > 1:
        cell = next((c for c in columns[index[1]].to_pylist() if c is not None), "")
        raise UserError(
            f"{file} has text where numbers are expected, as {str(cell)[:40]!r} in column {index[1] + 1}: write a "
            "table of numbers, texts × videos, with the ids in the first row and column or not at all"
        )
    row_ids = [str(entry) for entry in columns[index[0]].to_pylist()] if index else None
    kept = [position for position in range(len(columns)) if position not in index]
    if len(kept) == 1 and _holds_lists(columns[kept[0]].type):
        return FileArray(_matrix_of_lists(columns[kept[0]], file), row_ids)
    arrays = [columns[position].to_numpy() for position in kept]
    wrong = [position for position, array in zip(kept, arrays, strict=True) if array.dtype.kind not in "fiub"]
    if wrong or not arrays:
        where = f"column {wrong[0] + 1} ({names[wrong[0]]})" if wrong else "no column"
        raise UserError(f"{file} is not a table of numbers: {where} {'is none' if wrong else 'holds any'}")
    empty = [position for position in kept if columns[position].null_count]
    if empty:
        raise UserError(f"{file} has an empty cell in column {empty[0] + 1}: every pair needs a score")
    column_ids = [names[position] for position in kept] if named else None
    notes = ("the first row was read as names of the columns",) if named and file.suffix != ".parquet" else ()
    return FileArray(np.stack(arrays, axis=1), row_ids, column_ids, notes)


def _holds_lists(kind: Any) -> bool:
    import pyarrow

    return bool(
        pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)
    )


def _matrix_of_lists(column: Any, file: Path) -> np.ndarray:
    """A column with a list of numbers in each row, as a matrix."""
    try:
        return np.array(column.to_pylist(), np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{file}: its lists are not of numbers, or not of one length: every pair needs a score"
        ) from error


def _is_header(fields: Sequence[str]) -> bool:
    """Whether the first row of a table names its columns: something in it is no number, or it counts from 0."""
    try:
        numbers = [float(field not in FALSE) if field in (*TRUE, *FALSE) else float(field) for field in fields]
    except ValueError:
        return True
    return len(numbers) > 1 and numbers == list(range(len(numbers))) and all(field.isdigit() for field in fields)


class _Lazy(Mapping[str, np.ndarray]):
    """The arrays of a .npz that hold numbers, read when they are asked for."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self._archive[name])

    def __iter__(self) -> Any:
        return iter(self._archive.files)

    def __len__(self) -> int:
        return len(self._archive.files)


def _chosen(arrays: Mapping[str, np.ndarray], file: Path, name: str) -> np.ndarray:
    """The array of that name, or the only one that can be a matrix of scores."""
    if name:
        if name not in arrays:
            raise UserError(f"{file} has no array {name!r}; it has {', '.join(arrays) or 'none'}")
        return arrays[name]
    fitting = {key: array for key in arrays if _may_be_scores(array := _unless_objects(arrays, key))}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if not fitting and len(arrays) == 1:  # which the caller looks at
        return next(iter(arrays.values()))
    if not fitting:
        raise UserError(f"{file} has no matrix of numbers; it has {', '.join(arrays) or 'nothing'}")
    shapes = ", ".join(f"{key} {array.shape}" for key, array in fitting.items())
    raise UserError(f"{file} has several arrays ({shapes}): name one, as {file}:{next(iter(fitting))}")


def _unless_objects(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """The array of that name; an empty one in place of Python objects, which lie beside the scores unread."""
    try:
        return arrays[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        return np.empty(0)


def _may_be_scores(array: np.ndarray) -> bool:
    two_bytes = array.dtype.kind == "V" and array.dtype.itemsize == 2 and array.dtype.names is None  # bfloat16
    return array.ndim in (2, 3) and (array.dtype.kind in "fiu" or two_bytes)


def _no_name(file: Path, name: str) -> None:
    if name:
        raise UserError(f"{file}:{name}: a file of this kind holds one matrix without a name; leave out :{name}")


def _plain(array: np.ndarray, file: Path) -> FileArray:
    """The array of a NumPy file. NumPy writes bfloat16 as two bytes without a meaning."""
    if array.dtype.kind == "V" and array.dtype.itemsize == 2 and array.dtype.names is None:
        import ml_dtypes

        values = np.asarray(array).view(ml_dtypes.bfloat16).astype(np.float32)
        return FileArray(values, notes=(f"{file.name} holds two bytes a number, read as bfloat16",))
    return FileArray(array)
