"""The known ways out of a container, each tried; docs/security.md lists them by number."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.targets import check_target, open_existing, open_target
from tests.containers.oci.kit import Bundle


def root_of(bundle: Bundle) -> Path:
    return Path(bundle.config["root"]["path"])


# CVE-2019-5736: overwriting the runtime through /proc/self/exe


def test_the_runtimes_program_is_out_of_reach(own_bundle: Bundle) -> None:
    """`#!/proc/self/exe` makes the kernel run what ran before: that must not be the host's Python."""
    script = root_of(own_bundle) / "bin/trap"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    python = Path(os.path.realpath(sys.executable))
    before = python.read_bytes()
    own_bundle.process["args"] = ["/bin/trap"]
    done = own_bundle.run()
    assert done.returncode != 0 and "usage:" not in done.stderr and "Python" not in done.stderr
    assert "is the runtime itself" in done.stderr
    own_bundle.process["args"] = ["sleep", "1000"]
    own_bundle.start()
    done = own_bundle.oci("exec", own_bundle.id, "/bin/trap")
    assert done.returncode != 0 and "usage:" not in done.stderr
    assert python.read_bytes() == before


def test_a_program_that_is_a_link_to_the_runtime(own_bundle: Bundle) -> None:
    link = root_of(own_bundle) / "bin/self"
    link.symlink_to("/proc/self/exe")
    own_bundle.process["args"] = ["/bin/self", "-c", "print('escaped')"]
    done = own_bundle.run()
    assert done.returncode == 1 and "is the runtime itself" in done.stderr


def test_a_link_swapped_in_later_finds_the_trampoline(own_bundle: Bundle) -> None:
    """Past every check, what `/proc/self/exe` leads to is a file of our own that cannot be written."""
    own_bundle.process["args"] = ["/bin/victim"]
    victim = root_of(own_bundle) / "bin/victim"
    victim.symlink_to("busybox")
    own_bundle.create()
    victim.unlink()
    victim.symlink_to("/proc/self/exe")
    own_bundle.oci("start", own_bundle.id)
    exe = Path(f"/proc/{own_bundle.pid()}/exe")
    deadline = time.monotonic() + 30
    while "memfd:inn-oci-exec" not in os.readlink(exe):
        assert time.monotonic() < deadline
    with pytest.raises(OSError):
        os.close(os.open(exe, os.O_WRONLY))


def test_a_process_that_waits_cannot_be_looked_into(bundle: Bundle) -> None:
    """It is not dumpable: without CAP_SYS_PTRACE its program, memory and descriptors are closed."""
    bundle.create()
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{bundle.pid()}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    looks = [
        "setpriv",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--reuid",
        "0",
        "--clear-groups",
        "--",
    ]
    peeks = subprocess.run(
        [*looks, "readlink", f"/proc/{bundle.pid()}/exe"], capture_output=True, text=True
    )
    assert peeks.returncode != 0 and peeks.stdout == ""


# CVE-2019-14271 and its like: code of the container's loaded by the runtime


def test_nothing_is_imported_from_the_container(own_bundle: Bundle) -> None:
    """Every module that Python might want after pivot_root lies in wait, at the host's own paths."""
    root = root_of(own_bundle)
    for place in [p for p in sys.path if p.startswith("/")] + [
        str(Path(__file__).parents[3] / "src")
    ]:
        trap = root / place.lstrip("/")
        trap.mkdir(parents=True, exist_ok=True)
        for name in ("select", "time", "encodings", "json", "pwd", "innkeeper"):
            (trap / f"{name}.py").write_text("import os\nos.write(2, b'ESCAPED')\n")
    own_bundle.config["hooks"] = {"startContainer": [{"path": "/bin/true", "timeout": 5}]}
    own_bundle.process["args"] = ["sleep", "1000"]
    own_bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW",
                                   "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}  # fmt: skip
    own_bundle.start()
    done = own_bundle.oci("exec", "-t", own_bundle.id, "nosuch")
    assert "ESCAPED" not in done.stderr + done.stdout and "executable file not found" in done.stderr


# CVE-2021-30465 and CVE-2019-19921: links in the root file system


def test_mounts_stay_inside_whatever_the_links_say(own_bundle: Bundle, tmp_path: Path) -> None:
    root = root_of(own_bundle)
    victim = tmp_path / "victim"
    victim.mkdir()
    (root / "absolute").symlink_to(victim)
    (root / "climbing").symlink_to("../" * 20 + str(victim).lstrip("/"))
    (root / "dangling").symlink_to("/made/here")
    (root / "loop").symlink_to("/loop")
    for place in ("/absolute/x", "/climbing/y", "/dangling"):
        own_bundle.mount(place, kind="tmpfs", source="tmpfs")
    said = own_bundle.output("grep tmpfs /proc/mounts")
    assert (
        f"{victim}/x" in said and f"{victim}/y" in said and "/made/here" in said
    )  # under the root
    assert list(victim.iterdir()) == []
    own_bundle.mount("/loop", kind="tmpfs", source="tmpfs")
    assert "too many levels of symbolic links" in own_bundle.refused()


