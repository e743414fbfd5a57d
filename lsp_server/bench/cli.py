"""The commands `seed-lsp bench …`: read arguments, have something measured, show or print it.

Tables and the one object of `--json` go to standard output, progress to stderr. Knows neither
frames nor LSP.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from lsp_server import terminal
from lsp_server.bench import cancel as cancelling
from lsp_server.bench import decode as decoding
from lsp_server.bench import keystroke as typing
from lsp_server.bench import prefill as prefilling
from lsp_server.bench.engines import Contenders, RivalName, open_contenders, rival_command
from lsp_server.bench.figures import busy_warning, describe_machine, machine_line
from lsp_server.bench.line import Report
from lsp_server.bench.prompts import check_sizes
from lsp_server.bench.traces import own_trace, read_trace
from lsp_server.headless import EngineFailedError
from lsp_server.loopback import LoopbackError
from lsp_server.options import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    NO_OPTIONS,
    Options,
    checked_settings,
    fail,
    fetch_weights,
)
from lsp_server.settings import Settings
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary

app = App(name="bench", help="Measure how fast it is on this machine, and against llama.cpp.")

AsJson = Annotated[bool, Parameter(name="json", help="print one object", negative="")]
Sizes = Annotated[
    list[int] | None, Parameter(consume_multiple=True, help="tokens of context", negative="")
]
Measured = dict[str, Any]


@Parameter(name="*")
@dataclass(frozen=True)
class RivalOptions:
    """Who else is measured."""

    rival: Annotated[RivalName | None, Parameter(help="measured in turns with ours")] = None
    rival_model: Annotated[
        Path | None, Parameter(help="GGUF file of the rival; without it the one that we use")
    ] = None

    def command(self, settings: Settings, weights: Path) -> list[str] | None:
        """What starts it; None if nobody else is measured.

        Raises:
            ValueError: if it cannot be started.
        """
        if self.rival is None:
            return None
        return rival_command(settings, weights, self.rival_model)


NO_RIVAL = RivalOptions()


@app.command
def decode(
    *,
    options: Options = NO_OPTIONS,
    context: Sizes = None,
    limit: Annotated[int, Parameter(help="holes of the sample")] = 12,
    tokens: Annotated[int, Parameter(help="longest answer")] = 64,
    rival: RivalOptions = NO_RIVAL,
    as_json: AsJson = False,
) -> int:
    """Tokens a second by mode, behind a prompt and with it."""
    sizes = context or [256, 1024]

    async def measure(contenders: Contenders, tokenizer: Tokenizer, report: Report) -> Measured:
        contexts = await decoding.measure(
            contenders,
            tokenizer,
            report,
            sizes=sizes,
            num_holes=limit,
            max_new_tokens=tokens,
        )
        return {"contexts": contexts}

    def show(record: Measured, console: Console) -> None:
        decoding.show(record["contexts"], console)

    bench = Bench("decode", measure, show, sizes, {"limit": limit, "tokens": tokens})
    return _run(bench, options, rival, as_json)


@app.command
def prefill(
    *,
    options: Options = NO_OPTIONS,
    context: Sizes = None,
    limit: Annotated[int, Parameter(help="prompts of each size")] = 5,
    rival: RivalOptions = NO_RIVAL,
    as_json: AsJson = False,
) -> int:
    """Time to read prompts of which nothing is cached, and memory."""
    sizes = context or [128, 512, 1024, 2048]

    async def measure(contenders: Contenders, tokenizer: Tokenizer, report: Report) -> Measured:
        return await prefilling.measure(
            contenders, tokenizer, report, sizes=sizes, num_prompts=limit
        )

    bench = Bench("prefill", measure, prefilling.show, sizes, {"limit": limit})
    return _run(bench, options, rival, as_json)


@app.command
def keystroke(
    *,
    options: Options = NO_OPTIONS,
    trace: Annotated[
        Path | None, Parameter(help="typing trace, .json or .json.gz; without it a short one")
    ] = None,
    first: Annotated[int, Parameter(help="changes of the trace that are left out")] = 0,
    limit: Annotated[int, Parameter(help="changes that are typed")] = 300,
    speed: Annotated[float, Parameter(help="1 is a person's")] = 1.0,
    wait: Annotated[bool, Parameter(help="for every answer to be whole", negative="")] = False,
    as_json: AsJson = False,
) -> int:
    """Type in the real server as in VS Code: time to gray text, context computed for a key."""
    try:
        check_counts({"limit": limit, "first": first + 1})
        if speed <= 0:
            raise ValueError(f"--speed {speed:g} would take for ever")
        typed = (read_trace(trace) if trace else own_trace()).part(first, limit)
        if not typed.edits:
            raise ValueError(f"the trace has no change behind the first {first:,}")
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)

    async def measure(contenders: Contenders, _: Tokenizer, report: Report) -> Measured:
        settings = contenders.settings
        count = contenders.ours.count_context
        return await typing.measure(settings, typed, report, count, speed=speed, waits=wait)

    bench = Bench("keystroke", measure, typing.show, is_shared=True)
    return _run(bench, options, NO_RIVAL, as_json)


@app.command
def cancel(
    *,
    options: Options = NO_OPTIONS,
    limit: Annotated[int, Parameter(help="answers that are cancelled")] = 200,
    as_json: AsJson = False,
) -> int:
    """Time from a cancel until the engine is idle."""

    async def measure(contenders: Contenders, tokenizer: Tokenizer, report: Report) -> Measured:
        return await cancelling.measure(contenders, tokenizer, report, num_cancels=limit)

    bench = Bench("cancel", measure, cancelling.show, counts={"limit": limit})
    return _run(bench, options, NO_RIVAL, as_json)


@dataclass(frozen=True)
class Bench:
    """What is special about a bench of engine processes."""

    name: str
    measure: Callable[[Contenders, Tokenizer, Report], Awaitable[Measured]]
    show: Callable[[Measured, Console], None]
    sizes: Sequence[int] = ()
    """Tokens of context."""
    counts: dict[str, int] = field(default_factory=dict)
    """By the name of their flag."""
    is_shared: bool = False
    """Whether it measures the engine that editors use."""


def _run(bench: Bench, options: Options, rival: RivalOptions, as_json: bool) -> int:
    """One bench from its arguments to what is printed; the exit code."""
    try:
        check_sizes(bench.sizes)
        check_counts(bench.counts)
        settings = checked_settings(options)
        weights = fetch_weights(settings)
        rival_process = rival.command(settings, weights)
        tokenizer = Tokenizer(read_vocabulary(weights))
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)

    machine = describe_machine()  # before our own processes make it busy

    async def run(report: Report) -> Measured:
        ours = open_contenders(settings, report, rival_process, is_shared=bench.is_shared)
        async with ours as contenders:
            record = {"bench": bench.name, "machine": machine, **contenders.describe()}
            return {**record, **await bench.measure(contenders, tokenizer, report)}

    try:
        with terminal.progress_bar() as report:
            record = asyncio.run(run(report))
    except (EngineFailedError, LoopbackError) as error:
        return fail(str(error), EXIT_FAILED)
    _print(record, bench.show, as_json)
    return 0


def check_counts(counts: dict[str, int]) -> None:
    """Refuse numbers of which nothing can be measured.

    Raises:
        ValueError: if one is not positive.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"--{name} {count} is nothing to measure")


def _print(record: Measured, show: Callable[[Measured, Console], None], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(record) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(machine_line(record["machine"], record["engine"]), markup=False)
    if record.get("rival"):
        console.print(f"{record['rival']['model']}: {record['rival']['build']}", markup=False)
    show(record, console)
    warning = busy_warning(record["machine"])
    if warning is not None:
        console.print(warning)
