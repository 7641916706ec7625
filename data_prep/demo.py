"""`python -m data_prep.demo --root=DIR`: render and prepare MovingShapes, the demo's data, unless done before."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.cache import FrameSettings
from data_prep.flag_checks import check_numbers
from data_prep.lock import alone_in
from data_prep.moving_shapes.captions import CAPTIONS_PER_CLIP
from data_prep.moving_shapes.events import ONE_EVENT, Events
from data_prep.moving_shapes.flags import add_events_arguments, events_flags, events_of, splits_of
from data_prep.moving_shapes.render import ANNOTATED_SPLITS, DEFAULT_SPLITS, RENDERER_VERSION, render
from data_prep.prepare import Decoding, prepare, read_manifest
from data_prep.readers.msrvtt import read_msrvtt_json
from data_prep.syntax.storing import ensure_grammar_syntax, has_syntax
from eaglenet_jax.command import Parser, run_command

# What a split of `render` is called in the prepared data, where that differs.
SPLIT_NAMES = ANNOTATED_SPLITS | {"validate": "val"}


@dataclasses.dataclass(frozen=True)
class DemoData:
    """One version of MovingShapes.

    Attributes:
        root: Folder that holds all versions.
        splits: Clips by split, as in `render`; "validate" is called "val" in the prepared data.
        seed: Of the renderer.
        fps: Frames to store a second.
        size: Side of the stored frames in pixels.
        events: What a clip consists of.
        syntax: Whether the captions' syntax is included, by the grammar that generated them.
    """

    root: Path
    splits: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(DEFAULT_SPLITS))
    seed: int = 0
    fps: float = 3
    size: int = 48
    events: Events = ONE_EVENT
    syntax: bool = False

    @property
    def source(self) -> Path:
        """The folder of videos and annotations; its name encodes what was rendered."""
        amounts = "_".join(f"{split}{count}" for split, count in self.splits.items())
        return self.root / f"moving_shapes_v{RENDERER_VERSION}_seed{self.seed}{self.events.label}_{amounts}"

    @property
    def folder(self) -> Path:
        """The prepared folder; its name encodes frame rate and size."""
        return self.source / f"prepared_{self.size}px_{self.fps:g}fps"

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """By split of the prepared data, the numbers of (clips, captions)."""
        return {SPLIT_NAMES.get(name, name): (clips, CAPTIONS_PER_CLIP * clips) for name, clips in self.splits.items()}

    @property
    def command(self) -> str:
        """The command that makes these data."""
        splits = ",".join(f"{split}={count}" for split, count in self.splits.items())
        flags = f"--splits={splits} --seed={self.seed} --fps={self.fps:g} --size={self.size}{events_flags(self.events)}"
        root = shlex.quote(str(self.root))
        return f"python -m data_prep.demo --root={root} {flags}" + (" --syntax" if self.syntax else "")

    def is_prepared(self) -> bool:
        """Return whether the prepared folder is complete."""
        return read_manifest(self.folder) is not None and (not self.syntax or has_syntax(self.folder))


def ensure_moving_shapes(data: DemoData, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render and prepare the data unless they are complete; return the prepared folder."""
    if read_manifest(data.folder) is None:
        with alone_in(data.source):
            annotation_file = render(
                data.source,
                seed=data.seed,
                splits=dict(data.splits),
                events=data.events,
                workers=workers,
                progress=progress,
            )
            prepare(
                read_msrvtt_json(annotation_file, data.source / "videos"),
                data.folder,
                {"dataset": "moving_shapes"},
                FrameSettings(data.fps, data.size),
                Decoding(workers, progress),
            )
    if data.syntax:
        with alone_in(data.source):
            ensure_grammar_syntax(data.folder)
    return data.folder


def main(arguments: Sequence[str]) -> int:
    """Prepare the data that the flags describe."""
    parser = Parser("python -m data_prep.demo", description=(__doc__ or "").partition(": ")[2])
    default = DemoData(Path("datasets"))
    amounts = ",".join(f"{split}={count}" for split, count in default.splits.items())
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="config.data.root of the training")
    parser.add_argument("--splits", default=amounts, help="as NAME or NAME=COUNT, with commas (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the renderer (default: %(default)s)")
    parser.add_argument("--fps", type=float, default=default.fps, help="frames stored a second (default: %(default)s)")
    parser.add_argument("--size", type=int, default=default.size, help="side of a frame (default: %(default)s)")
    add_events_arguments(parser)
    parser.add_argument("--syntax", action="store_true", help="parse the captions as well, by their grammar")
    flags = parser.parse_args(arguments)
    check_numbers(flags, parser)
    splits, events = splits_of(flags.splits), events_of(flags)
    data = DemoData(flags.root, splits, flags.seed, flags.fps, flags.size, events, flags.syntax)
    print(ensure_moving_shapes(data))
    return 0


if __name__ == "__main__":
    run_command(main)
