"""The quick reader of `inn run --engine container` reads what click reads, or nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.core import ParameterSource

from innkeeper.cli import quick
from innkeeper.cli.run import run

C = ["--engine", "container"]


@pytest.mark.parametrize(
    "line",
    [
        [*C, "box"],
        [*C, "box", "--", "sh", "-c", "--engine"],
        ["-it", "--engine=container", "box", "sh", "-i"],
        ["-dti", "--rm", *C, "--name", "n", "box"],
        [*C, "-e", "A=1", "--env", "B=-x", "-v", "/a:/b", "--volume=/c:/d:ro", "box"],
        [*C, "--cpus", "0.5", "--memory", "64M", "-m", "1G", "--timeout", "1.5m", "box", "x"],
        [*C, "-u", "web", "--user=7:8", "-w", "/x", "--network", "host", "--hostname", "h", "box"],
        [
            *C,
            "--network",
            "a:ip=10.0.0.2",
            "--network=b",
            "-p",
            "80",
            "-P",
            "--ip",
            "10.0.0.3",
            "box",
        ],
        [
            *C,
            "--network-alias",
            "x",
            "--add-host",
            "h:::1",
            "--dns",
            "192.0.2.1",
            "--publish=1-2",
            "box",
        ],
        [*C, "--cap-add", "ALL", "--cap-drop=KILL", "--security-opt", "seccomp=f", "box"],
        [*C, "--read-only", "--tmpfs", "/run:size=1m", "--entrypoint", "", "--keep", "box"],
    ],
)
def test_the_same(line: list[str]) -> None:
    found = quick.read(["run", *line])
    assert found is not None
    context = run.make_context("run", list(line))
    options, given = found
    shared = {n: v for n, v in context.params.items() if n in given or n in options}
    not_meant = {"cpus", "memory"} - given  # defaults of machines
    assert {n: v for n, v in options.items() if n not in not_meant} == {
        n: v for n, v in shared.items() if n not in not_meant
    }
    typed = ParameterSource.COMMANDLINE
    assert (
        given | {"image", "command"}
        >= {n for n in context.params if context.get_parameter_source(n) is typed}
        >= given
    )


@pytest.mark.parametrize(
    "argv",
    [
        [], ["run"], ["run", "box"], ["ps"], ["run", "box", "--engine", "container"],
        ["run", *C], ["run", *C, "--help"], ["run", *C, "--", "box"], ["run", *C, "--nosuch", "box"],
        ["run", *C, "--memory", "much", "box"], ["run", *C, "--cpus", "0", "box"], ["run", *C, "--pids-limit"],
        ["run", *C, "-eA=1", "box"], ["run", *C, "--tty=1", "box"], ["run", *C, "-", "box"],
        ["run", "--engine", "emulate", "container"], ["run", *C, "--kernel", "k", "box"], ["run", *C, "-ie", "A", "box"],
    ],
)  # fmt: skip
def test_left_to_click(argv: list[str]) -> None:
    assert quick.read(argv) is None


def test_click_is_not_imported_for_a_container() -> None:
    script = (
        "import sys; from innkeeper.cli import quick, container_run;"
        "import innkeeper.guests.containers.foreground;"
        "print([m for m in ('click', 'rich', 'msgspec', 'subprocess', 'inspect') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_container_without_a_network_imports_nothing_of_networks() -> None:
    script = (
        "import sys; from innkeeper.cli import quick, container_run;"
        "import innkeeper.guests.containers.foreground, innkeeper.containers.launch;"
        "options, given = quick.read(['run', '--engine', 'container', 'box', 'true']);"
        "container_run.container_request(options, given);"
        "print([m for m in sys.modules if 'networks' in m or m == 'socket'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
