"""Predictions of one document that were dropped, by the text around their place.

Coming back to a place, by backspacing or by moving there, gives the last one back at once. Knows
neither the engine nor what is on screen.
"""

from collections import OrderedDict
from dataclasses import dataclass

from lsp_server.prediction import Prediction
from lsp_server.snapshot import Snapshot
from sampler.messages import Stats

MAX_RECENTS = 16
BEFORE_CHARS = 2_000
AFTER_CHARS = 500
"""Text around the cursor that makes a place; what lies further away may have changed."""


@dataclass(frozen=True)
class _Recent:
    request_id: str
    text: str
    confidence: float
    stats: Stats | None
    alternatives: tuple[str, ...]


class Recents:
    """The last few finished predictions of a document."""

    def __init__(self) -> None:
        self._recents: OrderedDict[tuple[str, str], _Recent] = OrderedDict()

    def keep(self, prediction: Prediction) -> None:
        """Remember a prediction that has ended and says something; any other is ignored."""
        if not prediction.is_final or not prediction.text.strip():
            return
        origin = prediction.origin
        after = origin.text[origin.offset : origin.offset + AFTER_CHARS]
        place = _before(origin, origin.offset), after
        self._recents[place] = _Recent(
            prediction.request_id,
            prediction.text,
            prediction.confidence,
            prediction.stats,
            tuple(prediction.alternatives),
        )
        self._recents.move_to_end(place)
        while len(self._recents) > MAX_RECENTS:
            self._recents.popitem(last=False)

    def find(self, snapshot: Snapshot) -> Prediction | None:
        """The latest prediction with text left at the cursor of `snapshot`, perhaps typed in part.

        It is removed: the caller holds it from now on.
        """
        after = snapshot.text[snapshot.offset : snapshot.offset + AFTER_CHARS]
        for place, recent in reversed(self._recents.items()):
            if place[1] != after:
                continue
            for num_typed in range(min(len(recent.text), snapshot.offset + 1)):
                start = snapshot.offset - num_typed
                is_typed = snapshot.text.startswith(recent.text[:num_typed], start)
                has_more = recent.text[num_typed:].strip()
                if has_more and is_typed and place[0] == _before(snapshot, start):
                    del self._recents[place]
                    return _revive(recent, snapshot, start)
        return None


def _before(snapshot: Snapshot, start: int) -> str:
    return snapshot.text[max(start - BEFORE_CHARS, 0) : start]


def _revive(recent: _Recent, snapshot: Snapshot, start: int) -> Prediction:
    return Prediction(
        recent.request_id,
        origin=snapshot.before_typing(snapshot.text[start : snapshot.offset]),
        now=snapshot,
        raw_text=recent.text,
        is_final=True,
        confidence=recent.confidence,
        stats=recent.stats,
        tier="recent",
        alternatives=list(recent.alternatives),
    )
