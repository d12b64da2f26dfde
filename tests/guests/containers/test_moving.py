"""Containers from one host to another: `inn export`, `inn import`, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ImageError
from innkeeper.base.record import replace
from innkeeper.guests.config import Volume
from innkeeper.guests.containers.encoding import _readers, decode, encode
from innkeeper.guests.containers.options import BundleOptions
from innkeeper.guests.containers.request import ContainerRequest
from innkeeper.guests.containers.request_parts import HealthOptions, LogOptions
from tests.guests.containers.harness import IMAGE, Inn, needs_root

HEAD, END = "innkeeper-container.json", "innkeeper-end.json"
SCRIPT = "id -u; echo $B; ls -ln /data/mine | cut -c1-10; cat /data/mine; readlink /data/link"
# One process serves a connection, the other makes it: the two ends of `inn export | ... | inn import`.
SENDER = (
    "import socket, sys; s = socket.create_connection(('10.91.7.2', 7000))\n"
    "while d := sys.stdin.buffer.read1(65536): s.sendall(d)"
)
RECEIVER = (
    "import socket, sys; l = socket.create_server(('10.91.7.2', 7000)); print('up', file=sys.stderr, flush=True);"
    "c = l.accept()[0]\nwhile d := c.recv(65536): sys.stdout.buffer.write(d)"
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inn]:
    """Another host: places of its own, and no image."""
    other = Inn(tmp_path_factory.mktemp("there"))
    yield other
    for line in other("ps", "-aq").stdout.decode().split():
        other("rm", "-f", line)
    assert other.left() == []


def make(inn: Inn, *options: str) -> None:
    """A container that has written something, and ended."""
    words = ["--name", "c", "-e", "B=two", "--memory", "32M", "--pids-limit", "50"]
    words = words if os.geteuid() == 0 else words[:4]
    done = inn("create", *words, *options, IMAGE, "sh", "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    folder = inn.folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "mine").write_text("kept\n")
    (folder / "mine").chmod(0o751)
    (folder / "link").symlink_to("/no/where")
    assert inn("cp", str(folder), "c:/data").returncode == 0


def exported(inn: Inn, name: str = "c") -> bytes:
    done = inn("export", name)
    assert done.returncode == 0, done.stderr
    return done.stdout


def arrive(inn: Inn, data: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    return inn("import", *options, "-", input=data)


def remade(
    data: bytes, *, head: Callable[[dict[str, Any]], object] = lambda _: None,
    members: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object] = lambda _: None,
) -> bytes:  # fmt: skip
    """Change what stands in an archive."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for one in tar:
            file = tar.extractfile(one) if one.isreg() else None
            found.append((one, file.read() if file else b""))
    document = json.loads(found[0][1])
    head(document)
    found[0] = (found[0][0], json.dumps(document).encode())
    members(found)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in found:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_every_field_of_a_request_can_be_kept() -> None:
    """What another kind of field is added, `encoding.py` has to learn to read."""
    notes = {**ContainerRequest.__annotations__, **BundleOptions.__annotations__}
    assert {note.removesuffix(" | None") for note in notes.values()} <= set(_readers())


def test_a_request_there_and_back(tmp_path: Path) -> None:
    options = BundleOptions(
        entrypoint=(), env={"A": "1"}, cpus=0.5, memory_bytes=64 << 20, tmpfs=("/run",),
        volumes=(Volume(source=tmp_path, target="/v", read_only=True),),
        ulimits=(("nofile", 1, 2),), host_namespaces=frozenset({"ipc"}), uid_maps=((0, 1, 2),),
    )  # fmt: skip
    request = ContainerRequest(
        image="x", argv=("a", "b"), detach=True, keep=True, restart="on-failure:3", options=options,
        health=HealthOptions(test=("CMD", "x"), retries=2), log=LogOptions(max_files=2),
    )  # fmt: skip
    document = json.loads(json.dumps(encode(request)))
    assert decode(ContainerRequest, document, what="it") == request
    assert "user" not in document["options"]
    assert replace(request, name="n") != request


