"""The control protocol as a script: what the guest says, what the host answers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import GuestTimeout, MachineError
from innkeeper.guests.config import TerminalSize
from innkeeper.guests.session import MAX_LINE_BYTES, Phase, RunSession


def test_a_run_from_boot_to_power_off() -> None:
    session = RunSession()
    session.receive(b"rea")
    assert not session.started
    session.receive(b"dy\nexit 4")
    assert (session.phase, session.take_output()) == (Phase.RUNNING, b"")
    session.receive(b"2\n")
    assert (session.phase, session.over) == (Phase.EXITED, False)
    session.output_drained()
    assert (session.take_output(), session.over, session.result()) == (b"bye\n", True, 42)


def test_signals_wait_for_the_command_and_stop_with_it() -> None:
    session = RunSession()
    session.send_signal("INT")
    assert session.take_output() == b""
    session.receive(b"ready\n")
    session.send_signal("TERM")
    assert session.take_output() == b"signal INT\nsignal TERM\n"
    session.receive(b"exit 143\n")
    session.send_signal("TERM")
    assert session.take_output() == b""
    with pytest.raises(ValueError):
        session.send_signal("TERM\nexit 0")


def test_only_a_terminal_is_resized() -> None:
    for tty, said in ((True, b"winsize 50 100\n"), (False, b"")):
        session = RunSession(tty=tty)
        session.receive(b"ready\n")
        session.resize(TerminalSize(rows=50, columns=100))
        assert session.take_output() == said


@pytest.mark.parametrize(
    "said",
    [b"exit 3\n", b"ready\nexit 256\n", b"ready\nexit -1\n", b"ready\nready\n", b"hello\n",
     b"ready\nfail late\n", b"x" * (MAX_LINE_BYTES + 1), b"ready\nexit \xd9\xa1\n"],
)  # fmt: skip
def test_nonsense_ends_the_run(said: bytes) -> None:
    session = RunSession()
    session.receive(said)
    with pytest.raises(MachineError, match="control protocol"):
        session.result()


def test_a_failed_start_is_told_without_its_escape_sequences() -> None:
    session = RunSession()
    session.receive(b"fail the disk \x1b[31mburnt\n")
    with pytest.raises(MachineError, match=r"could not start the command: the disk \?\[31mburnt"):
        session.result()


@pytest.mark.parametrize(
    ("said", "what"), [(b"", "did not start"), (b"ready\n", "ended before its command")]
)
def test_a_machine_that_stops_early_shows_its_console(said: bytes, what: str) -> None:
    session = RunSession()
    session.receive(said)
    session.machine_ended(console="boot\n\nKernel panic - not syncing\n")
    with pytest.raises(MachineError, match=f"{what}.*\n?.*Kernel panic"):
        session.result()


def test_a_machine_that_stops_after_the_exit_status_is_fine() -> None:
    session = RunSession()
    session.receive(b"ready\nexit 0\n")
    session.machine_ended(console="reboot: Power down")
    assert session.result() == 0


def test_time_and_user_end_a_run() -> None:
    session = RunSession()
    session.expire(1.5)
    session.receive(b"ready\nexit 0\n")
    with pytest.raises(GuestTimeout, match=r"1\.5 s"):
        session.result()
    session = RunSession()
    session.abandon(130)
    assert session.result() == 130


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"ready\n", b"exit 1\n", b"\n"])))
def test_no_guest_breaks_the_session(pieces: list[bytes]) -> None:
    session = RunSession(tty=True)
    for piece in pieces:
        session.receive(piece)
        session.send_signal("HUP")
        session.output_drained()
        assert len(session.take_output()) < 1 << 17
    session.machine_ended()
    assert session.over
