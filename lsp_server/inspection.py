"""What was used for a suggestion: the parts of its prompt, what was left out, and what it cost.

Frozen records that live in the server's memory and leave it only when a person asks for them; no
log holds them. Knows neither LSP nor how the parts were chosen.
"""

from dataclasses import dataclass

from sampler.messages import Stats


@dataclass(frozen=True)
class Part:
    """A piece of a prompt as the engine got it; it may have cut it to its window."""

    source: str
    """`prefix`, `suffix`, `symbols`, `edits` or `related`."""
    path: str
    """The file, relative to its workspace folder; of prefix and suffix the document's uri."""
    text: str


@dataclass(frozen=True)
class Left:
    """A file that was not looked at, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """Everything about the latest request for a document."""

    request_id: str
    uri: str
    parts: tuple[Part, ...] = ()
    """In the order in which they were chosen; excerpts first."""
    left: tuple[Left, ...] = ()
    num_masked_chars: int = 0
    """Characters of secrets that the prompt has `*` for."""
    mode: str = ""
    layout: str = ""
    model: str = ""
    is_ahead: bool = False
    """Made before anybody asked, for what may be typed next."""
    refusal: str | None = None
    """Why nothing was sent to the engine."""
    stats: Stats | None = None
    """What it cost, once it is done."""

    def num_tokens(self, part_index: int) -> int | None:
        """Prompt tokens of an excerpt, 0 if it did not fit; None if they were not counted."""
        if self.stats is None or part_index >= len(self.stats.excerpt_tokens):
            return None
        return self.stats.excerpt_tokens[part_index]
