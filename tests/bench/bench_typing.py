"""Typing through the real server and engine: time to ghost text by tier, memory, cancels, errors.

    python tests/bench/bench_typing.py [--data DIR] [--parts session trace two cancels files large]
        [--scale 1.0] [--edits 150] [--settings '{"mode": "exact"}']

About six minutes with all parts. DIR holds typing traces in the format of josephg/editing-traces;
without it the part `trace` is left out. Milliseconds run from the last keystroke to the first sight
of ghost text, the editor's own debounce of 50 ms (Neovim: 200) included. Problems, of which there
must be none, go to stderr as they are found. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsp_server.bench.traces import Trace, find_traces, read_trace
from tests.e2e.buffer import Buffer
from tests.e2e.client import Client
from tests.e2e.files import FILES, everywhere
from tests.e2e.gestures import Ask, Edit, Gesture, Taste, Write
from tests.e2e.profiles import NEOVIM, VS_CODE, Profile
from tests.e2e.replay import Replay, open_window
from tests.e2e.servers import oracle_command, server_command
from tests.e2e.sessions import END, SESSION, SHORT_SESSION, START
from tests.e2e.window import INLINE_COMPLETION, Sample, Window
from tests.engines import StubPlace, eventually
from training.evaluation.scores import percentile

PARTS = ("session", "trace", "two", "cancels", "files", "large")
FIRST_EDIT = 6000
"""A trace begins with an empty file; there it is in full swing."""
NUM_CANCELS = 30
NUM_LARGE_LINES = 20_000
WARM_S = 60.0
"""Memory may grow until then."""


class Memory:
    """Resident megabytes of some processes, once a second."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._series: dict[str, list[float]] = {name: [] for name in pids}
        self._task = asyncio.create_task(self._watch())

    def report(self) -> dict[str, Any]:
        """Of each process: megabytes after the first minute, and the range since in percent."""
        self._task.cancel()
        report: dict[str, Any] = {"seconds": len(next(iter(self._series.values())))}
        for name, series in self._series.items():
            later = series[int(WARM_S) :]
            report[name] = {"last": round(series[-1]), "most": round(max(series))}
            if len(later) > 1:
                report[name]["least_percent"] = round(100 * (min(later) / later[0] - 1), 1)
                report[name]["most_percent"] = round(100 * (max(later) / later[0] - 1), 1)
        return report

    async def _watch(self) -> None:
        while True:
            for name, pid in self._pids.items():
                self._series[name].append(resident_mb(pid))
            await asyncio.sleep(1)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.split("VmRSS:")[1].split()[0]) / 1024


