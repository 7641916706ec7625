"""Runs and exported models on the Hugging Face hub: python -m eaglenet_jax.hub push runs/demo USER/MODEL, and back
with pull USER/MODEL FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command

DESCRIPTION = """Upload a run or an exported model to the Hugging Face hub, or fetch one. The hub's client takes its
token from HF_TOKEN or `hf auth login`, and the address of another server from HF_ENDPOINT."""


def main(arguments: Sequence[str]) -> None:
    """Upload or fetch what the arguments name and print one line."""
    parser = Parser(prog="python -m eaglenet_jax.hub", description=DESCRIPTION)
    actions = parser.add_subparsers(dest="action", required=True, metavar="push|pull")
    push = actions.add_parser("push", help="upload a work directory or a folder of `search export`")
    push.add_argument("source", help="work directory or exported folder")
    push.add_argument("name", help="repository, as USER/MODEL; created if there is none")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    pull = actions.add_parser("pull", help="fetch what push uploaded into a new folder")
    pull.add_argument("name", help="repository, as USER/MODEL")
    pull.add_argument("out", type=Path, help="new folder")
    pull.add_argument("--revision", default="", help="branch, tag or commit (default the newest)")
    pull.add_argument("--trust", action="store_true", help="accept a model whose system is code of another package")
    flags = parser.parse_args(arguments)

    from eaglenet_jax.runs import hub  # late: --help answers at once

    if flags.action == "push":
        print(hub.push(flags.source, flags.name, flags.private))
    else:
        print(hub.pull(flags.name, flags.out, flags.revision, flags.trust))


if __name__ == "__main__":
    run_command(main)
