"""Cgroup v2 as a kernel with all its controllers has it: our own guest runs Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
# Making it takes minutes: a test uses it where it is.
IMAGE = os.environ.get("INN_TEST_CGROUP2_IMAGE", "cgroup2")
CHECKS = 11


@pytest.mark.guest
def test_cgroup_v2_with_every_controller() -> None:
    inn = shutil.which("inn", path=str(REPO / ".venv/bin")) or str(REPO / "inn")
    if subprocess.run([inn, "image", "inspect", IMAGE], capture_output=True).returncode:
        pytest.skip(f"no image: inn image build debian --include python3 --tag {IMAGE}")
    script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec python3 -B /t/cgroup2_guest.py /src"
    volumes = ["-v", f"{REPO}/src:/src:ro", "-v", f"{Path(__file__).parent}:/t:ro"]
    command = [inn, "run", "--timeout", "10m", *volumes, IMAGE, "--", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert len(said) == CHECKS
    assert all(line.startswith("ok check_") for line in said), said
