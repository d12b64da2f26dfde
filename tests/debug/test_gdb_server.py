"""The server's socket, by hand and by the real GDB."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from fake_machine import BASE, CELL, LOAD, LOOP, STORE, FakeMachine

from innkeeper.base.errors import MachineError, UsageError
from innkeeper.debug.gdb_server import GdbServer, parse_address
from innkeeper.debug.packets import pack

GDB = shutil.which("gdb-multiarch")
needs_gdb = pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed")
WAIT_S = 60.0


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def server(machine: FakeMachine) -> Iterator[GdbServer]:
    with GdbServer(machine, "127.0.0.1:0") as running:
        yield running


def test_addresses() -> None:
    assert parse_address("127.0.0.1:1234") == ("127.0.0.1", 1234)
    assert parse_address(":99") == parse_address("99") == ("127.0.0.1", 99)
    assert parse_address("[::1]:5") == ("::1", 5)
    assert parse_address("unix:gdb.sock") == "gdb.sock"
    assert parse_address("/run/gdb") == "/run/gdb"
    for bad in ("", "host", "host:", "host:99999", "host:-1", "unix:", "1:\u0662"):
        with pytest.raises(UsageError, match="no address"):
            parse_address(bad)


class Wire:
    """A client that speaks packets over a socket."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket()
        self.socket.settimeout(WAIT_S)
        self.socket.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_what: object) -> None:
        self.socket.close()

    def ask(self, data: bytes) -> bytes:
        self.socket.sendall(pack(data))
        return self.reply()

    def reply(self) -> bytes:
        got = b""
        while not re.search(rb"#..$", got):
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError(got)
            got += piece
        return got.lstrip(b"+").removeprefix(b"$")[:-3]


def _address(server: GdbServer) -> tuple[str, int]:
    host, _, port = server.address.rpartition(":")
    return host, int(port)


def test_a_session_over_tcp(server: GdbServer, machine: FakeMachine) -> None:
    with Wire(_address(server)) as wire:
        assert wire.ask(b"?") == b"T05thread:1;"
        assert wire.ask(b"m80000000,4") == b"13051500"
        wire.socket.sendall(pack(b"c"))
        assert machine.resumed.wait(WAIT_S)
        wire.socket.sendall(b"\x03")
        assert wire.reply() == b"T02thread:1;"
        assert wire.ask(b"D") == b"OK"
        assert wire.socket.recv(10) == b""


def test_one_debugger_after_another(server: GdbServer, machine: FakeMachine) -> None:
    for _ in range(3):
        with Wire(_address(server)) as wire:
            assert wire.ask(b"Z0,80000000,4") == b"OK"
    with Wire(_address(server)) as wire:
        assert wire.ask(b"?") == b"T05thread:1;"
        assert machine.breakpoints == set()


def test_a_session_that_fails_leaves_the_server(
    server: GdbServer, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_hart: int) -> bytes:
        raise ValueError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(machine, "read_registers", broken)
        with Wire(_address(server)) as wire, pytest.raises(EOFError):
            wire.ask(b"g")
    with Wire(_address(server)) as wire:
        assert len(wire.ask(b"g")) == 33 * 16


def test_a_unix_socket_is_for_its_owner(machine: FakeMachine, tmp_path: Path) -> None:
    path = tmp_path / "gdb.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # left behind by one that was killed
    with GdbServer(machine, str(path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Wire(server.address) as wire:
            assert wire.ask(b"qC") == b"QC1"
        with pytest.raises(MachineError, match="cannot listen"):
            GdbServer(FakeMachine(), str(path)).start()
    assert not path.exists()
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot listen"):
        GdbServer(machine, str(tmp_path / "file")).start()
    assert (tmp_path / "file").exists()


def test_an_address_that_is_taken(server: GdbServer) -> None:
    with pytest.raises(MachineError, match="cannot listen"):
        GdbServer(FakeMachine(), server.address).start()


def test_closing_ends_a_session_that_runs(machine: FakeMachine) -> None:
    server = GdbServer(machine, "127.0.0.1:0")
    server.start()
    with Wire(_address(server)) as wire:
        wire.ask(b"Z0,90000000,4")
        wire.socket.sendall(pack(b"c"))
        assert machine.resumed.wait(WAIT_S)
        server.close()
        server.close()
        assert machine.breakpoints == set()
        assert machine.log[-1] == "detach"


class Gdb:
    """A run of the real GDB: commands in, what it printed out."""

    def __init__(self, server: GdbServer, *commands: str, timeout_s: int = 30) -> None:
        arguments = [str(GDB), "-nx", "-batch"]
        setup = ("set architecture riscv:rv64", f"set remotetimeout {timeout_s}", "set width 0",
                 "set confirm off", f"target remote {server.address}")  # fmt: skip
        for command in (*setup, *commands):
            arguments += ["-ex", command]
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "LC_ALL": "C", "HOME": "/nonexistent"},
        )

    def output(self) -> str:
        try:
            text, _ = self.process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            text, _ = self.process.communicate()
            pytest.fail(f"GDB did not end:\n{text}")
        return text


