"""Fakes shared by tests: small, scripted, and real enough to be wrong in the ways that matter."""

import threading
from typing import Any

from lsp_server.documents import Document, Position
from lsp_server.snapshot import Snapshot, take_snapshot

CURSOR = "█"


def document_at(
    marked: str, *, version: int = 1, language: str = "python", uri: str = "file:///fake.py"
) -> tuple[Document, Position]:
    """A document and the position of its cursor mark."""
    before, after = marked.split(CURSOR)
    document = Document(uri, language, version, before + after, "utf-16")
    return document, document.position_at(len(before))


def snapshot_at(marked: str, **fields: object) -> Snapshot:
    """The snapshot at the cursor mark of a text."""
    return take_snapshot(*document_at(marked, **fields))  # type: ignore[arg-type]


class SlowEngine:
    """An engine for `sampler.serve` whose one step lasts until it is let go."""

    context_tokens = 0

    def __init__(self) -> None:
        self.has_work = False
        self.is_let_go = threading.Event()

    def step(self) -> list[Any]:
        if self.has_work:
            self.is_let_go.wait(10)
            self.has_work = False
        return []

    def interrupt(self, is_useless: Any) -> None:
        pass

    def end_interrupt(self) -> None:
        pass

    def cancel_all(self, prefix: str) -> None:
        pass


class IdleTuner:
    """A tuner that has nothing to measure."""

    def pause_s(self) -> None:
        return None

    def note_work(self) -> None:
        pass

    def cancel_all(self, prefix: str) -> None:
        pass
