"""Every row of every ablation changes what its paper's table names, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from eaglenet_jax.config.checking import leaves
from eaglenet_jax.config.loading import as_plain, config_names, load_config
from eaglenet_jax.config.systems import SYSTEMS
from tests.coverage_page import ROWS, commands_of, configs_of, names_of, table_and_row

Changes = dict[str, Any]
NO_EAM: Changes = {"head.eam_weight": 0.0, "head.eam_support_weight": 0.0}
NO_FRL: Changes = {"head.candidate_choice": "best"}
# Under `released` the logit scale of a softmax loss is trained at CLIP's rate.
SOFTMAX: Changes = {"head.loss_kind": "softmax"}
NO_SUPPORT: Changes = {"head.support_weight": 0.0}
XPOOL: Changes = {"head.radius_kind": "none"}  # T-MASS without a radius
UNWEIGHTED: Changes = {"head.weighted_nodes": False}  # SHE-Net without Fusion
NO_NOUNS: Changes = {"head.nouns": False, "head.adjectives": False}
NO_ADJECTIVES: Changes = {"head.adjectives": False}

# Against the config of the same words without the table, by table and row, as the paper's tables and figures say them.
EXPECTED: dict[str, dict[str, Changes]] = {
    "components": {  # table 3: FRL, EAM, L_sig
        "base": NO_FRL | NO_EAM | SOFTMAX,
        "frl": NO_EAM | SOFTMAX,
        "eam": NO_FRL | SOFTMAX,
        "frl_eam": SOFTMAX,
        "sigmoid": NO_FRL | NO_EAM,
        "frl_sigmoid": NO_EAM,
        "eam_sigmoid": NO_FRL,
        "all": {},
    },
    "energies": {kind: {"head.energy": kind} for kind in ("cosine", "bilinear", "mlp")},
    "pooling": {
        "no_eam": NO_EAM,
        **{pooling: {"head.energy_pooling": pooling} for pooling in ("fused", "max", "min", "avg", "mean_frame")},
    },
    "graph": {
        "gat_no_eam": NO_EAM | {"head.graph.kind": "gat"},
        "rgat_no_eam": NO_EAM,
        "gat": {"head.graph.kind": "gat"},
        "rgat": {},
    },
    "eam_weight": {
        f"weight_{weight}": {"head.eam_weight": weight, "head.eam_support_weight": weight} for weight in (0.1, 0.5, 1.0)
    },
    "edges": {"no_frl": NO_FRL, "no_frame_frame": {"head.graph.frame_frame_edges": False}, "all": {}},
    "tmass_radius": {
        "none": XPOOL,
        "mean": NO_SUPPORT | {"head.radius_kind": "mean"},
        "scalar": NO_SUPPORT | {"head.radius_kind": "scalar"},
        "linear": NO_SUPPORT,
    },
    "tmass_losses": {  # table 6a: t alone; t_s with both losses; t_s with L_s; and with L_sup
        "text": XPOOL,
        "text_stochastic": NO_SUPPORT | {"head.text_weight": 1.0},
        "stochastic": NO_SUPPORT,
        "stochastic_support": {},
    },
    "tmass_samples": {
        "no_sampling": {"head.samples": 0},
        **{f"samples_{samples}": {"head.samples": samples} for samples in (5, 10, 20)},
    },
    "tmass_support_weight": {
        "xpool": XPOOL,
        **{f"weight_{weight}": {"head.support_weight": weight} for weight in (0.5, 0.8, 1.0, 1.2, 1.5)},
    },
    "tmass_frames": {
        **{f"frames_{frames}": {"max_frames": frames} for frames in (12, 15, 18, 21, 24)},
        **{f"xpool_{frames}": XPOOL | {"max_frames": frames} for frames in (12, 15, 18, 21, 24)},
    },
    "shenet_hierarchies": {  # table V: text, video; none of them with Fusion
        "none": UNWEIGHTED | {"head.text_syntax": False, "head.video_syntax": False},
        "text": UNWEIGHTED | {"head.video_syntax": False},
        "text_video": UNWEIGHTED,
    },
    "shenet_levels": {  # table VI: E1 to E4, without Fusion
        "base": UNWEIGHTED | NO_NOUNS | {"head.verbs": False},
        "verbs": UNWEIGHTED | NO_NOUNS,
        "verbs_nouns": UNWEIGHTED | NO_ADJECTIVES,
        "verbs_nouns_adjectives": UNWEIGHTED,
    },
    "shenet_similarity": {  # table VII: E2, E5, E4, E6
        "verbs": UNWEIGHTED | NO_NOUNS,
        "verbs_weighted": NO_NOUNS,
        "nouns": UNWEIGHTED,
        "nouns_weighted": {},
    },
    "shenet_choices": {  # table VIII: λ_frame, λ_patch
        f"frames{frames}_patches{patches}": UNWEIGHTED
        | {"head.frames_per_verb": frames, "head.patches_per_noun": patches}
        for frames, patches in ((2, 1), (2, 2), (2, 4), (2, 6), (2, 8), (1, 4), (3, 4), (4, 4))
    },
    "crosstvr_attention": {"spatial": {"head.temporal": False}, "temporal": {"head.spatial": False}, "both": {}},
    "crosstvr_first_stages": {first: {} for first in ("clip4clip", "ts2net", "xpool", "eaglenet")},
    "crosstvr_sharing": {
        "shared": {},
        "unshared": {"head.shared_weights": False},
        "unshared_half": {"head.shared_weights": False, "head.transformer.layers": 6},
    },
    "crosstvr_encoders": {
        "shared": {"head.tokens.source": "", "head.tokens.count": 0, "head.tokens.width": 0},
        "own_b32": {
            "head.tokens.source": "openai/clip-vit-base-patch32",
            "head.tokens.count": 50,
            "head.tokens.width": 512,
        },
        "own_l14": {
            "head.tokens.source": "openai/clip-vit-large-patch14",
            "head.tokens.count": 257,
            "head.tokens.width": 768,
        },
    },
    "crosstvr_candidates": {f"k{count}": {"head.top_k": count} for count in (2, 4, 6, 8, 10, 12, 15, 17, 19)},
}
# The system of a row that is about another one than its table.
SYSTEM = {
    "tmass": "tmass",
    "shenet": "shenet",
    "crosstvr": "crosstvr",
    **{f"crosstvr_first_stages/{first}": f"crosstvr_{first}" for first in ("ts2net", "xpool", "eaglenet")},
}
NAMES = ("name", "claim")  # follow from the row
# The rows that the page has commands for → their command.
GIVEN = {
    name: command
    for row in ROWS
    for command in commands_of(row)
    for name in names_of(command)
    if "ablations/" in name and "eaglenet_jax.sweep" in command
}


def plain_config(table: str, row: str, words: list[str]) -> Any:
    """The config of a dataset that a row is laid over."""
    dataset, *rest = words
    if not set(rest) & set(SYSTEMS):
        system = SYSTEM.get(f"{table}/{row}", SYSTEM.get(table.partition("_")[0], "eaglenet"))
        rest.append(system)
    return load_config(f"{dataset}:{','.join(rest)}")


@pytest.mark.parametrize("name", GIVEN, ids=lambda name: name.partition("ablations/")[2])
def test_a_row_changes_what_its_paper_names_and_nothing_else(name):
    table, row = table_and_row(name)
    words = name.partition(",")[2].split(",")
    before = dict(leaves(as_plain(plain_config(table, row, words))))
    after = dict(leaves(as_plain(configs_of(GIVEN[name])[name])))
    differs = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} - set(NAMES)
    expected = dict(EXPECTED[table][row])
    if not before.get("head.eam_support_weight"):
        expected.pop("head.eam_support_weight", None)  # without a second energy loss there is none in any row
    assert {path: after[path] for path in expected} == expected
    assert differs == {path for path, value in expected.items() if before[path] != value}


def test_every_row_is_expected_and_given_on_the_page():
    tables = {name.partition("/")[2] for name in config_names() if name.startswith("ablations/")}
    assert set(EXPECTED) == tables
    given = set(map(table_and_row, GIVEN))
    every = {(table, row) for table, rows in EXPECTED.items() for row in rows}
    assert every - given == {("crosstvr_sharing", "unshared_half")}  # not the paper's, and no BLIP-2 has its depth
    assert given <= every


def test_a_row_holds_for_every_stage_that_trains_its_head():
    """CrossTVR on MovingShapes: TS2-Net, the second stage on random negatives, the same on hard ones."""
    hard = load_config("ablations/crosstvr_attention:spatial,moving_shapes,crosstvr_ts2net,frozen")
    easy = hard.first_stage
    assert [stage.system for stage in (hard, easy, easy.first_stage)] == ["crosstvr", "crosstvr", "ts2net"]
    assert [stage.head.temporal for stage in (hard, easy)] == [False, False]
    assert [stage.head.negative_scale for stage in (hard, easy)] == [20.0, 0.0]
    assert "temporal" not in easy.first_stage.head and not easy.first_stage.first_stage
    assert easy.name == "moving_shapes_ts2net_easy_crosstvr_attention_spatial"
    assert all(stage.cached_features for stage in (hard, easy, easy.first_stage))
    # K is of the evaluation alone, and one easy stage serves all its rows.
    more = load_config("ablations/crosstvr_candidates:k2,moving_shapes,crosstvr_ts2net,frozen")
    assert [stage.head.top_k for stage in (more, more.first_stage)] == [2, 15]
    assert more.first_stage.name == "moving_shapes_ts2net_easy"
