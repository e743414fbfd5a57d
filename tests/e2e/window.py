"""A window of an editor with one document: asks, shows offers, applies them, checks all of them.

Behaves as the editor of its profile does: when it asks, what it cancels, what it shows and how it
applies an offer. After everything that the server says it checks what must hold and notes what does
not in the client's `problems`. Knows nothing of how the server works.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.buffer import LINE_BREAK, Buffer
from tests.e2e.client import Client, Json
from tests.e2e.gestures import (
    Hands,
)
from tests.e2e.keys import PAIRS, first_word
from tests.e2e.offers import Ghost, judge
from tests.e2e.profiles import Profile

INLINE_COMPLETION = "textDocument/inlineCompletion"
UPDATE = "seed/inlineCompletion/update"

PATIENCE_S = 5.0
"""How long a person who waits for an offer does so; not scaled, since the server is not either."""


@dataclass(frozen=True)
class Asked:
    """The document when a request went out."""

    version: int
    text: str
    cursor: int
    situation: str
    keystroke_at: float


@dataclass(frozen=True)
class Sample:
    """One first sight of ghost text."""

    situation: str
    """As the editor sees it: cold, cached, typed-through, recent or speculative."""
    from_keystroke_ms: float
    from_request_ms: float
    num_characters: int
    version: int


@dataclass
class Counts:
    """What happened in a window."""

    keystrokes: int = 0
    requests: int = 0
    shown: int = 0
    empty: int = 0
    late: int = 0
    """Answers for a text that the person had already changed; dropped, as editors do."""
    vanished: int = 0
    """Empty answers while fitting text was on the screen."""
    accepted: int = 0
    undone: int = 0


@dataclass(repr=False)
class Window:
    """One document in one editor."""

    client: Client
    profile: Profile
    uri: str
    buffer: Buffer
    hands: Hands
    counts: Counts = field(default_factory=Counts)
    samples: list[Sample] = field(default_factory=list)
    tiers: dict[int, str] = field(default_factory=dict)
    """Which tier answered, by version, as far as the server told."""
    ghost: Ghost | None = None
    texts: set[str] = field(default_factory=set)
    """Hashes of every text that there was, with `\\n` for all line breaks: what engines may see."""

    def __post_init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._open: list[tuple[Any, asyncio.Task[None]]] = []
        self._remember()
        self._offered: dict[tuple[str, int], str] = {}
        self._last_offer: tuple[str, int, str] | None = None
        self._last_asked: Asked | None = None
        self._painted: tuple[int, int, str] | None = None
        self._shown_for: Asked | None = None
        self._updated: dict[tuple[str, int], str] = {}
        self._ended: set[tuple[str, int]] = set()
        self._newest_update = 0
        self._keystroke_at = time.monotonic()
        self.client.on(UPDATE, self._receive_update)

    @property
    def offers(self) -> list[str]:
        """Every ghost text that showed."""
        return list(self._offered.values())

    def open(self, language: str) -> None:
        """Show the document."""
        document = {
            "uri": self.uri,
            "languageId": language,
            "version": self.buffer.version,
            "text": self.buffer.text,
        }
        self.client.notify("textDocument/didOpen", {"textDocument": document})

    def close(self) -> None:
        """Close the document; an answer that is still open is no longer waited for."""
        self._forget_timer()
        self.client.notify("textDocument/didClose", {"textDocument": {"uri": self.uri}})

    async def settle(self) -> None:
        """Wait until no request is open."""
        await asyncio.gather(*(task for _, task in self._open))

    async def wait_for_ghost(self) -> bool:
        """Look at the screen until there is an offer, or patience ends; asks if nobody has."""
        if self._timer is None and not self._open and self.ghost is None:
            self._schedule(0.0)
        deadline = time.monotonic() + PATIENCE_S
        while self.ghost is None and time.monotonic() < deadline:
            if self._timer is None and not self._open:
                break
            await asyncio.sleep(0.002)
        return self.ghost is not None

    def accept(self, part: str = "all") -> None:
        """Apply the offer that shows, as the editor would."""
        ghost = self.ghost
        assert ghost is not None
        self.counts.accepted += 1
        self.counts.keystrokes += 1
        self._keystroke_at = time.monotonic()
        if part == "word":
            word = first_word(ghost.text)
            self._change([(ghost.start, ghost.start, word)], asks_in_s=0.0)
            return
        delay_s = 0.0 if self.profile.asks_after_accept else None
        self._change([(ghost.start, ghost.end, ghost.insert)], asks_in_s=delay_s)
        if ghost.command is not None and self.profile.asks_after_accept:
            arguments = ghost.command.get("arguments") or []
            self.client.request(
                "workspace/executeCommand",
                {"command": ghost.command["command"], "arguments": arguments},
            )

    def _is_closed_for_us(self, key: str) -> bool:
        follows = self.buffer.suffix[:1]
        is_free = not follows or follows.isspace() or follows in PAIRS.values()
        return self.profile.closes_brackets and key in PAIRS and is_free

    def _change(
        self,
        patches: list[tuple[int, int, str]],
        *,
        moves_back: int = 0,
        asks_in_s: float | None = -1.0,
    ) -> None:
        """Change the document and tell the server; the cursor goes behind the last patch."""
        old_ghost, old_cursor = self.ghost, self.buffer.cursor
        changes = self.buffer.replace_all(patches)
        self.buffer.cursor -= moves_back
        self._tell(changes)
        typed = patches[0][2] if len(patches) == 1 and patches[0][0] == patches[0][1] else None
        is_at_cursor = bool(patches) and patches[0][0] == old_cursor
        follows = (
            old_ghost is not None
            and typed is not None
            and is_at_cursor
            and not moves_back
            and old_ghost.text.startswith(typed)
            and len(typed) < len(old_ghost.text)
        )
        self.ghost, self._painted = None, None
        if follows and self.profile.keeps_while_typing:
            assert old_ghost is not None
            assert typed is not None
            rest = old_ghost.text[len(typed) :]
            self._painted = (self.buffer.version, self.buffer.cursor, rest)
            self.ghost = Ghost(
                self.buffer.version,
                self.buffer.cursor,
                old_ghost.end + len(typed),
                old_ghost.insert[len(typed) :],
                rest,
                old_ghost.command,
            )
        self._supersede()
        if asks_in_s is not None:
            self._schedule(self.profile.debounce_s if asks_in_s < 0 else asks_in_s)

    def _undo(self) -> None:
        change = self.buffer.undo()
        if change is not None:
            self.counts.undone += 1
            self._tell([change])
            self._hide()
            self._supersede()
            self._schedule(self.profile.debounce_s)

    def _tell(self, changes: list[Json]) -> None:
        self._remember()
        if self.profile.sends_whole_text:
            changes = [{"text": self.buffer.text}]
        document = {"uri": self.uri, "version": self.buffer.version}
        self.client.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": changes}
        )

    def _move(self, offset: int) -> None:
        self.buffer.cursor = offset
        self._hide()
        self._supersede()
        self._forget_timer()
        if self.profile.asks_after_move:
            self._schedule(self.profile.debounce_s)

    def _hide(self) -> None:
        self.ghost, self._painted = None, None

    def _supersede(self) -> None:
        """What is asked is no longer wanted."""
        if self.profile.does_cancel:
            for call, _ in self._open:
                self.client.cancel(call)

    def _schedule(self, delay_s: float) -> None:
        self._forget_timer()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay_s * self.hands.scale, self._ask)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self, trigger: int | None = None) -> None:
        self._forget_timer()
        self._supersede()
        asked = Asked(
            self.buffer.version,
            self.buffer.text,
            self.buffer.cursor,
            self._situation(),
            self._keystroke_at,
        )
        self._last_asked = asked
        self.counts.requests += 1
        call = self.client.request(
            INLINE_COMPLETION,
            {
                "textDocument": {"uri": self.uri},
                "position": self.buffer.position(self.buffer.cursor),
                "context": {"triggerKind": trigger or self.profile.trigger},
            },
        )
        task = asyncio.create_task(self._follow(call, asked))
        self._open.append((call, task))

    def _situation(self) -> str:
        """What an answer here could come from, seen from outside."""
        text, cursor = self.buffer.text, self.buffer.cursor
        if self._last_offer is not None:
            old_text, start, offer = self._last_offer
            typed = text[start:cursor]
            on_path = text.startswith(old_text[:start]) and text.endswith(old_text[start:])
            if on_path and cursor > start and offer.startswith(typed):
                return "speculative" if typed == offer else "typed-through"
        if (text, cursor) in self._offered:
            return "recent"
        last = self._last_asked
        if last is None:
            return "cold"
        num_same = min(len(last.text) - last.cursor, len(text) - cursor)
        is_near = abs(cursor - last.cursor) < 80 and (
            last.text[len(last.text) - num_same :] == text[len(text) - num_same :]
        )
        return "cached" if is_near else "cold"

    async def _follow(self, call: Any, asked: Asked) -> None:
        """Wait for an answer and show it."""
        try:
            result = await call.result
        except asyncio.CancelledError:
            return  # the server is gone; the client knows
        finally:
            self._open = [(other, task) for other, task in self._open if other is not call]
        if call.error_code is not None:
            return
        items = result.get("items", []) if isinstance(result, dict) else result or []
        ghosts = [self._judge(item, asked.version, asked.text, asked.cursor) for item in items]
        is_current = (asked.version, asked.cursor) == (self.buffer.version, self.buffer.cursor)
        if not is_current:
            self.counts.late += bool(ghosts)
        elif ghosts and ghosts[0] is not None:
            self._show(ghosts[0], asked, call.sent_at, is_answer=True)
        elif not ghosts:
            self.counts.empty += 1
            self.counts.vanished += self.ghost is not None

    def _receive_update(self, params: Json) -> None:
        if params["uri"] != self.uri:
            return
        session, version, text = params["session"], params["version"], params["text"]
        before = self._updated.get((session, version), "")
        if (session, version) in self._ended and text != before:
            self._problem(f"session {session} has new text after its end")
        if params["done"]:
            self._ended.add((session, version))
        if version < self._newest_update:
            self._problem(f"an update for version {version} after one for {self._newest_update}")
        self._newest_update = max(self._newest_update, version)
        if not text.startswith(before):
            self._problem(f"session {session} wrote {text!r} over {before!r}")
        self._updated[session, version] = text
        tier = (params.get("cost") or {}).get("tier")
        if tier is not None:
            self.tiers[version] = tier
        is_current = version == self.buffer.version
        if not is_current or params.get("item") is None:
            return
        start = params["item"]["range"]["start"]
        if start != self.buffer.position(self.buffer.cursor):
            return
        ghost = self._judge(params["item"], version, self.buffer.text, self.buffer.cursor)
        if ghost is None or not ghost.text.strip() or not self.profile.follows_updates:
            return
        asked = self._last_asked
        if asked is not None and (asked.version, asked.cursor) == (version, self.buffer.cursor):
            self._show(ghost, asked, asked.keystroke_at, is_answer=False)

    def _judge(self, item: Json, version: int, text: str, cursor: int) -> Ghost | None:
        ghost, problems = judge(item, version, text, cursor, self.buffer.encoding)
        for problem in problems:
            self._problem(problem)
        return ghost

    def _show(self, ghost: Ghost, asked: Asked, sent_at: float, *, is_answer: bool) -> None:
        place = (ghost.version, ghost.start)
        if self._painted is not None and self._painted[:2] == place:
            old = self._painted[2]
            if is_answer and old.startswith(ghost.text):
                return  # an update has overtaken the answer
            if not ghost.text.startswith(old):
                self._problem(f"{old!r} on the screen became {ghost.text!r}")
        self._painted = (*place, ghost.text)
        is_first = self.ghost is None or asked is not self._shown_for
        self._shown_for = asked
        self.ghost = ghost
        self._offered[asked.text, asked.cursor] = ghost.text
        self._last_offer = (asked.text, asked.cursor, ghost.text)
        if is_first:
            now = time.monotonic()
            self.counts.shown += 1
            self.samples.append(
                Sample(
                    asked.situation,
                    1000 * (now - asked.keystroke_at),
                    1000 * (now - sent_at),
                    len(ghost.text),
                    asked.version,
                )
            )

    def _remember(self) -> None:
        self.texts.add(LINE_BREAK.sub("\n", self.buffer.text))

    def _problem(self, sentence: str) -> None:
        self.client.problems.append(
            f"{self.profile.name}, version {self.buffer.version}: {sentence}"
        )
