"""Runs generated programs and tells whether they ran to their end; does not trust them.

Each program gets a fresh interpreter, no input, no environment, an empty folder that is removed
afterwards, and whatever of these layers the machine has:

1. Limits of the kernel, always: CPU time, address space, file size, open files, no core dumps, no
   further processes or threads (not for uid 0; address space not on macOS).
2. A deadline by the wall clock, always: the whole process group is killed.
3. An audit hook in the child (`guard`), always: writing outside the folder, starting processes,
   sending signals and using sockets ends the program at once; a thread cannot be started. This
   keeps clumsy code from doing harm. It is no wall against native code, or against code written to
   get around it; reading files is not prevented.
4. bubblewrap, where it is installed and allowed: a read-only file system without /proc, /run and
   /tmp, no network, nobody's rights, and processes that cannot outlive the program. This is a wall
   as good as the kernel's namespaces. Files of the disk can still be read, but nothing read can
   leave: the only thing that comes back is the outcome.

What is not covered even then: the number of processes for uid 0 (they all end with the program),
the disk or the CPU being busy until the deadline. Without bubblewrap: many files of the largest
size may fill the disk until the deadline, and native code may do what the user may do.

Knows neither tasks nor scores. Linux and macOS.
"""

import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Literal

from training.evaluation import guard

Outcome = Literal["passed", "failed", "timeout", "memory", "forbidden"]
"""`passed` only if the program ran to its end: one that exits early failed, whatever its status.
`failed` is everything that has no name of its own, also a crash of the interpreter."""

Containment = Literal["bubblewrap", "plain"]
"""`plain` is all layers but bubblewrap."""

_GUARD = Path(guard.__file__).read_text(encoding="utf-8")
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # sets and their order are the same in two runs
    "OPENBLAS_NUM_THREADS": "1",  # numpy's import would fail: there are no threads
    "OMP_NUM_THREADS": "1",
}
_TMPFS_BYTES = 64 << 20
_STATUSES: dict[int, Outcome] = {
    guard.FORBIDDEN: "forbidden",
    guard.MEMORY: "memory",
    # A signal is a negative number, or 128 more than itself if bubblewrap passes it on.
    -signal.SIGXCPU: "timeout",
    -signal.SIGALRM: "timeout",
    128 + signal.SIGXCPU: "timeout",
    128 + signal.SIGALRM: "timeout",
}


def run_program(
    source: str,
    *,
    seconds: float = 10,
    memory_mib: int = 1024,
    containment: Containment | None = None,
) -> Outcome:
    """Run Python source in a process of its own and tell how it ended.

    Args:
        source: the whole program; it runs as `__main__`.
        seconds: wall-clock limit, start of the interpreter included.
        memory_mib: limit of the address space, of which the interpreter itself takes about 30 MiB.
        containment: one of `containments()`; None for the strongest.
    """
    prefix = _bubblewrap() if containment in (None, "bubblewrap") else None
    assert prefix is not None or containment != "bubblewrap", "bubblewrap does not work here"
    if prefix is not None:
        return _run(prefix, source, seconds, memory_mib, folder=None)
    folder = tempfile.mkdtemp(prefix="seed-program-")
    try:
        return _run((), source, seconds, memory_mib, folder=folder)
    finally:
        _remove(folder)


