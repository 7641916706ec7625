"""Compute the tokens of a second stage's own vision encoder once, for all videos of a prepared dataset:
python -m eaglenet_jax.vision_tokens --config=configs/msrvtt.py:crosstvr
"""

from __future__ import annotations

from collections.abc import Sequence

from eaglenet_jax.command import Parser, run_command


def main(arguments: Sequence[str]) -> None:
    """Compute the tokens of the config that the flags name."""
    parser = Parser(
        prog="python -m eaglenet_jax.vision_tokens",
        description="Compute the tokens of the vision encoder that the head of a config names, as crosstvr does in "
        "`config.head.tokens` (a Hugging Face CLIP or BLIP-2, or a work directory). Interrupted, it continues where it "
        "was.",
    )
    parser.add_argument(
        "--config", required=True, metavar="NAME[:ARGUMENTS]", help="a config of two stages, as msrvtt:crosstvr"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="videos at a time (default %(default)s)"
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="compute type (default %(default)s); two bytes a number are stored, of float32 as float16",
    )
    known, overrides = parser.parse_known_args(arguments)

    from eaglenet_jax.config.loading import load_config  # imported late, so that --help answers at once
    from eaglenet_jax.data.vision_tokens import SHARD_VIDEOS
    from eaglenet_jax.runs.vision_tokens import make_tokens

    for split, folder in make_tokens(load_config(known.config, overrides), known.batch_size, known.dtype).items():
        print(f"{split}: {folder}, shards of {SHARD_VIDEOS} videos")


if __name__ == "__main__":
    run_command(main)