def processor_ms(pid: int) -> float:
    """What all threads of a process have computed so far."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e6


class Editors:
    """The windows of a bench on one engine, and what was seen in them."""

    def __init__(self, place: StubPlace, command: list[str], scale: float) -> None:
        self.place = place
        self.scale = scale
        self.windows: list[Replay] = []
        self._command = command
        self._clients: list[tuple[Profile, Client, Any]] = []

    async def start(self, profile: Profile) -> Client:
        """One more editor; returns when the engine serves."""
        client = await Client.start(self._command, self.place.environment)
        self._clients.append((profile, client, await client.initialize(profile.capabilities)))
        await eventually(lambda: client.is_ready, timeout_s=300)
        return client

    async def open(self, index: int, name: str, text: str, language: str = "python") -> Replay:
        """A window in the editor that was started as number `index`."""
        profile, client, capabilities = self._clients[index]
        window = await open_window(
            client,
            profile,
            text,
            uri=f"file:///project/{name}",
            language=language,
            seed=len(self.windows),
            scale=self.scale,
            capabilities=capabilities,
        )
        self.windows.append(window)
        return window

    async def leave(self) -> list[str]:
        """All problems there were."""
        for _, client, _ in self._clients:
            await client.leave()
        return [problem for _, client, _ in self._clients for problem in client.problems]


def with_offers_taken(edits: Iterable[Edit], every: int = 30) -> Iterable[Gesture]:
    """A trace in which offers are looked at, taken and taken back: it must stay on its way."""
    yield Ask()
    for index, edit in enumerate(edits, 1):
        yield edit
        if index % every == 0:
            yield Taste()


async def play_two(editors: Editors, trace: Trace | None) -> None:
    """Two editors at once, one position encoding each."""
    await editors.start(NEOVIM)
    first = await editors.open(0, "both.py", START)
    if trace is None:
        second = await editors.open(1, "both.py", START)
        gestures: Iterable[Gesture] = [*SHORT_SESSION[3:], Write("  # só 😀")]
    else:
        second = await editors.open(1, trace.name, trace.text, trace.language)
        gestures = with_offers_taken(trace.edits)
    await asyncio.gather(first.play(SHORT_SESSION), second.play(gestures))


async def play_files(editors: Editors) -> None:
    """Every line of every kind of file."""
    for name, text in FILES.items():
        window = await editors.open(0, f"{name}.py", text)
        window.hands.scale = editors.scale / 10
        await window.play(everywhere(text))
        window.close()


async def measure_cancels(client: Client, place: StubPlace) -> dict[str, Any]:
    """Forwards that began after a request was cancelled, and how long one that ran took to end."""
    dice = random.Random(0)
    buffer, uri = Buffer(END, "utf-16"), "file:///project/cancelled.py"
    document = {"uri": uri, "languageId": "python", "version": 1, "text": END}
    client.notify("textDocument/didOpen", {"textDocument": document})
    cancels: list[tuple[float, float]] = []
    while len(cancels) < NUM_CANCELS:
        end = dice.choice([match for match in range(len(END)) if END[match] == "\n"])
        change = buffer.replace(end, end, f"  # {dice.random()}\n    value = ")
        version = {"uri": uri, "version": buffer.version}
        params = {"textDocument": version, "contentChanges": [change]}
        client.notify("textDocument/didChange", params)
        position = buffer.position(buffer.cursor)
        params = {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 2}}
        call = client.request(INLINE_COMPLETION, params)
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        if call.num_answers == 0:
            started = time.monotonic()
            client.cancel(call)
            await asyncio.sleep(0.7)
            cancels.append((started, time.monotonic()))
    steps = place.records("step")
    begun = [
        sum(step["forwards"] for step in steps if start < step["started"] < end)
        for start, end in cancels
    ]
    rest_ms = [
        1000 * (step["ended"] - start)
        for start, _ in cancels
        for step in steps
        if step["started"] <= start < step["ended"]
    ]
    return {
        "cancels": len(cancels),
        "hit_a_forward": len(rest_ms),
        "forwards_begun_after": sum(begun),
        "most_begun_after_one": max(begun),
        "rest_of_forward_ms_most": round(max(rest_ms, default=0.0), 1),
    }


async def measure_large_file() -> dict[str, Any]:
    """What the server computes for a key in a small and in a large file, with a stub engine."""
    small = await measure_keys(200)
    large = await measure_keys(NUM_LARGE_LINES)
    return {
        "small": small,
        "large": large,
        "added_ms": round(large["server_ms_a_key"] - small["server_ms_a_key"], 2),
    }


async def measure_keys(num_lines: int) -> dict[str, Any]:
    """Processor time of the server for each key in the middle of a file of so many lines."""
    place = StubPlace()
    try:
        client = await Client.start(oracle_command(place, END), place.environment)
        line = "    total = add(first_number, second)  # a line\n"
        text = f"def work():\n{line}" * (num_lines // 2)
        window = await open_window(client, VS_CODE, text, scale=0.3)
        await eventually(lambda: client.is_ready)
        window.buffer.cursor = text.index("\n", len(text) // 2)
        await window.play([Write("\n    x = 1")])
        num_keys, before_ms = window.counts.keystrokes, processor_ms(client.pid)
        started = time.monotonic()
        await window.play([Write("\n    value = compute(number, factor=3.5)" * 4)])
        num_keys = window.counts.keystrokes - num_keys
        result = {
            "server_ms_a_key": round((processor_ms(client.pid) - before_ms) / num_keys, 2),
            "keys_a_second": round(num_keys / (time.monotonic() - started), 1),
            "server_mb": round(resident_mb(client.pid)),
        }
        await client.leave()
    finally:
        place.close()
    for problem in client.problems:
        print(f"{num_lines} lines: {problem}", file=sys.stderr)
    return {**result, "problems": len(client.problems)}


TIERS = {"typed": "typed-through", "recent": "recent", "speculative": "speculative"}


def by_tier(windows: Iterable[Window]) -> dict[str, dict[str, Any]]:
    """Milliseconds by where the text came from.

    What the server says counts. It says so with the end of a text, which a person often does not
    wait for; then what an editor can see decides, as it does between cold and cached.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for window in windows:
        for sample in window.samples:
            told = TIERS.get(window.tiers.get(sample.version, ""), sample.situation)
            groups[f"{window.profile.name} {told}"].append(sample)
    return {name: _times(samples) for name, samples in sorted(groups.items())}


