"""The public names: what they import, that they stay as they are, and a loaded model on files and arrays.

`python -m tests.test_public_api > tests/public_api.txt` writes the frozen list again after a wanted change.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eaglenet_jax as en

ROOT = Path(__file__).parents[1]
FROZEN = Path(__file__).with_name("public_api.txt")
SENTENCE = "a large red circle moves left on a black background"


# Names --------------------------------------------------------------------------------------------------------------


def public_lines() -> Iterator[str]:
    """One line for each public name, and for each public method of a class."""
    for name in sorted(en.__all__):
        value = getattr(en, name)
        if not inspect.isclass(value):
            yield f"{name}{_signature(value)}"
        elif issubclass(value, Exception):
            yield f"{name}({value.__base__.__name__})"
        else:
            fields = ", ".join(f"{field.name}: {field.type}" for field in dataclasses.fields(value) if field.init)
            yield f"{name}: {'' if name == 'Head' else fields}".rstrip(": ")
            for method, function in sorted(vars(value).items()):
                if isinstance(function, classmethod):
                    function = getattr(value, method)
                if not method.startswith("_") and callable(function) and not isinstance(function, type):
                    yield f"    {method}{_signature(function)}"


def _signature(function) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(function)))  # of a default that is a function


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_names_and_signatures_are_the_frozen_ones():
    # In a process of its own: the tests' hook that checks shapes changes annotations.
    found = in_a_new_process("from tests.test_public_api import public_lines; print(*public_lines(), sep='\\n')")
    assert found.splitlines() == FROZEN.read_text().splitlines(), "see the head of this file for a wanted change"


def test_importing_the_package_imports_nothing_else():
    lines = in_a_new_process(
        "import sys; before = set(sys.modules)\n"
        "import eaglenet_jax as en; dir(en)\n"
        "loaded = set(sys.modules) - before\n"
        "print(*sorted(name for name in loaded if name.split('.')[0] not in sys.stdlib_module_names))\n"
        "en.UserError\n"
        "print(*sorted(name for name in sys.modules if name.startswith('eaglenet_jax')), 'jax' in sys.modules)\n"
    ).splitlines()
    assert lines == ["eaglenet_jax", "eaglenet_jax eaglenet_jax.errors False"]


def test_what_type_checkers_read_is_what_is_imported():
    tree = ast.parse(Path(en.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    read = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(read) == set(en.__all__) <= set(dir(en))
    for name, module in read.items():
        assert getattr(en, name) is getattr(sys.modules[module], name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        en.nothing  # noqa: B018


# A loaded model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return en.load("demo")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    from tests.search.clips import write_shapes

    folder = tmp_path_factory.mktemp("clips")
    write_shapes(folder, 3)
    return sorted(folder.glob("*.mp4"))


def same(found, expected, rows=slice(None)):
    """Whether two features have the same leaves, to float tolerance."""
    assert (found.words is None) == (expected.words is None) if hasattr(found, "words") else True
    for name in ("id", "pooled", "frames", "mask"):
        if hasattr(found, name):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name)[rows], atol=1e-5)


def test_a_text_has_the_same_features_alone_and_among_others(model):
    texts = [f"a {size} {colour} circle" for size in ("small", "large") for colour in ("red", "green", "blue")]
    together = model.encode_text(texts)
    assert together.pooled.shape == (6, model.width) and isinstance(together.pooled, np.ndarray)
    same(model.encode_text(texts[4]), together, rows=slice(4, 5))


def test_files_and_arrays_give_the_same_features_in_any_company(model, clips):
    from eaglenet_jax.data.decode import Sampling, decode
    from eaglenet_jax.data.frame_sampling import pick_frames
    from eaglenet_jax.data.single_video import FrameRule, read_video

    together = model.encode_video([str(clips[0]), clips[1], clips[2]])
    assert together.frames.shape == (3, 12, model.width)
    same(model.encode_video(clips[1]), together, rows=slice(1, 2))
    # The frames of a file are those that data preparation stores of it, at most M of them.
    stored = decode(clips[1], fps=model.fps, size=model.size).frames
    picked = pick_frames(len(stored), 12)
    read = read_video(clips[1], FrameRule(model.size, 12, Sampling(model.fps)))
    assert len(read.frames) == min(len(stored), 12) and read.frames.shape[1:] == (48, 48, 3)
    import io

    from PIL import Image

    first = np.asarray(Image.open(io.BytesIO(stored[picked[1]]))).astype(int)
    assert np.abs(first - read.frames[1]).max() <= 3  # two JPEG decoders
    array = model.encode_video(read.frames)
    np.testing.assert_allclose(array.frames[0], together.frames[1], atol=1e-5)
    few = read_video(clips[1], FrameRule(model.size, 4, Sampling(model.fps))).frames
    assert len(few) == 4 < len(read.frames)  # at most M


def test_padding_is_masked_and_changes_nothing(model):
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    short, long = model.encode_video([frames, np.concatenate([frames] * 7)]).mask
    assert short.tolist() == [True] * 2 + [False] * 10 and long.all()
    text, few = model.encode_text(SENTENCE), model.encode_video(frames)
    other = dataclasses.replace(few, frames=np.where(few.mask[..., None], few.frames, 100.0))
    np.testing.assert_allclose(model.score(text, few), model.score(text, other), atol=1e-5)


def test_frames_of_another_size_are_resized_as_clip_does(model):
    from eaglenet_jax.data.transforms import resize_and_crop

    frames = np.random.default_rng(1).integers(0, 256, (3, 90, 120, 3), np.uint8)
    resized = np.stack([resize_and_crop(frame, 48) for frame in frames])
    same(model.encode_video(frames), model.encode_video([resized]))
    several = model.encode_video(np.stack([frames, frames[::-1]]))
    assert several.frames.shape[0] == 2 and several.id[0] != several.id[1]


def test_scores_are_higher_for_matches_and_do_not_depend_on_the_gallery(model, tmp_path):
    from tests.search.clips import write_shapes

    captions = write_shapes(tmp_path, 12)
    files = [tmp_path / name for name in captions]
    scores = model.score(model.encode_text(list(captions.values())), model.encode_video(files))
    assert scores.shape == (12, 12) and np.diagonal(scores).mean() > scores.mean() + 0.3
    one = model.score(model.encode_text(captions[files[2].name]), model.encode_video(files[:2]))
    np.testing.assert_allclose(one[0], scores[2, :2], atol=1e-5)


def test_ids_key_the_noise_of_a_text(model, clips):
    videos = model.encode_video(clips)
    texts = [model.encode_text(SENTENCE, ids=ids) for ids in (["one"], ["one"], ["two"], None)]
    scores = [model.score(text, videos) for text in texts]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 1e-6 < np.abs(scores[0] - scores[3]).max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, c: m.encode_text([]), "there is no text"),
        (lambda m, c: m.encode_text(["a dog", " "]), r"text 1 \(' '\) has no words"),
        (lambda m, c: m.encode_text(["a dog", 3]), "3 is no text"),
        (lambda m, c: m.encode_text("a dog", ids="one"), "ids='one' for 1 texts"),
        (lambda m, c: m.encode_text(["a dog", "a cat"], ids=["one", "one"]), "occur more than once"),
        (lambda m, c: m.encode_text("a dog", extra={"syntax": []}), "has no extra 'syntax'"),
        (lambda m, c: m.encode_video([]), "there is no video"),
        (lambda m, c: m.encode_video([c, "nowhere.mp4"]), "there is no file nowhere.mp4"),
        (lambda m, c: m.encode_video(c.parent), "is a folder"),
        (lambda m, c: m.encode_video(__file__), r"test_public_api.py cannot be read as a video"),
        (lambda m, c: m.encode_video(np.zeros((8, 8, 3), np.uint8)), r"\[M, H, W, 3\] uint8.* \[8, 8, 3\] uint8"),
        (lambda m, c: m.encode_video(np.zeros((2, 8, 8, 3))), "float64; give uint8"),
        (lambda m, c: m.encode_video(np.zeros((0, 8, 8, 3), np.uint8)), r"\[0, 8, 8, 3\]"),
        (lambda m, c: m.encode_video(c, extra={"tokens": 1}), "has no extra 'tokens'"),
        (lambda m, c: m.score("a dog", c), "score takes the features"),
        (lambda m, c: m.score(m.encode_text("a"), m.encode_video(c), direction="up"), "'t2v' or 'v2t'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(model, clips, call, message):
    with pytest.raises(en.UserError, match=message) as caught:
        call(model, clips[0])
    assert "\n" not in str(caught.value)


def test_what_is_cut_or_breaks_off_is_said(model, clips, tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 texts have more than the 34 token codes"):
        long = model.encode_text(["red " * 34 + "circle", SENTENCE])
    same(model.encode_text("red " * 34), long, rows=slice(0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode_text("red " * 34)
    import av

    broken = tmp_path / "broken.mp4"  # with its index at the front, so that what is not cut off can be read
    with av.open(str(clips[0])) as source, av.open(str(broken), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 9 // 10])
    with pytest.warns(UserWarning, match=r"broken\.mp4: .*; what can be decoded is encoded") as warned:
        assert model.encode_video(broken).mask.any()
    assert warned[0].filename == __file__


def test_both_directions_of_a_head_that_reranks(model, monkeypatch):
    import eaglenet_jax.model
    from eaglenet_jax.scoring.both_directions import BothWays

    texts, videos = model.encode_text("a"), model.encode_video(np.zeros((1, 48, 48, 3), np.uint8))
    monkeypatch.setattr(eaglenet_jax.model, "score_both_ways", lambda *_, **__: BothWays(np.zeros(1), np.ones(1)))
    assert model.score(texts, videos) == 0 and model.score(texts, videos, direction="v2t") == 1


def random_model(argument: str, **more):
    from eaglenet_jax.runs.model_formats import model_settings
    from tests.random_parameters import random_parameters

    settings = model_settings(en.load_config(f"demo:{argument}"), 3.0)
    system = en.build_system(settings)
    return en.Model({**settings, **more}, system, random_parameters(system), "", "")


def test_a_head_that_reads_syntax_is_given_it(model):
    from data_prep.syntax.parsing import grammar_parser
    from data_prep.syntax.storing import parse_captions
    from eaglenet_jax.data.syntax import syntax_arrays

    parsed = random_model("tiny,shenet")
    with pytest.raises(en.UserError, match=r"shenet: a text needs 'syntax'.*parse_captions"):
        parsed.encode_text(SENTENCE)
    syntax = parse_captions([SENTENCE], grammar_parser)
    features = parsed.encode_text(SENTENCE, extra={"syntax": syntax})
    arrays = syntax_arrays(syntax, parsed.system.head.text_extra(1)["syntax"], parsed.system.max_words)
    assert arrays["nouns"].any()
    for name, array in arrays.items():
        np.testing.assert_array_equal(features.extra["syntax"][name], array)
    same(parsed.encode_text([SENTENCE], extra={"syntax": arrays}), features)
    many = [dataclasses.replace(syntax[0], verbs=syntax[0].verbs * 9)]
    with pytest.warns(UserWarning, match=r"of the texts, 3 of 9 verbs \(33\.3%; most_verbs=6\) are cut"):
        parsed.encode_text(SENTENCE, extra={"syntax": many})
    with pytest.raises(en.UserError, match=r"extra syntax/adjective_noun is \[2, "):
        parsed.encode_text(SENTENCE, extra={"syntax": {name: np.repeat(a, 2, 0) for name, a in arrays.items()}})


def test_only_the_first_seconds_are_read_of_videos_whose_data_were_cut_so(model, clips):
    cut = dataclasses.replace(model, settings={**model.settings, "first_seconds": 0.4})
    assert cut.encode_video(clips[0]).mask.sum() == 2 and model.encode_video(clips[0]).mask.sum() > 5


def test_a_hugging_face_clip_scores_by_the_mean_of_frames(tmp_path, clips):
    from eaglenet_jax.clip import Clip
    from eaglenet_jax.port.load import save_clip
    from eaglenet_jax.scoring.rerank import mean_pooled_cosine
    from tests.clip.sizes import TINY, random_params

    clip = Clip(dataclasses.replace(TINY, vocab_size=49408, shift_blocks=()))
    save_clip(tmp_path, clip.config, {"clip": random_params(clip)}, np.float32(1.5))
    plain = en.load(tmp_path)
    texts, videos = plain.encode_text(["a dog", "a cat"]), plain.encode_video(clips)
    np.testing.assert_allclose(plain.score(texts, videos), mean_pooled_cosine(texts, videos), atol=1e-5)


def test_a_source_that_holds_no_model_says_what_would(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"system": "eaglenet"}))
    with pytest.raises(en.UserError, match="holds no model: neither a run's checkpoints"):
        en.load(tmp_path)
    with pytest.raises(en.UserError, match=r"there is no .*nothing; give a work directory of a run"):
        en.load(tmp_path / "nothing")
    (tmp_path / "nothing_much").mkdir()
    with pytest.raises(en.UserError, match=r"there is no .*nothing; give .*; did you mean '.*nothing_much'\?$"):
        en.load(tmp_path / "nothing")
    with pytest.raises(en.UserError, match=r"^dmo: no such folder; .*; did you mean 'demo'\?$"):
        en.load("dmo")
    with pytest.raises(en.UserError, match=r"config\.json is a file; give the folder that holds it$"):
        en.load(tmp_path / "config.json")
    with pytest.raises(en.UserError, match="not from 3"):
        en.load(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "lacks system, clip, head, max_words, max_frames"),
        ({"clip": {}}, "config.clip lacks embed_dim, image_size"),
        ({"clip": 3}, "config.clip is 3; give a mapping"),
        ({"clip": {"name": "ViT-B/32", "width": 3}}, "config.clip has no field width; there are: embed_dim"),
        ({"clip": {"name": "ViT-B/32", "patch_size": 0}}, "patch_size is 0; give a whole number"),
        ({"clip": {"name": "ViT-B/32", "patch_size": "16"}}, "patch_size is '16'; give a whole number"),
        ({"head": {"graph": 3}}, "graph of EagleNet is 3; give its options"),
        ({"system": "json:JSONDecoder"}, "is no head; make it a subclass"),
        ({"system": "tests.test_public_api:NoHead"}, "is no head; make it a subclass"),
    ],
)
def test_a_config_without_a_system_in_it_is_refused(change, message):
    config = {} if change is None else {**en.load_config("demo:tiny").to_dict(), **change}
    with pytest.raises(en.UserError, match=message):
        en.build_system(config)


class NoHead:
    @classmethod
    def from_config(cls, options, clip, frames):
        raise AssertionError("not asked")


if __name__ == "__main__":
    print(*public_lines(), sep="\n")
