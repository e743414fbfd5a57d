"""Edits: speed where little changes, a folder of files, and how soon titles are there.

    python tests/bench/bench_edits.py [--parts small folder titles] [--threads N] [--cases 9]
        [--files 50] [--action docstring] [--mode exact]

Each part takes less than five minutes alone on a machine with two cores.

`small`: selections of about 60 lines of which less than a fifth changes, by `ar` and `exact` in
turns in one process, every prompt cold; texts must be equal. `folder`: one function in each of many
files, as `seed-lsp edit` does it; what is offered must parse and nothing else may change. `titles`:
`codeAction` on the real server, with an engine that is never asked. The last line is one JSON
object; ratios of processor time hold on a busy machine, those of milliseconds on a quiet one.
"""

import argparse
import ast
import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsp_server.edit_command import FileEdit, Lines, Target, edit_files, write_atomically
from lsp_server.engine_client import EngineStatus
from lsp_server.rewrite import Wish
from lsp_server.settings import Settings
from model import hub
from model.format.plan import HolePlan
from model.format.prompt import FENCE
from model.format.rewriting import action_named
from model.format.selection import Selection
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.shipped import choose_adapter
from sampler.messages import Complete, Finished, Mode
from tests.bench.edit_cases import SMALL_EDITS, Case, library_files, one_place
from tests.e2e.client import Client
from tests.e2e.servers import server_command
from tests.engines import StubPlace, eventually
from training.evaluation.engines import EngineSpec, MeasuredEngine, open_measured
from training.evaluation.old_code import Kept, kept_tokens
from training.evaluation.scores import percentile

PARTS = ("small", "folder", "titles")
MOST_CHANGED = 0.2
MOST_LINES = 40
"""Of a function in `folder`."""
NUM_TITLES = 200
SIZES = (100, 500, 1000, 2000, 4000)
"""Lines of the files in `titles`, at least."""


def request_for(case: Case, selection: Selection, mode: Mode) -> Complete:
    """An edit asked for in words that stay the same whatever the product's are, so that versions
    compare; without surroundings."""
    wish = f"{case.instruction}. Give back the whole code."
    return Complete(
        request_id=f"{case.name}/{mode}",
        document=case.name,
        prefix=f"{wish}\n\n{FENCE}python\n{selection.code}{FENCE}",
        suffix="",
        plan=HolePlan("python", "answer", 1000, "", "", "", FENCE),
        mode=mode,
        layout="chat",
        max_new_tokens=len(selection.code) // 2 + 250,
        old_code=selection.code,
    )


def ask(engine: MeasuredEngine, request: Complete) -> tuple[Finished, float]:
    """The answer, and what it took of the processor in milliseconds."""
    started = time.process_time()
    finished = engine.complete(request)
    return finished, 1000 * (time.process_time() - started)


def measure_small(cases: Sequence[Case], threads: int | None) -> dict[str, Any]:
    """Tokens a second, `exact` over `ar`, on edits that change little."""
    model = hub.resolve(hub.DEFAULT_MODEL)
    adapter = choose_adapter("auto", hub.DEFAULT_MODEL)
    engine = open_measured(EngineSpec("ours", model, adapter, threads=threads, must_change=False))
    tokenizer = Tokenizer(read_vocabulary(model))
    rows: list[dict[str, Any]] = []
    for index, case in enumerate(cases):
        selection = case.selection()
        modes: list[Mode] = ["ar", "exact"] if index % 2 else ["exact", "ar"]
        answers = {mode: ask(engine, request_for(case, selection, mode)) for mode in modes}
        (ar, ar_cpu_ms), (exact, exact_cpu_ms) = answers["ar"], answers["exact"]
        assert exact.text == ar.text, f"{case} differs between the modes"
        kept = kept_tokens(tokenizer, selection.code, exact.text)
        decode_ms = [one.stats.total_ms - one.stats.prefill_ms for one in (ar, exact)]
        rows.append(
            {
                "case": f"{case.module}.{case.name}: {case.instruction}",
                "lines": selection.code.count("\n"),
                "tokens": exact.stats.tokens,
                "changed": round(kept.changed, 3),
                "regenerated": round(kept.unforeseen, 3),
                "forwards": exact.stats.forwards,
                "ar_tokens_per_second": round(1000 * ar.stats.tokens / ar.stats.total_ms, 1),
                "tokens_per_second": round(1000 * exact.stats.tokens / exact.stats.total_ms, 1),
                "ratio": round(ar.stats.total_ms / exact.stats.total_ms, 2),
                "decode_ratio": round(decode_ms[0] / decode_ms[1], 2),
                "processor_ratio": round(ar_cpu_ms / exact_cpu_ms, 2),
                "parts": kept,
            }
        )
        shown = {key: value for key, value in rows[-1].items() if key != "parts"}
        print(json.dumps(shown), file=sys.stderr, flush=True)
    small = [row for row in rows if 0 < row["changed"] < MOST_CHANGED]
    kepts: list[Kept] = [row.pop("parts") for row in rows]
    return {
        "n": len(small),
        "left_out": len(rows) - len(small),
        **{
            f"{name}_median": round(statistics.median(row[name] for row in small), 2)
            for name in ("ratio", "decode_ratio", "processor_ratio")
        },
        "ratio_least": min(row["ratio"] for row in small),
        "decode_ratio_least": min(row["decode_ratio"] for row in small),
        "kept_tokens": sum(kept.num_kept for kept in kepts),
        "kept_tokens_regenerated": sum(kept.num_unforeseen for kept in kepts),
        "cases": rows,
    }


