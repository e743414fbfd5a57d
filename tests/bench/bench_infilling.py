"""HumanEval-Infilling through the real server over LSP: pass@1 and milliseconds.

    python tests/bench/bench_infilling.py --data DIR [--limit 100] [--mode ar]

What `seed-train evaluate single-line` measures at the engine, this measures as an editor sees it:
each task is a document with an empty line where the hole is, the answer is what an editor would
insert. The last line is one JSON object.
"""

import argparse
import asyncio
import json
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


async def measure(tasks: tuple[Task, ...], mode: str) -> dict[str, object]:
    settings = Settings(mode=mode, max_lines=1, offline=True)  # type: ignore[arg-type]
    num_passed, num_exact, answered_ms = 0, 0, []
    async with open_loopback(settings, lambda _: None) as client:
        await client.wait_until_ready(600)
        for index, task in enumerate(tasks):
            path = Path(f"/bench/task_{index}.py")
            uri = client.open_file(path, "python", task.prefix + task.suffix)
            position = types.Position(task.prefix.count("\n"), 0)
            started = time.perf_counter()
            completion = ""
            async for growth in client.complete(uri, position):
                completion = growth.text
            answered_ms.append(1000 * (time.perf_counter() - started))
            # Another task may be about the same program: open, it would show what is asked for.
            document = types.TextDocumentIdentifier(uri)
            client.text_document_did_close(types.DidCloseTextDocumentParams(document))
            num_passed += run_program(completion.join(task.program or ())) == "passed"
            num_exact += is_exact_match(completion, task.reference or "")
            print(f"{index + 1:4} of {len(tasks)}: {num_passed} passed", file=sys.stderr)
    return {
        "set": "single-line over LSP",
        "n": len(tasks),
        "mode": mode,
        "pass@1": num_passed / len(tasks),
        "exact_match": num_exact / len(tasks),
        "answered_p50_ms": statistics.median(answered_ms),
        "answered_p95_ms": percentile(answered_ms, 0.95),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("no-data-given"))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--mode", default="ar")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        tasks = load_set("single-line", arguments.data).tasks
    except SetAbsentError as error:
        print(json.dumps({"skipped": str(error)}))
        return
    result = asyncio.run(measure(sample(tasks, arguments.limit, arguments.seed), arguments.mode))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
