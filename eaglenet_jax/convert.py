"""Convert checkpoints of PyTorch programs: python -m eaglenet_jax.convert --from=eaglenet --input=pytorch_model.bin
--output=runs/released, and back with --to=pytorch or --to=hf
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eaglenet_jax.command import Parser, run_command

SOURCES = ("openai", "hf", "open_clip", "eaglenet", "clip4clip", "ts2net", "xpool", "tmass")

DESCRIPTION = """\
Convert a checkpoint into a work directory, which `eaglenet_jax.evaluate --workdir` and `--config.init_from` of
`eaglenet_jax.train` open; or, with --to=pytorch, a work directory into a checkpoint with the released names; or,
with --to=hf, its CLIP into a folder for transformers.CLIPModel.from_pretrained.

  --from        what --input is
  openai        OpenAI's CLIP, .pt (TorchScript archive or state dict)
  hf            Hugging Face's CLIP, a folder or a hub name
  open_clip     open_clip's folder or file, with open_clip_config.json next to it; or a checkpoint of
                its training (epoch_N.pt) with --architecture
  eaglenet, clip4clip, ts2net, xpool, tmass
                the released program's pytorch_model.bin or .pth

Weights may be split over several files (give the folder, or *.index.json), lie under a key such as
state_dict, model or ema, and have names that start with module., model., _orig_mod. or student.:
the line that is printed says what was found.
"""


def main(arguments: Sequence[str]) -> None:
    """Convert what the flags name and print one line."""
    parser = Parser(
        prog="python -m eaglenet_jax.convert",
        description=DESCRIPTION,
        epilog="Any field of the config can be overridden, as --config.data.prepared=DIR.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        example="--from=eaglenet --input=pytorch_model.bin --output=runs/released",
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=SOURCES,
        help="format of the PyTorch file (--input, or --output with --to=pytorch)",
    )
    parser.add_argument("--input", required=True, help="file, folder or hub name; with --to a work directory")
    parser.add_argument("--output", type=Path, required=True, help="new work directory; a file; a folder")
    parser.add_argument("--to", choices=("eaglenet_jax", "pytorch", "hf"), default="eaglenet_jax")
    parser.add_argument(
        "--config",
        metavar="NAME[:ARGUMENTS]",
        help="config of the work directory; by default msrvtt, fitted to the file",
    )
    parser.add_argument(
        "--weights", metavar="KEY", default="", help="model to take from a file that holds several, such as ema"
    )
    parser.add_argument(
        "--architecture",
        metavar="NAME",
        default="",
        help="with --from=open_clip and no config file: open_clip's name, as ViT-B-32-quickgelu, or a .json of its "
        "model_configs",
    )
    known, overrides = parser.parse_known_args(arguments)

    from eaglenet_jax.runs.convert import to_hf_folder, to_pytorch_file, to_workdir  # late: --help answers at once

    if known.to != "eaglenet_jax":
        asked = {"config": known.config or overrides, "weights": known.weights, "architecture": known.architecture}
        for flag in (flag for flag, value in asked.items() if value):
            parser.error(f"--{flag} belongs to a new work directory and is not given with --to={known.to}")
    if known.to == "hf":
        if known.source:
            parser.error("--from changes nothing with --to=hf; leave it out")
        print(to_hf_folder(Path(known.input), known.output))
    elif known.to == "pytorch":
        print(to_pytorch_file(Path(known.input), known.output, known.source))
    else:
        if known.source is None:
            parser.error("the following arguments are required: --from")
        fields = (known.source, known.input, known.output, known.config, overrides)
        print(to_workdir(*fields, weights=known.weights, architecture=known.architecture))


if __name__ == "__main__":
    run_command(main)