@needs_gdb
def test_gdb_reads_and_writes(server: GdbServer, machine: FakeMachine) -> None:
    machine.hart_list[0].x[5] = 0x1234
    machine.hart_list[0].f[10] = 0x4009_21FB_5444_2D18
    text = Gdb(
        server,
        "info registers pc t0",
        "p $fa0.double",
        "p/x $mstatus",
        "p $priv",
        "p $stvec",
        "info threads",
        "x/4i $pc",
        "set $a5 = 0x77",
        "set $fcsr = 0x1f",
        "set var *(unsigned long *)0x80000200 = 0x1122334455667788",
        "x/2wx 0x80000200",
        "x/1wx 0x1000",
        "monitor info",
        "detach",
    ).output()
    assert re.search(r"pc\s+0x80000000", text)
    assert re.search(r"t0\s+0x1234", text)
    assert "= 3.14159265358979" in text
    assert "= 0xa00000000" in text
    assert re.search(r"Thread 1 .*hart 0: M-mode at 0x80000000", text)
    assert re.search(r"Thread 2 .*hart 1", text)
    assert "a0,a0,1" in text
    assert "0x55667788\t0x11223344" in text
    assert "Cannot access memory at address 0x1000" in text
    assert "a fake machine with 2 harts" in text
    assert "<unavailable>" in text  # stvec, which the machine lacks
    assert machine.hart_list[0].x[15] == 0x77
    assert machine.hart_list[0].csr[3] == 0x1F
    assert machine.log[-1] == "detach"


@needs_gdb
def test_gdb_breaks_watches_and_steps(server: GdbServer, machine: FakeMachine) -> None:
    text = Gdb(
        server,
        f"break *{LOAD:#x}",
        "continue",
        "p/x $pc",
        "stepi",
        "p/x $pc",
        "delete",
        f"hbreak *{STORE:#x}",
        "continue",
        "delete",
        f"watch *(unsigned long *){CELL:#x}",
        "continue",
        "delete",
        f"rwatch *(unsigned long *){CELL:#x}",
        "continue",
        "p/x $pc",
        "delete",
        "thread 2",
        "stepi",
        "p $_thread",
        "kill",
    ).output()
    assert f"Breakpoint 1, {LOAD:#018x}" in text
    assert f"= {LOAD:#x}" in text
    assert f"= {LOOP:#x}" in text
    assert f"Breakpoint 2, {STORE:#018x}" in text
    assert re.search(r"Hardware watchpoint 3: .*\n\nOld value = 1\nNew value = 2", text)
    assert "Hardware read watchpoint 4" in text
    assert f"= {LOOP:#x}\n[Switching to thread 2" in text
    assert machine.breakpoints == set()
    assert machine.log[-1] == "kill"
    assert "resume step=1" in machine.log[-2]


@needs_gdb
def test_gdb_interrupts(server: GdbServer, machine: FakeMachine) -> None:
    gdb = Gdb(server, "continue", "p/x $pc", "detach")
    assert machine.resumed.wait(WAIT_S)
    gdb.process.send_signal(signal.SIGINT)
    text = gdb.output()
    assert "SIGINT" in text
    assert re.search(rf"= {BASE >> 4:#x}[048c]", text)


@needs_gdb
def test_gdb_sees_the_guest_power_off() -> None:
    machine = FakeMachine(exit_after=100)
    with GdbServer(machine, "127.0.0.1:0") as server:
        text = Gdb(server, "continue").output()
    assert "exited with code 07" in text