def run_programs(
    sources: Sequence[str],
    *,
    seconds: float = 10,
    memory_mib: int = 1024,
    workers: int | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Run many programs side by side; yields (index of the source, outcome) as they end.

    Args:
        sources: programs.
        seconds: wall-clock limit of each.
        memory_mib: memory limit of each.
        workers: how many at a time; None for the number of cores.
    """
    pool = ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1)
    try:
        indices = {
            pool.submit(run_program, source, seconds=seconds, memory_mib=memory_mib): index
            for index, source in enumerate(sources)
        }
        for future in as_completed(indices):
            yield indices[future], future.result()
    finally:  # also if nobody wants the rest
        pool.shutdown(cancel_futures=True)


def containments() -> tuple[Containment, ...]:
    """What works on this machine, the strongest first."""
    return ("plain",) if _bubblewrap() is None else ("bubblewrap", "plain")


def describe() -> str:
    """Say in one sentence what holds a program here and what does not."""
    kernel = ["CPU time", "file size", "open files"]
    if sys.platform != "darwin":
        kernel.append("memory")
    if os.geteuid() != 0:
        kernel.append("processes")
    limits = f"the kernel limits {', '.join(kernel)}, and a deadline ends all processes"
    if _bubblewrap() is not None:
        return (
            f"Programs run in bubblewrap (read-only files, no network, processes of their own) "
            f"under an audit hook, {limits}; not covered: reading files."
        )
    return (
        f"Programs run without bubblewrap: an audit hook refuses writing outside their folder, "
        f"processes and sockets, {limits}; not covered: native code, code written to get around "
        f"the hook, and reading files."
    )


def _run(
    prefix: Sequence[str], source: str, seconds: float, memory_mib: int, folder: str | None
) -> Outcome:
    token = secrets.token_bytes(guard.TOKEN_BYTES)
    # As -I, but the seed of the hash is listened to; -B because writing byte code is refused.
    python = (sys.executable, "-B", "-P", "-s", "-c", _GUARD, str(seconds), str(memory_mib))
    has_expired = threading.Event()
    with subprocess.Popen(
        (*prefix, *python),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=_ENVIRONMENT,
        start_new_session=True,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def expire() -> None:
            has_expired.set()
            _kill_group(process.pid)

        # `wait(timeout)` would look every 50 ms; a program takes less.
        deadline = threading.Timer(seconds, expire)
        deadline.start()
        try:
            with suppress(BrokenPipeError):
                _write_all(process.stdin.fileno(), token + source.encode("utf-8", "surrogatepass"))
            process.stdin.close()
            status = process.wait()
        finally:
            deadline.cancel()
            _kill_group(process.pid)  # what it left behind, or itself if we are interrupted
        # Others may still hold the other end open, so only what is there is read.
        os.set_blocking(process.stdout.fileno(), False)
        with suppress(BlockingIOError):
            if os.read(process.stdout.fileno(), guard.TOKEN_BYTES + 1) == token:
                return "passed"
    return "timeout" if has_expired.is_set() else _STATUSES.get(status, "failed")


def _remove(folder: str) -> None:
    """Remove a folder and what is in it, also where the program took its own rights away."""
    with suppress(OSError):  # it may be gone as well
        Path(folder).chmod(0o700)
        for parent, names, _ in os.walk(folder):  # goes into a folder only after this has seen it
            for path in (Path(parent, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _kill_group(leader: int) -> None:
    # macOS answers PermissionError if only a zombie is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


@functools.cache
def _bubblewrap() -> tuple[str, ...] | None:
    """Command that a program is run behind, or None; tried once, because many systems forbid it."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    # fmt: off
    command = (
        bwrap, "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534",
        "--cap-drop", "ALL", "--die-with-parent", "--new-session",
        "--ro-bind", "/", "/",
        "--dev", "/dev", "--remount-ro", "/dev",
        "--tmpfs", "/proc", "--remount-ro", "/proc",  # the environment of other processes
        "--tmpfs", "/run",  # sockets of services, which a read-only mount does not close
        "--size", str(_TMPFS_BYTES), "--tmpfs", "/tmp", "--dir", "/tmp/program",
        # Again, because the interpreter may live in one of the folders that are now hidden.
        "--ro-bind", sys.base_prefix, sys.base_prefix,
        "--ro-bind", sys.prefix, sys.prefix,
        "--remount-ro", "/run",
        "--chdir", "/tmp/program",
    )
    # fmt: on
    try:
        probe = subprocess.run(
            (*command, sys.executable, "-c", ""),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return command if probe.returncode == 0 else None
