"""`bench cancel`: how long the engine is at a request that nobody wants any more.

A `Cancel` is followed by a question that the engine answers only between two forwards, in order of
arrival: with that answer it is idle. Pings, which it answers at any time, tell when its present
forward began, so that one that began after the `Cancel` is seen. Knows neither processes nor
terminals.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from lsp_server.bench.engines import Contenders
from lsp_server.bench.figures import spread
from lsp_server.bench.line import Line, Report
from lsp_server.bench.prompts import Prompt, read_prompts
from lsp_server.headless import EngineFailedError
from model.format.tokenizer import Tokenizer
from model.weight_file import Progress
from sampler.messages import Cancel, Complete, Finished, Ping, Pong, Tune, Tuned

CONTEXT_TOKENS = 256
MAX_NEW_TOKENS = 128
LOOK_EVERY_S = 0.002
"""Between two pings."""
SHORTEST_FORWARD_S = 0.0003
"""A step that has just begun may be none: the engine also looks whether there is work."""
NUM_WHOLE = 8
"""Answers that are not cancelled: they say how long one takes, and one forward."""
FEWEST_FORWARDS = 4
"""What takes less is over before it is cancelled."""
LATEST = 0.9
"""The last moment for a cancel, as a share of the time that an answer takes."""
READING_EVERY = 4
"""One cancel in so many comes while context is read."""


@dataclass(frozen=True)
class Cancelled:
    """What became of one cancelled request."""

    idle_ms: float
    """From the `Cancel` until the engine had nothing to do."""
    was_busy: bool
    """Whether a forward ran when it came."""
    forwards_begun_after: int


@dataclass(frozen=True)
class Whole:
    """An answer that was not cancelled."""

    prompt: Prompt
    forwards: int
    prefill_ms: float
    decode_ms: float

    @property
    def forward_ms(self) -> float:
        """An average one behind prefill."""
        return self.decode_ms / self.forwards


async def measure(
    contenders: Contenders, tokenizer: Tokenizer, report: Report, *, num_cancels: int
) -> dict[str, Any]:
    """Cancel so many answers at random moments, while they are written and while context is read.

    Args:
        contenders: whose engine is asked.
        tokenizer: of its vocabulary.
        report: is told how far it is.
        num_cancels: in all.

    Raises:
        EngineFailedError: if it gives no answer, or none that is long enough.
    """
    line, settings = contenders.ours, contenders.settings
    wholes = await _read_wholes(contenders, tokenizer)
    chance = random.Random(0)
    found: dict[bool, list[Cancelled]] = {False: [], True: []}
    num_missed = 0
    while (num_found := sum(map(len, found.values()))) < num_cancels and num_missed < num_cancels:
        number = num_found + num_missed
        whole = chance.choice(wholes)
        is_reading = num_found % READING_EVERY == READING_EVERY - 1
        # Another last line: what was written behind the same prompt before would be replayed.
        prompt = replace(whole.prompt, prefix=f"{whole.prompt.prefix}# {number}\n")
        if is_reading:
            await line.forget()
        else:
            await line.complete(
                whole.prompt.request(f"warm {number}", settings.mode, settings.layout, 1)
            )
        longest_ms = whole.prefill_ms if is_reading else whole.decode_ms
        wait_s = chance.uniform(0, LATEST * longest_ms) / 1000
        name = f"cancel {number}"
        request = prompt.request(name, settings.mode, settings.layout, MAX_NEW_TOKENS)
        cancelled = await cancel(line, request, wait_s)
        if cancelled is None:
            num_missed += 1
        else:
            found[is_reading].append(cancelled)
        report(Progress("measuring cancel", (num_found + 1) / num_cancels))
    return {
        "mode": settings.mode,
        "context_tokens": CONTEXT_TOKENS,
        "forward": spread([whole.forward_ms for whole in wholes], "ms"),
        "all_context": spread([whole.prefill_ms for whole in wholes], "ms"),
        "while_writing": summarize(found[False]),
        "while_reading_context": summarize(found[True]),
        "answered_before_the_cancel": num_missed,
    }


async def _read_wholes(contenders: Contenders, tokenizer: Tokenizer) -> list[Whole]:
    """Answers that are long enough to be cancelled."""
    line, settings = contenders.ours, contenders.settings
    wholes = []
    for index, prompt in enumerate(read_prompts(tokenizer, CONTEXT_TOKENS)[:NUM_WHOLE]):
        await line.forget()
        name = f"whole {index}"
        request = prompt.request(name, settings.mode, settings.layout, MAX_NEW_TOKENS)
        stats = (await line.complete(request)).stats
        if stats.forwards >= FEWEST_FORWARDS:
            decode_ms = stats.total_ms - stats.prefill_ms
            wholes.append(Whole(prompt, stats.forwards, stats.prefill_ms, decode_ms))
    if not wholes:
        raise EngineFailedError("This model's answers are too short to be cancelled.")
    return wholes


async def cancel(line: Line, request: Complete, wait_s: float) -> Cancelled | None:
    """Ask, cancel after a while, and wait until the engine is idle; None if it was done before.

    Raises:
        EngineFailedError: if it gives no answer.
    """
    line.send(request)
    await asyncio.sleep(wait_s)
    barrier = Tune(f"{request.request_id} idle", is_question=True)
    # One write: the answer to the first ping says that the cancel is there.
    cancelled_at = line.send(Cancel(request.request_id), Ping(), barrier)
    open_pings = deque([cancelled_at])
    looking = asyncio.create_task(_look(line, open_pings))
    pongs: list[Look] = []
    idle_at: float | None = None
    was_answered = False
    try:
        while idle_at is None or open_pings:
            event, received_at = await line.receive()
            if isinstance(event, Pong):
                pongs.append(Look(open_pings.popleft(), received_at, event.step_s))
            elif isinstance(event, Finished) and not pongs:
                was_answered = True
            elif isinstance(event, Tuned):
                idle_at = received_at
                looking.cancel()
    finally:
        looking.cancel()
    if was_answered:
        return None
    was_busy = pongs[0].step_s is not None
    return Cancelled(1000 * (idle_at - cancelled_at), was_busy, num_begun_after(pongs))


async def _look(line: Line, open_pings: "deque[float]") -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        open_pings.append(line.send(Ping()))


@dataclass(frozen=True)
class Look:
    """A ping and its answer; times of `time.perf_counter`."""

    sent_at: float
    received_at: float
    step_s: float | None
    """How long the device had been at its step then; None if it was idle."""


def num_begun_after(looks: Sequence[Look]) -> int:
    """Forwards that certainly began after the first look was answered: with that the `Cancel`,
    which was sent before it, had arrived."""
    arrived_at = looks[0].received_at
    count, last_step_s = 0, math.inf
    for look in looks:
        if look.step_s is None:
            last_step_s = math.inf
            continue
        is_after = look.sent_at - look.step_s > arrived_at
        if is_after and SHORTEST_FORWARD_S < look.step_s < last_step_s:
            count += 1
        last_step_s = look.step_s
    return count


def summarize(cancels: Sequence[Cancelled]) -> dict[str, Any]:
    """Milliseconds until the engine was idle, and what it began nevertheless."""
    return {
        **spread([one.idle_ms for one in cancels], "ms"),
        "hit_a_forward": sum(one.was_busy for one in cancels),
        "forwards_begun_after": sum(one.forwards_begun_after for one in cancels),
    }


def show(record: dict[str, Any], console: Console) -> None:
    """A table, and a forward to compare it with."""
    table = Table(box=None, pad_edge=False)
    for column in ("cancelled while", "n", "idle after p50", "p95", "p99", "most", "begun after"):
        table.add_column(column, justify="left" if column == "cancelled while" else "right")
    for name in ("while_writing", "while_reading_context"):
        one = record[name]
        if one["n"]:
            cells = (f"{one[f'{share}_ms']:.1f} ms" for share in ("p50", "p95", "p99", "most"))
            words = name.removeprefix("while_").replace("_", " ")
            table.add_row(words, str(one["n"]), *cells, str(one["forwards_begun_after"]))
    console.print()
    console.print(table)
    forward, context = record["forward"], record["all_context"]
    console.print(
        f"a forward that writes takes {forward['p50_ms']:.1f} ms on average (at most "
        f"{forward['most_ms']:.1f} in one of {forward['n']} answers), mode {record['mode']}; "
        f"all {record['context_tokens']} tokens of context are read in {context['p50_ms']:.0f} ms"
    )
