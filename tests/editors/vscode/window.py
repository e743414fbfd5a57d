"""A window of VS Code as its user has it: keys, screen, commands; knows no language servers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from playwright.sync_api import Page

TIMEOUT_S = 30
"""How long anything may take on a busy machine; nothing is slow when it is done."""
SAMPLER = Path(__file__).with_name("frames.js")


@dataclass(frozen=True)
class Frame:
    """What the active editor showed from a moment on."""

    at_ms: float
    text: str
    ghost: str


class Window:
    """One window with a folder."""

    def __init__(self, page: Page, address: str, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.name = ""
        page.goto(f"{address}?folder={folder}")
        page.wait_for_selector(".monaco-workbench .statusbar-item", timeout=120_000)
        page.evaluate(SAMPLER.read_text())

    def open(self, name: str, text: str) -> None:
        """Create a file and show it, the cursor at its end."""
        self.name = name
        (self.folder / name).write_text(text)
        self.press("Control+p")
        self.page.wait_for_selector(".quick-input-widget input", state="visible")
        self.page.keyboard.insert_text(str(self.folder / name))
        label = self.page.locator(".quick-input-list .monaco-list-row", has_text=name).first
        label.wait_for(timeout=TIMEOUT_S * 1000)
        self.press("Enter")
        tab = self.page.locator(f".tab.active[data-resource-name='{name}']")
        tab.wait_for(timeout=TIMEOUT_S * 1000)
        self.page.wait_for_selector(".editor-instance .view-lines .view-line")
        self.press("Control+End")

    def type(self, text: str, delay_ms: float = 20) -> None:
        self.page.keyboard.type(text, delay=delay_ms)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose_action(self, title: str) -> None:
        """Choose a code action at the cursor; asks again while VS Code is still busy."""
        action = self.page.locator(".action-widget .monaco-list-row", has_text=title).first

        def is_offered() -> bool:
            if not action.is_visible():
                self.press("Control+.")
                self.pause(2)
            return action.is_visible()

        self.wait_for(is_offered, f"the action {title!r}")
        action.click()

    def wait_for_preview(self) -> None:
        """Wait until an edit is shown that was not made yet."""
        row = self.page.locator(".bulk-edit-panel .monaco-list-row").first
        row.wait_for(timeout=TIMEOUT_S * 1000)

    def apply_preview(self) -> None:
        """Tick everything in the preview of an edit, and apply it."""
        panel = self.page.locator(".bulk-edit-panel")
        panel.locator(".monaco-list-row input, .monaco-list-row .monaco-checkbox").first.click()
        panel.get_by_role("button", name="Apply").click()

    def status(self) -> str:
        """What the extension's item in the status bar says to a screen reader."""
        item = self.page.locator(".statusbar-item[id$='seed.status'] a")
        return item.get_attribute("aria-label") or "" if item.count() else ""

    def is_busy(self) -> bool:
        """Whether that item says that the engine is at work."""
        return self.page.locator(".statusbar-item[id$='seed.status'] .codicon-sync").count() > 0

    def notifications(self) -> list[str]:
        """What pops up over the editor."""
        return self.page.locator(".notification-toast").all_inner_texts()

    def screen(self) -> tuple[str, str]:
        """Text and ghost text of the active editor."""
        shown = self.page.evaluate("window.seedScreen()")
        return shown["text"], shown["ghost"]

    @property
    def text(self) -> str:
        return self.screen()[0]

    @property
    def ghost(self) -> str:
        return self.screen()[1]

    def wait_for_ghost(self, text: str) -> None:
        self.wait_for(lambda: self.ghost == text, f"ghost text {text!r}")

    def wait_for_text(self, text: str) -> None:
        self.wait_for(lambda: self.text == text, f"text {text!r}")

    def wait_for(
        self, is_so: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if is_so():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{what} did not come; the screen has {self.screen()}")

    def pause(self, seconds: float) -> None:
        """Let the window live on for so long; `time.sleep` would hold up its messages."""
        self.page.wait_for_timeout(seconds * 1000)

    def wait_for_saved(self, text: str) -> None:
        """Save, and wait until that is in the file."""
        self.press("Control+s")
        path = self.folder / self.name
        self.wait_for(lambda: path.read_text() == text, f"{text!r} in the file")

    def frames(self) -> list[Frame]:
        """Frames unlike those before them, beginning with the one that the last call ended with."""
        shown = self.page.evaluate("window.seedFrames")
        self.page.evaluate("window.seedFrames.splice(0, window.seedFrames.length - 1)")
        return [Frame(frame["at"], frame["text"], frame["ghost"]) for frame in shown]

    def picture(self, path: Path | None = None) -> bytes:
        return self.page.screenshot(path=path)


def changes_while_idle(frames: list[Frame]) -> list[tuple[Frame, Frame]]:
    """Pairs of frames between which shown text shrank or changed although the document did not."""
    return [
        (before, after)
        for before, after in pairwise(frames)
        if before.text == after.text and not after.ghost.startswith(before.ghost)
    ]