@pytest.mark.parametrize(
    "document",
    [
        [], {"nosuch": 1}, {"image": 1}, {"image": "x", "argv": "y"}, {"image": "x", "argv": [1]},
        {"image": "x\0"}, {"image": "x" * (65 << 10)}, {"image": "x", "detach": 1},
        {"image": "x", "argv": ["a"] * 20000}, {"image": "x", "options": []},
        {"image": "x", "options": {"cpus": "1"}}, {"image": "x", "options": {"cpus": float("nan")}},
        {"image": "x", "options": {"memory_bytes": True}}, {"image": "x", "options": {"ulimits": [["a", 1]]}},
        {"image": "x", "options": {"uid_maps": [[1, 2]]}}, {"image": "x", "options": {"env": {"A": 1}}},
    ],
)  # fmt: skip
def test_a_request_that_is_not_sound(document: object) -> None:
    with pytest.raises(ImageError):
        decode(ContainerRequest, document, what="it")


def test_there(clean: Inn, there: Inn) -> None:
    make(clean)
    data = exported(clean)
    done = arrive(there, gzip.compress(data))
    assert done.returncode == 0, done.stderr
    seen = clean("start", "-a", "c")
    assert seen.stdout == b"0\ntwo\n-rwxr-x--x\nkept\n/no/where\n", seen
    moved = there("start", "-a", "c")
    assert (moved.stdout, moved.returncode) == (seen.stdout, seen.returncode)
    here, found = (json.loads(i("inspect", "c").stdout) for i in (clean, there))
    assert found["config"]["process"]["args"] == here["config"]["process"]["args"]
    limits = [one["config"]["linux"]["resources"] for one in (here, found)]
    assert limits[0] == limits[1]
    assert there("image", "ls").stdout.count(b"box") == 0  # the image has no name there
    assert there("image", "prune").returncode == 0  # and is held on to all the same
    assert there("start", "-a", "c").stdout == seen.stdout
    assert arrive(there, data).returncode == 125  # the name is taken
    assert arrive(there, data, "--name", "d").returncode == 0
    assert there("rm", "c", "d").returncode == 0


def test_and_on_from_there(clean: Inn, there: Inn) -> None:
    """What arrived can leave again, be committed, and be made an image of."""
    make(clean)
    assert arrive(there, exported(clean), "--name", "once").returncode == 0
    assert there("commit", "once", "made:1").returncode == 0
    assert there.run("made:1", "cat", "/data/mine").stdout == b"kept\n"
    again = exported(there, "once")
    assert arrive(clean, again, "--name", "back").returncode == 0
    assert b"kept\n" in clean("start", "-a", "back").stdout
    assert there("rm", "once").returncode == 0 and there("image", "rm", "made:1").returncode == 0


def test_files_and_the_other_form(clean: Inn, tmp_path: Path) -> None:
    make(clean)
    assert clean("export", "-o", str(tmp_path / "c.inn"), "c").returncode == 0
    assert os.listdir(tmp_path) == ["c.inn"]
    assert clean("import", "--name", "d", str(tmp_path / "c.inn")).returncode == 0
    plain = clean("export", "--rootfs", "c").stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        names = tar.getnames()
    assert "data/mine" in names and HEAD not in names
    refused = arrive(clean, plain, "--name", "e")
    assert refused.returncode == 125 and b"inn image import" in refused.stderr
    assert clean("image", "import", "-", "plain:1", input=plain).returncode == 0
    assert clean.run("plain:1", "cat", "/data/mine").stdout == b"kept\n"
    assert clean("export", "nosuch").returncode == 127
    assert clean("export", "-o", str(tmp_path / "no/c"), "c").returncode == 125


def test_nobody_reads_it(clean: Inn) -> None:
    make(clean)
    read, write = os.pipe()
    os.close(read)
    with clean.start("export", "c", stdout=write) as exporting:
        os.close(write)
        assert exporting.communicate()[1] == b"" and exporting.returncode == 141


