"""Every config loads with every preset and builds its full-size system, without computing anything."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from data_prep.datasets import DATASETS, TABLE
from eaglenet_jax.clip.config import NAMED_SIZES
from eaglenet_jax.clip.eva import EvaConfig
from eaglenet_jax.config.ablation import dataset_names
from eaglenet_jax.config.checking import leaves
from eaglenet_jax.config.loading import as_plain, config_folder, config_names, load_config, resolve
from eaglenet_jax.config.presets import PRESETS
from eaglenet_jax.config.systems import BLIP2_WEIGHTS, SYSTEMS
from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import HEADS, head_class
from eaglenet_jax.runs.plan import optimizer_settings
from eaglenet_jax.runs.saved_config import save_config, saved_config
from eaglenet_jax.system import build_system, parameter_count
from eaglenet_jax.training.optimizer import describe_groups, make_optimizer, parameter_rates

REPOSITORY = Path(__file__).parents[2]
SHAPES: dict = {}  # of the parameters, by what they depend on
BIASES = ("radius_bias", "pooling_bias", "energy_bias")
SHAPING = (*BIASES, "learned_attention_scale", "radius_kind", "energy", "frame_positions", "loss_kind", "temporal")
SHAPING_GRAPH = ("kind", "layers", "heads", "shared_residual")


def _arguments(name: str) -> list[str]:
    """A preset alone, and with every system. The tables of ablations are tested in test_sweep.py."""
    return list(PRESETS) + [f"{system},{preset}" for system in SYSTEMS for preset in PRESETS]


@pytest.mark.parametrize("name", [name for name in config_names() if "/" not in name])
def test_config_builds_with_every_preset(name):
    for argument in _arguments(name):
        config = load_config(f"{name}:{argument}")
        assert config.preset in argument and config.selection == "validation"
        system = build_system(config)
        # Most differences change no shape; parameters are shaped once for those that do.
        options = as_plain(config.head)
        changing = {name: options.get(name) for name in SHAPING} | {
            name: options.get("graph", {}).get(name) for name in SHAPING_GRAPH
        }
        changing["first"] = options.get("first", {}).get("system")
        # EagleNet and TS2-Net are built for their number of frames; no other head's shapes depend on it, and the CLIPs
        # are the same.
        frames = config.max_frames if config.system in ("eaglenet", "ts2net") else 0
        key = (config.system, frames, str(changing), name in ("demo", "moving_shapes"))
        if key not in SHAPES:
            # Tracing CrossTVR's twelve layers takes most of the time: all of them once, then one.
            if config.system == "crosstvr" and any(known[0] == "crosstvr" for known in SHAPES):
                transformer = dataclasses.replace(system.head.transformer, layers=1)
                system = dataclasses.replace(system, head=system.head.clone(transformer=transformer))
            SHAPES[key] = system.shapes()
            settings = optimizer_settings(config, system.head.unused_parameters())
            assert "total" in describe_groups(settings, SHAPES[key])
            assert parameter_count(SHAPES[key]) > 100_000


def test_b32_has_the_parameters_of_openais_model():
    system = build_system(load_config("msrvtt:clip4clip,b32"))
    assert parameter_count(system.shapes()) == 151_277_313


def test_every_config_says_what_it_is():
    for name in config_names():
        heading = (config_folder() / f"{name}.py").read_text().split('"""')[1]
        program = "sweep" if name.startswith("ablations/") else "train"
        assert f"Command: python -m eaglenet_jax.{program} --config=configs/{name}.py" in heading
        assert "Expected:" in heading, name


def test_the_heads_options_are_their_fields_and_their_defaults():
    """Every field of a head is an option of its config."""
    clip = NAMED_SIZES["ViT-B/32"]
    for name in HEADS:
        cls = head_class(name)
        options = cls.options()
        head = cls.from_config({}, clip, 4)
        assert head == cls.from_config(options, clip, 4)
        fields = set(inspect.signature(cls).parameters) - {"parent", "name", "dtype"} - cls.not_options
        decided = {key for key, value in cls.decided_fields(clip, 4).items() if not isinstance(value, dict)}
        assert set(options) | decided == fields
        for option, default in options.items():
            if not isinstance(default, dict):
                assert getattr(head, option) == default


FROZEN = {
    "text/token_embedding",
    "text/position_embedding",
    "vision/position_embedding",
    "vision/class_embedding",
    "vision/patch_embedding/kernel",
    "vision/norm_pre/scale",
    "vision/norm_pre/bias",
}


