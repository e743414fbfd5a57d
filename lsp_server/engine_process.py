"""The engine's process: found at its socket or started, and killed if need be.

It is no child in any lasting sense: it has its own session, outlives this process and leaves by
itself when idle. Knows no frames.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lsp_server.engine_place import POLL_S, file_lock, log_path, socket_path

logger = logging.getLogger(__name__)

SPAWN_TIMEOUT_S = 30.0
"""Until a new engine accepts connections, which it does before it loads anything."""

_MAX_LOG_BYTES = 1_000_000
_CREDENTIALS = struct.Struct("3i")  # process, user, group

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class EngineProcess:
    """The engine of one command at a time, whoever has started it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    async def connect(self, command: Sequence[str]) -> Connection:
        """A connection to the engine of that command, which is spawned if none answers.

        Raises:
            EngineError: if there is no safe place for the socket.
            OSError: if no engine comes up.
        """
        path = socket_path(command)
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(path)
        async with file_lock(path.with_suffix(".lock")):
            with contextlib.suppress(OSError):  # another window was faster
                return await asyncio.open_unix_connection(path)
            path.unlink(missing_ok=True)
            process = self._process = _spawn(command, path)
            return await _first_connection(process, path)

    def describe_end(self, command: Sequence[str]) -> str:
        """What is known about the end of a process that we spawned; reaps it."""
        code = None if self._process is None else self._process.poll()
        return "" if code is None else f"Its exit code was {code}, its log is {log_path(command)}."


def peer_pid(writer: asyncio.StreamWriter) -> int | None:
    """The process at the other end; None where the system does not tell."""
    peer: socket.socket = writer.get_extra_info("socket")
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError):
        given = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(given)[0]
        return pid
    return None


def kill(pid: int) -> None:
    """End a process at once; one that is gone is ignored."""
    logger.warning("engine %d is killed", pid)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def _spawn(command: Sequence[str], path: Path) -> subprocess.Popen[bytes]:
    own_log = log_path(command)
    own_log.parent.mkdir(parents=True, exist_ok=True)
    is_long = own_log.exists() and own_log.stat().st_size > _MAX_LOG_BYTES
    with own_log.open("wb" if is_long else "ab") as log:
        process = subprocess.Popen(
            [*command, "--socket", str(path)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    logger.info("engine %d spawned, its log is %s", process.pid, own_log)
    return process


async def _first_connection(process: subprocess.Popen[bytes], path: Path) -> Connection:
    deadline = asyncio.get_running_loop().time() + SPAWN_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(path)
        if process.poll() is not None:
            raise ConnectionError("it ended before it accepted a connection")
        await asyncio.sleep(POLL_S)
    raise TimeoutError(f"it accepts no connection after {SPAWN_TIMEOUT_S:.0f} s")
