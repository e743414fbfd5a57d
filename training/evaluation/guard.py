"""Runs one program inside the child process and lets it do little; `sandbox` starts it.

Its text is handed to `python -c`, so that it needs no path that the child can see: it imports the
standard library only, and as little of it as it can, because it runs once per program. Knows
neither how it is started nor bubblewrap.

Standard input holds a token and the program behind it. The token is written to what was standard
output if, and only if, the program ran to its end. It is known to the audit hook alone, and the
hook gives it away only if the very frame that runs the program asks for it: a program always stands
in a frame above that one. Everything else is told by the exit status, where a lie gains nothing.
"""

import _thread
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, ModuleType
from typing import Any

TOKEN_BYTES = 32
FAILED, MEMORY, FORBIDDEN = 81, 82, 83
"""Exit statuses; none that an interpreter or a shell uses."""

_MIB = 1 << 20
_END = "seed.end"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Number of leading arguments of the audit event that are paths which are written to.
_WRITES = {
    "os.chflags": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.removexattr": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.setxattr": 1,
    "os.utime": 1,
}
# What ends the program at once. Links are among them because a folder without links makes it
# enough to look at a path's letters; the searches of gc because they would find the token; limits
# because uid 0 may raise them again.
_REFUSED = frozenset(
    {
        "gc.get_objects",
        "gc.get_referents",
        "gc.get_referrers",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.kill",
        "os.killpg",
        "os.link",
        "os.posix_spawn",
        "os.symlink",
        "os.system",
        "pty.spawn",
        "resource.prlimit",
        "resource.setrlimit",
        "signal.pthread_kill",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendmsg",
        "socket.sendto",
        "socket.sethostname",
        "subprocess.Popen",
        "sys._current_frames",
        "sys.remote_exec",
        "syslog.openlog",
        "syslog.syslog",
    }
)
# Modules that do what they do without an audit event. They are as if not installed, instead of
# ending the program, because good ones (numpy, dbm, cmd) try to import them and do without.
_BARRED = frozenset(
    {
        "_cffi_backend",
        "_ctypes",
        "_dbm",
        "_gdbm",
        "_interpreters",
        "_posixshmem",
        "_posixsubprocess",
        "_testcapi",
        "_testinternalcapi",
        "_xxsubinterpreters",
        "readline",
    }
)
# Functions of `os` that no audit event tells of, and that reach beyond the process.
_UNWATCHED = (
    "chroot",
    "mkfifo",
    "mknod",
    "pidfd_open",
    "sched_setaffinity",
    "sched_setparam",
    "sched_setscheduler",
    "setns",
    "setpriority",
    "unshare",
)


def main() -> None:
    """Run the program on standard input; never returns.

    Arguments on the command line: seconds (float) and memory in MiB (int).
    """
    leave, audit = os._exit, sys.audit
    _limit(float(sys.argv[1]), int(sys.argv[2]))
    source = _prepare(sys._getframe())
    module = ModuleType("__main__")
    sys.modules["__main__"] = module  # dataclasses and pickle look their classes up there
    sys.argv[:] = ["program"]
    try:
        exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)
    except MemoryError:
        leave(MEMORY)
    except BaseException:  # SystemExit too: whoever leaves early did not run to the end
        leave(FAILED)
    else:
        audit(_END)
    leave(0)


def _limit(seconds: float, memory_mib: int) -> None:
    """Set the limits that the kernel enforces, on this process and all it might start."""
    cpu_s = math.ceil(seconds) + 1  # the parent's wall clock comes first
    limits = {
        "RLIMIT_CPU": (cpu_s, cpu_s + 1),
        "RLIMIT_AS": (memory_mib * _MIB,) * 2,
        "RLIMIT_FSIZE": (16 * _MIB,) * 2,
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NPROC": (0, 0),  # nothing for uid 0
    }
    for name, limit in limits.items():
        # The system does not know it (RLIMIT_AS of macOS) or is stricter already.
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), limit)
    # If the parent is killed, nobody else would end a program that sleeps.
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)


