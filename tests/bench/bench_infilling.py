"""HumanEval-Infilling through the real server over LSP: pass@1 and milliseconds.

    python tests/bench/bench_infilling.py --data DIR [--limit 100] [--mode ar] [--open 5]

What `seed-train evaluate single-line` measures at the engine, this measures as an editor sees it:
each task is a document with an empty line where the hole is, the answer is what an editor would
insert. With `--open` whole programs of other tasks are open beside it, as context that does not
help: quality should stay. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from pathlib import Path

from lsprotocol import types

from lsp_server.loopback import open_loopback
from lsp_server.settings import Settings
from training.evaluation.sandbox import run_program
from training.evaluation.scores import is_exact_match, percentile
from training.evaluation.sets import SetAbsentError, load_set, sample
from training.evaluation.tasks import Task


async def measure(tasks: tuple[Task, ...], mode: str, num_open: int) -> dict[str, object]:
    settings = Settings(mode=mode, max_lines=1, offline=True)  # type: ignore[arg-type]
    num_passed, num_exact, answered_ms = 0, 0, []
    async with open_loopback(settings, lambda _: None) as client:
        await client.wait_until_ready(600)
        chance = random.Random(0)
        for index, task in enumerate(tasks):
            path = Path(f"/bench/task_{index}.py")
            uri = client.open_file(path, "python", task.prefix + task.suffix)
            others = [
                client.open_file(Path(f"/bench/other_{index}_{number}.py"), "python", text)
                for number, text in enumerate(other_programs(tasks, task, num_open, chance))
            ]
            position = types.Position(task.prefix.count("\n"), 0)
            started = time.perf_counter()
            completion = ""
            async for growth in client.complete(uri, position):
                completion = growth.text
            answered_ms.append(1000 * (time.perf_counter() - started))
            # Another task may be about the same program: open, it would show what is asked for.
            for one in (uri, *others):
                document = types.TextDocumentIdentifier(one)
                client.text_document_did_close(types.DidCloseTextDocumentParams(document))
            num_passed += run_program(completion.join(task.program or ())) == "passed"
            num_exact += is_exact_match(completion, task.reference or "")
            print(f"{index + 1:4} of {len(tasks)}: {num_passed} passed", file=sys.stderr)
    return {
        "set": "single-line over LSP",
        "n": len(tasks),
        "mode": mode,
        "open": num_open,
        "pass@1": num_passed / len(tasks),
        "exact_match": num_exact / len(tasks),
        "answered_p50_ms": statistics.median(answered_ms),
        "answered_p95_ms": percentile(answered_ms, 0.95),
    }


def other_programs(
    tasks: tuple[Task, ...], task: Task, num_open: int, chance: random.Random
) -> list[str]:
    """Programs of other problems, complete; a task of the same one would show the answer."""
    problem = task.task_id.rpartition("/")[0]
    others = [other for other in tasks if other.task_id.rpartition("/")[0] != problem]
    chosen = chance.sample(others, min(num_open, len(others)))
    return [other.prefix + (other.reference or "") + other.suffix for other in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("no-data-given"))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--mode", default="ar")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--open", type=int, default=0)
    arguments = parser.parse_args()
    try:
        tasks = load_set("single-line", arguments.data).tasks
    except SetAbsentError as error:
        print(json.dumps({"skipped": str(error)}))
        return
    result = asyncio.run(
        measure(sample(tasks, arguments.limit, arguments.seed), arguments.mode, arguments.open)
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
