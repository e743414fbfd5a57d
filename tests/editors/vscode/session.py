"""A VS Code with the extension as its .vsix installs it, and a window; what the tests start from.

Knows how they are put together, not what is tried in them.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from sampler.stub import Answer
from tests.editors.vscode.code_server import CodeServer
from tests.editors.vscode.installation import Installation
from tests.editors.vscode.window import TIMEOUT_S, Window
from tests.engines import StubPlace

ROOT = Path(__file__).parents[3]
SEED_LSP = ROOT / ".venv" / "bin" / "seed-lsp"
QUIET: dict[str, Any] = {
    "chat.commandCenter.enabled": False,
    "chat.disableAIFeatures": True,
    "editor.fontFamily": "DejaVu Sans Mono",
    "editor.minimap.enabled": False,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "extensions.autoUpdate": False,
    "extensions.ignoreRecommendations": True,
    "telemetry.telemetryLevel": "off",
    "workbench.editor.empty.hint": "hidden",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
    # A web server's window counts as a remote one, in which nothing grows by itself.
    "seed-lsp.growWhileIdle": "on",
}
"""Settings without which other features of VS Code would come between."""


class EditorPlace(StubPlace):
    """Scripted engines of many tests in one editor, which a test finds as if it were the first."""

    def __init__(self) -> None:
        super().__init__()
        self._records = [self.record_path]
        self.record_path.touch()

    def begin(self, *answers: Answer, **fields: Any) -> None:
        """Forget what was recorded, and answer so from now on."""
        self.record_path = self.folder / f"record-{len(self._records)}.jsonl"
        self.record_path.touch()
        self._records.append(self.record_path)
        self.write_script(*answers, **fields)

    def pids(self) -> list[int]:
        """Every engine that was started in any test."""
        lines = [line for path in self._records for line in path.read_text().splitlines()]
        records = [json.loads(line) for line in lines]
        return [record["pid"] for record in records if record["type"] == "started"]


class VsCode:
    """The editor, and what of it a test needs."""

    def __init__(self, server: CodeServer, window: Window, place: StubPlace) -> None:
        self.server = server
        self.window = window
        self.place = place

    def wait_until_ready(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the status bar says that there is an engine."""
        self.window.wait_for(lambda: self.window.status() == "Seed", "readiness", timeout_s)


@contextmanager
def open_vs_code(
    installation: Installation, place: StubPlace, command: list[str], **settings: Any
) -> Iterator[VsCode]:
    """The extension in a window with an empty folder; at the end nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="seed-vscode-"))
    try:
        chosen = {"seed-lsp.server.command": command, **QUIET, **settings}
        for kind in ("User", "Machine"):  # a remote window takes paths of programs from the latter
            path = folder / "user" / kind / "settings.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(chosen))
        work = folder / "work"
        work.mkdir()
        environment = {**place.environment, "SEED_LSP_TUNE": "off"}
        install_extension(installation, folder)
        server = CodeServer(installation, folder, environment)
        try:
            with browser_page(installation, server) as page:
                window = Window(page, server.address, work)
                yield VsCode(server, window, place)
        finally:
            server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def browser_page(installation: Installation, server: CodeServer) -> Iterator[Page]:
    """A page in a browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=installation.browser, env=dict(server.environment)
        )
        yield browser.new_page(viewport={"width": 900, "height": 560})
        browser.close()


def install_extension(installation: Installation, folder: Path) -> None:
    """Install the .vsix as a person does."""
    subprocess.run(
        [*installation.command(folder), "--install-extension", str(packaged_extension())],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )


def packaged_extension() -> Path:
    """The .vsix that `make vsix` has built; SEED_VSIX names another."""
    if chosen := os.environ.get("SEED_VSIX"):
        return Path(chosen)
    found = list((ROOT / "editors" / "vscode" / "dist").glob("*.vsix"))
    if len(found) != 1:
        pytest.skip("there is no .vsix in editors/vscode/dist: run `make vsix`")
    return found[0]
