"""Progress of indexing, in hours of video."""

from __future__ import annotations

import pytest

from eaglenet_jax.search import progress
from eaglenet_jax.search.progress import IndexingLine


@pytest.fixture
def files(tmp_path):
    """Four files of 100 bytes."""
    paths = [tmp_path / f"{number}.mp4" for number in range(4)]
    for path in paths:
        path.write_bytes(bytes(100))
    return paths


def test_hours_of_all_files_are_estimated_by_those_that_were_encoded(files):
    line = IndexingLine(files, shown=False)
    assert line.video == ""
    line.finished(files[3], None)  # another process has it: done, and nothing is known of its length
    assert line.video == ""
    line.reached(files[0], 0.5, 3600.0)
    assert line.video == ", 3.0 of about 8.0 hours of video"
    line.finished(files[0], None)  # read, while its last window waits for the encoder
    line.reached(files[0], 1.0, 3600.0)
    assert line.video == ", 4.0 of about 8.0 hours of video"


def test_a_short_collection_is_counted_in_minutes(files):
    line = IndexingLine(files, shown=False)
    line.finished(files[0], None)
    line.reached(files[0], 1.0, 90.0)
    assert line.video == ", 1.5 of about 6.0 minutes of video"


def test_the_time_left_is_in_hours_and_minutes(files, monkeypatch, capsys):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with IndexingLine(files, shown=True) as line:
        clock.now = 4800.0
        line.reached(files[0], 1.0, 3600.0)
    assert capsys.readouterr().err == "0 of 4 files, 1.0 of about 4.0 hours of video, about 4 h 0 min left\n"


def test_without_a_terminal_a_line_comes_from_time_to_time(files, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with IndexingLine(files, shown=True) as line:
        line.reached(files[0], 1.0, 3600.0)
        line.finished(files[0], "half of it is lost")
    said = capsys.readouterr().err
    assert "1 of 4 files, 1.0 of about 4.0 hours of video, about" in said
    assert f"{files[0]}: half of it is lost" in said