def _times(samples: list[Sample]) -> dict[str, Any]:
    keystroke = [sample.from_keystroke_ms for sample in samples]
    request = [sample.from_request_ms for sample in samples]
    return {
        "n": len(samples),
        "p50_ms": round(percentile(keystroke, 0.5), 1),
        "p95_ms": round(percentile(keystroke, 0.95), 1),
        "from_request_p50_ms": round(percentile(request, 0.5), 1),
        "from_request_p95_ms": round(percentile(request, 0.95), 1),
    }


def totals(windows: Iterable[Window]) -> dict[str, int]:
    result: dict[str, int] = defaultdict(int)
    for window in windows:
        for name, count in asdict(window.counts).items():
            result[name] += count
    return dict(result)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    paths = find_traces(arguments.data) if arguments.data else []
    trace = read_trace(paths[0]).part(FIRST_EDIT, arguments.edits) if paths else None
    result: dict[str, Any] = {"parts": [*arguments.parts]}
    if set(arguments.parts) - {"large"}:
        result |= await measure_with_weights(arguments, trace)
    if "large" in arguments.parts:
        result["large_file"] = await measure_large_file()
    return result


async def measure_with_weights(
    arguments: argparse.Namespace, trace: Trace | None
) -> dict[str, Any]:
    """All parts but the large file, one after the other on one engine."""
    result: dict[str, Any] = {"seconds": {}}
    place = StubPlace()
    engine = [sys.executable, "-I", str(Path(__file__).with_name("counted_engine.py"))]
    engine.append(str(place.record_path))
    settings = {"offline": True, "tune": "off", **json.loads(arguments.settings)}
    editors = Editors(place, server_command(engine, **settings), arguments.scale)
    try:
        client = await editors.start(VS_CODE)
        memory = Memory(server=client.pid, engine=place.pids()[0])
        for part in arguments.parts:
            started = time.monotonic()
            if part == "session":
                window = await editors.open(0, "shopping.py", START)
                await window.play(SESSION)
                result["session_text_is_right"] = window.buffer.text == END
            elif part == "trace" and trace is not None:
                window = await editors.open(0, trace.name, trace.text, trace.language)
                await window.play(with_offers_taken(trace.edits))
                end = trace.part(len(trace.edits), 0).text
                result["trace_text_is_right"] = window.buffer.text == end
            elif part == "two":
                half = trace.part(0, len(trace.edits) // 2) if trace else None
                await play_two(editors, half)
            elif part == "cancels":
                result["cancel"] = await measure_cancels(client, place)
            elif part == "files":
                await play_files(editors)
            else:
                continue
            result["seconds"][part] = round(time.monotonic() - started)
            print(f"{part}: {totals(editors.windows)}", file=sys.stderr)
        result["memory_mb"] = memory.report()
        problems = await editors.leave()
        result["engine_starts"] = len(place.pids())
    finally:
        place.close()
    for problem in problems:
        print(problem, file=sys.stderr)
    counts = {"counts": totals(editors.windows), "problems": len(problems)}
    return {**result, "tiers": by_tier(editors.windows), **counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with typing traces")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the speed of a person")
    parser.add_argument("--edits", type=int, default=150, help="of the trace")
    parser.add_argument("--settings", default="{}", help="of the server, as JSON")
    print(json.dumps(asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