def test_released_freezing_holds_the_embeddings_conv1_and_ln_pre():
    """Of the CLIP of EagleNet under `released` exactly these are not trained, and all of it under `ours`."""
    found = {}
    for preset in ("ours", "released"):
        config = load_config(f"demo:tiny,{preset}")
        system = build_system(config)
        shapes = system.shapes()
        optimizer = make_optimizer(optimizer_settings(config, system.head.unused_parameters()), shapes, 10)
        ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)

        @jax.jit
        def two_steps(ones, optimizer=optimizer):
            _, state = optimizer.update(ones, optimizer.init(ones), ones)  # of length zero: the warm-up
            return optimizer.update(ones, state, ones)[0]

        updates = jax.tree_util.tree_leaves_with_path(two_steps(ones)["clip"])
        names = {"/".join(key.key for key in path): float(np.abs(leaf).max()) for path, leaf in updates}
        found[preset] = {name for name, most in names.items() if most == 0}
    assert found == {"ours": set(), "released": FROZEN}


def rates_of(config):
    """Rates of all parameters of a demo's system, by name."""
    system = build_system(config)
    shapes = system.shapes()
    return parameter_rates(optimizer_settings(config, system.head.unused_parameters()), shapes)


@pytest.mark.parametrize("system", ["clip4clip", "seqtransf", "ts2net"])
def test_programs_like_clip4clips_freeze_the_same(system):
    found = {}
    for preset in ("ours", "released"):
        rates = rates_of(load_config(f"demo:tiny,{system},{preset}"))
        found[preset] = {name.removeprefix("clip/") for name, rate in rates.items() if rate.frozen}
    assert found == {"ours": set(), "released": FROZEN}


@pytest.mark.parametrize("system", ["clip4clip", "seqtransf", "ts2net", "xpool", "tmass"])
def test_released_trains_the_logit_scale_at_clips_rate(system):
    found = {}
    for preset in PRESETS:
        config = load_config(f"demo:tiny,{system},{preset}")
        assert config.optimizer.clip_lr != config.optimizer.head_lr
        rate = rates_of(config)["head/matching_loss/logit_scale"]
        assert rate.decay == config.optimizer.weight_decay  # as all of CLIP without "bias" in its name
        found[preset] = {config.optimizer.clip_lr: "clip", config.optimizer.head_lr: "head"}[rate.lr]
    assert found == {"ours": "head", "released": "clip", "paper": "head"}


def test_released_rows_of_an_ablation_with_the_softmax_loss_do_so_too():
    scale = "head/matching_loss/logit_scale"
    config = load_config("ablations/components:frl,demo,tiny,released")
    assert rates_of(config)[scale].lr == config.optimizer.clip_lr
    assert rates_of(load_config("ablations/components:frl,demo,tiny"))[scale].lr == config.optimizer.head_lr
    assert scale not in rates_of(load_config("ablations/components:all,demo,tiny,released"))


def test_the_rate_of_the_logit_scale_follows_the_loss_that_is_asked_for():
    scale = "head/matching_loss/logit_scale"
    softmax = load_config("demo:tiny,released", ["--config.head.loss_kind=softmax"])
    assert rates_of(softmax)[scale].lr == softmax.optimizer.clip_lr
    assert scale not in rates_of(load_config("demo:tiny,xpool,released", ["--config.head.loss_kind=sigmoid"]))
    ours = load_config("demo:tiny,xpool", ["--config.optimizer.logit_scale=clip"])
    assert rates_of(ours)[scale].lr == ours.optimizer.clip_lr
    with pytest.raises(UserError, match="no logit scale that is trained"):
        load_config("demo:tiny", ["--config.optimizer.logit_scale=clip"])


def test_the_second_stage_of_crosstvr_trains_nothing_of_the_first():
    rates = rates_of(load_config("demo:tiny,crosstvr_xpool"))
    frozen = {name for name, rate in rates.items() if rate.frozen}
    assert {name for name in rates if name.startswith(("clip/", "head/first/"))} == frozen
    assert frozen < set(rates) and any(name.startswith("head/layers") for name in set(rates) - frozen)


