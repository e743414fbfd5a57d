"""HumanEval-Infilling through the real server over LSP: pass@1 and milliseconds.

    python tests/bench/bench_infilling.py --data DIR [--limit 100] [--mode ar]

DIR holds HumanEval-SingleLineInfilling.jsonl.gz. Each task is a document with an empty line where
the hole is; the answer is what an editor would insert. Pass means that the task's own test passes
in a subprocess with limits on time, memory and file size. Neither the network nor the rest of the
file system is closed to it: only run it on sets that you trust. The last line is one JSON object.
"""

import argparse
import asyncio
import gzip
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lsprotocol import types

from lsp_server.loopback import open_loopback
from lsp_server.settings import Settings

TEST_SECONDS = 10


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (TEST_SECONDS, TEST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def passes(task: dict[str, str], completion: str) -> bool:
    program = (
        f"{task['prompt']}{completion}\n{task['suffix']}\n{task['test']}\n"
        f"check({task['entry_point']})\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = subprocess.run(
                [sys.executable, "-I", "-c", program],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TEST_SECONDS,
                preexec_fn=limit,
                env={},
            )
        except subprocess.TimeoutExpired:
            return False
    return result.returncode == 0


async def measure(tasks: list[dict[str, str]], mode: str) -> dict[str, object]:
    settings = Settings(mode=mode, max_lines=1, offline=True)  # type: ignore[arg-type]
    num_passed, num_exact, answered_ms = 0, 0, []
    async with open_loopback(settings, lambda _: None) as client:
        await client.wait_until_ready(600)
        for index, task in enumerate(tasks):
            text = f"{task['prompt']}\n{task['suffix']}"
            uri = client.open_file(Path(f"/bench/task_{index}.py"), "python", text)
            position = types.Position(task["prompt"].count("\n"), 0)
            started = time.perf_counter()
            completion = ""
            async for growth in client.complete(uri, position):
                completion = growth.text
            answered_ms.append(1000 * (time.perf_counter() - started))
            num_passed += passes(task, completion)
            num_exact += completion.strip() == task["canonical_solution"].strip()
            print(f"{index + 1:4} of {len(tasks)}: {num_passed} passed", file=sys.stderr)
    return {
        "set": "humaneval-infilling single-line",
        "n": len(tasks),
        "mode": mode,
        "pass@1": num_passed / len(tasks),
        "exact_match": num_exact / len(tasks),
        "answered_p50_ms": statistics.median(answered_ms),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--mode", default="ar")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    path = arguments.data / "HumanEval-SingleLineInfilling.jsonl.gz"
    if not path.exists():
        print(json.dumps({"skipped": f"{path} is not there; name its folder with --data"}))
        return
    with gzip.open(path, "rt", encoding="utf-8") as file:
        tasks = [json.loads(line) for line in file]
    random.Random(arguments.seed).shuffle(tasks)
    result = asyncio.run(measure(tasks[: arguments.limit], arguments.mode))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