def test_one_that_runs(clean: Inn, there: Inn) -> None:
    clean.run("-d", "--name", "c", IMAGE, "sh", "-c", "echo x >/x; echo up; sleep 1000")
    with clean.start("logs", "-f", "c") as following:
        assert following.stdout is not None and following.stdout.readline() == b"up\n"
        pause = ["--pause"] if os.geteuid() == 0 else []
        data = clean("export", *pause, "c").stdout
        assert json.loads(clean("inspect", "c").stdout)["status"] == "running"
        clean("kill", "c")
    assert arrive(there, data).returncode == 0
    assert json.loads(there("inspect", "c").stdout)["status"] == "created"
    assert there("diff", "c").stdout == b"" and there("rm", "c").returncode == 0


def test_changed_limits_and_names_go_along(clean: Inn, there: Inn) -> None:
    make(clean)
    assert clean("update", "--restart", "on-failure:3", "c").returncode == 0
    assert clean("rename", "c", "renamed").returncode == 0
    assert arrive(there, exported(clean, "renamed")).returncode == 0
    record = json.loads(there("inspect", "renamed").stdout)["record"]
    assert record["restart"] == "on-failure:3" and there("rm", "renamed").returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"volumes": [{"source": "/", "target": "/host"}]}, "volumes /:/host"),
        ({"privileged": True}, "privileged"), ({"cap_add": ["ALL"]}, "cap-add ALL"),
        ({"security_opt": ["seccomp=unconfined"]}, "seccomp=unconfined"),
        ({"devices": ["/dev/sda"]}, "devices"), ({"host_namespaces": ["pid"]}, "host-namespaces"),
        ({"sysctls": {"kernel.x": "1"}}, "sysctls"), ({"tmpfs": ["/x:rbind"]}, "tmpfs"),
    ],
)  # fmt: skip
def test_what_reaches_out_is_refused(
    clean: Inn, there: Inn, options: dict[str, Any], said: str
) -> None:
    make(clean)
    data = remade(exported(clean), head=lambda h: h["request"]["options"].update(options))
    done = arrive(there, data)
    assert done.returncode == 2 and said in done.stderr.decode(), done.stderr
    assert b"--trust" in done.stderr and there.left() == []


def test_networks_of_the_host_are_refused(clean: Inn, there: Inn) -> None:
    make(clean)
    for networks in (["host"], ["ns:/proc/1/ns/net"], ["container:x"]):
        data = remade(exported(clean), head=lambda h, n=networks: h["request"].update(networks=n))
        done = arrive(there, data)
        assert done.returncode == 2 and b"the network" in done.stderr and there.left() == []


def test_what_is_trusted(clean: Inn, there: Inn, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    make(clean, "-v", f"{tmp_path}/v:/v")
    data = exported(clean)
    assert arrive(there, data).returncode == 2
    (tmp_path / "v").rmdir()
    assert arrive(there, data, "--trust").returncode == 127  # it is not on that host
    (tmp_path / "v").mkdir()
    assert arrive(there, data, "--trust").returncode == 0
    assert there("rm", "c").returncode == 0


def _add(name: str, **fields: Any) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], object]:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return lambda found: found.insert(1, (info, b""))


@pytest.mark.parametrize(
    "members",
    [
        _add("rootfs/../../etc/x"), _add("etc/x"), _add("/rootfs/../x"), _add("rootfs/.wh.etc"),
        _add("rootfs/h", type=tarfile.LNKTYPE, linkname="/etc/shadow"),
        _add("rootfs/h", type=tarfile.LNKTYPE, linkname="rootfs/../../etc/shadow"),
        _add(HEAD), lambda found: found.pop(), lambda found: found.pop(3),
        lambda found: found.pop(0), lambda found: found.append((tarfile.TarInfo("rootfs/x"), b"")),
    ],
)  # fmt: skip
def test_hostile_files(clean: Inn, there: Inn, members: Callable[[Any], object]) -> None:
    make(clean)
    data = remade(exported(clean), members=members)
    assert arrive(there, data).returncode == 125
    assert there.left() == [] and there("ps", "-aq").stdout == b""


