"""`seed-lsp stats`: the counts of this machine in words, or as one JSON object.

Knows what the counts mean, not how they come about.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from lsp_server.counters import Counts, percentile_ms

SHARES = (0.5, 0.9, 0.99)
_TIERS = {
    "live": "asked the engine",
    "typed": "typed along a suggestion",
    "recent": "shown before at this place",
    "speculative": "worked out ahead",
}


def describe(counts: Counts) -> dict[str, Any]:
    """What `stats --json` prints: counts, rates in [0, 1] or null, latencies in milliseconds."""
    num_quiet = sum(counts.quiet.values())
    return {
        "since": counts.since,
        "requests": counts.requests,
        "quiet": dict(sorted(counts.quiet.items())),
        "quiet_rate": _rate(num_quiet, counts.requests),
        "shown": counts.shown,
        "accepted": counts.accepted,
        "dismissed": counts.dismissed,
        "acceptance_rate": _rate(counts.accepted, counts.shown),
        "characters_accepted": counts.characters_accepted,
        "kept_rate": _rate(counts.characters_kept, counts.characters_checked),
        "latency_ms": {
            tier: {
                "answers": sum(buckets),
                **{f"p{100 * share:.0f}": percentile_ms(buckets, share) for share in SHARES},
            }
            for tier, buckets in sorted(counts.latency_ms.items())
        },
    }


def show(counts: Counts, path: str) -> None:
    """Print the counts for a person."""
    console = Console(highlight=False, soft_wrap=True)
    if counts.is_empty:
        console.print("Nothing has been counted yet.")
        return
    found = describe(counts)
    console.print(f"Since {counts.since}, on this machine alone ({path}):")
    console.print(
        f"{counts.shown} suggestions shown, {counts.accepted} accepted"
        f"{_percent(found['acceptance_rate'])}, {counts.dismissed} dismissed"
    )
    console.print(
        f"{counts.characters_accepted} characters accepted; of {counts.characters_checked} looked "
        f"for again half a minute later, {counts.characters_kept} were there"
        f"{_percent(found['kept_rate'])}"
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in found["quiet"].items())
    console.print(
        f"{counts.requests} requests, {sum(counts.quiet.values())} answered with nothing"
        f"{_percent(found['quiet_rate'])}{': ' if reasons else ''}{reasons}"
    )
    if counts.latency_ms:
        console.print(_latencies(found["latency_ms"]))


def _latencies(latency_ms: dict[str, dict[str, float]]) -> Table:
    table = Table(box=None, pad_edge=False)
    columns = ["answers", *(f"p{100 * share:.0f}" for share in SHARES)]
    table.add_column("milliseconds to the first text")
    for column in columns:
        table.add_column(column, justify="right")
    for tier, figures in latency_ms.items():
        cells = [f"{figures[column]:.0f}" for column in columns]
        table.add_row(_TIERS.get(tier, tier), *cells)
    return table


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(rate: float | None) -> str:
    return "" if rate is None else f" ({rate:.0%})"
