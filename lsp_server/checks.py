"""What `seed-lsp doctor` looks at: everything that a completion needs.

Each check returns a few words on what it found, or a `Remark` where something could be better, or
raises `CheckError` with what to do. Knows the parts only by their public interface.
"""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import re
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lsprotocol import types

from lsp_server.context import build_request
from lsp_server.documents import Document
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.engine_place import EngineError, engine_sockets, socket_path
from lsp_server.headless import complete_once
from lsp_server.loopback import open_loopback
from lsp_server.settings import Settings, engine_arguments
from lsp_server.snapshot import Snapshot, take_snapshot
from lsp_server.sources import user_file
from model import hub
from model.shipped import choose_adapter
from sampler.messages import BlockCommitted, Failed, FrameDecoder, FrameError, Hello, Ready, encode

OLDEST_PYTHON = (3, 11)
SAMPLE = "def add(first: int, second: int) -> int:\n    return "
LONG_SAMPLE = '"""The numbers from one to three hundred."""\nNUMBERS = [\n    1,\n    2,\n    3,\n'
MEMORY_FACTOR = 4
"""Loading takes up to this many times the size of the file, for seconds; half of it stays."""
TIMEOUT_S = 300.0
"""Loading weights from a slow disk takes long; more than this is a failure."""


class CheckError(Exception):
    """Something is wrong; the message says what to do about it."""


@dataclass(frozen=True)
class Remark:
    """It works, but something could be better; `advice` says what to do."""

    text: str
    advice: str


Finding = str | Remark
Check = Callable[[Settings], Finding | Awaitable[Finding]]


def check_python(_: Settings) -> str:
    """The interpreter is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise CheckError(f"this is Python {version}; install Python 3.11 or newer")
    return f"{version}, {sys.executable}"


def check_packages(_: Settings) -> str:
    """Everything that pyproject.toml asks for is installed, and PyTorch is among it."""
    required = [
        match.group()
        for line in importlib.metadata.requires("seed-lsp") or []
        if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))
    ]
    missing = []
    for name in required:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise CheckError(f"missing: {', '.join(missing)}; run `make setup` or pip install them")
    if importlib.util.find_spec("torch") is None:
        raise CheckError("PyTorch cannot be imported; run `make setup`")
    return f"{len(required)} packages, torch {importlib.metadata.version('torch')}"


def check_weights(settings: Settings) -> str:
    """The weights are here and are the right ones."""
    try:
        return str(hub.resolve(settings.model, offline=True))
    except hub.HubError as error:
        raise CheckError(str(error)) from error


def check_settings(_: Settings) -> str:
    """Where the person's own settings are; problems with them are told before the checks."""
    path = user_file()
    return str(path) if path.is_file() else f"defaults; your own would be in {path}"


def check_adapter(settings: Settings) -> Finding:
    """The adapter is here."""
    path = choose_adapter(settings.adapter, settings.model)
    if path is None:
        if settings.adapter == "none":
            return "none, as set"
        return Remark(
            f"none comes with {settings.model}, so nothing is drafted by denoising",
            "train one (docs/training.md) or use the default model",
        )
    if not path.is_file():
        raise CheckError(f"there is no file {path}; correct the setting adapter")
    return f"{path.name}, {path.stat().st_size / 1e6:.0f} MB"


def check_other_engines(settings: Settings) -> Finding:
    """Engines of other settings or versions, each with its own copy of the weights."""
    own = _engine_socket(settings)
    others = [engine for path in engine_sockets() if path != own and (engine := _ask_engine(path))]
    if not others:
        return "none"
    listed = ", ".join(others)
    return Remark(
        f"{len(others)} more: {listed}",
        "each holds weights of its own; windows share one if their engine settings are the same "
        "(an engine ends ten minutes after its last window)",
    )


def check_memory(settings: Settings) -> Finding:
    """There is room for the weights, unless an engine has them already."""
    available = _available_bytes()
    if available is None:
        return "unknown on this system"
    text = f"{available / 1e9:.1f} GB available"
    if _ask_engine(_engine_socket(settings)):
        return f"{text}, the engine runs already"
    path = hub.resolve(settings.model, offline=True)
    files = list(path.glob("*.safetensors")) if path.is_dir() else [path]
    needed = MEMORY_FACTOR * sum(file.stat().st_size for file in files)
    if available < needed:
        return Remark(
            f"{text}, and loading may take {needed / 1e9:.1f} GB",
            "close other programs or choose a smaller model",
        )
    return text


