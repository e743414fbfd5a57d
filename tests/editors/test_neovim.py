"""Neovim's built-in inline completion with the lines of the README and the real weights.

Needs Neovim 0.12 (on PATH, or named by SEED_NVIM) and tmux; without them the test says so and is
skipped. SEED_SCREENSHOT=FILE.svg keeps what the terminal showed.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import StubPlace, has_ended

ROOT = Path(__file__).parents[2]
SOURCE = '''\
import math


def circle_area(radius: float) -> float:
    return math.pi * radius**2


def circumference(radius: float) -> float:
    """Return the circumference of a circle."""
'''
TIMEOUT_S = 60


def nvim() -> str:
    """The editor, or a skip."""
    path = os.environ.get("SEED_NVIM") or shutil.which("nvim")
    if path is None or shutil.which("tmux") is None:
        pytest.skip("there is no nvim or no tmux here")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"NVIM v0\.(\d+)", version)
    if found is None or int(found[1]) < 12:
        pytest.skip(f"{path} is older than Neovim 0.12")
    return path


def readme_lines() -> str:
    """The configuration that the README tells a user to write."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```lua\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    lines = block[1]
    assert len(lines.strip().splitlines()) == 6
    return lines.replace("~/seed-lsp/.venv/bin/seed-lsp", str(ROOT / ".venv/bin/seed-lsp"))


class Terminal:
    """A terminal of 80 by 24 in tmux."""

    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.tmux("new-session", "-d", "-x", "80", "-y", "24", command)

    def tmux(self, verb: str, *arguments: str) -> str:
        result = subprocess.run(
            ["tmux", "-L", self.name, verb, *arguments], capture_output=True, text=True, check=True
        )
        return result.stdout

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self, *flags: str) -> str:
        return self.tmux("capture-pane", "-p", *flags)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if text in self.screen():
                return
            time.sleep(0.1)
        raise AssertionError(f"{text!r} did not appear in:\n{self.screen()}")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "init.lua").write_text(readme_lines())
    (tmp_path / "circles.py").write_text(SOURCE)
    editor = nvim()
    place = StubPlace()
    variables = " ".join(f"{name}={value}" for name, value in place.environment.items())
    command = (
        f"cd {tmp_path} && {variables} {editor} -u init.lua "
        "-c 'set noswapfile shortmess+=I laststatus=0 termguicolors' "
        "-c 'highlight Normal guibg=NONE' circles.py"
    )
    terminal = Terminal(f"seed-{os.getpid()}", command)
    yield terminal
    terminal.tmux("kill-server")
    engines = place.processes("sampler.")
    for pid in engines:
        os.kill(pid, signal.SIGTERM)
    assert all(has_ended(pid) for pid in engines)
    place.close()


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("weights_path")
def test_ghost_text_appears_and_is_accepted(terminal: Terminal) -> None:
    terminal.wait_for("circumference")
    time.sleep(1)  # the server attaches
    terminal.type("G", "o", "return")
    expected = "return 2 * math.pi * radius"
    terminal.wait_for(expected)
    if path := os.environ.get("SEED_SCREENSHOT"):
        save(terminal.screen("-e"), Path(path))
    terminal.type("C-l")
    terminal.type("Escape", ":w", "Enter")
    terminal.wait_for("written")
    terminal.wait_for(expected)


def save(screen: str, path: Path) -> None:
    """Write a captured screen, colors included, as SVG."""
    from rich.console import Console
    from rich.text import Text

    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=80, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(screen.rstrip()))
        svg = console.export_svg(title="Neovim 0.12 with seed-lsp")
        # rich names web fonts; a picture in the docs loads nothing.
        path.write_text(re.sub(r"@font-face {.*?}", "", svg, flags=re.DOTALL), encoding="utf-8")
