"""Command line of the search over your own videos.

python -m eaglenet_jax.search index VIDEOS --index=FOLDER --checkpoint=runs/demo
python -m eaglenet_jax.search query "a dog runs up the stairs" --index=FOLDER
python -m eaglenet_jax.search serve --index=FOLDER
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence

from eaglenet_jax.command import Parser, run_command

# Each command is a module of its own, imported only when it runs, so that --help is fast.
COMMANDS = {
    "index": "bring an index up to date with files and folders of videos",
    "query": "find the moments that a sentence, a picture or a video describes",
    "serve": "serve a search page from this machine",
    "mcp": "let an assistant search, over stdin and stdout in the Model Context Protocol",
    "demo": "render clips, index them and answer three queries; offline, in a minute",
    "export": "write a run's best checkpoint as a small folder to share",
}
INDEX = "folder of the index, or a URI that LanceDB opens: s3://…, gs://…, az://…"
CHECKPOINT = (
    "work directory of a run, folder of `search export`, or a Hugging Face CLIP by folder or name; "
    "default: the one with which the index was created"
)


def _parser() -> Parser:
    parser = Parser(prog="python -m eaglenet_jax.search", description="Search your own videos.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        add_arguments: Callable[[argparse.ArgumentParser], None] = globals()[f"_{name}_arguments"]
        add_arguments(commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + "."))
    return parser


def _index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="*", metavar="VIDEOS", help="folders, searched whole, or files")
    parser.add_argument("--index", required=True, metavar="URI", help=INDEX)
    parser.add_argument("--checkpoint", help=CHECKPOINT)
    parser.add_argument("--window", type=float, metavar="SECONDS", help="length of a window (12)")
    parser.add_argument("--overlap", type=float, metavar="SECONDS", help="shared with the previous window (4)")
    parser.add_argument("--prune", action="store_true", help="drop the rows of all files that are gone, of any place")
    parser.add_argument("--watch", action="store_true", help="keep the index up to date with the folders until Ctrl-C")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that share the files, default %(default)s"
    )
    parser.add_argument("--shots", action="store_true", help="also end a window at the end of a shot")


def _query_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="one or more sentences, each a query of its own")
    parser.add_argument("--index", required=True, metavar="URI", help=INDEX)
    parser.add_argument("--checkpoint", help=CHECKPOINT)
    parser.add_argument("--video", metavar="FILE", help="search by a video instead")
    parser.add_argument("--image", metavar="FILE", help="search by a picture instead")
    parser.add_argument("--top", type=int, default=10, help="results, default %(default)s")
    parser.add_argument(
        "--rerank", type=int, metavar="K", help="rescore the K nearest windows with the head; 100 if it can, 0 for none"
    )
    parser.add_argument(
        "--windows", action="store_true", help="whole windows, which overlap, instead of the moments in them"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="also write a page with thumbnails and players")


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", required=True, metavar="URI", help=INDEX)
    parser.add_argument("--checkpoint", help=CHECKPOINT)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on, default %(default)s: only this machine"
    )
    parser.add_argument("--port", type=int, default=7860, help="default %(default)s")
    parser.add_argument(
        "--token", help="what a visitor has to give; default: a new one where --host is not this machine, else none"
    )


def _mcp_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", required=True, metavar="URI", help=INDEX)
    parser.add_argument("--checkpoint", help=CHECKPOINT)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/search_demo", help="default %(default)s")
    parser.add_argument("--clips", type=int, default=60, help="clips to render, default %(default)s")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="work directory of a run")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="default %(default)s")
    parser.add_argument("--how", metavar="TEXT", help="for the model card: how it was trained, such as the command")
    parser.add_argument(
        "--own-words",
        action="store_true",
        help="keep only the embeddings of words in the training captions, for a model trained from scratch",
    )


def main(arguments: Sequence[str]) -> int | None:
    """Run one command."""
    given = _parser().parse_args(arguments)
    command = importlib.import_module(f"eaglenet_jax.search.commands.{given.command}")
    return command.run(given)


if __name__ == "__main__":
    run_command(main)
