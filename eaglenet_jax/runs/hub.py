"""Runs and exported models to and from the Hugging Face hub, by its own client."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eaglenet_jax.errors import UserError, first_line, near_path
from eaglenet_jax.port.load import HUB_NAME
from eaglenet_jax.runs.card import workdir_card
from eaglenet_jax.runs.export import CARD_FILE, PARAMETER_FILE, SETTINGS_FILE, exported_folder, read_export
from eaglenet_jax.runs.hub_contents import RUN_FILES, check_names, check_systems, managed
from eaglenet_jax.runs.model_formats import read_workdir
from eaglenet_jax.runs.workdir import CHECKPOINTS, EARLIER_STAGES, checkpoint_record, has_checkpoints

TAGS = ("eaglenet_jax", "text-to-video-retrieval")


def push(source: str, name: str, private: bool = False) -> str:
    """Upload an exported model, or what evaluation and search need of a run → a line that says what was done.

    Of a run these are its config, its results and its best checkpoint, and those of its first stage; both kinds get
    their model card. The same commit deletes the files of a model that was pushed there before. The client takes its
    token from the environment variable HF_TOKEN or from `hf auth login`, and its address from HF_ENDPOINT.

    Args:
        source: Folder of an exported model, or a work directory.
        name: Of the repository, as `user/model`; it is created if there is none.
        private: Whether a new repository is private.

    Raises:
        UserError: There is no such model, the hub refuses, or a public repository is there and `private` is asked for.
    """
    _check_name(name)
    folder = exported_folder(source)
    if folder is not None:
        read_export(folder)  # a damaged one is not spread
        files = {file: folder / file for file in (PARAMETER_FILE, SETTINGS_FILE)}
        card = f"# {folder.name}\n"
        if (folder / CARD_FILE).is_file():
            card = (folder / CARD_FILE).read_text(encoding="utf-8")
    elif has_checkpoints(Path(source)):
        workdir = Path(source)
        settings, _ = read_workdir(workdir)
        files = _run_files(workdir)
        check_names(files, source)
        card = workdir_card(workdir, settings, f"python -m eaglenet_jax.hub push {workdir.name} {name}")
    else:
        near = near_path(Path(source), folders=True)
        raise UserError(f"{source} is neither a work directory nor a folder of `search export`; give one of them{near}")
    with _reported(name, "then push again: files change there all together or not at all"):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        client = HfApi(endpoint=_endpoint())
        operations = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        operations.append(CommitOperationAdd(CARD_FILE, _with_tags(card).encode()))
        address = client.create_repo(name, private=private, exist_ok=True)
        info = client.model_info(name)
        if private and not info.private:
            raise UserError(f"{name} is public already; make it private on the hub first, or leave out --private")
        # What an earlier push left would be read instead: its best checkpoint if that is newer, an export before a run.
        there = managed(file.rfilename for file in info.siblings or ())
        old = [CommitOperationDelete(path, is_folder=False) for path in there if path not in {*files, CARD_FILE}]
        client.create_commit(name, [*operations, *old], commit_message=f"Upload {Path(source).name}")
    size = sum(file.stat().st_size for file in files.values()) / 1e6
    return (
        f"{source}: {len(operations)} files, {size:.1f} MB, in {address}; fetch them with: "
        f"python -m eaglenet_jax.hub pull {name} FOLDER"
    )


def pull(name: str, out: Path, revision: str = "", trust: bool = False) -> str:
    """Download a model that `push` uploaded into a new folder → a line that says what it is.

    Args:
        name: Of the repository.
        out: The folder. Nothing is left there if the download fails or is no model of this program.
        revision: A branch, tag or commit; "" for the newest.
        trust: Whether its config may name a system of a package, whose code runs when the model is opened.

    Raises:
        UserError: `out` holds something, there is no such repository, it holds another kind of model or a file that no
            run has, or it names code of a package and is not trusted.
    """
    _check_name(name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists; give a new folder")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    fetched = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        with _reported(name):
            from huggingface_hub import HfApi, snapshot_download

            info = HfApi(endpoint=_endpoint()).model_info(name, revision=revision or None)
            names = [file.rfilename for file in info.siblings or ()]
            check_names(names, name)
            snapshot_download(
                name, revision=info.sha, local_dir=fetched, endpoint=_endpoint(), allow_patterns=managed(names)
            )
        shutil.rmtree(fetched / ".cache", ignore_errors=True)  # notes of the client
        check_systems(fetched, name, trust)
        try:
            what = _identified(fetched, name, out)
        except UserError as error:  # the folder will not be there
            raise UserError(str(error).replace(str(fetched), name)) from error
        if out.is_dir():
            out.rmdir()
        fetched.chmod(0o755)  # temporary folders are for one user
        fetched.rename(out)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    return what


def _run_files(workdir: Path) -> dict[str, Path]:
    """Path in the repository → file of a work directory, with those of its first stage."""
    best = checkpoint_record(workdir).folder
    found = {name: workdir / name for name in RUN_FILES if (workdir / name).is_file()}
    inside = (file for file in sorted(best.rglob("*")) if file.is_file())
    found |= {f"{CHECKPOINTS}/{best.name}/{file.relative_to(best).as_posix()}": file for file in inside}
    for stage in EARLIER_STAGES:
        if has_checkpoints(workdir / stage):
            found |= {f"{stage}/{path}": file for path, file in _run_files(workdir / stage).items()}
    return found


def _identified(folder: Path, name: str, out: Path) -> str:
    """Check what was fetched, and describe it as what will lie in `out`."""
    if exported_folder(folder) is not None:
        settings, _ = read_export(folder)
        use = f"python -m eaglenet_jax.search index VIDEOS --index=INDEX --checkpoint={out}"
        return f"{name}: exported {settings['system']} in {out}; use it with: {use}"
    if has_checkpoints(folder):
        record = checkpoint_record(folder)
        use = f"python -m eaglenet_jax.evaluate --workdir={out} --config.data.prepared=FOLDER"
        return f"{name}: run of {record.config.system}, step {record.step}, in {out}; evaluate it with: {use}"
    raise UserError(
        f"{name} holds no model that this program wrote; a CLIP in Hugging Face's form is given by its name, as "
        f"--config.init_from={name}"
    )


def _with_tags(card: str) -> str:
    """Put the metadata that the hub reads in front of a model card."""
    if card.startswith("---\n"):
        return card
    return "\n".join(["---", "library_name: eaglenet_jax", "tags:", *(f"- {tag}" for tag in TAGS), "---", "", card])


def _endpoint() -> str | None:
    """Address of the hub; None for the public one."""
    return os.environ.get("HF_ENDPOINT") or None


def _check_name(name: str) -> None:
    if not HUB_NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a repository: give USER/MODEL, of letters, digits and - _ .")


@contextlib.contextmanager
def _reported(name: str, then: str = "") -> Iterator[None]:
    """Convert the client's errors to a `UserError` of one line.

    name: of the repository. then: what to do after that, for the message.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name} has no such revision; give a branch, tag or commit of it") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{name}: there is no such repository, or it is private; check the name, or set HF_TOKEN for a private one"
        ) from error
    except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:
        told = first_line(error).rstrip(".")
        reason = first_line(error.__cause__).rstrip(".") if error.__cause__ is not None else ""
        told += f": {reason}" if reason and reason not in told else ""
        codes = [getattr(getattr(each, "response", None), "status_code", 0) for each in (error, error.__cause__)]
        advice = {
            401: "HF_TOKEN is absent or wrong: set it, or run hf auth login",
            403: "HF_TOKEN does not allow this: use a token with the right to write",
            429: "too many requests: try again later",
        }.get(codes[0] or codes[1], "check the connection and HF_TOKEN")
        raise UserError(f"{name}: the hub cannot be used ({told}); {advice}{then and f', {then}'}") from error
