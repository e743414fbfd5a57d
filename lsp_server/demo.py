"""`seed-lsp demo`: completions of real Python files, streamed by the real server over stdio.

The files come from the standard library of the running Python, copied with a hole cut out; the
library's own text is shown for comparison. Says what it does at every moment. Knows only what an
editor knows.
"""

import asyncio
import importlib.util
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lsprotocol import types
from rich.console import Console
from rich.text import Text

from lsp_server import wire
from lsp_server.documents import Document
from lsp_server.loopback import Loopback, LoopbackError, open_loopback
from lsp_server.settings import Settings
from lsp_server.terminal import head_lines, progress_bar, tail_lines, with_percentage
from model import hub

ENGINE_TIMEOUT_S = 600.0
_BODY = """\
orig = msg.get_payload(decode=True)
    encdata = _qencode(orig)
    msg.set_payload(encdata)
    msg['Content-Transfer-Encoding'] = 'quoted-printable'"""


@dataclass(frozen=True)
class Hole:
    """A piece of a module of the standard library that is cut out and asked for."""

    title: str
    module: str
    before: str
    """Ends where the hole starts; with `original` it is found only once."""
    original: str


HOLES = (
    Hole(
        "the rest of a line",
        "json.scanner",
        "        if m is not None:\n            integer, frac, exp = ",
        "m.groups()",
    ),
    Hole(
        "the arguments of a call",
        "bisect",
        "        lo = bisect_right(",
        "a, x, lo, hi",
    ),
    Hole(
        "the body of a function",
        "email.encoders",
        '    """Encode the message\'s payload in quoted-printable.\n\n'
        '    Also, add an appropriate Content-Transfer-Encoding header.\n    """\n    ',
        _BODY,
    ),
)
"""Short modules: without a cache, a prompt costs time in proportion to its length."""


@dataclass(frozen=True)
class Task:
    """A hole in a file on disk: the text without the hole, and where the hole was."""

    hole: Hole
    path: Path
    text: str
    offset: int


def cut_hole(hole: Hole, folder: Path) -> Task | None:
    """Copy the module without the hole; None if this Python's module reads differently."""
    spec = importlib.util.find_spec(hole.module)
    if spec is None or spec.origin is None:
        return None
    source = Path(spec.origin).read_text(encoding="utf-8")
    start = source.find(hole.before + hole.original)
    if start < 0:
        return None
    offset = start + len(hole.before)
    text = source[:offset] + source[offset + len(hole.original) :]
    path = Path(tempfile.mkdtemp(dir=folder)) / Path(spec.origin).name
    path.write_text(text, encoding="utf-8")
    return Task(hole, path, text, offset)


def main(settings: Settings) -> int:
    """Run the demonstration; the exit code is 0 if every hole got an answer.

    Raises:
        ValueError: if there are no weights.
    """
    console = Console(highlight=False, soft_wrap=True)
    start = time.perf_counter()
    console.print(f"Looking for the weights of {settings.model} …")
    with progress_bar() as report:
        path = hub.resolve(settings.model, offline=settings.offline, report=report)
    console.print(f"Weights: {path}")
    with tempfile.TemporaryDirectory(prefix="seed-lsp-demo-") as folder:
        tasks = [task for hole in HOLES if (task := cut_hole(hole, Path(folder)))]
        try:
            num_empty = asyncio.run(_show_all(tasks, settings, console))
        except LoopbackError as error:
            console.print(f"[bold red]The demo stopped:[/] {error} (see seed-lsp doctor)")
            return 1
    console.print(f"{len(tasks)} completions, {time.perf_counter() - start:.1f} s in all.")
    return 1 if num_empty or not tasks else 0


async def _show_all(tasks: list[Task], settings: Settings, console: Console) -> int:
    """Show each task; returns how many got no answer."""
    status = console.status("")
    last = ""
    is_loading = True

    def on_status(params: wire.StatusParams) -> None:
        nonlocal last
        status.update(with_percentage(params.message, params.progress))
        # Later it is busy and ready in turns: not between a completion's pieces.
        if is_loading and not console.is_terminal and params.message != last:
            console.print(f"Engine: {params.message}")
        last = params.message

    console.print("Starting the language server as an editor does: seed-lsp --stdio")
    async with open_loopback(settings, on_status) as client:
        console.print(
            f"The server answered initialize after {client.initialize_ms:.0f} ms; "
            "its engine process loads the model meanwhile."
        )
        start = time.perf_counter()
        with status:
            await client.wait_until_ready(ENGINE_TIMEOUT_S)
        is_loading = False
        console.print(f"Engine ready after {time.perf_counter() - start:.1f} s: {last}")
        answers = [
            await _show(task, f"{number}/{len(tasks)}", client, console)
            for number, task in enumerate(tasks, start=1)
        ]
    return sum(not answer.strip() for answer in answers)


async def _show(task: Task, number: str, client: Loopback, console: Console) -> str:
    """Stream one completion into the terminal, then compare it with the original."""
    document = Document(task.path.as_uri(), "python", 1, task.text, "utf-16")
    position = document.position_at(task.offset)
    console.print()
    console.rule(f"{number}  {task.hole.title}: {task.path.name}, line {position.line + 1}")
    console.print(Text(tail_lines(task.text[: task.offset]), "dim"), end="")
    uri = client.open_file(task.path, "python", task.text)
    text = ""
    times_ms: list[float] = []
    cost = None
    async for growth in client.complete(uri, types.Position(*position)):
        console.print(Text(growth.text[len(text) :], "bold green"), end="")
        if growth.text != text or not times_ms:
            times_ms.append(growth.elapsed_ms)
        text, cost = growth.text, growth.cost
    console.print(Text(head_lines(task.text[task.offset :], 2), "dim"))
    if not times_ms:
        console.print("[bold red]no answer[/]")
        return text
    is_same = text.strip() == task.hole.original.strip()
    console.print(Text("the library has it too" if is_same else "the library has:", "cyan"))
    if not is_same:
        console.print(Text(task.hole.original, "yellow"))
    pieces = "one piece" if len(times_ms) == 1 else f"{len(times_ms)} pieces"
    console.print(
        f"first text after {times_ms[0]:.0f} ms, all after {times_ms[-1]:.0f} ms, in {pieces}",
        style="cyan",
    )
    if cost is not None:
        console.print(
            f"{cost.tokens} tokens in {cost.forwards} forwards, behind a prompt of "
            f"{cost.prefill_tokens + cost.cached_tokens} tokens ({cost.cached_tokens} cached)",
            style="cyan",
        )
    return text
