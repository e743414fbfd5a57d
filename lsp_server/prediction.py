"""A prediction: the text for one place, how much of it was typed, and whether it may be shown.

Knows neither requests for it nor the order of events (`session`), nor where its text comes from.
"""

from dataclasses import dataclass, field
from typing import Literal

from lsp_server.edits import num_typed, with_line_breaks
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Failed, Finished, Stats

Tier = Literal["live", "typed", "recent", "speculative"]
"""Where an answer came from: a request to the engine · the prediction that is being typed · one
that was made for this place before · what the engine had worked out ahead of an acceptance."""


@dataclass(frozen=True)
class Bar:
    """What a prediction has to pass to be shown."""

    min_confidence: float = 0.0
    """Of the first line's least likely token. Above 0 nothing is shown before that line is whole,
    for until then the measure may still fall."""
    min_chars: int = 1
    """Characters that are not blank."""


NO_BAR = Bar()
"""For a person who has asked."""


@dataclass(frozen=True)
class Offer:
    """Text to show at the cursor of `snapshot`; `session` names the prediction it is from."""

    session: str
    snapshot: Snapshot
    text: str
    is_final: bool
    stats: Stats | None = None
    """What it cost, once it is final."""
    tier: Tier = "live"
    alternatives: tuple[str, ...] = ()
    """Other texts for the same place, best first."""


@dataclass
class Prediction:
    """What is predicted for one place; `now` moves along as its text is typed."""

    request_id: str
    origin: Snapshot
    """The document as it was when the engine was asked."""
    now: Snapshot
    """The document as it is, the cursor behind what was typed of the text."""
    lead: str = ""
    """What the text begins with and no request has to predict: ahead of an acceptance that is the
    line break and the indentation of the next line."""
    raw_text: str = ""
    """With any line breaks, the lead included."""
    is_final: bool = False
    was_offered: bool = False
    was_continued: bool = False
    """Whether the engine was asked what follows its acceptance."""
    confidence: float = 1.0
    stats: Stats | None = None
    tier: Tier = "live"
    bar: Bar = NO_BAR
    alternatives: list[str] = field(default_factory=list)
    """With any line breaks, from the origin on."""

    @property
    def text(self) -> str:
        """The prediction at its origin, with the line breaks of the document."""
        return with_line_breaks(self.raw_text, self.origin.line_break)

    @property
    def remaining(self) -> str:
        """What is left of the text behind the cursor."""
        return self.text[self.num_typed :]

    @property
    def num_typed(self) -> int:
        """Characters of the text that are in the document by now."""
        return self.now.offset - self.origin.offset

    @property
    def is_shown_whole(self) -> bool:
        """Whether the editor has all there is, and there is something."""
        return self.is_final and self.was_offered and bool(self.remaining)

    @property
    def is_unsure(self) -> bool:
        """Whether there is text that may not be shown because the model is not sure enough."""
        is_low = self.confidence < self.bar.min_confidence
        return is_low and not self.was_offered and bool(self.remaining.strip())

    def extend(self, event: BlockCommitted | Finished | Failed) -> None:
        """Take over what an event of its request says."""
        if isinstance(event, BlockCommitted):
            self.raw_text += event.text
            self.confidence = event.confidence
            return
        if isinstance(event, Finished):
            self.stats = event.stats
            text = self.lead + event.text
            if text.startswith(self.raw_text):
                self.raw_text = text
        self.is_final = True

    def follow(self, text: str, version: int) -> bool:
        """Move on to a changed document; False if the change leaves the prediction's path."""
        count = num_typed(self.origin, self.text, text)
        if count is None:
            return False
        self.now = self.origin.after_typing(self.text[:count], text, version)
        return True

    def covers(self, snapshot: Snapshot) -> bool:
        """Whether this is for a place, from text it has or is about to get; moves nowhere."""
        count = num_typed(self.origin, self.text, snapshot.text)
        is_spent = self.is_final and count == len(self.text)
        is_there = count is not None and self.origin.offset + count == snapshot.offset
        return is_there and not is_spent

    def is_showable(self, *, is_late: bool) -> bool:
        """Whether what remains may be shown now.

        It is a complete line, the end, what follows text that is on screen already, or (`is_late`)
        whatever is visible.
        """
        text = self.remaining
        if not text.strip():
            return False
        if self.was_offered:
            return True
        is_short = len("".join(text.split())) < self.bar.min_chars
        if is_short or self.confidence < self.bar.min_confidence:
            return False
        has_line = "\n" in text.lstrip() or "\r" in text.lstrip()
        return self.is_final or has_line or (is_late and self.bar.min_confidence <= 0)

    def offer(self) -> Offer:
        """What to show now; from here on its text only grows."""
        self.was_offered = True
        typed = self.text[: self.num_typed]
        texts = [with_line_breaks(raw, self.origin.line_break) for raw in self.alternatives]
        left = [text.removeprefix(typed) for text in texts if text.startswith(typed)]
        others = [text for text in left if text.strip() and text != self.remaining]
        return Offer(
            self.request_id,
            self.now,
            self.remaining,
            self.is_final,
            self.stats,
            self.tier,
            tuple(dict.fromkeys(others)),
        )

    def after_acceptance(self) -> Snapshot:
        """The document once all that remains has been inserted, its version unknown."""
        left = self.remaining
        text = self.now.prefix + left + self.now.suffix
        return self.now.after_typing(left, text, self.now.version)
