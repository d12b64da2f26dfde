"""`inn` as a program: help, errors, exit statuses, and what it may import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError
from innkeeper.cli import main as cli
from innkeeper.cli.main import COMMANDS, inn

# Beyond the standard library, `inn --help` may import these and nothing else.
HELP_MAY_IMPORT = {"click", "innkeeper"}
HELP_MAY_IMPORT_OF_OURS = {
    "innkeeper", "innkeeper.base", "innkeeper.base.errors", "innkeeper.cli", "innkeeper.cli.main",
    "innkeeper.__main__",
}  # fmt: skip
SLOW_OF_THE_LIBRARY = {"asyncio", "multiprocessing", "unittest", "ssl", "http.client", "ctypes"}


def run_inn(*words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "innkeeper", *words]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def test_help_imports_only_what_it_needs() -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "from innkeeper.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    imported = set(done.stderr.split())
    others = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert {name for name in others if not name.startswith("_")} <= HELP_MAY_IMPORT
    assert {name for name in imported if name.startswith("innkeeper")} <= HELP_MAY_IMPORT_OF_OURS
    assert not imported & SLOW_OF_THE_LIBRARY
    assert "Usage: inn" in done.stdout


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    assert "Example" in capsys.readouterr().out


def test_every_subcommand_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    import click

    for name in COMMANDS:
        group = inn.get_command(click.Context(inn), name)
        for inner in getattr(group, "commands", ()):
            assert cli.main([name, inner, "--help"]) == 0
            assert "Example" in capsys.readouterr().out, (name, inner)


def test_the_list_of_commands_is_what_the_modules_have() -> None:
    import click

    for name in COMMANDS:
        command = inn.get_command(click.Context(inn), name)
        assert command is not None and command.name == name


def test_the_version_is_on_stdout() -> None:
    done = run_inn("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"inn 0.1.0\n", b"")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument 'IMAGE'"),
        (["run", "--memory", "lots", "busybox"], "'lots' is not a size"),
        (["run", "--timeout", "0", "busybox"], "'0' is not a duration"),
        (["run", "--cpus", "0", "busybox"], "--cpus"),
        (["run", "-v", "/nowhere/at/all:/x", "busybox"], "no such directory"),
        (["run", "-v", "relative", "busybox"], "is not one"),
        (["run", "-e", "=x", "busybox"], "has no name"),
        (["run", "-w", "here", "busybox"], "absolute"),
        (["boot"], "nothing to boot"),
        (["boot", "--disk", "/nowhere", "x"], "no such file"),
        (["completion", "tcsh"], "tcsh"),
        (["cpu", "asm", "/nowhere"], "cannot read"),
    ],
)
def test_wrong_usage_is_said_in_one_place(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("inn: ") and said in captured.err
    assert "Traceback" not in captured.err


def test_our_errors_say_what_why_and_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise ImageError("the image is bad", why="it has a hole", fix="mend it")

    monkeypatch.setattr(inn, "main", fail)
    assert cli.main([]) == 125
    assert capsys.readouterr().err == "inn: the image is bad: it has a hole\n  mend it\n"


def test_the_unexpected_is_one_line_unless_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(inn, "main", fail)
    monkeypatch.delenv("INN_DEBUG", raising=False)
    assert cli.main([]) == 125
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "inn: unexpected ZeroDivisionError: oh no"
    assert "INN_DEBUG=1" in said and "Traceback" not in said
    monkeypatch.setenv("INN_DEBUG", "1")
    assert cli.main([]) == 125
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_stdout_is_not_an_error() -> None:
    command = (
        f"{sys.executable} -m innkeeper run --help | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert done.returncode in (0, 141) and done.stderr == b""


def test_the_doctor_answers_in_json() -> None:
    done = run_inn("doctor", "-o", "json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert {"python", "llvmlite", "kvm", "memory", "package mirror", "zstd"} <= set(checks)
    assert checks["python"]["state"] == "ok"
    broken = any(check["state"] == "broken" for check in checks.values())
    assert done.returncode == (125 if broken else 0)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "_INN_COMPLETE" in capsys.readouterr().out


def test_the_cache_is_listed_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "innkeeper/downloads"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 5000)
    (folder / "file.lock").touch()
    assert cli.main(["cache", "ls", "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["files"]) for row in rows] == [("downloads", 2)]
    assert cli.main(["cache", "clear", "no-such"]) == 127
    assert (folder / "file").exists()
    assert cli.main(["cache", "clear"]) == 0
    assert [path.name for path in folder.iterdir()] == ["file.lock"]


def test_images_are_listed_inspected_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from innkeeper.images.store import Manifest, Store

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    store = Store()
    blob = store.put(b"kernel")
    made = Manifest(
        name="tiny", suite="trixie", arch="riscv64", created="now", kernel=blob,
        kernel_release="1", initrd=blob,
    )  # fmt: skip
    store.save(made)
    assert cli.main(["image", "ls", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["suite"], row["state"]) == ("tiny", "trixie", "ready")
    assert cli.main(["image", "inspect", "tiny"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert Path(facts["kernel"]["path"]).read_bytes() == b"kernel"
    assert cli.main(["image", "rm", "tiny", "absent"]) == 127
    assert store.find("tiny", suite="trixie", arch="riscv64") is not None
    assert cli.main(["image", "rm", "tiny"]) == 0
    assert cli.main(["image", "ls", "-o", "json"]) == 0
    assert capsys.readouterr().out.endswith("[]\n")