def test_presets_differ_where_they_should():
    ours, released, paper = (load_config(f"msrvtt:b16,{preset}") for preset in PRESETS)
    assert ours.head.mask_padding and not released.head.mask_padding and not released.clip.mask_padding
    assert ours.evaluation.noise == "per_text" and released.evaluation.noise == "per_pair"
    assert released.head.sampler.start == "released" and paper.head.sampler.start == "paper"
    assert load_config("msrvtt:xpool,released").optimizer.clip_storage == "float32"  # its program stores float32
    assert ours.evaluation.count_missing and not released.evaluation.count_missing
    didemo, didemo_released = load_config("didemo"), load_config("didemo:released")
    assert (didemo.accumulate, didemo.encode_micro_batches, didemo.pairwise_block) == (1, 4, 8)
    assert (didemo_released.accumulate, didemo_released.encode_micro_batches) == (4, 1)
    assert released.optimizer.clip_storage == "float16" and released.evaluation.ties == "released"
    assert tuple(ours.clip.shift_blocks) == (10, 11) and tuple(paper.clip.shift_blocks) == ()
    ours, released, paper = (load_config(f"msrvtt:l14,ts2net,{preset}") for preset in PRESETS)
    assert {tuple(each.clip.shift_blocks) for each in (ours, released, paper)} == {(10, 11)}
    assert ours.head.selection_gradient == "full" and released.head.selection_gradient == "diagonal"
    for name in ("evaluation_noise", "tiled_mask"):
        assert [each.head[name] for each in (ours, released, paper)] == [False, True, False]
    assert not any(load_config("msvd:paper").head[name] for name in BIASES)
    # DiDeMo's headline is table 4's MLP row.
    energies = [load_config(f"{name}:paper").head.energy for name in ("didemo", "msvd", "vatex")]
    assert energies == ["mlp", "bilinear", "bilinear"]
    assert load_config("didemo:crosstvr_eaglenet,paper").first_stage.head.energy == "mlp"
    frozen = load_config("msrvtt:b32,released").optimizer.freeze
    assert frozen == released.optimizer.freeze and not load_config("msrvtt:b32").optimizer.freeze
    assert [load_config(f"msrvtt:seqtransf,{preset}").head.temporal_epsilon for preset in PRESETS] == [
        1e-5,
        1e-12,
        1e-5,
    ]
    assert load_config("msrvtt:b16").head.energy == "bilinear" and load_config("msrvtt:b32").head.energy == "mlp"


def test_paragraphs_keep_their_words():
    """Limits of words by dataset, as `data_prep.syntax --dataset --annotations` measures them on the real captions."""
    kinds = ("most_verbs", "most_nouns", "most_adjectives")
    limits = {name: [load_config(f"{name}:shenet").head[kind] for kind in kinds] for name in dataset_names()}
    assert limits["didemo"] == [8, 16, 8] and limits["activitynet"] == [11, 19, 8] and limits["msrvtt"] == [6, 10, 8]
    assert load_config("didemo:shenet,paper").head.most_nouns == 16
    assert build_system(load_config("activitynet:shenet")).head.text_extra(2)["syntax"]["nouns"].shape == (2, 19, 2)


@pytest.mark.parametrize(("system", "batch"), [("shenet", 96), ("crosstvr", 128), ("crosstvr_ts2net", 128)])
def test_shenet_and_crosstvr_train_as_their_siblings_where_their_papers_are_silent(system, batch):
    """Rates and batch are the papers'; optimiser, epochs, warm-up and schedule are those of the released EagleNet."""
    config, sibling = load_config(f"msrvtt:{system}"), load_config("msrvtt:released")
    assert (config.batch_size, config.optimizer.head_lr, config.optimizer.clip_lr) == (batch, 1e-4, 1e-7)
    assert config.epochs == sibling.epochs == 5 and config.optimizer.name == "bert_adam"
    for name in ("name", "warmup", "schedule", "weight_decay", "global_clip", "per_tensor_clip"):
        assert config.optimizer[name] == sibling.optimizer[name]


def test_a_users_own_folder_of_configs_does_not_shadow_ours(tmp_path):
    """Names mean the configs that ship with the package; the path of a file means that file."""
    own = tmp_path / "configs"
    own.mkdir()
    (own / "__init__.py").touch()
    (own / "demo.py").write_text("raise SystemExit('the wrong config')")
    program = "from eaglenet_jax.config.loading import *; print(config_folder(), *(load_config(n).name for n in "
    program += "('demo', 'ablations/graph:gat,demo')))"
    # -c puts the current folder before everything else, as `python -m` does.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.stdout.split() == [str(REPOSITORY / "configs"), "demo", "demo_graph_gat"], found.stderr
    assert resolve(str(own / "demo.py")) == str(own / "demo.py")


def test_overrides_and_arguments_are_checked():
    assert load_config("demo", ["--config.batch_size=32"]).batch_size == 32
    assert load_config("configs/demo.py:tiny", ["--config.head.graph.layers=3"]).head.graph.layers == 3
    for name, overrides, message in [
        ("demo", ["--config.head.candidats=3"], 'Did you mean "candidates"'),
        ("demo", ["--config.workdir=runs/mine"], "no field of the config: give it as --workdir=DIR$"),
        ("demo:released,paper", [], "exclude each other"),
        ("msrvt", [], "did you mean 'msrvtt'"),
        (str(REPOSITORY / "README.md"), [], r"README\.md is no Python file; there are also: .*demo"),
        ("demo", ["--config.batch_size=many"], r"flag --config\.batch_size=many: give a whole number$"),
        ("demo", ["--config.epochs=some"], r"flag --config\.epochs=some: give a number$"),
    ]:
        with pytest.raises(UserError, match=message):
            load_config(name, overrides)


