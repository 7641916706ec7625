"""Put finished runs into tables: python -m eaglenet_jax.report runs/* --out=tables/siblings"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eaglenet_jax.command import Parser, run_command

if TYPE_CHECKING:
    from eaglenet_jax.runs.collect import Family


def main(arguments: Sequence[str]) -> None:
    """Put the runs that the flags name into markdown and HTML."""
    parser = Parser(
        prog="python -m eaglenet_jax.report",
        description="Tables of finished runs: mean and standard deviation over the runs that differ by their seed.",
    )
    parser.add_argument("runs", nargs="+", type=Path, help="work directories, or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="writes OUT.md and OUT.html")
    parser.add_argument("--split", default="test", help="default %(default)s")
    parser.add_argument("--title", default="Runs compared", help="of the page")
    given = parser.parse_args(arguments)

    from eaglenet_jax.errors import listed
    from eaglenet_jax.reports.runs_table import compare  # late, so that --help answers at once
    from eaglenet_jax.reports.runs_text import comparison_text, write_comparisons
    from eaglenet_jax.runs.collect import families, find_runs, unfinished_runs
    from eaglenet_jax.wording import counted

    by_data: dict[str, list[Family]] = {}
    for family in families(find_runs(given.runs), given.split):
        by_data.setdefault(family.data, []).append(family)
    comparisons = []
    for rows in by_data.values():
        texts, videos = rows[0].results[0].gallery[given.split]
        name = f"{rows[0].data_name}, {counted(texts, 'text')} and {counted(videos, 'video')}"
        results = [(family.label, family.results) for family in rows]
        comparisons.append(compare(results, given.split, name if len(by_data) > 1 else ""))
    print("\n\n".join(map(comparison_text, comparisons)))
    if waiting := unfinished_runs(given.runs):
        print(f"\nleft out, because they are not finished: {listed(list(map(str, waiting)))}\n")
    for file in write_comparisons(given.out, comparisons, given.title, given.split):
        print(f"  {file}")


if __name__ == "__main__":
    run_command(main)
