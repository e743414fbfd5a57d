"""Where engines are met: a socket in a folder of the user's own, a log, a lock for starting one.

Knows neither frames nor processes.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import platformdirs

from lsp_server import __version__
from sampler.messages import PROTOCOL_VERSION

POLL_S = 0.02
_MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 104 on macOS, 108 on Linux


class EngineError(Exception):
    """The engine cannot serve and trying again would not help; one sentence for a person."""


def socket_name(command: Sequence[str]) -> str:
    """Equal for clients that may share an engine: same environment, flags, version and protocol."""
    # `python` and `python3` of one environment are the same interpreter: its prefix counts.
    identity = json.dumps([sys.prefix, list(command[1:]), __version__, PROTOCOL_VERSION])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def log_path(command: Sequence[str]) -> Path:
    """The log of the engine of that command."""
    name = socket_name(command)
    return platformdirs.user_log_path("seed-lsp", appauthor=False) / f"engine-{name}.log"


def socket_path(command: Sequence[str]) -> Path:
    """Where the engine of that command listens, in a folder that only this user can enter.

    Raises:
        EngineError: if there is no such folder.
    """
    name = f"{socket_name(command)}.sock"
    folders = _folders()
    for folder in folders:
        if len(os.fsencode(folder / name)) <= _MAX_SOCKET_PATH_BYTES and _is_private(folder):
            return folder / name
    raise EngineError(
        f"There is no private folder for the engine's socket: {folders[-1]} is not a folder that "
        "only you can read; set XDG_RUNTIME_DIR to one."
    )


def engine_sockets() -> list[Path]:
    """Where engines of this user listen, or did: of any settings and any version."""
    found: list[Path] = []
    for folder in _folders():
        with contextlib.suppress(OSError):
            found += sorted(folder.glob("*.sock"))
    return found


def _folders() -> list[Path]:
    """Where a socket may be, best first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs tells that there is no XDG_RUNTIME_DIR
        folders = []
        with contextlib.suppress(OSError):
            folders.append(platformdirs.user_runtime_path("seed-lsp", appauthor=False))
    folders.append(Path(tempfile.gettempdir()) / f"seed-lsp-{os.getuid()}")
    return folders


def _is_private(folder: Path) -> bool:
    """Create the folder if need be; whether it is ours alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    is_own_folder = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return is_own_folder and not status.st_mode & 0o077


@contextlib.asynccontextmanager
async def file_lock(path: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock, so that two windows that open together spawn one engine."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)