def test_overrides_of_shared_fields_hold_for_both_stages():
    config = load_config("demo:tiny", ["--config.seed=3", "--config.data.seed=4", "--config.first_stage.max_frames=5"])
    assert (config.first_stage.seed, config.first_stage.data.seed, config.first_stage.max_frames) == (3, 4, 5)
    config = load_config("demo:tiny", ["--config.optimizer.head_lr=0.5"])
    assert config.first_stage.optimizer.head_lr != config.optimizer.head_lr


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return os.nothing", r"^--config=.*mine\.py: module 'os' has no attribute 'nothing'$"),
        ("return None", r"^--config=.*mine\.py: 'NoneType' object has no attribute"),
        ("return load_config('demo').bach_size", r"^the config has no field 'bach_size'\. Did you mean \"batch_size\""),
    ],
)
def test_a_mistake_in_a_config_file_is_said_as_it_is(tmp_path, body, message):
    """Only a field that the config lacks is called one."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import os\nfrom eaglenet_jax.config.loading import load_config\n\n\ndef get_config(argument=''):\n    " + body
    )
    with pytest.raises(UserError, match=message):
        load_config(str(file))


def test_a_dataset_is_a_reader_a_line_and_a_config():
    assert {f"data_prep.readers.{path.stem}" for path in (REPOSITORY / "data_prep/readers").glob("*.py")} == {
        *(spec.read.__module__ for spec in DATASETS.values()),
        "data_prep.readers.__init__",
        "data_prep.readers.files",
        "data_prep.readers.rows",
        TABLE.read.__module__,
    }
    assert set(DATASETS) | {"demo", "moving_shapes", "own"} == set(dataset_names())
    for name in dataset_names():
        assert load_config(f"ablations/graph:gat,{name}").name == f"{name}_graph_gat"


def test_a_saved_config_comes_back_as_it_was(tmp_path):
    config = load_config("demo:released")
    save_config(config, tmp_path)
    found = saved_config(tmp_path)
    assert found.data.root == str(Path(config.data.root).absolute())  # to be found from anywhere
    found.data.root = config.data.root
    assert as_plain(found) == as_plain(config)
    assert build_system(found) == build_system(config)


def test_words_of_blip2():
    """`vitg` reads its encoder, `blip2` starts from its query transformer, and so does `paper`."""
    large = load_config("msrvtt:crosstvr_ts2net,vitg,blip2")
    eva = EvaConfig()
    assert large.head.tokens.to_dict() == {"source": BLIP2_WEIGHTS, "count": eva.tokens, "width": eva.width}
    assert large.head.blip2 == BLIP2_WEIGHTS == load_config("msrvtt:crosstvr,paper").head.blip2
    assert not load_config("msrvtt:crosstvr,vitg").head.blip2 and not load_config("msrvtt:crosstvr").head.blip2
    assert load_config("msrvtt:crosstvr,blip2").head.tokens.width == 512
    for word in ("vitg", "blip2"):
        with pytest.raises(UserError, match=f"{word}: xpool reads no BLIP-2; crosstvr does"):
            load_config(f"msrvtt:xpool,{word}")


def test_a_second_stage_follows_its_first():
    config = load_config("demo:tiny,crosstvr_eaglenet", ["--config.seed=3", "--config.data.root=elsewhere"])
    stages = [config, config.first_stage, config.first_stage.first_stage]
    assert [stage.system for stage in stages] == ["crosstvr", "eaglenet", "clip4clip"]
    assert {stage.seed for stage in stages} == {3} and {stage.data.root for stage in stages} == {"elsewhere"}
    assert as_plain(config.head.first.head) == as_plain(config.first_stage.head)
    assert as_plain(config.clip) == as_plain(config.first_stage.clip)
    shifted = load_config("msrvtt:b32,crosstvr_ts2net")
    assert shifted.first_stage.system == "ts2net" and tuple(shifted.clip.shift_blocks) == (10, 11)
    real = load_config("msrvtt:b32,crosstvr_eaglenet,paper")
    assert real.first_stage.preset == "paper" and real.head.first.head.support == "own" and not real.init_from
    assert real.first_stage.init_from and real.head.tokens.count == 50
    assert type(build_system(real).head.first).__name__ == "EagleNet"


@pytest.mark.parametrize("words", ["paper", "released,blip2"])
def test_a_first_stage_has_the_preset_of_the_run(words):
    """Both start from BLIP-2; a first stage without equations of its own in `paper` is trained as `ours`."""
    config = load_config(f"msrvtt:b32,crosstvr_ts2net,{words}")
    alone = {preset: dict(leaves(load_config(f"msrvtt:b32,ts2net,{preset}"))) for preset in PRESETS}
    assert config.head.blip2 and dict(leaves(config.first_stage)) == alone[words.partition(",")[0]]
    assert {**alone["paper"], "preset": "ours"} == alone["ours"] != alone["released"]
