"""Stub engines for tests: a private place for sockets and logs, and nothing left behind."""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sampler.stub import Answer, Script


class StubPlace:
    """Folders of a test's stub engines; `environment` sends engine clients there."""

    def __init__(self) -> None:
        # Not pytest's tmp_path: the paths of Unix sockets are limited to about 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="seed-"))
        self.runtime = self.folder / "run"
        self.runtime.mkdir(mode=0o700)
        self.record_path = self.folder / "record.jsonl"
        self.script_path = self.folder / "script.json"
        self.environment = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        self.write_script()

    @property
    def command(self) -> list[str]:
        """What spawns the stub, for an `EngineClient`."""
        return [sys.executable, "-I", "-m", "sampler.stub", "--script", str(self.script_path)]

    def write_script(self, *answers: Answer, **fields: Any) -> None:
        """What the stub does from now on; without answers it completes with `pass`.

        What is said about loading counts for stubs that have not started yet.
        """
        script = Script(str(self.record_path), **fields)
        script = Script(**{**vars(script), **({"answers": list(answers)} if answers else {})})
        # Replaced at once: a stub may read it at any moment.
        written = self.script_path.with_suffix(".new")
        written.write_text(json.dumps(asdict(script)))
        written.replace(self.script_path)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What the stubs wrote down, e.g. every `Complete` they received."""
        if not self.record_path.exists():
            return []
        lines = map(json.loads, self.record_path.read_text().splitlines())
        return [line for line in lines if line["type"] == kind]

    def pids(self) -> list[int]:
        """Every stub that was ever started."""
        return [record["pid"] for record in self.records("started")]

    def processes(self, part: str) -> list[int]:
        """Processes with our `environment` whose command line has a part."""
        mark = f"XDG_RUNTIME_DIR={self.runtime}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_own = mark in (entry / "environ").read_bytes().split(b"\0")
                if is_own and part in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """End the stubs, check that they are gone, remove the folder."""
        while True:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            still_there = [pid for pid in self.pids() if not has_ended(pid)]
            assert not still_there, f"stub engines {still_there} do not end"
            try:
                shutil.rmtree(self.folder)
                return
            except OSError as error:
                # A stub was still starting, unknown to us, and has written into the folder.
                if error.errno != errno.ENOTEMPTY:
                    raise


async def eventually(is_so: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until something that another process does is so."""
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.01)


def has_ended(pid: int, timeout_s: float = 5.0) -> bool:
    """Whether a process is gone, or a zombie that its parent has not yet waited for."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
