"""What a person at a keyboard does, and how fast: the vocabulary of replays.

Knows neither editors nor LSP; `tests.e2e.replay` carries it out.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal

from lsp_server.bench.traces import Edit


@dataclass(frozen=True)
class Write:
    """Type a text at the cursor, key by key: with typos that are noticed and taken back, and with
    offers accepted where they say what was to be typed anyway."""

    text: str


@dataclass(frozen=True)
class Jump:
    """Put the cursor behind the first occurrence of `anchor`, or before it."""

    anchor: str
    is_before: bool = False


@dataclass(frozen=True)
class Wander:
    """Put the cursor anywhere, for example at 0.5 into the middle."""

    share: float


@dataclass(frozen=True)
class Replace:
    """Select the first occurrence of `old` and type `new` over it."""

    old: str
    new: str


@dataclass(frozen=True)
class Accept:
    """Wait for an offer and take it, whatever it says, or the first word of it."""

    part: Literal["all", "word"] = "all"


@dataclass(frozen=True)
class Taste:
    """Wait for an offer, take all or a word of it against one's better knowledge, take it back."""

    part: Literal["all", "word"] = "all"


@dataclass(frozen=True)
class Backspace:
    """Delete some characters before the cursor, a key each."""

    count: int = 1


@dataclass(frozen=True)
class Undo:
    """Take the last change back."""


@dataclass(frozen=True)
class Dismiss:
    """Wait for an offer and wave it away."""


@dataclass(frozen=True)
class Ask:
    """Ask by hand and wait for the answer."""


@dataclass(frozen=True)
class Think:
    """Look at the screen for some seconds."""

    seconds: float = 1.0


Gesture = (
    Write
    | Jump
    | Wander
    | Replace
    | Edit
    | Accept
    | Taste
    | Backspace
    | Undo
    | Dismiss
    | Ask
    | Think
)


class Hands:
    """When the next key comes; the same seed types the same way.

    Times between keys are log-normal around 130 ms, as large studies of typists find them; at the
    start of a word people sometimes think.

    Args:
        scale: 1.0 is human, 0.05 twenty times as fast.
    """

    def __init__(self, seed: int, scale: float) -> None:
        self.random = random.Random(seed)
        self.scale = scale

    def before_key(self) -> float:
        """Seconds to the next key."""
        return min(self.random.lognormvariate(math.log(0.13), 0.4), 1.0) * self.scale

    def before_word(self, previous: str) -> float:
        """Seconds of thought, mostly none, after the character `previous`."""
        if not previous.isspace() or not self.likes(0.15):
            return 0.0
        return self.random.uniform(0.4, 1.0) * self.scale

    def slip(self, wanted: str) -> str:
        """A neighbor of the wanted letter, or nothing: about one key in thirty goes wrong."""
        rows = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
        row = next((row for row in rows if wanted in row), None)
        if row is None or not wanted or self.random.random() > 0.03:
            return ""
        index = row.index(wanted)
        return row[index - 1] if index else row[1]

    def reads(self) -> float:
        """Seconds it takes to see that an offer is right."""
        return self.random.uniform(0.2, 0.4) * self.scale

    def likes(self, share: float) -> bool:
        """True in that share of the times."""
        return self.random.random() < share
