"""`seed-lsp tune`: has the engine measure this machine, and tells what came out.

The engine measures, uses and keeps it; this is the terminal's side. Knows neither how measuring
works nor how a way of working is chosen.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.engine_place import socket_path
from lsp_server.headless import EngineFailedError
from lsp_server.settings import Settings, engine_arguments
from model.weight_file import Progress
from sampler.messages import Failed, FrameDecoder, FrameError, Hello, Tune, Tuned, Tuning
from sampler.messages import encode as encode_frame
from sampler.profile import Choice

MEASURING = "measuring this machine"
ANSWER_S = 20.0
"""For a question about what is known; the engine may be at a long forward."""
Report = Callable[[Progress], None]


async def ask_engine(
    settings: Settings,
    request: Tune,
    report: Report,
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> Tuned:
    """Ask the engine of these settings, which is started if need be.

    Raises:
        EngineFailedError: if there is no engine or it could not answer.
    """
    is_settled = asyncio.Event()
    statuses: list[EngineStatus] = []

    def follow(status: EngineStatus) -> None:
        statuses.append(status)
        if status.state in ("ready", "busy", "failed"):
            is_settled.set()
        else:
            report(Progress(status.message, status.progress))

    client = EngineClient(settings, follow, engine_command)
    await client.start()
    try:
        await is_settled.wait()
        if statuses[-1].state == "failed":
            raise EngineFailedError(statuses[-1].message)
        path = socket_path([*engine_command, *engine_arguments(settings)])
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(encode_frame(Hello("seed-lsp tune")) + encode_frame(request))
            async with asyncio.timeout(ANSWER_S if request.is_question else None):
                return await _answer(reader, request, report)
        finally:
            writer.close()
    except TimeoutError as error:
        raise EngineFailedError(f"The engine gave no answer in {ANSWER_S:.0f} s.") from error
    except (OSError, FrameError) as error:
        raise EngineFailedError(f"The engine cannot be reached: {error}.") from error
    finally:
        await client.close()


async def _answer(reader: asyncio.StreamReader, request: Tune, report: Report) -> Tuned:
    decoder = FrameDecoder()
    while data := await reader.read(1 << 16):
        for event in decoder.feed(data):
            match event:
                case Tuned():
                    if not request.is_question:
                        report(Progress(MEASURING, 1.0))
                    return event
                case Failed(message):
                    raise EngineFailedError(message)
                case Tuning(fraction=None):
                    report(Progress("waiting for another engine that is measuring"))
                case Tuning(fraction=fraction):
                    report(Progress(MEASURING, fraction))
    raise EngineFailedError("The engine stopped while it was measuring.")


def run_tune(
    settings: Settings, report: Report, engine_command: Sequence[str] = ENGINE_COMMAND
) -> Tuned:
    """Measure now, for callers without an event loop; see `ask_engine`."""
    return asyncio.run(ask_engine(settings, Tune("tune"), report, engine_command))


async def describe_profile(settings: Settings) -> str:
    """What is known of this machine, in a few words.

    Raises:
        EngineFailedError: if the engine could not be asked.
    """
    if settings.tune == "off":
        return "not used, because the setting tune is off"
    tuned = await ask_engine(settings, Tune("doctor", is_question=True), lambda _: None)
    if tuned.profile is None or tuned.choice is None:
        return "none yet; the engine measures this machine when it is idle, `seed-lsp tune` now"
    return f"measured {tuned.profile.measured_at[:10]}, {describe_speeds(tuned.choice)}"


def describe_speeds(choice: Choice) -> str:
    """What to expect of the two modes that write the same text."""
    return (
        f"mode exact about {choice.exact_tokens_per_s:.0f} tokens/s with "
        f"{choice.tokens_per_forward:.1f} tokens a forward, mode ar "
        f"{choice.ar_tokens_per_s:.0f} tokens/s"
    )


def describe_layout(layout: Sequence[int]) -> str:
    """The rows of a forward in words."""
    num_rows = len(layout) + sum(layout)
    verified = "verifies no draft" if len(layout) == 1 else f"verifies {len(layout) - 1}"
    behind = " + ".join(map(str, layout))
    drafted = f"drafts {behind} behind" if any(layout) else "drafts none"
    return f"{num_rows} {'row' if num_rows == 1 else 'rows'}: {verified}, {drafted}"


def describe_json(tuned: Tuned) -> dict[str, Any]:
    """What `tune --json` prints. Milliseconds by rows and by context tokens."""
    record = asdict(tuned)
    del record["request_id"]
    return record


def show(tuned: Tuned) -> None:
    """Tables on standard output."""
    assert tuned.profile is not None
    assert tuned.choice is not None
    profile, choice = tuned.profile, tuned.choice
    target = profile.target
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{target.device}, {target.num_cores} cores, {profile.threads} threads, {target.kernels}",
        markup=False,
    )
    table = Table("rows of a forward", "ms", box=None, pad_edge=False)
    for num_rows, ms in profile.costs_ms:
        table.add_row(str(num_rows), f"{ms:.1f}")
    console.print(table)
    for size, ms in profile.prefill_ms:
        console.print(f"{size} tokens of context in {ms:.0f} ms, {1000 * size / ms:.0f} tokens/s")
    if profile.acceptance:
        shares = " ".join(f"{share:.0%}" for share in profile.acceptance)
        console.print(
            f"drafts right, by place, if those before are: {shares} ({profile.num_judged} places)"
        )
    else:
        console.print("there is no adapter: only text copied from the context is drafted")
    console.print(f"most forwards have {describe_layout(choice.layout)}")
    console.print(f"context is read {choice.prefill_chunk} tokens at a time")
    console.print(describe_speeds(choice))
    console.print(f"suggested mode: [bold]{choice.mode}[/]")
    where = tuned.path or "nowhere, because its folder cannot be written to"
    console.print(f"measured in {profile.measured_s:.1f} s, kept {where}", markup=False)
    if profile.is_doubtful:
        console.print("the machine was busy with other work: measure again when it is quiet")
