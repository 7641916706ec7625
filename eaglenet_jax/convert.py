"""Convert checkpoints of PyTorch programs: python -m eaglenet_jax.convert --from=eaglenet --input=pytorch_model.bin
--output=runs/released, and back with --to=pytorch
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command

SOURCES = ("openai", "hf", "open_clip", "eaglenet", "clip4clip", "ts2net", "xpool", "tmass")

DESCRIPTION = """\
Convert a checkpoint into a work directory, which `eaglenet_jax.evaluate --workdir` and `--config.init_from` of
`eaglenet_jax.train` open; or, with --to=pytorch, a work directory into a checkpoint with the released names.

  --from        what --input is
  openai        OpenAI's CLIP, .pt (TorchScript archive or state dict)
  hf            Hugging Face's CLIP, a folder or a hub name
  open_clip     open_clip's safetensors, with open_clip_config.json next to them
  eaglenet, clip4clip, ts2net, xpool, tmass
                the released program's pytorch_model.bin or .pth
"""


def main(arguments: Sequence[str]) -> None:
    """Convert what the flags name and print one line."""
    parser = Parser(
        prog="python -m eaglenet_jax.convert",
        description=DESCRIPTION,
        epilog="Any field of the config can be overridden, as --config.data.prepared=DIR.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=SOURCES,
        help="format of the PyTorch file (--input, or --output with --to=pytorch)",
    )
    parser.add_argument("--input", required=True, help="file, folder or hub name; with --to=pytorch a work directory")
    parser.add_argument("--output", type=Path, required=True, help="new work directory; with --to=pytorch a file")
    parser.add_argument("--to", choices=("eaglenet_jax", "pytorch"), default="eaglenet_jax")
    parser.add_argument(
        "--config",
        metavar="NAME[:ARGUMENTS]",
        help="config of the work directory; by default msrvtt, fitted to the file",
    )
    known, overrides = parser.parse_known_args(arguments)

    from eaglenet_jax.runs.convert import to_pytorch_file, to_workdir  # imported late, so that --help answers at once

    if known.to == "pytorch":
        if known.config or overrides:
            parser.error("--config belongs to the work directory and is not given with --to=pytorch")
        print(to_pytorch_file(Path(known.input), known.output, known.source))
    else:
        if known.source is None:
            parser.error("the following arguments are required: --from")
        print(to_workdir(known.source, known.input, known.output, known.config, overrides))


if __name__ == "__main__":
    run_command(main)