async def check_engine(settings: Settings) -> str:
    """The engine process starts, or one of the same settings runs already."""
    done: asyncio.Future[EngineStatus] = asyncio.get_running_loop().create_future()

    def on_status(status: EngineStatus) -> None:
        if status.state in ("ready", "failed") and not done.done():
            done.set_result(status)

    client = EngineClient(settings, on_status)
    start = time.perf_counter()
    await client.start()
    try:
        status = await asyncio.wait_for(done, TIMEOUT_S)
        ready = client.ready
    except TimeoutError as error:
        raise CheckError(f"the engine was not ready after {TIMEOUT_S:.0f} s") from error
    finally:
        await client.close()
    if status.state == "failed" or ready is None:
        raise CheckError(status.message)
    elapsed_s = time.perf_counter() - start
    drafts = "drafts by denoising" if ready.has_adapter else "no adapter"
    memory = _memory_of(ready.pid)
    return (
        f"{status.message}, kernels {ready.kernels}, {drafts}, process {ready.pid}{memory}, "
        f"ready after {elapsed_s:.1f} s"
    )


async def check_completion(settings: Settings) -> str:
    """One real completion holds text."""
    finished = await complete_once(_snapshot(SAMPLE), settings, _ignore, _ignore)
    if not finished.text.strip():
        raise CheckError("the completion is empty; try another model or `--mode exact`")
    return f"{finished.text.strip()!r} in {finished.stats.total_ms:.0f} ms"


async def check_cancellation(settings: Settings) -> str:
    """A request that is given up after its first block leaves the engine free for the next."""
    settings = replace(settings, max_new_tokens=400, max_lines=400)
    client = EngineClient(settings, _ignore)
    await client.start()
    try:
        first_block = asyncio.Event()

        async def follow() -> None:
            async for event in client.complete(
                build_request(_snapshot(LONG_SAMPLE), settings, "a")
            ):
                if isinstance(event, BlockCommitted):
                    first_block.set()

        long_task = asyncio.create_task(follow())
        waiting = asyncio.create_task(first_block.wait())
        await asyncio.wait((long_task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        was_running = not long_task.done()
        long_task.cancel()
        start = time.perf_counter()
        request = build_request(_snapshot(SAMPLE), replace(settings, max_new_tokens=1), "b")
        async for event in client.complete(request):
            if isinstance(event, Failed):
                raise CheckError(event.message)
        elapsed_ms = 1000 * (time.perf_counter() - start)
    finally:
        await client.close()
    note = "" if was_running else " (the long request ended before it could be cancelled)"
    return f"the next request was done {elapsed_ms:.0f} ms after the cancel{note}"


async def check_server(settings: Settings) -> str:
    """The language server introduces itself and completes, over stdio as in an editor."""
    async with open_loopback(settings, _ignore) as client:
        if not client.has_inline_completion:
            raise CheckError("the server does not offer inline completion; reinstall seed-lsp")
        await client.wait_until_ready(TIMEOUT_S)
        uri = client.open_file(Path("doctor.py"), "python", SAMPLE)
        cursor = types.Position(1, len("    return "))
        first_ms = None
        async for growth in client.complete(uri, cursor):
            first_ms = growth.elapsed_ms if first_ms is None else first_ms
        if first_ms is None:
            raise CheckError("the server's completion was empty though the engine's was not")
        long_uri = client.open_file(Path("doctor_long.py"), "python", LONG_SAMPLE)
        cancel_ms = await client.cancel(long_uri, types.Position(LONG_SAMPLE.count("\n"), 0))
        return (
            f"initialize answered after {client.initialize_ms:.0f} ms, first text after "
            f"{first_ms:.0f} ms, a cancel after {cancel_ms:.0f} ms"
        )


def _snapshot(text: str) -> Snapshot:
    document = Document("file:///doctor.py", "python", 1, text, "utf-16")
    return take_snapshot(document, document.position_at(len(text)))


def _ignore(_: object) -> None:
    pass


def _engine_socket(settings: Settings) -> Path | None:
    try:
        return socket_path([*ENGINE_COMMAND, *engine_arguments(settings)])
    except EngineError as error:
        raise CheckError(str(error)) from error


def _ask_engine(path: Path | None) -> str | None:
    """What the engine at a socket says of itself; None if nobody answers there."""
    if path is None:
        return None
    with contextlib.suppress(OSError, FrameError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(encode(Hello("seed-lsp doctor")))
        for message in FrameDecoder().feed(connection.recv(1 << 16)):
            if isinstance(message, Ready):
                return f"{message.model} in process {message.pid}{_memory_of(message.pid)}"
            return "one that is loading or of another version"
    return None


def _memory_of(pid: int) -> str:
    """Resident memory of a process, in words; empty where the system does not tell."""
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    with contextlib.suppress(OSError, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return f" with {int(done.stdout) / 1e6:.1f} GB"
    return ""


def _available_bytes() -> int | None:
    """Memory that programs can still have; None where the system does not tell."""
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
        return 1024 * int(found.group(1)) if found else None
    return None
