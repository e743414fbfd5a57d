"""Editors as far as inline completion goes: what they announce, when they ask, what they cancel.

Facts about real editors; knows nothing of how a window carries them out.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Profile:
    """What decides how an editor uses inline completion."""

    name: str
    encodings: tuple[str, ...] | None
    debounce_s: float
    does_cancel: bool = False
    """Tells the server that an answer is no longer wanted."""
    follows_updates: bool = False
    keeps_while_typing: bool = False
    """An offer stays on the screen while what is typed is what it says."""
    asks_after_accept: bool = False
    asks_after_move: bool = False
    closes_brackets: bool = False
    sends_whole_text: bool = False
    trigger: int = 2
    """1 is by hand, 2 automatic."""

    @property
    def capabilities(self) -> dict[str, Any]:
        """For `initialize`."""
        capabilities: dict[str, Any] = {}
        if self.encodings is not None:
            capabilities["general"] = {"positionEncodings": list(self.encodings)}
            capabilities["textDocument"] = {"inlineCompletion": {"dynamicRegistration": True}}
        if self.follows_updates:
            capabilities["experimental"] = {"seed": {"updates": True}}
        return capabilities


VS_CODE = Profile(
    "vscode",
    ("utf-16",),
    debounce_s=0.05,
    does_cancel=True,
    follows_updates=True,
    keeps_while_typing=True,
    asks_after_accept=True,
    closes_brackets=True,
)
NEOVIM = Profile("neovim", ("utf-8", "utf-16", "utf-32"), debounce_s=0.2, asks_after_move=True)
BARE = Profile("bare", None, debounce_s=0.1, sends_whole_text=True, trigger=1)
"""Announces nothing, sends whole texts, knows only the request itself."""
PROFILES = (VS_CODE, NEOVIM, BARE)
