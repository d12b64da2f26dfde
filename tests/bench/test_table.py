"""The table's arithmetic, and how a guest's reports are followed; nothing here is timed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from bench.process import BenchError, Command
from bench.subject import OURS, PEER
from bench.table.figures import FIRST, TIER0, Line, Timed, verdicts
from bench.table.follow import follow
from bench.table.measure import agree, select
from bench.table.plan import GROUPS, PROGRAMS
from innkeeper.base.threads import name_thread
from innkeeper.engine.emulator.regions.service import THREAD_NAME


def _timed(figure: float, *, seconds: float = 1.0, cpu_s: float = 1.0, output: str = "") -> Timed:
    return Timed(figure, seconds, seconds, cpu_s, output)


def _line(name: str, ours: float, peer: float) -> Line:
    return Line(name=name, samples={OURS: [_timed(ours)], PEER: [_timed(peer)]})


def _console(*lines: str) -> Command:
    script = f"print({chr(10).join(lines)!r})"
    return Command(argv=(sys.executable, "-c", script))


def test_a_group_a_program_or_everything_is_selected() -> None:
    assert select(["table:forks"]) == {"forks": ["forks:forks"]}
    assert select(["table:fp:lu", "boot", "table:fp:fir"]) == {"fp": ["fp:lu", "fp:fir"]}
    assert set(select(["table"])) == {"boot", *GROUPS, "smp"}
    assert select(["loop"]) == {}


def test_speed_of_times_and_of_rates_points_the_same_way() -> None:
    assert _line("fp:lu", 2.0, 3.0).speed() == pytest.approx(1.5)
    rate = Line(
        name="real:aes", is_rate=True,
        samples={OURS: [_timed(300, seconds=2, cpu_s=2)], PEER: [_timed(200, seconds=2, cpu_s=4)]},
    )  # fmt: skip
    assert rate.speed() == pytest.approx(1.5)
    assert rate.cpu_speed() == pytest.approx(3.0)  # half the CPU seconds for 1.5 times the work


def test_a_group_is_judged_by_its_mean_and_by_its_lowest() -> None:
    names = [f"fp:{p.name}" for p in GROUPS["fp"].programs]
    lines = [_line(name, 1.0, 4.0) for name in names[:-1]] + [_line(names[-1], 1.0, 1.0)]
    mean, lowest = verdicts(lines)
    assert mean.speed == pytest.approx(4 ** (4 / 5)) and mean.text == "at least 2.5: met"
    assert lowest.what == f"lowest: {names[-1].partition(':')[2]}"
    assert lowest.text == "at least 1.5: missed"


def test_a_group_measured_in_part_is_not_judged() -> None:
    assert [v.text for v in verdicts([_line("fp:lu", 1.0, 9.0)])] == [""]


def test_a_second_hart_is_judged_against_one() -> None:
    lines = [_line("smp:harts=1", 3.6, 3.0), _line("smp:harts=2", 2.0, 2.0)]
    ours, peer = verdicts(lines)
    assert ours.speed == pytest.approx(1.8) and ours.text == "at least 1.7: met"
    assert peer.speed == pytest.approx(1.5) and peer.text == ""


def test_first_runs_are_judged_against_tier_0_where_both_were_run() -> None:
    def line(first: float) -> Line:
        samples = {OURS: [_timed(1)], FIRST: [_timed(first)], TIER0: [_timed(2.0)]}
        return Line(name="fp:lu", samples=samples)

    mean, lowest = [v for v in verdicts([line(1.0), line(4.0)]) if v.group == FIRST]
    assert mean.speed == pytest.approx(1.0) and mean.text.startswith("at least 1: ")
    assert lowest.speed == pytest.approx(0.5)


def test_different_outputs_are_refused() -> None:
    right, wrong = _timed(1, output="aa"), _timed(1, output="bb")
    agree({OURS: {"fp:lu": [right]}, PEER: {"fp:lu": [right]}})
    with pytest.raises(BenchError, match="fp:lu differ"):
        agree({OURS: {"fp:lu": [right]}, FIRST: {"fp:lu": [wrong]}, PEER: {"fp:lu": [right]}})


def test_reports_are_read_from_the_console() -> None:
    command = _console(
        "OpenSBI", "@bench ready 1", "@bench start a:b\r", "@bench end a:b 0.002 123.5 0badcafe",
        "@bench done",
    )  # fmt: skip
    heard: list[str] = []
    taken = follow(command, ["a:b"], lambda line, pid: heard.append(line))
    assert taken["a:b"].figure == 123.5 and taken["a:b"].output == "0badcafe"
    assert heard[0] == "OpenSBI" and len(heard) == 5


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["@bench fail a:b it ended with 1", "Illegal instruction"], "it ended with 1"),
        (["@bench start a:b"], "stopped early"),
        (["@bench done"], "stopped early"),
        (["@bench start a:b", "@bench end a:b 60 60 00", "@bench done"], "by the guest's clock"),
    ],
)
def test_a_guest_that_fails_stops_or_lies_about_time_is_an_error(
    lines: list[str], why: str
) -> None:
    with pytest.raises(BenchError, match=why):
        follow(_console(*lines), ["a:b"])


def test_every_program_has_a_name_of_its_own() -> None:
    assert len(PROGRAMS) == 1 + sum(len(group.programs) for group in GROUPS.values())


def test_a_thread_shows_its_name_to_the_host() -> None:
    shown: list[str] = []

    def work() -> None:
        name_thread(THREAD_NAME)
        comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
        shown.append(comm.read_text().rstrip("\n") if comm.exists() else THREAD_NAME)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert shown == [THREAD_NAME]  # by which the bench tells compiling from running
