"""Draws docs/vscode.png and docs/vscode-stream.gif: the real weights in a real VS Code.

`.venv/bin/python -m tests.editors.vscode.pictures [FOLDER]`. Every picture is what the page showed,
for as long as it showed it. Knows the scene, not how the editor is started.
"""

import io
import sys
import time
from pathlib import Path

from PIL import Image

from tests.editors.vscode.installation import find_installation
from tests.editors.vscode.session import ROOT, SEED_LSP, EditorPlace, open_vs_code
from tests.editors.vscode.window import Window

SOURCE = '''\
import csv
from dataclasses import dataclass


@dataclass
class Item:
    name: str
    price: float
    count: int = 1


def total(items: list[Item]) -> float:
    return sum(item.price * item.count for item in items)


def load(path: str) -> list[Item]:
    """Read items from a CSV file with a header."""
    '''
TYPED = "items = []"
QUIET_S = 3
"""So long nothing new comes when a suggestion is complete."""
MOST_S = 120
NUM_COLORS = 64
SHORTEST_MS, LONGEST_MS = 60, 1500
KEY_MS = 120
"""Between two keys of the scene; how fast pictures of typing can be taken means nothing."""


class Film:
    """What a window showed, and when."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._pictures: list[bytes] = []
        self._times_ms: list[float] = []
        self._num_typed = 0

    def look(self) -> None:
        """Keep the window's picture if it is a new one."""
        picture = self._window.picture()
        if not self._pictures or picture != self._pictures[-1]:
            self._pictures.append(picture)
            self._times_ms.append(1000 * time.monotonic())

    def watch(self, quiet_s: float) -> None:
        """Keep looking until nothing has changed, with an idle engine, for so long."""
        start = time.monotonic()
        changed, shown = start, ("", "")
        while time.monotonic() < min(changed + quiet_s, start + MOST_S):
            self.look()
            now = self._window.screen()
            if now != shown or self._window.is_busy():
                changed, shown = time.monotonic(), now

    def type(self, text: str) -> None:
        """Type, a picture for each key."""
        for character in text:
            self._window.type(character)
            self.look()
        self._num_typed = len(self._pictures) - 1

    def save(self, path: Path) -> None:
        """Write it as an animation that plays again and again."""
        images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in self._pictures]
        palette = images[-1].quantize(NUM_COLORS)
        small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
        ends = [*self._times_ms[1:], self._times_ms[-1] + LONGEST_MS]
        spans = [end - start for start, end in zip(self._times_ms, ends, strict=True)]
        durations = [int(min(max(span, SHORTEST_MS), LONGEST_MS)) for span in spans]
        durations[: self._num_typed] = [KEY_MS] * self._num_typed
        small[0].save(
            path, save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True
        )


def draw(folder: Path) -> None:
    """Play the scene and write both pictures."""
    place = EditorPlace()
    settings = {"workbench.colorTheme": "Default Light Modern", "editor.cursorBlinking": "solid"}
    with open_vs_code(find_installation(), place, [str(SEED_LSP)], **settings) as editor:
        window = editor.window
        window.open("shopping.py", SOURCE)
        editor.wait_until_ready(120)
        window.press("Control+b")  # no side bar
        window.pause(2)
        film = Film(window)
        film.type(TYPED)
        window.press("Enter")
        film.watch(QUIET_S)
        window.picture(folder / "vscode.png")
        window.press("Tab")
        film.watch(1)
        film.save(folder / "vscode-stream.gif")
    place.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
