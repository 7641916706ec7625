"""What is said of long work where no bar can be drawn."""

from __future__ import annotations

from eaglenet_jax import progress
from eaglenet_jax.progress import ProgressBars, TimedLines
from eaglenet_jax.training import live_line
from eaglenet_jax.training.live_line import LiveLine


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_lines_come_from_time_to_time_and_not_for_what_is_done(monkeypatch, capsys) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with ProgressBars() as report:  # pytest's output is no terminal
        for seconds, done in ((1, 10), (TimedLines.SECONDS + 1, 1500), (TimedLines.SECONDS + 2, 1600), (90, 3000)):
            clock.now = seconds
            report("encoding videos", done, 3000)
        report("reading", 7, 0)  # of how many is not known
        clock.now += TimedLines.LEAST
        report("reading", 8, 0)
        clock.now += 600
        report("reading", 1, 0)  # again from the start
    assert capsys.readouterr().err == "encoding videos: 1,500 of 3,000\nreading: 8\n"


def test_an_evaluation_between_steps_says_how_far_it_is(monkeypatch, capsys) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with LiveLine("mine", total=10, start=0, clips=4) as line:
        line.working("encoding videos", 8, 50)
        clock.now = TimedLines.SECONDS
        line.working("encoding videos", 16, 50)
    assert capsys.readouterr().out == "mine: encoding videos: 16 of 50\n"
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with live_line.LiveLine("mine", total=10, start=0, clips=4) as line:
        line.step(1, {"loss": 2.0})
        line.working("encoding videos", 8, 50)
        assert line._progress.tasks[0].fields["numbers"] == "encoding videos 8/50"
        line.evaluated(1, "val", 50.0)
        assert line._progress.tasks[0].fields["numbers"].startswith("loss 2.000")


def test_the_line_of_an_evaluation_states_speed_and_time_left_only_where_they_are_known(monkeypatch, capsys) -> None:
    clock = Clock()
    monkeypatch.setattr(live_line, "time", clock)
    with live_line.LiveLine("mine", total=3, start=0, clips=4) as line:
        line.step(1, {"loss": 2.0})
        line.evaluated(1, "val", 50.0)
        for step in (2, 3):
            clock.now += 2
            line.step(step, {"loss": 2.0})
            line.evaluated(step, "val", 60.0)
    first, middle, last = (text for text in capsys.readouterr().out.splitlines() if " R@1 " in text)
    assert "clips/s" not in first and "ETA" not in first
    assert " 2.0 clips/s 0% waiting " in middle and middle.endswith(" GiB ETA 2 s")
    assert " 2.0 clips/s " in last and "ETA" not in last


def test_the_time_left_of_a_long_run_is_in_hours_and_minutes(monkeypatch, capsys) -> None:
    clock = Clock()
    monkeypatch.setattr(live_line, "time", clock)
    with live_line.LiveLine("mine", total=7202, start=0, clips=4) as line:
        line.step(1, {"loss": 2.0})
        clock.now += 2
        line.step(2, {"loss": 2.0})
        line.evaluated(2, "val", 50.0)
    assert capsys.readouterr().out.endswith(" ETA 4 h 0 min\n")
