"""Inside the guest: run the programs that the kernel's command line asks for, and time them.

`/init` starts it with the guest's python3 once the root disk is mounted. `plan.py` beside it has
the programs. Each is announced on the console, run, and reported with the seconds it took by the
guest's own clock, its exit status, and a checksum of its output; bench/table/follow.py reads that.
"""

import os
import re
import sys
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = "/tmp/output"
TAIL_BYTES = 600


def say(*words):
    os.write(1, ("@bench " + " ".join(words) + "\n").encode())


def run(argv, target):
    """Run a command with its output in a file; return its exit status and seconds."""
    handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - started
    os.close(handle)
    return os.waitstatus_to_exitcode(status), seconds


def measure(name, program):
    """Prepare, run and report one program."""
    if program["prepare"]:
        status, _ = run(["sh", "-ec", program["prepare"]], OUTPUT)
        if status != 0:
            return fail(name, f"its preparation ended with {status}")
    say("start", name)
    status, seconds = run(program["argv"], OUTPUT)
    with open(OUTPUT, "rb") as file:
        output = file.read()
    if status != 0:
        return fail(name, f"it ended with {status}", output)
    figure = seconds
    if program["rate"]:
        found = re.findall(program["rate"].encode(), output)
        if not found:
            return fail(name, "its output has no rate", output)
        figure = float(found[-1])
    checksum = f"{zlib.crc32(output):08x}" if program["stable"] else "-"
    say("end", name, f"{seconds:.6f}", f"{figure:.6f}", checksum)


def fail(name, why, output=b""):
    say("fail", name, why)
    os.write(1, output[-TAIL_BYTES:] + b"\n")


def main():
    sys.path.insert(0, HERE)
    import plan

    os.environ["PATH"] = HERE + ":/usr/bin:/usr/sbin:/bin:/sbin"
    os.environ["LC_ALL"] = "C"
    with open("/proc/cmdline") as file:
        wanted = dict(word.partition("=")[::2] for word in file.read().split())["bench"]
    say("ready", str(os.cpu_count()))
    for name in wanted.split(","):
        measure(name, plan.PROGRAMS[name])
    say("done")


main()