class _View:
    """Tells on stderr which files are through, and remembers when the engine was ready."""

    ready_at: float | None = None

    def show_status(self, status: EngineStatus) -> None:
        """See `edit_command.View`."""
        if status.state == "ready" and self.ready_at is None:
            self.ready_at = time.monotonic()

    def show_place(self, place: str, fraction: float) -> None:
        """See `edit_command.View`."""

    def show_file(self, edit: FileEdit) -> None:
        """See `edit_command.View`."""
        notes = " ".join(edit.notes)
        print(f"{edit.path.name}: {edit.num_edits} {notes}", file=sys.stderr, flush=True)


def choose_places(num_files: int, action_name: str, seed: int) -> list[tuple[Path, Selection]]:
    """One function in each of so many files of the standard library."""
    action = action_named(action_name)
    assert action is not None
    paths = library_files()
    random.Random(seed).shuffle(paths)
    found: list[tuple[Path, Selection]] = []
    for path in paths:
        selection = one_place(path.read_bytes().decode(), action, MOST_LINES)
        if selection is not None:
            found.append((path, selection))
        if len(found) == num_files:
            break
    return found


async def measure_folder(
    num_files: int, action_name: str, mode: Mode, threads: int | None
) -> dict[str, Any]:
    """Edits a second once the engine is loaded, and what became of the files on the disk."""
    action = action_named(action_name)
    assert action is not None
    places = choose_places(num_files, action_name, seed=0)
    place = StubPlace()
    os.environ.update(place.environment)  # an engine of our own, which ends with us
    engine = [sys.executable, "-I", str(Path(__file__).with_name("counted_engine.py"))]
    engine.append(str(place.record_path))
    view = _View()
    settings = Settings(mode=mode, offline=True, tune="off", threads=threads)
    num_parse, num_outside, num_edits = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        sources: list[tuple[Target, str]] = []
        for index, (path, selection) in enumerate(places):
            copy = Path(folder, f"{index:02}_{path.name}")
            shutil.copyfile(path, copy)
            first = selection.first_line + 1
            lines = Lines(first, first + selection.old.count("\n"))
            sources.append((Target(copy, lines), selection.text))
        try:
            edits = await edit_files(
                sources, Wish(action), settings, view, is_written=False, engine_command=engine
            )
            assert view.ready_at is not None
            seconds = time.monotonic() - view.ready_at
        finally:
            place.close()
        for edit, (_, selection) in zip(edits, places, strict=True):
            if edit.num_edits:
                num_edits += 1
                write_atomically(edit.path, edit.old, edit.new)
                num_parse += is_python(edit.path.read_bytes())
            num_outside += bytes_changed_outside(edit.path.read_bytes(), selection)
    return {
        "action": action_name,
        "mode": mode,
        "files": len(edits),
        "offered": num_edits,
        "with_remarks": sum(bool(edit.num_edits and edit.notes) for edit in edits),
        "none_to_offer": sum(not edit.num_edits for edit in edits),
        "parse_share": round(num_parse / num_edits, 3) if num_edits else None,
        "bytes_changed_outside": num_outside,
        "seconds": round(seconds, 1),
        "edits_per_second": round(num_edits / seconds, 3),
        "places_per_second": round(len(edits) / seconds, 3),
    }


