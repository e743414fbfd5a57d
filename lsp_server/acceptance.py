"""What became of what was shown, read from the edits that follow it: no plugin has to tell.

Pure: takes offers and texts, returns what they mean. A client that runs an item's command tells
acceptance as well; both ways count once. Knows neither LSP, clocks nor where counts are kept.

An edit that puts all that is left of an offer into the document, two characters or more at once,
has accepted it. An edit that puts in a part ending where a word ends has accepted that part. What
comes one character at a time was typed. An edit to anything else has dismissed the offer.
"""

import difflib
import re
from dataclasses import dataclass

from lsp_server.edits import num_typed
from lsp_server.session import Offer
from lsp_server.snapshot import Snapshot

_PIECE = re.compile(r"\w+|\W")
_MARGIN = 500
"""Characters around an accepted text in which it is looked for again."""


@dataclass(frozen=True)
class Shown:
    """A prediction was offered for the first time."""

    session: str


@dataclass(frozen=True)
class Accepted:
    """Text of an offer was taken over; `offset` is where it begins in the document."""

    session: str
    text: str
    offset: int
    is_first: bool
    """Nothing of this prediction was accepted before."""


@dataclass(frozen=True)
class Dismissed:
    """An offer was left without any of it having been accepted."""

    session: str


Outcome = Shown | Accepted | Dismissed


@dataclass
class _Live:
    """The offer that a document shows."""

    session: str
    snapshot: Snapshot
    text: str
    alternatives: tuple[str, ...]
    """Other texts that were offered for the same place."""
    num_typed: int = 0
    """Characters of `text` that stand in the document now."""
    was_accepted: bool = False
    """In part or as a whole."""
    is_told: bool = False
    """The editor has said that all of it is accepted; the edit may be still to come."""


class Acceptance:
    """The offers that are shown now, one a document."""

    def __init__(self) -> None:
        self._live: dict[str, _Live] = {}

    def show(self, offer: Offer) -> list[Outcome]:
        """The editor was offered a text, or more of a text it was offered before."""
        uri = offer.snapshot.uri
        live = self._live.get(uri)
        is_same = live is not None and live.session == offer.session
        if not offer.text:
            return []
        was_accepted = is_same and live is not None and live.was_accepted
        outcomes = [] if is_same else [*self.leave(uri), Shown(offer.session)]
        self._live[uri] = _Live(
            offer.session,
            offer.snapshot,
            offer.text,
            offer.alternatives,
            was_accepted=was_accepted,
        )
        return outcomes

    def change(self, uri: str, text: str) -> list[Outcome]:
        """The document's text is another now, by one edit or what the editor sent as one."""
        live = self._live.get(uri)
        if live is None:
            return []
        count = num_typed(live.snapshot, live.text, text)
        for other in live.alternatives:
            if count is None:
                live.text = other
                count = num_typed(live.snapshot, other, text)
        if count is None:
            return self.leave(uri)
        start, live.num_typed = live.num_typed, count
        is_typing = count - start < 2 or not _ends_word(live.text, count)
        return [] if is_typing or live.is_told else [_accept(live, start, count)]

    def accept(self, uri: str, session: str) -> list[Outcome]:
        """The editor says that it has accepted all of a prediction's last offer."""
        live = self._live.get(uri)
        if live is None or live.session != session or live.was_accepted:
            return []
        live.is_told = True
        return [_accept(live, live.num_typed, len(live.text))]

    def leave(self, uri: str) -> list[Outcome]:
        """What is shown in a document is no longer shown."""
        live = self._live.pop(uri, None)
        if live is None or live.was_accepted or live.num_typed == len(live.text):
            return []
        return [Dismissed(live.session)]


def _accept(live: _Live, start: int, end: int) -> Accepted:
    is_first, live.was_accepted = not live.was_accepted, True
    return Accepted(live.session, live.text[start:end], live.snapshot.offset + start, is_first)


def num_kept(accepted: Accepted, text: str) -> int:
    """Characters of an accepted text that are still where it was put, in the document `text`.

    Words and signs that are the same, in the same order, near the place.
    """
    start = max(0, accepted.offset - _MARGIN)
    window = text[start : accepted.offset + len(accepted.text) + _MARGIN]
    if accepted.text in window:
        return len(accepted.text)
    wanted, found = _PIECE.findall(accepted.text), _PIECE.findall(window)
    matcher = difflib.SequenceMatcher(None, wanted, found, autojunk=False)
    return sum(
        len(piece)
        for block in matcher.get_matching_blocks()
        for piece in wanted[block.a : block.a + block.size]
    )


def _ends_word(text: str, count: int) -> bool:
    """Whether `text` cut behind `count` characters cuts no word in two."""
    around = text[count - 1 : count + 1]
    return len(around) < 2 or not (around.isidentifier() or around.isalnum())