def _prepare(driver: FrameType) -> str:
    """Take the program and the token from standard input, close all ways out, return the program.

    A function of its own, so that no frame below the program's ever holds the token.
    """
    with open(0, "rb") as stdin:
        token, source = stdin.read(TOKEN_BYTES), stdin.read()
    null_file = os.open(os.devnull, os.O_RDWR)  # becomes 0, the lowest that is free
    result_file = os.dup(1)
    os.dup2(null_file, 1)
    os.dup2(null_file, 2)
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes longer to import than the rest
    os.environ["TMPDIR"] = folder
    _replace_unwatched()
    _forbid_threads()
    sys.addaudithook(_make_hook(folder, driver, lambda: os.write(result_file, token)))
    return source.decode("utf-8", "surrogatepass")


def _replace_unwatched() -> None:
    leave = os._exit

    def refuse(*_: object, **__: object) -> None:
        leave(FORBIDDEN)

    for module in (os, sys.modules["posix"]):
        for name in _UNWATCHED:
            if hasattr(module, name):  # not every system has all of them
                setattr(module, name, refuse)
    # Barred below, but subprocess and asyncio shall be importable.
    posixsubprocess = ModuleType("_posixsubprocess")
    posixsubprocess.fork_exec = refuse  # type: ignore[attr-defined]
    sys.modules["_posixsubprocess"] = posixsubprocess


def _forbid_threads() -> None:
    """Let threads fail to start for every user, as they do where the kernel counts processes.

    There is no audit event for it in Python 3.11.
    """

    def start(*_: object, **__: object) -> None:
        raise RuntimeError("A program under test has one thread.")

    for module in (_thread, sys.modules.get("threading")):
        for name in list(vars(module)) if module is not None else ():
            if name.lstrip("_").startswith(("start_new", "start_joinable")):
                setattr(module, name, start)


def _make_hook(
    folder: str, driver: FrameType, succeed: Callable[[], object]
) -> Callable[[str, tuple[Any, ...]], None]:
    """Make the audit hook; it holds all it needs, so that patching `os` does not disarm it."""
    leave, getcwd, stat, fsdecode, getframe = (
        os._exit,
        os.getcwd,
        os.stat,
        os.fsdecode,
        sys._getframe,
    )
    writes, refused, barred, writing = _WRITES, _REFUSED, _BARRED, _WRITING

    def is_inside(path: Any) -> bool:
        if isinstance(path, int):
            return False
        text = fsdecode(path)
        # An event does not tell the `dir_fd` that a path is relative to. It is a folder inside,
        # as no other can be opened, so what has no ".." stays inside.
        if ".." in text.split("/"):
            return False
        absolute = text if text.startswith("/") else f"{getcwd()}/{text}"
        return absolute == folder or absolute.startswith(f"{folder}/")

    def is_folder(path: Any) -> bool:
        try:
            return stat(path).st_mode & 0o170000 == 0o040000
        except (OSError, ValueError):
            return False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in refused:
            leave(FORBIDDEN)
        elif event in writes:
            if not all(is_inside(path) for path in arguments[: writes[event]]):
                leave(FORBIDDEN)
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or path == "/dev/null":
                return
            if (flags & writing or is_folder(path)) and not is_inside(path):
                leave(FORBIDDEN)
        elif event == "os.truncate":  # a number is a file that was opened for writing
            if not isinstance(arguments[0], int) and not is_inside(arguments[0]):
                leave(FORBIDDEN)
        elif event == "sqlite3.connect":
            if arguments[0] != ":memory:" and not is_inside(arguments[0]):
                leave(FORBIDDEN)
        elif event == "import":
            if arguments[0] in barred:
                raise ImportError(f"{arguments[0]} is not available to a program under test.")
        elif event == _END and getframe(1) is driver:
            succeed()

    return hook


if __name__ == "__main__":
    main()