def is_python(content: bytes) -> bool:
    """Whether the interpreter's own parser takes it, which is not the one that the product asks."""
    try:
        ast.parse(content)
    except SyntaxError:
        return False
    return True


def bytes_changed_outside(content: bytes, selection: Selection) -> int:
    """Of what stood before and behind a selection, the bytes that a file no longer has there."""
    before = selection.text[: selection.start].encode()
    behind = selection.text[selection.end :].encode()
    num_before = _num_common(before, content)
    num_behind = _num_common(behind[::-1], content[num_before:][::-1])
    return len(before) - num_before + len(behind) - num_behind


def _num_common(some: bytes, others: bytes) -> int:
    """Length of the common head."""
    differing = (
        place for place, pair in enumerate(zip(some, others, strict=False)) if len({*pair}) > 1
    )
    return next(differing, min(len(some), len(others)))


async def measure_titles(num_requests: int) -> dict[str, Any]:
    """Milliseconds from `codeAction` to its answer, at random places of files of many sizes."""
    texts = [path.read_bytes().decode() for path in library_files()]
    chosen = {
        size: min((text for text in texts if text.count("\n") >= size), key=len) for size in SIZES
    }
    place = StubPlace()
    dice = random.Random(0)
    samples: dict[int, list[float]] = {size: [] for size in SIZES}
    first: dict[int, float] = {}
    try:
        client = await Client.start(server_command(place.command, tune="off"), place.environment)
        literal = {"codeActionKind": {"valueSet": ["quickfix", "refactor.rewrite"]}}
        resolves = {"dataSupport": True, "resolveSupport": {"properties": ["edit"]}}
        action = {"codeActionLiteralSupport": literal, **resolves}
        await client.initialize({"textDocument": {"codeAction": action}})
        await eventually(lambda: client.is_ready, timeout_s=60)
        for size, text in chosen.items():
            uri = f"file:///project/{size}.py"
            document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
            client.notify("textDocument/didOpen", {"textDocument": document})
            num_lines = text.count("\n")
            for index in range(num_requests // len(SIZES) + 1):
                line = dice.randrange(num_lines)
                end = line if index % 2 else min(line + dice.randrange(1, 30), num_lines)
                call = client.request(
                    "textDocument/codeAction",
                    {
                        "textDocument": {"uri": uri},
                        "range": {
                            "start": {"line": line, "character": 0},
                            "end": {"line": end, "character": 0},
                        },
                        "context": {"diagnostics": [], "triggerKind": 1},
                    },
                )
                await call.result
                took_ms = 1000 * (call.answered_at - call.sent_at)
                if index:
                    samples[size].append(took_ms)
                else:
                    first[size] = took_ms
        await client.leave()
    finally:
        place.close()
    for problem in client.problems:
        print(problem, file=sys.stderr)
    everything = [took_ms for some in samples.values() for took_ms in some]
    return {
        "n": len(everything),
        "p50_ms": round(percentile(everything, 0.5), 1),
        "p95_ms": round(percentile(everything, 0.95), 1),
        "most_ms": round(max(everything), 1),
        "by_lines": {
            str(chosen[size].count("\n")): {
                "first_ms": round(first[size], 1),
                "p50_ms": round(percentile(some, 0.5), 1),
                "p95_ms": round(percentile(some, 0.95), 1),
            }
            for size, some in samples.items()
        },
        "problems": len(client.problems),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cases", type=int, default=len(SMALL_EDITS))
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--action", default="docstring")
    parser.add_argument("--mode", choices=("ar", "exact"), default="exact", help="of the folder")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"threads": arguments.threads}
    if "small" in arguments.parts:
        result["small"] = measure_small(SMALL_EDITS[: arguments.cases], arguments.threads)
    if "titles" in arguments.parts:
        result["titles"] = asyncio.run(measure_titles(NUM_TITLES))
    if "folder" in arguments.parts:
        result["folder"] = asyncio.run(
            measure_folder(arguments.files, arguments.action, arguments.mode, arguments.threads)
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
