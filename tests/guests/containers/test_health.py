"""The health of containers: options, the image's HEALTHCHECK, what is found and what follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ImageError, UsageError
from innkeeper.cli.life_parsing import health_options, read_test
from innkeeper.guests.containers.beside.checks import HEALTHY, STARTING, UNHEALTHY, Checks
from innkeeper.guests.containers.request_parts import HealthOptions
from innkeeper.images.oci.commit import commit
from innkeeper.images.oci.content import ContentStore
from tests.guests.containers.harness import IMAGE, Inn

LOOP = "trap 'exit 4' TERM; echo up; while :; do sleep 0.1; done"
SOON = ["--health-interval", "0.1s"]


def start(inn: Inn, *options: str, script: str = LOOP) -> None:
    done = inn.run("-d", "--name", "c", *options, IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stderr


def health(inn: Inn) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inn("inspect", "c").stdout)["health"]
    return found


def test_the_images_own() -> None:
    image = {"Test": ["CMD-SHELL", "x"], "Interval": 10**9, "Retries": 7, "StartPeriod": 2 * 10**9}
    found = HealthOptions().resolve(image)
    assert found == {
        "test": ["CMD-SHELL", "x"], "interval_s": 1.0, "timeout_s": 30.0, "start_period_s": 2.0,
        "start_interval_s": 5.0, "retries": 7, "on_failure": "none",
    }  # fmt: skip
    found = HealthOptions(test=("CMD", "y"), retries=2, timeout_s=1.0).resolve(image)
    assert found and (found["test"], found["retries"], found["interval_s"]) == (
        ["CMD", "y"],
        2,
        1.0,
    )
    assert HealthOptions(test=("NONE",)).resolve(image) is None
    assert HealthOptions().resolve({"Test": ["NONE"]}) is None
    assert HealthOptions().resolve({"Test": [], "Interval": 5}) is None
    assert HealthOptions().resolve(None) is None


@pytest.mark.parametrize(
    "image",
    [
        {"Test": "x"}, {"Test": [1]}, {"Test": ["CMD"]}, {"Test": ["CMD-SHELL"]}, {"Test": ["SHELL", "x"]},
        {"Test": ["CMD-SHELL", "a", "b"]}, {"Test": ["CMD", "a\0"]}, {"Test": ["CMD", *["x"] * 2000]},
        {"Test": ["CMD", "x"], "Interval": -1}, {"Test": ["CMD", "x"], "Interval": 1.5},
        {"Test": ["CMD", "x"], "Timeout": 10**30}, {"Test": ["CMD", "x"], "Retries": "3"},
        {"Test": ["CMD", "x"], "Retries": True}, {"Test": ["CMD", "x" * (65 << 10)]},
    ],
)  # fmt: skip
def test_an_images_that_is_not_sound(image: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        HealthOptions().resolve(image)


def test_options() -> None:
    assert read_test("true && x") == ("CMD-SHELL", "true && x")
    assert read_test('["a", "b"]') == ("CMD", "a", "b")
    assert read_test('["CMD-SHELL", "b"]') == ("CMD-SHELL", "b")
    assert read_test("none") == ("NONE",)
    for bad in ("", "[", "[1]", "[]"):
        with pytest.raises(UsageError):
            read_test(bad)
    for more in ({"retries": 0}, {"interval_s": 0.0}, {"timeout_s": 1e9}, {"on_failure": "x"}):
        with pytest.raises(UsageError):
            HealthOptions(**more)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        health_options({"no_healthcheck": True, "health_cmd": "x"})


def test_the_timer() -> None:
    checks = Checks(["x"], interval_s=1000, start_interval_s=10, start_period_s=500)
    left = checks.left_s()
    assert left is not None and left <= 10  # it still starts
    checks.ended(STARTING)
    assert (checks.left_s() or 0) <= 10
    for outcome in (HEALTHY, UNHEALTHY):
        checks.ended(outcome)
        assert (checks.left_s() or 0) > 900
    checks = Checks(["x"], interval_s=1000, start_interval_s=10, start_period_s=0)
    assert (checks.left_s() or 0) > 900


def test_healthy_then_unhealthy_then_healthy(clean: Inn) -> None:
    start(clean, *SOON, "--health-cmd", "echo looked; test -e /bad && exit 1; exit 0")
    assert clean("wait", "--condition", "healthy", "c").returncode == 0
    assert b"(healthy)" in clean("ps").stdout
    assert health(clean)["log"][-1]["output"] == "looked\n"
    clean("exec", "c", "touch", "/bad")
    assert clean("wait", "--condition", "unhealthy", "c").returncode == 0
    found = health(clean)
    assert found["failing_streak"] >= 3 and len(found["log"]) <= 5
    assert found["log"][-1]["exit_code"] == 1
    row = json.loads(clean("ps", "-o", "json").stdout)[0]
    assert (row["health"], row["status"]) == ("unhealthy", "running")
    clean("exec", "c", "rm", "/bad")
    assert clean("wait", "--condition", "healthy", "c").returncode == 0


def test_by_hand(clean: Inn) -> None:
    words = ["--health-interval", "1h", "--health-retries", "2", "--health-timeout", "0.2s"]
    start(clean, *words, "--health-cmd", "test -e /slow && sleep 1000; test -e /good")
    assert health(clean) == {"status": "starting", "failing_streak": 0, "log": []}
    for status in (b"starting\n", b"unhealthy\n"):
        done = clean("healthcheck", "run", "c")
        assert (done.returncode, done.stdout) == (1, status)
    clean("exec", "c", "touch", "/good")
    done = clean("healthcheck", "run", "c")
    assert (done.returncode, done.stdout) == (0, b"healthy\n")
    clean("exec", "c", "touch", "/slow")
    assert clean("healthcheck", "run", "c").returncode == 1
    assert "longer than 0.2 s" in health(clean)["log"][-1]["output"]
    assert b"sleep" not in clean("top", "c").stdout.replace(b"sleep 0.1", b"")
    clean("pause", "c")
    assert clean("healthcheck", "run", "c").returncode == 125


def test_the_start_period_forgives(clean: Inn) -> None:
    words = ["--health-interval", "1h", "--health-start-period", "1h", "--health-retries", "1"]
    start(clean, *words, "--health-cmd", '["ls", "/good"]')
    for _ in range(2):
        assert clean("healthcheck", "run", "c").stdout == b"starting\n"
    clean("exec", "c", "touch", "/good")
    assert clean("healthcheck", "run", "c").stdout == b"healthy\n"
    clean("exec", "c", "rm", "/good")  # the first success ends it
    assert clean("healthcheck", "run", "c").stdout == b"unhealthy\n"
    assert clean("restart", "-t", "0", "c").returncode == 0
    assert health(clean)["status"] == "starting"


def test_what_cannot_be_run_is_a_failure(clean: Inn) -> None:
    start(clean, "--health-interval", "1h", "--health-cmd", '["nosuch"]')
    assert clean("healthcheck", "run", "c").returncode == 1
    assert "nosuch" in health(clean)["log"][-1]["output"]


def test_the_image_says_so(clean: Inn) -> None:
    """The HEALTHCHECK of a docker image, read anew and from what was noted of a ready image."""
    check = {"Test": ["CMD", "true"], "Interval": 10**8}
    clean("create", "--name", "c", IMAGE)
    folder = Path(json.loads(clean("inspect", "c").stdout)["folder"])
    store = ContentStore(clean.folder / "data/innkeeper/oci")
    commit(folder, "checked:1", store=store, changes={"Healthcheck": check})
    clean("rm", "c")
    for _ in range(2):  # the second from what was noted of the first
        clean.run("-d", "--name", "c", "checked:1", "sh", "-c", LOOP)
        assert clean("wait", "--condition", "healthy", "c").returncode == 0
        clean("rm", "-f", "c")
    clean.run("-d", "--name", "c", "--no-healthcheck", "checked:1", "sh", "-c", LOOP)
    assert health(clean) is None


def test_killed_when_unhealthy(clean: Inn) -> None:
    start(
        clean,
        *SOON,
        "--health-retries",
        "1",
        "--health-cmd",
        "exit 1",
        "--health-on-failure",
        "kill",
    )
    assert clean("wait", "c").stdout == b"137\n"


def test_stopped_when_unhealthy(clean: Inn) -> None:
    words = ["--health-retries", "1", "--health-cmd", "exit 1", "--health-on-failure", "stop"]
    start(clean, *SOON, *words, "--restart", "always")
    assert clean("wait", "c").stdout == b"4\n"


def test_restarted_when_unhealthy(clean: Inn) -> None:
    words = ["--health-retries", "1", "--health-cmd", "exit 1", "--health-on-failure", "restart"]
    start(clean, *SOON, *words)
    with clean.start("logs", "-f", "c") as following:
        assert following.stdout is not None
        for _ in range(3):
            assert following.stdout.readline() == b"up\n"
        assert clean("stop", "c").returncode == 0


def test_in_the_foreground_too(clean: Inn) -> None:
    words = ["run", "--engine", "container", "--name", "c", *SOON, "--health-cmd", "true"]
    with clean.start(*words, IMAGE, "sh", "-c", LOOP) as running:
        assert running.stdout is not None and running.stdout.readline() == b"up\n"
        assert clean("wait", "--condition", "healthy", "c").returncode == 0
        running.terminate()
        assert running.wait() == 4
    assert clean.left() == []
