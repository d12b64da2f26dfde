"""A signal ends the making of an image, wherever the guest is that configures it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from innkeeper.isa.riscv.asm import assemble
from tests.firmware.files import riscv_image

TIMEOUT_S = 60
ATTEMPTS = 6  # one in three met the main thread where what a handler raised was dropped
SCRIPT = """
import signal, sys
from pathlib import Path
from innkeeper.guests.setup import run_setup
from innkeeper.images.secondstage import SetupJob
def end(number, frame):
    raise SystemExit(128 + number)
signal.signal(signal.SIGTERM, end)
here = Path(sys.argv[1])
run_setup(SetupJob(kernel=here / "Image", initrd=here / "initrd", disk=here / "disk", memory_bytes=256 << 20))
"""
# Says a word, and then does nothing but read a register of the UART's: every call into Python is one.
GUEST = """
    li t0, 0x10000000
    li t1, 120
    sb t1, 0(t0)
again:
    lbu t2, 5(t0)
    j again
"""


def test_sigterm_is_not_lost_in_a_device(tmp_path: Path) -> None:
    kernel = bytearray(riscv_image())
    code = assemble(GUEST, base=0x8020_0040).image
    kernel[:4] = (0x0400_006F).to_bytes(4, "little")  # j +64, over the header
    kernel[64 : 64 + len(code)] = code
    (tmp_path / "Image").write_bytes(kernel)
    (tmp_path / "initrd").write_bytes(b"0" * 512)
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    for _ in range(ATTEMPTS):
        attempt(tmp_path)


def attempt(tmp_path: Path) -> None:
    env = {**os.environ, "INN_DEBUG": "console"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=env, stderr=subprocess.PIPE
    ) as child:
        try:
            assert child.stderr is not None
            while child.stderr.read(1) != b"x":
                pass
            child.send_signal(signal.SIGTERM)
            assert child.wait(TIMEOUT_S) == 128 + signal.SIGTERM
        finally:
            child.kill()
