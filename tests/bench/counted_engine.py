"""The product's engine, which writes down its forwards: `counted_engine.py RECORD [its flags]`.

A JSON line for its start and for each step that ran a forward, in the clock of `time.monotonic`,
which all processes of a machine share.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from sampler import serve

record, *flags = sys.argv[1:]
load_engine = serve.load_engine


def note(kind: str, **fields: object) -> None:
    with Path(record).open("a") as file:
        file.write(json.dumps({"type": kind, **fields}) + "\n")


def load(*arguments: Any) -> Any:
    """As the engine is loaded, but its steps are counted."""
    engine, *others = load_engine(*arguments)
    step = engine.step

    def counted() -> Any:
        before, started = engine.runner.num_forwards, time.monotonic()
        events = step()
        if engine.runner.num_forwards > before:
            num_forwards = engine.runner.num_forwards - before
            note("step", started=started, ended=time.monotonic(), forwards=num_forwards)
        return events

    engine.step = counted
    return engine, *others


note("started", pid=os.getpid())
serve.load_engine = load
sys.exit(serve.main(flags))
