"""config.json: each field's type and bounds, and what fields mean together; a fuzz of the whole."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ConfigError, InnError
from innkeeper.containers import config, jsontext, spec
from tests.containers.oci import kit


@pytest.fixture
def full(tmp_path: Path) -> dict[str, Any]:
    """A document that has every field of the specification."""
    (tmp_path / "rootfs").mkdir()
    document = spec.default_spec()
    document["process"] |= {
        "terminal": False, "consoleSize": {"height": 24, "width": 80}, "oomScoreAdj": 100,
        "user": {"uid": 1, "gid": 1, "umask": 18, "additionalGids": [5]},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 1, "priority": 0, "flags": [], "runtime": 0,
                      "deadline": 0, "period": 0},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0"}, "apparmorProfile": "", "selinuxLabel": "",
    }  # fmt: skip
    document["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "/tmp", "options": ["rbind", "rro"],
         "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
         "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}]}
    )  # fmt: skip
    hook = {"path": "/bin/true", "args": ["true"], "env": ["A=B"], "timeout": 5}
    document["hooks"] = {name: [copy.deepcopy(hook)] for name in spec_hooks()}
    document["annotations"] = {"a": "b"}
    document["domainname"] = "example"
    document["linux"] |= {
        "cgroupsPath": "/x", "sysctl": {"net.ipv4.ip_forward": "1"}, "rootfsPropagation": "private",
        "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438,
                     "uid": 0, "gid": 0}],
        "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
        "personality": {"domain": "LINUX", "flags": []},
        "intelRdt": {"closID": "a", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=10"},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["bdflush"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                                  "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}]}]},
        "resources": {
            "devices": [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
            "memory": {"limit": 1 << 30, "reservation": 1, "swap": -1, "swappiness": 10, "disableOOMKiller": False},
            "cpu": {"shares": 1, "quota": 1, "burst": 0, "period": 1, "cpus": "0", "mems": "0", "idle": 0},
            "pids": {"limit": 10}, "unified": {"memory.high": "max"},
            "blockIO": {"weight": 100, "throttleReadBpsDevice": [{"major": 1, "minor": 1, "rate": 1}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
            "rdma": {"mlx5": {"hcaHandles": 1, "hcaObjects": 1}},
        },
    }  # fmt: skip
    document["linux"]["namespaces"].append({"type": "time"})
    return document


def spec_hooks() -> tuple[str, ...]:
    from innkeeper.containers.schema import HOOKS

    return HOOKS


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of every value in a document."""
    found = [here] if here else []
    if isinstance(value, dict):
        for key, one in value.items():
            found += paths(one, (*here, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += paths(one, (*here, index))
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def test_the_full_document_is_taken(full: dict[str, Any], tmp_path: Path) -> None:
    assert config.parse(full, str(tmp_path)).rootfs == str(tmp_path / "rootfs")


def test_every_field_of_the_wrong_type_is_named(full: dict[str, Any], tmp_path: Path) -> None:
    checked = 0
    for path in paths(full):
        broken = copy.deepcopy(full)
        put(broken, path, 1.5)  # a fraction is right nowhere
        with pytest.raises(ConfigError) as caught:
            config.parse(broken, str(tmp_path))
        last = next(part for part in reversed(path) if isinstance(part, str))
        assert last in str(caught.value), (path, str(caught.value))
        checked += 1
    assert checked > 200


@pytest.mark.parametrize("missing", [
    ("ociVersion",), ("root",), ("root", "path"), ("process", "cwd"), ("process", "args"), ("mounts", 0, "destination"),
    ("linux", "namespaces", 0, "type"), ("linux", "devices", 0, "path"), ("linux", "seccomp", "defaultAction"),
    ("hooks", "prestart", 0, "path"), ("process", "rlimits", 0, "soft"),
])  # fmt: skip
def test_what_is_required(full: dict[str, Any], tmp_path: Path, missing: tuple[Any, ...]) -> None:
    place = full
    for key in missing[:-1]:
        place = place[key]
    del place[missing[-1]]
    with pytest.raises(ConfigError, match=str(missing[-1])):
        config.parse(full, str(tmp_path))


@pytest.mark.parametrize("path,value,word", [
    (("ociVersion",), "2.0.0", "ociVersion"), (("ociVersion",), "x", "ociVersion"),
    (("process", "cwd"), "rel", "Cwd must be an absolute path"),
    (("process", "env"), ["novalue"], "process.env[0]"), (("process", "env"), ["=x"], "process.env[0]"),
    (("process", "args"), ["a\0b"], "process.args[0]"), (("process", "oomScoreAdj"), 1001, "oomScoreAdj"),
    (("process", "user", "uid"), -1, "process.user.uid"), (("process", "user", "uid"), 1 << 32, "process.user.uid"),
    (("process", "rlimits", 0, "type"), "RLIMIT_BOGUS", "wrong rlimit value: RLIMIT_BOGUS"),
    (("process", "rlimits", 0, "soft"), 1 << 40, "process.rlimits[0]"),
    (("linux", "rootfsPropagation"), "odd", "rootfsPropagation"),
    (("linux", "maskedPaths"), ["rel"], "linux.maskedPaths[0]"),
    (("linux", "devices", 0, "type"), "x", "linux.devices[0].type"),
    (("linux", "timeOffsets"), {"realtime": {"secs": 1}}, "timeOffsets"),
    (("hostname",), "h" * 65, "hostname"), (("root", "path"), "/", "root.path"),
    (("linux", "sysctl"), {"net/../kernel/core_pattern": "x"}, "sysctl"),
    (("hooks", "poststop", 0, "timeout"), 0, "hooks.poststop[0].timeout"),
])  # fmt: skip
def test_values_out_of_bounds(
    full: dict[str, Any], tmp_path: Path, path: tuple[Any, ...], value: Any, word: str
) -> None:
    put(full, path, value)
    with pytest.raises(ConfigError) as caught:
        config.parse(full, str(tmp_path))
    assert word in str(caught.value)


def test_unknown_fields_and_null_are_let_be(full: dict[str, Any], tmp_path: Path) -> None:
    full["process"]["future"] = {"any": 1}
    full["process"]["rlimits"] = None
    assert "rlimits" not in config.parse(full, str(tmp_path)).process


def test_fuzzed_documents_end_in_an_error_with_a_name(full: dict[str, Any], tmp_path: Path) -> None:
    """Whatever a file says, it is taken or refused by an error of ours: never another exception."""
    draw = random.Random(20240607)
    strange: list[Any] = [
        None, True, -1, 1 << 64, 1e300, "", "\0", "é" * 300, "../..", [], {}, [[]], [None], {"": None},
        "\ud800", "/" * 5000, [{}], {"type": "mount"},
    ]  # fmt: skip
    places = paths(full)
    taken = 0
    for _ in range(4000):
        broken = copy.deepcopy(full)
        for _ in range(draw.randint(1, 3)):
            path = draw.choice(places)
            try:
                put(broken, path, copy.deepcopy(draw.choice(strange)))
            except (TypeError, KeyError, IndexError):
                continue  # an earlier change took the place away
        try:
            config.parse(broken, str(tmp_path))
            taken += 1
        except InnError as error:
            assert str(error)
    assert 0 < taken < 4000


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", '{"a" 1}', "NaN", "{} x", "[" * 100_000, '"\x01"', "\ufeff{}"]
)
def test_broken_json(text: str) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)


def test_json_reads_and_writes_like_the_standard_library(full: dict[str, Any]) -> None:
    import json

    assert json.loads(jsontext.dumps(full)) == full
    assert json.loads(jsontext.pretty(full)) == full
    assert jsontext.loads(json.dumps(full)) == full


def fuzz(bundle: kit.Bundle, *, seed: int, rounds: int) -> None:
    """Run bundles with a field changed each, some of which reach the kernel."""
    draw = random.Random(seed)
    strange = [
        "/nowhere",
        "../../..",
        "",
        "x" * 5000,
        -1,
        0,
        1 << 31,
        True,
        [],
        {},
        "proc",
        "ro,rw,=,",
    ]
    clean = copy.deepcopy(bundle.config)
    for _ in range(rounds):
        bundle.config = copy.deepcopy(clean)
        put(bundle.config, draw.choice(paths(clean)), draw.choice(strange))
        done = bundle.run()
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        assert done.returncode in (0, 1, 255) and (done.returncode == 0 or done.stderr)
        assert not (bundle.state / bundle.id).exists() and bundle.cgroups() == []


def test_a_fuzzed_bundle_leaves_nothing(bundle: kit.Bundle) -> None:
    """The same through the whole runtime."""
    fuzz(bundle, seed=7, rounds=25)