def test_a_link_that_is_swapped_while_mounts_are_made(tmp_path: Path) -> None:
    """The race itself: somebody swaps a directory for a link to the outside, again and again."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    stop = threading.Event()

    exchange = ctypes.CDLL(None).renameat2

    def swap() -> None:
        while not stop.is_set():
            exchange(-100, bytes(root / "a"), -100, bytes(root / "link"), 2)  # RENAME_EXCHANGE

    racer = threading.Thread(target=swap)
    racer.start()
    fd = os.open(root, os.O_PATH)
    opened = 0
    try:
        for turn in range(2000):
            try:
                place = open_target(fd, f"/a/deep/{turn % 7}", directory=True)
            except OSError:
                continue
            opened += 1
            assert os.readlink(f"/proc/self/fd/{place}").startswith(str(root))
            os.close(place)
    finally:
        stop.set()
        racer.join()
        os.close(fd)
    assert opened and list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["/proc", "/proc/self", "/proc/sys", "/proc/1/attr", "/proc/self/attr/exec"]
)
def test_nothing_is_mounted_over_proc(bundle: Bundle, tmp_path: Path, path: str) -> None:
    """CVE-2019-16884: a fake /proc makes the runtime believe that it has set a label."""
    bundle.mount(path, "bind", source=tmp_path)
    said = bundle.refused()
    assert "cannot be mounted because it is" in said or "error mounting" in said


def test_harmless_files_of_proc_may_be_covered(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1.0 1.0\n")
    bundle.mount("/proc/uptime", "bind", source=tmp_path / "uptime")
    assert bundle.output("cat /proc/uptime") == "1.0 1.0\n"


def test_proc_is_mounted_on_a_plain_directory(own_bundle: Bundle) -> None:
    """CVE-2019-19921, CVE-2023-27561: /proc as a link."""
    root = root_of(own_bundle)
    (root / "proc").rmdir()
    (root / "real").mkdir()
    (root / "proc").symlink_to("/real")
    assert 'filesystem "proc" must be mounted on ordinary directory' in own_bundle.refused()


def test_a_procfs_is_known_by_its_magic_number(tmp_path: Path) -> None:
    root = os.open("/", os.O_PATH)
    inside = os.open("/proc/self", os.O_PATH)
    try:
        with pytest.raises(ContainerError, match="inside /proc"):
            check_target(root, inside, "/innocent", kind="bind")
        assert open_existing(root, "/no/such/place") is None
        assert k.filesystem_type(inside) == k.PROC_SUPER_MAGIC
    finally:
        os.close(root)
        os.close(inside)


# CVE-2024-21626: a leaked descriptor as working directory


def test_the_working_directory_cannot_be_a_leaked_descriptor(own_bundle: Bundle) -> None:
    root = root_of(own_bundle)
    for number in range(3, 24):
        own_bundle.process["cwd"] = f"/proc/self/fd/{number}"
        own_bundle.shell("ls")
        done = own_bundle.run()
        assert done.returncode != 0
    (root / "cwd").symlink_to("/proc/self/fd/7")
    own_bundle.process["cwd"] = "/"
    own_bundle.process["args"] = ["sleep", "1000"]
    own_bundle.start()
    for place in (
        "/cwd",
        "/proc/self/fd/5",
        "/proc/self/fd/6",
        "/proc/self/fd/8",
        "/proc/1/root/../..",
    ):
        done = own_bundle.oci("exec", "--cwd", place, own_bundle.id, "ls")
        assert done.returncode != 0 or "bin" in done.stdout.split()
        assert "pyproject.toml" not in done.stdout and "state.json" not in done.stdout


# CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: masks, consoles and writes that are led astray


def test_masks_do_not_use_the_containers_null(own_bundle: Bundle, tmp_path: Path) -> None:
    """An image whose /dev/null is a link must not turn a mask into a window."""
    own_bundle.config["mounts"] = [
        m for m in own_bundle.config["mounts"] if not m["destination"].startswith("/dev")
    ]
    (tmp_path / "secret").write_text("secret")
    own_bundle.mount("/dev", "rbind", source=tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    own_bundle.linux["maskedPaths"] = ["/proc/keys"]
    said = own_bundle.output("cat /proc/keys; stat -c %t,%T /proc/keys")
    assert said == "1,3\n"


def test_device_nodes_of_the_image_are_not_trusted(own_bundle: Bundle) -> None:
    own_bundle.config["mounts"] = [
        m for m in own_bundle.config["mounts"] if not m["destination"].startswith("/dev")
    ]
    (root_of(own_bundle) / "dev/null").symlink_to("/etc/passwd")
    assert "error creating device node /dev/null" in own_bundle.refused()


def test_sysctls_go_to_the_real_proc(own_bundle: Bundle) -> None:
    """Without a /proc of its own, or with a fake one, the kernel's parameter is what is set."""
    own_bundle.config["mounts"] = [
        m for m in own_bundle.config["mounts"] if m["destination"] != "/proc"
    ]
    fake = root_of(own_bundle) / "proc/sys/net/ipv4"
    fake.mkdir(parents=True)
    (fake / "ip_forward").write_text("fake")
    own_bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    own_bundle.linux["readonlyPaths"] = own_bundle.linux["maskedPaths"] = []
    assert own_bundle.output("cat /proc/sys/net/ipv4/ip_forward") == "fake"
    assert Path("/proc/sys/net/ipv4/ip_forward").exists()


def test_the_console_is_the_pty_multiplexers(own_bundle: Bundle, tmp_path: Path) -> None:
    own_bundle.process["terminal"] = True
    own_bundle.config["mounts"] = [
        m for m in own_bundle.config["mounts"] if not m["destination"].startswith("/dev")
    ]
    (root_of(own_bundle) / "dev/ptmx").write_text("not a terminal")
    assert "ptmx is not the pty multiplexer" in own_bundle.refused()


def test_keys_of_the_caller_stay_outside(bundle: Bundle) -> None:
    bundle.linux["maskedPaths"] = []
    bundle.shell("cat /proc/keys")
    # In this order: a keyring outlives its container for a while.
    assert f"_ses.{bundle.id}" not in bundle.run("--no-new-keyring").stdout
    assert f"_ses.{bundle.id}" in bundle.run().stdout
