"""What the workspace's context costs: prompt tokens, milliseconds of the server and of a prefill.

    python tests/bench/bench_context.py [--places 20] [--open 5] [--tokens 256] [--no-engine]

Places are drawn from this project's own files; as many other files are open. `cold` is a request
whose prompt is not cached, `typed` the next one after a character. The last line is one JSON
object; times beside other work mean little.
"""

import argparse
import json
import random
import statistics
import time
from dataclasses import replace
from pathlib import Path

from lsp_server.context import build_request
from lsp_server.documents import Document, Position
from lsp_server.informant import Informant
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot, take_snapshot
from lsp_server.view import OpenDocument, View
from model import hub
from sampler.engine import Engine
from sampler.load import choose_device, open_engine
from sampler.messages import Complete, Failed, Finished, Stats

ROOT = Path(__file__).resolve().parents[2]


def complete(engine: Engine, request: Complete) -> Stats:
    engine.submit(request)
    while engine.has_work:
        for event in engine.step():
            assert not isinstance(event, Failed), event
            if isinstance(event, Finished):
                return event.stats
    raise AssertionError("no answer")


def places(num_places: int, num_open: int) -> list[tuple[Snapshot, View]]:
    """A cursor in the last two thirds of a file, at the end of a line, and what is open."""
    chance = random.Random(0)
    paths = sorted(
        path for name in ("lsp_server", "training") for path in (ROOT / name).glob("*.py")
    )
    found = []
    for _ in range(num_places):
        path, *others = chance.sample(paths, num_open + 1)
        text = path.read_text()
        num_lines = text.count("\n")
        document = Document(path.as_uri(), "python", 1, text, "utf-32")
        line = chance.randrange(num_lines // 3, max(num_lines, 1))
        snapshot = take_snapshot(document, Position(line, 10**6))
        opened = (OpenDocument(one.as_uri(), "python", one.read_text()) for one in others)
        found.append((snapshot, View((OpenDocument(snapshot.uri, "python", text), *opened))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--open", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--no-engine", action="store_true")
    arguments = parser.parse_args()
    settings = replace(Settings(), mode="ar", max_new_tokens=1, context_tokens=arguments.tokens)
    engine = None
    if not arguments.no_engine:
        device, dtype = choose_device("cpu", "auto", None)
        path = Path(hub.resolve(settings.model, offline=True))
        engine = open_engine(path, device=device, dtype=dtype, kernels="auto")
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for snapshot, view in places(arguments.places, arguments.open):
        informant = Informant([ROOT])
        request = build_request(snapshot, settings, "1")
        start = time.thread_time()
        briefing = informant.brief(request, settings, view)
        note("choosing_ms", 1000 * (time.thread_time() - start))
        start = time.thread_time()
        typed = informant.brief(replace(request, prefix=request.prefix + "x"), settings, view)
        note("keeping_ms", 1000 * (time.thread_time() - start))
        surroundings = briefing.request.surroundings
        note("excerpts", len(surroundings.excerpts) if surroundings else 0)
        if engine is None:
            continue
        for name, first in (("alone", request), ("informed", briefing.request)):
            engine.cache.clear()
            stats = complete(engine, first)
            note(f"{name}_cold_tokens", stats.prefill_tokens)
            note(f"{name}_cold_ms", stats.total_ms)
        note("excerpt_tokens", sum(stats.excerpt_tokens))
        note("informed_typed_tokens", complete(engine, typed.request).prefill_tokens)
    summary = {name: round(statistics.mean(values), 2) for name, values in figures.items()}
    print(json.dumps({"places": arguments.places, "budget": arguments.tokens, "mean": summary}))


if __name__ == "__main__":
    main()
