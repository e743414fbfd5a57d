"""A private VS Code in a web server, with every process that it starts; knows no pages.

Its processes are found again by a variable in their environment, which children inherit.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.editors.vscode.installation import Installation
from tests.engines import has_ended

START_TIMEOUT_S = 120
GRACE_S = 2
"""After which the programs of a closed page are ended; VS Code's own default is hours."""
MARK = "SEED_TEST_RUN"
ENGINE = "-m sampler."
"""In the command line of every engine, scripted or not."""


class CodeServer:
    """VS Code on a port of this machine, with its own settings and extensions."""

    def __init__(
        self, installation: Installation, folder: Path, environment: dict[str, str]
    ) -> None:
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        self.log_path = folder / "code-server.log"
        self.environment = {**os.environ, **environment, MARK: self.mark.partition("=")[2]}
        port = free_port()
        self.address = f"http://127.0.0.1:{port}/"
        arguments = [
            *("--auth", "none", "--bind-addr", f"127.0.0.1:{port}"),
            *("--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"),
            *("--disable-getting-started-override", "--reconnection-grace-time", str(GRACE_S)),
        ]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [*installation.command(folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.address + "healthz", timeout=10).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"code-server does not start:\n{self.log_path.read_text()}")

    def processes(self, part: str = "") -> dict[int, str]:
        """Its living processes, by id, with their command lines, if `part` is in them."""
        found = dict(marked_processes(self.mark))
        return {pid: command for pid, command in found.items() if part in command}

    def close(self) -> None:
        """End it as its user would, and check that nothing of it is left.

        Engines live on for ten minutes, for other windows; they are told to end.
        """
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait(30)
        left = {pid: line for pid, line in self.processes().items() if ENGINE not in line}
        left = {pid: line for pid, line in left.items() if not has_ended(pid, 10)}
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL if pid in left else signal.SIGTERM)
        left.update((pid, line) for pid, line in self.processes().items() if not has_ended(pid))
        assert not left, f"these processes do not end: {left}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def marked_processes(mark: str) -> Iterator[tuple[int, str]]:
    """Ids and command lines of processes with that variable in their environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mark.encode() in environment and command:
            yield int(folder.name), command.strip()
