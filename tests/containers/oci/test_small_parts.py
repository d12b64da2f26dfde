"""Flags, signals, durations, mount options, CPU lists, capabilities, features, the default document."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from innkeeper.base.errors import InnError
from innkeeper.containers import kernel as k
from innkeeper.containers.entering import cpu_list
from innkeeper.containers.features import features
from innkeeper.containers.flags import parse_flags
from innkeeper.containers.inspect import duration
from innkeeper.containers.mount_options import (
    add_label,
    known_options,
    parse_options,
    propagation_flags,
)
from innkeeper.containers.process import _label, scheduling
from innkeeper.containers.signals import signal_number
from innkeeper.containers.spec import default_spec, make_rootless

TABLE = {
    "bundle": ("b", "text", ""), "detach": ("d", "bool", ""), "env": ("e", "many", ""),
    "count": ("", "number", ""),
}  # fmt: skip


@pytest.mark.parametrize("argv,values,rest", [
    (["-b", "x", "id"], {"bundle": "x"}, ["id"]),
    (["--bundle=x", "-d", "id", "-e"], {"bundle": "x", "detach": True}, ["id", "-e"]),
    (["-bundle", "x", "--detach=false"], {"bundle": "x", "detach": False}, []),
    (["-e", "A=B", "--env=C=D", "--", "-b"], {"env": ["A=B", "C=D"]}, ["-b"]),
    (["--count", "-1"], {"count": -1}, []),
])  # fmt: skip
def test_flags_as_go_has_them(argv: list[str], values: dict[str, object], rest: list[str]) -> None:
    assert parse_flags(TABLE, argv) == (values, rest)


@pytest.mark.parametrize("argv", [["-x"], ["--bundle"], ["--count", "x"], ["--detach=maybe"]])
def test_flags_refused(argv: list[str]) -> None:
    with pytest.raises(InnError):
        parse_flags(TABLE, argv)


@pytest.mark.parametrize("text,number", [
    ("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN+3", 37), ("0", 0),
])  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "BOGUS", "65", "RTMIN+99", "TERM+1", "_DFL", "_IGN", "-9", "_BLOCK"]
)
def test_no_signals(text: str) -> None:
    with pytest.raises(InnError, match="unknown signal"):
        signal_number(text)


def test_durations() -> None:
    assert [duration(t) for t in ("5s", "500ms", "1.5m", "1h")] == [5.0, 0.5, 90.0, 3600.0]
    for bad in ("", "5", "s", "-1s", "0s"):
        with pytest.raises(InnError):
            duration(bad)


def test_cpu_lists() -> None:
    assert cpu_list("0-2, 5") == {0, 1, 2, 5}
    for bad in ("", "a", "1-", "0-9999999"):
        with pytest.raises(InnError):
            cpu_list(bad)


def test_mount_options() -> None:
    options = parse_options(
        {"options": ["rbind", "ro", "nosuid", "noatime", "rnoexec", "rslave", "size=1k", "sync"]}
    )
    assert options.bind and options.words == {"rbind"}
    assert options.set == k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOATIME
    assert options.deep_set == k.MOUNT_ATTR_NOEXEC
    assert options.propagation == [(k.MS_SLAVE, True)]
    assert (options.data, options.filesystem) == (["size=1k"], ["sync"])


def test_later_options_win() -> None:
    assert parse_options({"options": ["ro", "rw"]}).set == 0
    assert parse_options({"options": ["rw", "ro"]}).set == k.MOUNT_ATTR_RDONLY
    assert parse_options({"options": ["noatime", "strictatime"]}).set == k.MOUNT_ATTR_STRICTATIME


def test_propagation() -> None:
    assert propagation_flags("") == k.MS_PRIVATE | k.MS_REC
    assert propagation_flags("rshared") == k.MS_SHARED | k.MS_REC
    with pytest.raises(InnError):
        propagation_flags("rodd")


def test_scheduling_is_struct_sched_attr() -> None:
    packed = scheduling(
        {
            "policy": "SCHED_DEADLINE",
            "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 1,
            "deadline": 2,
            "period": 3,
        }
    )
    assert packed == k.words(48, 6, size=4) + k.words(2) + k.words(0, 0, size=4) + k.words(1, 2, 3)
    with pytest.raises(InnError, match=r"process\.scheduler\.policy"):
        scheduling({"policy": "SCHED_ODD"})


def test_features_have_the_fields_of_the_specification() -> None:
    document = json.loads(json.dumps(features()))
    assert document["ociVersionMin"] == "1.0.0" and document["ociVersionMax"] == "1.2.0"
    assert document["linux"]["namespaces"] == [
        "cgroup",
        "ipc",
        "mount",
        "network",
        "pid",
        "time",
        "user",
        "uts",
    ]
    assert len(document["linux"]["capabilities"]) == 41
    for option in (
        "ro",
        "rro",
        "rbind",
        "tmpcopyup",
        "rslave",
        "idmap",
        "nosymfollow",
        "rnosymfollow",
        "defaults",
    ):
        assert option in known_options()


def test_the_rootless_document_maps_its_user() -> None:
    document = default_spec()
    make_rootless(document)
    kinds = {one["type"] for one in document["linux"]["namespaces"]}
    assert "user" in kinds and "network" not in kinds
    assert "resources" not in document["linux"]
    assert not [o for m in document["mounts"] for o in m.get("options", []) if o.startswith("gid=")]


@pytest.mark.parametrize("attributes,process,written", [
    (["exec"], {"apparmorProfile": "p"}, {"exec": "exec p"}),
    (["exec", "apparmor/exec"], {"apparmorProfile": "p"}, {"apparmor/exec": "exec p"}),
    (["exec", "apparmor/exec"], {"selinuxLabel": "a:b:c"}, {"exec": "a:b:c"}),
    (["exec", "apparmor/exec"], {"apparmorProfile": "p", "selinuxLabel": "a:b:c"},
     {"apparmor/exec": "exec p", "exec": "a:b:c"}),
])  # fmt: skip
def test_labels_go_to_their_own_modules(
    tmp_path: Path, attributes: list[str], process: dict[str, str], written: dict[str, str]
) -> None:
    (tmp_path / "self").symlink_to("42")
    for name in attributes:
        (tmp_path / "42/attr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "42/attr" / name).touch()
    proc = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        _label(process, proc)
    finally:
        os.close(proc)
    found = {name: (tmp_path / "42/attr" / name).read_text() for name in attributes}
    assert {name: text for name, text in found.items() if text} == written


def test_labels_of_a_kernel_without_modules(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("42")
    (tmp_path / "42/attr").mkdir(parents=True)
    proc = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(InnError, match="unable to apply apparmor profile"):
            _label({"apparmorProfile": "p"}, proc)
        with pytest.raises(InnError, match="unable to apply selinux label"):
            _label({"selinuxLabel": "a:b:c"}, proc)
    finally:
        os.close(proc)


def test_mount_labels() -> None:
    label = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"
    for mount, wanted in [
        ({"type": "tmpfs", "options": ["size=1k"]}, ["size=1k", f"context={label}"]),
        ({"type": "devpts"}, [f"context={label}"]),
        ({"type": "tmpfs", "options": ["rootcontext=x"]}, ["rootcontext=x"]),
        ({"type": "proc"}, []),
        ({"type": "tmpfs", "options": ["bind"]}, []),
    ]:
        options = parse_options(mount)
        add_label(options, str(mount["type"]), label)
        assert options.data == wanted
    options = parse_options({"type": "tmpfs"})
    add_label(options, "tmpfs", "")
    assert options.data == []