def test_a_link_does_not_lead_out(clean: Inn, there: Inn, tmp_path: Path) -> None:
    """A folder that is a link to the host's: what the archive has below it stays inside."""
    make(clean)
    inside = tarfile.TarInfo("rootfs/out/file")

    def members(found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        link = tarfile.TarInfo("rootfs/out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        found[1:1] = [(link, b""), (inside, b"evil")]
        found[-1] = (found[-1][0], json.dumps({"files": len(found) - 2}).encode())

    arrive(there, remade(exported(clean), members=members))
    assert os.listdir(tmp_path) == []
    there("rm", "-f", "c")


@pytest.mark.parametrize(
    "head",
    [
        {"format": "x"}, {"version": 2}, {"name": "../x"}, {"name": 1}, {"config": 1},
        {"config": {"Env": "x"}}, {"platform": {}}, {"platform": {"os": "linux", "architecture": "s390x"}},
        {"request": None}, {"request": {"image": "x", "options": {"files": {"/etc/shadow": "/etc/shadow"}}}},
        {"request": {"image": "x", "options": {"cgroups_path": "/"}}}, {"image": "x" * 5000},
        {"config": {"Healthcheck": {"Test": "x"}}},
    ],
)  # fmt: skip
def test_hostile_heads(clean: Inn, there: Inn, head: dict[str, Any]) -> None:
    make(clean)
    done = arrive(there, remade(exported(clean), head=lambda h: h.update(head)))
    assert done.returncode in (2, 125) and b"unexpected" not in done.stderr, done.stderr
    assert there.left() == []


def test_a_stream_that_breaks_off(clean: Inn, there: Inn) -> None:
    make(clean)
    data = exported(clean)
    for size in (0, 100, 512, 5000, len(data) // 2, len(data) - 10240 - 1024):
        done = arrive(there, data[:size])
        assert done.returncode == 125 and b"unexpected" not in done.stderr, done.stderr
        assert there.left() == []


@pytest.fixture
def two_hosts() -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces with a cable between them; commands that run a program in each."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip(8) to make two network namespaces")
    names = [f"inn-test-{os.getpid()}-{which}" for which in "ab"]
    with ExitStack() as stack:
        for name in names:
            done = subprocess.run(["ip", "netns", "add", name], capture_output=True)
            if done.returncode:
                pytest.skip(f"no network namespace is to be had: {done.stderr.decode()}")
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        ends = ("mva", "mvb")
        run(["ip", "-n", names[0], "link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", names[1]])  # fmt: skip
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            run(["ip", "-n", name, "addr", "add", f"10.91.7.{number}/24", "dev", end])
            run(["ip", "-n", name, "link", "set", end, "up"])
        # Not `ip netns exec`, which hides the control groups.
        first, second = (["nsenter", f"--net=/run/netns/{name}", "--"] for name in names)
        yield first, second


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


@needs_root
def test_over_a_network(clean: Inn, there: Inn, two_hosts: tuple[list[str], list[str]]) -> None:
    """`inn export c | (TCP) | inn import -`: two hosts that share nothing but a cable."""
    first, second = two_hosts
    make(clean)
    receive = [*second, sys.executable, "-c", RECEIVER]
    send = [*first, sys.executable, "-c", SENDER]
    with (
        subprocess.Popen(receive, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as receiver,
        subprocess.Popen([*second, *there.argv("import", "-")], env=there.env, stdin=receiver.stdout,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE) as importing,
    ):  # fmt: skip
        assert receiver.stderr is not None and receiver.stderr.readline() == b"up\n"
        with (
            subprocess.Popen([*first, *clean.argv("export", "c")], env=clean.env, stdout=subprocess.PIPE) as exporting,
            subprocess.Popen(send, stdin=exporting.stdout) as sending,
        ):  # fmt: skip
            pass
        assert receiver.stdout is not None
        receiver.stdout.close()
        _, errors = importing.communicate()
        assert (exporting.returncode, sending.returncode, importing.returncode) == (0, 0, 0), errors
    started = subprocess.run(
        [*second, *there.argv("start", "-a", "c")], env=there.env, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert started.stdout == b"0\ntwo\n-rwxr-x--x\nkept\n/no/where\n", started
    assert there("rm", "c").returncode == 0
