"""A config with everything that it names: its data, its tokenizer and its system."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grain
import jax

from eaglenet_jax.config.checking import SPLIT_OF_SELECTION, check_config
from eaglenet_jax.data.pipeline import Batch, batches, batches_per_pass, train_dataset
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.data_name import DEMO_DATA, OWN_COMMAND, OWN_DATA, no_folder
from eaglenet_jax.runs.parameter_digest import ParameterDigest
from eaglenet_jax.system import System, build_system

if TYPE_CHECKING:
    from data_prep.demo import DemoData


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Opened content of a config.

    Attributes:
        config: Resolved.
        system: Encoders and head.
        dataset: Prepared videos and captions.
        tokenizer: Of the captions.
        parameter_digest: Digest of the encoders, computed once for all splits.
    """

    config: Any
    system: System
    dataset: PreparedDataset
    tokenizer: Tokenizer
    parameter_digest: ParameterDigest = dataclasses.field(default_factory=ParameterDigest, repr=False, compare=False)

    @property
    def selection_split(self) -> str:
        """The split that chooses the best checkpoint."""
        return SPLIT_OF_SELECTION[self.config.selection]

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return steps_in_all(self.config, batches_per_pass(self.dataset.split("train"), self.config.batch_size))

    def training_batches(self) -> grain.MapDataset:
        """All training batches without end, by number; of each this process gets its rows, see `train_dataset`."""
        return train_dataset(
            self.dataset.split("train"),
            self.tokenizer,
            batch_size=self.config.batch_size,
            max_frames=self.config.max_frames,
            seed=self.config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def batches(self, start: int = 0, stop: int | None = None) -> Generator[Batch, None, None]:
        """Iterate over training batches, read ahead.

        Batch k depends on data, seed and k alone, so a run that stopped after k batches continues with `start=k`.

        Args:
            start: Number of the first batch.
            stop: Number of the batch at which to end; by default after the `steps` of the config.

        Returns:
            An iterator of batches: dicts of "text_id" [B] uint32, "tokens" [B, L] int32, "video_id" [B] uint32,
            "frames" [B, M, H, W, 3] uint8, "frame_mask" [B, M] bool, and where the head needs them "text_extra" and
            "video_extra". `close()` ends the reading of one that is not exhausted.

        Raises:
            UserError: The batch is larger than the training split, or captions have no words.
        """
        end = self.steps if stop is None else stop
        return batches(self.training_batches(), start=start, stop=end, workers=self.config.data.workers)


def open_experiment(config: Any, prepare: bool = False) -> Experiment:
    """Build the system of a config and open its data.

    Args:
        config: A resolved config.
        prepare: Render and prepare the demo's data where they are missing, as training does.

    Raises:
        UserError: data are missing (the message has the command that makes them) or do not fit the config.
    """
    system = build_system(config)
    text_extra = system.head.text_extra(1)
    dataset = PreparedDataset.open(prepared_folder(config.data, syntax="syntax" in text_extra, prepare=prepare))
    dataset = dataset.with_extra(text_extra, system.head.video_extra(1), config.max_words, system.head.second_encoder())
    check_fit(config, system, dataset.directory, dataset.size, dataset.manifest["splits"])
    return Experiment(config, system, dataset, Tokenizer(config.max_words))


def check_fit(config: Any, system: System, folder: Path, size: int, splits: Collection[str]) -> None:
    """Check that prepared data fit a config.

    Args:
        config: Resolved.
        system: Of the config.
        folder: Of the data.
        size: Side of the stored frames in pixels.
        splits: Names of the splits.

    Raises:
        UserError: The frames have another size than the CLIP reads, or no split can choose the best checkpoint.
    """
    wanted = system.clip.config.image_size
    if size != wanted:
        raise UserError(
            f"the prepared frames are {size} pixels wide, this CLIP reads {wanted}; "
            f"prepare the data again with --size={wanted}, or start from a CLIP that reads {size} (config.init_from)"
        )
    split = SPLIT_OF_SELECTION[config.selection]
    if split not in splits:
        instead = [kind for kind, name in SPLIT_OF_SELECTION.items() if name in splits]
        raise UserError(
            f"{folder} has no split {split!r} to choose the best checkpoint on; prepare more videos (data_prep.build "
            "holds some out unless --no-hold-out is given, and the folder's report.md names those that were left out)"
            + "".join(f", or give --config.selection={kind}" for kind in instead)
        )


def steps_in_all(config: Any, per_pass: int) -> int:
    """Updates of a whole stage. per_pass: batches in one pass over the training captions."""
    return config.steps or int(config.epochs * per_pass)


def open_data(config: Any) -> Experiment:
    """Open the data of a config for a training loop of your own.

    Args:
        config: A resolved config, as `load_config` returns it. Of a run with several stages, that of the last one.

    Returns:
        The experiment: `batches(start, stop)` iterates over training batches, `dataset.split("test")` gives captions
        and frames of a split, `tokenizer` turns texts into tokens, `steps` is the length of the run. The demo's clips
        are rendered and prepared under `config.data.root` where they are missing.

    Raises:
        UserError: The config has a value that does not fit, or its data are not prepared.
    """
    check_config(config)
    if config.cached_features:
        raise UserError(
            "config.cached_features is read by eaglenet_jax.train alone; leave it out, or compute features once with "
            "make_encode_text and make_encode_video"
        )
    return open_experiment(config, prepare=True)


def demo_data(data: Any, syntax: bool = False) -> DemoData | None:
    """The version of MovingShapes that `config.data` describes; None for data that are prepared elsewhere.

    Args:
        data: The part of a config.
        syntax: Whether the captions must be parsed.

    Raises:
        UserError: `data.root` leads through a file.
    """
    if data.dataset != DEMO_DATA or data.prepared:
        return None
    from data_prep import demo  # late: nothing else needs the renderer
    from data_prep.moving_shapes.events import Events

    root = Path(data.root)
    for place in (root, *root.parents):
        if place.is_file():
            raise UserError(f"--config.data.root={root}: {place} is a file; give a folder")
    events = Events(**data.get("events", {}))  # work directories of clips of one event do not have it
    return demo.DemoData(root, dict(data.splits.items()), data.seed, data.fps, data.size, events, syntax)


def prepared_folder(data: Any, syntax: bool = False, prepare: bool = False) -> Path:
    """Find the prepared folder of `config.data`.

    Args:
        data: The part of a config.
        syntax: Of the demo, whether its captions must be parsed.
        prepare: Render and prepare the demo's data where they are missing.

    Raises:
        UserError: the folder is not there; the message has the command that makes it.
    """
    wanted = demo_data(data, syntax)
    if wanted is not None:
        if prepare:
            from data_prep import demo

            return demo.ensure_moving_shapes(wanted)
        if not wanted.is_prepared():
            raise UserError(f"the demo's data are not in {wanted.folder}; make them with {wanted.command}")
        return wanted.folder
    if not data.prepared or not Path(data.prepared).is_dir():
        command = (
            f"python -m data_prep.build --dataset={data.dataset} --videos=DIR --annotations=DIR --out={data.prepared}"
        )
        raise no_folder(data.prepared, OWN_COMMAND if data.dataset in (OWN_DATA, DEMO_DATA) else command)
    return Path(data.prepared)
