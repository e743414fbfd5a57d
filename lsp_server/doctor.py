"""`seed-lsp doctor`: everything a completion needs, checked in the order in which it is needed.

Each check either returns a few words on what it found or raises `CheckError` with what to do.
Checks that depend on a failed one are not run. Knows the parts only by their public interface.
"""

import asyncio
import importlib.metadata
import importlib.util
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lsprotocol import types
from rich.console import Console

from lsp_server.context import build_request
from lsp_server.documents import Document
from lsp_server.engine_client import EngineClient, EngineStatus
from lsp_server.headless import EngineFailedError, complete_once
from lsp_server.loopback import LoopbackError, open_loopback
from lsp_server.settings import Problem, Settings
from lsp_server.snapshot import Snapshot, take_snapshot
from model import hub
from sampler.messages import BlockCommitted, Failed

OLDEST_PYTHON = (3, 11)
SAMPLE = "def add(first: int, second: int) -> int:\n    return "
LONG_SAMPLE = '"""The numbers from one to three hundred."""\nNUMBERS = [\n    1,\n    2,\n    3,\n'
TIMEOUT_S = 300.0
"""Loading weights from a slow disk takes long; more than this is a failure."""


class CheckError(Exception):
    """Something is wrong; the message says what to do about it."""


Check = Callable[[Settings], str | Awaitable[str]]


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
    except TimeoutError as error:
        raise CheckError(f"the engine was not ready after {TIMEOUT_S:.0f} s") from error
    finally:
        await client.close()
    if status.state == "failed":
        raise CheckError(status.message)
    return f"{status.message}, ready after {time.perf_counter() - start:.1f} s"


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
        async for growth in client.complete(uri, types.Position(1, len("    return "))):
            return (
                f"initialize answered after {client.initialize_ms:.0f} ms, "
                f"first text after {growth.elapsed_ms:.0f} ms"
            )
    raise CheckError("the server's completion was empty though the engine's was not")


CHECKS: Sequence[tuple[str, Check]] = (
    ("Python", check_python),
    ("packages", check_packages),
    ("weights", check_weights),
    ("engine", check_engine),
    ("completion", check_completion),
    ("cancellation", check_cancellation),
    ("language server", check_server),
)


def main(
    settings: Settings, problems: Sequence[Problem], checks: Sequence[tuple[str, Check]] = CHECKS
) -> int:
    """Run all checks, a line each; the exit code is 0 if nothing failed."""
    console = Console(highlight=False, soft_wrap=True)
    for problem in problems:
        console.print("[yellow]warning[/]", "settings:", str(problem), markup=True)
    for name, check in checks:
        try:
            with console.status(f"checking {name}"):
                found = asyncio.run(_run(check, settings))
        except (CheckError, EngineFailedError, LoopbackError) as error:
            console.print(f"[bold red]failed[/] {name}:", end=" ")
            console.print(str(error), markup=False)
            console.print("The checks after this one need it, so they were not run.")
            return 1
        console.print(f"[green]ok[/]     {name}:", end=" ")
        console.print(found, markup=False)
    return 0


async def _run(check: Check, settings: Settings) -> str:
    result = check(settings)
    return result if isinstance(result, str) else await result


def _snapshot(text: str) -> Snapshot:
    document = Document("file:///doctor.py", "python", 1, text, "utf-16")
    return take_snapshot(document, document.position_at(len(text)))


def _ignore(_: object) -> None:
    pass
