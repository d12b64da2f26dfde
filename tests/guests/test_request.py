"""The request a guest is started with: its shell quoting, its archive, its limits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import UsageError
from innkeeper.guests.request import (
    MAX_ARGUMENT_BYTES,
    DiskRoot,
    GuestRequest,
    GuestVolume,
    join_initramfs,
    quote,
)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.binary(max_size=60).map(lambda data: data.replace(b"\0", b"")))
def test_a_quoted_word_is_itself_in_a_shell(word: bytes) -> None:
    script = b"printf %s " + quote(word)
    assert subprocess.run([b"sh", b"-c", script], capture_output=True).stdout == word


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 109 + name_size].decode()
        start = at + (110 + name_size + 3 & ~3)
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[start : start + size])
        at = start + (size + 3 & ~3)


def test_the_archive_holds_the_agent_and_the_request() -> None:
    request = GuestRequest(argv=["true"], root=DiskRoot(writes="memory"))
    joined = join_initramfs(b"12345", request.segment())
    assert joined[:8] == b"12345\0\0\0"
    found = entries(joined[8:])
    assert found["init"][0] == 0o100755
    assert found["init"][1].startswith(b"#!/bin/busybox sh\n")
    assert b"INN_DISK='/dev/vda'\n" in found["inn/request"][1]
    assert found["inn/fstab.late"][1].startswith(b"/dev/vda /root.lower ext4 ro\noverlay ")
    assert found["root.upper"] == (0o040755, b"")


def test_both_scripts_are_shell(tmp_path: object) -> None:
    for root in (DiskRoot(), DiskRoot(bare=True)):
        request = GuestRequest(
            argv=["a'b", "c\nd"], tty=True, user="me", root=root, env={"PATH": "/b in:/x"},
            volumes=[GuestVolume(tag="t", target="/it's")],
        )  # fmt: skip
        for name in ("init", "inn/request"):
            script = entries(request.segment())[name][1]
            checked = subprocess.run(["sh", "-n"], input=script, capture_output=True)
            assert (checked.returncode, checked.stderr) == (0, b""), name


@pytest.mark.parametrize(
    ("name", "found"),
    [("tool", "/bin/tool"), ("link", "/usr/bin/link"), ("/any/where", "/any/where"),
     ("./here", "./here"), ("plain", None), ("folder", None), ("none", None)],
)  # fmt: skip
def test_a_bare_roots_programs_are_found_by_the_agent(
    name: str, found: str | None, tmp_path: Path
) -> None:
    for folder in ("bin", "usr/bin/folder", "bin/folder"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin/tool").touch(mode=0o755)
    (tmp_path / "bin/plain").touch(mode=0o644)
    (tmp_path / "usr/bin/link").symlink_to("/nowhere/here")
    agent = entries(GuestRequest(argv=["x"]).segment())["init"][1].decode()
    function = agent[agent.index("find_program() {") : agent.index("serve_control() {")]
    script = function + f'find_program {name} /usr/bin:/bin; echo "$program"'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == ((0, found) if found else (127, ""))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GuestRequest(argv=[]), "no command"),
        (GuestRequest(argv=["a\0b"]), "NUL"),
        (GuestRequest(argv=["x" * (MAX_ARGUMENT_BYTES + 1)]), "too long"),
        (GuestRequest(argv=["x" * 100_000] * 11), "too long"),
        (GuestRequest(argv=["x"], env={"A=B": ""}), "no usable name"),
        (GuestRequest(argv=["x"], env={"": ""}), "no usable name"),
    ],
)
def test_what_no_program_could_receive_is_refused(request_: GuestRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request_.script()


def test_modules_follow_what_is_asked_for() -> None:
    plain = GuestRequest(argv=["x"])
    assert plain.needed_modules(mmio=False) == ()
    full = GuestRequest(
        argv=["x"], root=DiskRoot(writes="memory"), volumes=[GuestVolume(tag="t", target="/t")]
    )
    wanted = ("virtio_mmio", "virtio_blk", "ext4", "overlay", "9pnet_virtio", "9p")
    assert full.needed_modules(mmio=True) == wanted
