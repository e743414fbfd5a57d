"""`bench keystroke`: what typing costs, as an editor sees it through the real server.

Knows no engine process; the words of the server about a prediction's cost are believed.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lsp_server import wire
from lsp_server.bench.figures import spread
from lsp_server.bench.line import Report
from lsp_server.bench.traces import Trace
from lsp_server.bench.typist import DEBOUNCE_S, Count, Key, Typist
from lsp_server.loopback import open_loopback
from lsp_server.settings import Settings
from model.weight_file import Progress

READY_S = 300.0
WANTED_TOKENS = 16
"""Context tokens for a change, at most, in nineteen of twenty."""
LIVE = "live"
TYPED = "typed"


async def measure(
    settings: Settings, trace: Trace, report: Report, count: Count, *, speed: float, waits: bool
) -> dict[str, Any]:
    """Type a trace and tell what came out.

    Args:
        settings: of the server.
        trace: what is typed.
        report: is told how far it is.
        count: tells how many context tokens the engine has computed so far.
        speed: 1 is a person's.
        waits: whether every answer is waited for.

    Raises:
        LoopbackError: if the server or its engine fails.
    """

    def ignore(_: wire.StatusParams) -> None:
        """The engine is ready before the server is started."""

    with tempfile.TemporaryDirectory(prefix="seed-lsp-bench-") as folder:
        async with open_loopback(settings, ignore) as client:
            await client.wait_until_ready(READY_S)
            typist = Typist(client, trace, Path(folder), count, speed)
            telling = asyncio.create_task(_tell(typist, len(trace.edits), report))
            try:
                await typist.type(waits=waits)
            finally:
                telling.cancel()
    record = {
        "trace": {
            "name": trace.name,
            "edits": len(trace.edits),
            "language": trace.language,
            "speed": speed,
            "waits": waits,
        }
    }
    return {**record, **summarize(typist.keys)}


async def _tell(typist: Typist, num_edits: int, report: Report) -> None:
    while True:
        report(Progress("measuring keystrokes", len(typist.keys) / max(num_edits, 1)))
        await asyncio.sleep(0.2)


def summarize(keys: Sequence[Key]) -> dict[str, Any]:
    """Latency by tier, computed context, share without a forward."""
    shown = [key for key in keys if key.shown_at is not None]
    by_tier = {
        tier: _latency([key for key in shown if tier_of(key) == tier])
        for tier in sorted({tier_of(key) for key in shown})
    }
    known = [key for key in keys if key.computed_tokens is not None]
    num_free = sum(needed_no_forward(key) for key in shown)
    return {
        "keystrokes": len(keys),
        "asked": sum(key.asked_at is not None for key in keys),
        "with_text": len(shown),
        "answered_empty": sum(key.is_empty for key in keys),
        "debounce_ms": 1000 * DEBOUNCE_S,
        "latency": _latency(shown),
        "latency_by_tier": by_tier,
        "computed_context": _computed(known),
        "computed_context_strokes": _computed([key for key in known if key.is_stroke]),
        "without_forward_share": round(num_free / len(shown), 3) if shown else None,
    }


def _computed(keys: Sequence[Key]) -> dict[str, Any]:
    """Context tokens for each change, and how many of the changes needed more than were wanted."""
    tokens = [key.computed_tokens for key in keys if key.computed_tokens is not None]
    num_more = sum(number > WANTED_TOKENS for number in tokens)
    return {**spread(tokens, "tokens"), f"above_{WANTED_TOKENS}": num_more}


def tier_of(key: Key) -> str:
    """Where the text of a key came from.

    The server says so with the end of a text, for which somebody who types on does not wait. What
    was kept or worked out ahead is whole at once, so what is not said is what an editor can see.
    """
    return key.tier or (TYPED if key.is_followed else LIVE)


def needed_no_forward(key: Key) -> bool:
    """Whether the text was there before the key."""
    return tier_of(key) != LIVE or (key.forwards == 0 and key.prefill_tokens == 0)


def _latency(keys: Sequence[Key]) -> dict[str, Any]:
    """From the key, the editor's wait included, and from the request."""
    from_key, from_request = [], []
    for key in keys:
        assert key.shown_at is not None
        from_key.append(1000 * (key.shown_at - key.pressed_at))
        # What is typed along may grow before it is asked for again.
        if key.asked_at is not None and key.asked_at < key.shown_at:
            from_request.append(1000 * (key.shown_at - key.asked_at))
    return {"from_key": spread(from_key, "ms"), "from_request": spread(from_request, "ms")}


def show(record: dict[str, Any], console: Console) -> None:
    """A table of tiers, then what was computed."""
    table = Table(box=None, pad_edge=False)
    for column in ("text from", "n", "key to text p50", "p95", "request to text p50", "p95"):
        table.add_column(column, justify="left" if column == "text from" else "right")
    for name, latency in {**record["latency_by_tier"], "all": record["latency"]}.items():
        if latency["from_key"]["n"]:
            spreads = (latency["from_key"], latency["from_request"])
            cells = [one.get(f"{share}_ms") for one in spreads for share in ("p50", "p95")]
            told = ("-" if cell is None else f"{cell:.0f} ms" for cell in cells)
            table.add_row(name, str(latency["from_key"]["n"]), *told)
    trace, computed = record["trace"], record["computed_context"]
    console.print()
    console.print(
        f"{trace['name']}: {record['keystrokes']} keystrokes, {record['with_text']} with text, "
        f"{record['answered_empty']} answered without any",
        markup=False,
    )
    console.print(table)
    console.print(f"{record['debounce_ms']:.0f} ms of key to text are the editor's own wait")
    for what, one in (("change", computed), ("single key", record["computed_context_strokes"])):
        if one["n"]:
            console.print(
                f"context computed for a {what}: p50 {one['p50_tokens']:.0f}, p95 "
                f"{one['p95_tokens']:.0f} tokens; more than {WANTED_TOKENS} for "
                f"{one[f'above_{WANTED_TOKENS}']} of {one['n']}"
            )
    if record["without_forward_share"] is not None:
        share = record["without_forward_share"]
        console.print(f"{share:.0%} of the keystrokes with text needed no forward")
