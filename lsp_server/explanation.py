"""Why there are completions for a file, or why not: every reason, each one sentence.

For the editor and for `seed-lsp doctor FILE`, which must say the same. Reads nothing but what
`Exclusions` reads. Knows neither LSP nor the engine.
"""

from dataclasses import dataclass
from pathlib import Path

from lsp_server.context import refusal
from lsp_server.documents import Document, Position
from lsp_server.gate import quiet_reason
from lsp_server.settings import Settings
from lsp_server.snapshot import take_snapshot
from lsp_server.status import quiet_of
from model.format.syntax import language_of

_MAX_LEVELS = 40


@dataclass(frozen=True)
class Explanation:
    """What holds for a file. `against` is empty if it gets completions as one types."""

    against: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What is worth knowing beside that."""


def explain(document: Document | None, settings: Settings, exclusion: str | None) -> Explanation:
    """Gather what speaks against completions in a document, the gravest first.

    Args:
        document: as it is open or on the disk; None if there is none.
        settings: what holds now.
        exclusion: what `Exclusions` says of it.
    """
    reasons = [exclusion, refusal(document, settings)]
    against = [f"{reason[0].upper()}{reason[1:]}." for reason in reasons if reason]
    notes = []
    if document is not None:
        snapshot = take_snapshot(document, Position(0, 0))
        for is_invoked in (True, False):
            quiet = quiet_of(
                quiet_reason(snapshot, settings, is_invoked=is_invoked, is_snoozed=False) or ""
            )
            if quiet is not None and quiet.message not in against:
                against.append(quiet.message)
        if language_of(document.language) == "text":
            notes.append(
                f"There is no grammar for {document.language!r}: completions have one line."
            )
    return Explanation(tuple(against), tuple(notes))


def workspace_of(path: Path) -> Path:
    """The folder that an editor would have open for a file: its repository, or its own folder."""
    for folder in list(path.absolute().parents)[:_MAX_LEVELS]:
        if (folder / ".git").exists():
            return folder
    return path.absolute().parent
