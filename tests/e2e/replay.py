"""A person at a window of an editor: carries out gestures, with an eye on what is offered.

Knows neither LSP nor what an offer must be like.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.e2e.buffer import LINE_BREAK, Buffer, Encoding
from tests.e2e.client import Client, Json
from tests.e2e.gestures import (
    Accept,
    Ask,
    Backspace,
    Dismiss,
    Edit,
    Gesture,
    Hands,
    Jump,
    Replace,
    Taste,
    Think,
    Undo,
    Wander,
    Write,
)
from tests.e2e.keys import PAIRS, first_word, key_of, progress
from tests.e2e.profiles import Profile
from tests.e2e.window import Window


@dataclass(repr=False)
class Replay(Window):
    """One document that somebody works on; `play` gestures, then look at `client.problems`."""

    async def play(self, gestures: Iterable[Gesture]) -> None:
        """Do all of it, then wait for the answers that are still open."""
        for gesture in gestures:
            await self.do(gesture)
        self._forget_timer()
        await self.settle()

    async def do(self, gesture: Gesture) -> None:
        """One gesture, at the speed of these hands."""
        match gesture:
            case Write(text):
                await self._write(LINE_BREAK.sub(self.buffer.line_break, text))
            case Jump(anchor, is_before):
                offset = self.buffer.text.index(anchor)
                await self._key()
                self._move(offset if is_before else offset + len(anchor))
            case Wander(share):
                offset = int(share * len(self.buffer.text))
                await self._key()
                self._move(offset - self.buffer.text[:offset].endswith("\r"))
            case Replace(old, new):
                start = self.buffer.text.index(old)
                await self._key()
                self._change([(start, start + len(old), "")])
                await self._write(new)
            case Edit(patches, pause_s):
                await asyncio.sleep(pause_s * self.hands.scale)
                await self._key()
                self._change([(start, start + length, text) for start, length, text in patches])
            case Backspace(count):
                for _ in range(count):
                    await self._key()
                    cursor = self.buffer.cursor
                    length = 2 if self.buffer.prefix.endswith("\r\n") else 1
                    self._change([(max(cursor - length, 0), cursor, "")])
            case Accept(part):
                if await self.wait_for_ghost():
                    await asyncio.sleep(self.hands.reads())
                if self.ghost is not None:
                    self.accept(part)
            case Taste(part):
                num_accepted = self.counts.accepted
                await self.do(Accept(part))
                if self.counts.accepted > num_accepted:
                    await self.do(Think(0.5))
                    await self.do(Undo())
            case Undo():
                await self._key()
                self._undo()
            case Dismiss():
                await self.wait_for_ghost()
                self._hide()
            case Ask():
                self._ask(trigger=1)
                await self.settle()
            case Think(seconds):
                await asyncio.sleep(seconds * self.hands.scale)

    async def _key(self) -> None:
        """The time until a key goes down."""
        await asyncio.sleep(self.hands.before_key())
        self.counts.keystrokes += 1
        self._keystroke_at = time.monotonic()

    async def _write(self, wanted: str) -> None:
        before, after = self.buffer.prefix, self.buffer.suffix
        num_written, closers = 0, ""
        while num_written < len(wanted):
            unit = key_of(wanted[num_written:])
            thought_s = self.hands.before_word(wanted[num_written - 1 : num_written])
            await asyncio.sleep(thought_s)
            part = self._fitting_part(before, wanted, after, num_written, closers)
            if not self.hands.likes(0.6 if thought_s else 0.02):
                part = None
            if part is not None:
                self.accept(part)
                found = progress(self.buffer.text, before, wanted, after, closers)
                assert found is not None
                num_written, closers = found
                self.buffer.cursor = len(before) + num_written
                continue
            slip = self.hands.slip(unit)
            if slip:
                await self._key()
                self._change([(self.buffer.cursor, self.buffer.cursor, slip)])
                await self.do(Backspace())
            await self._key()
            cursor = self.buffer.cursor
            num_written += len(unit)
            if closers and unit == closers[0]:
                self._change([(cursor, cursor + 1, unit)])  # types over what was closed for us
                closers = closers[1:]
            elif self._is_closed_for_us(unit):
                self._change([(cursor, cursor, unit + PAIRS[unit])], moves_back=1)
                closers = PAIRS[unit] + closers
            else:
                self._change([(cursor, cursor, unit)])
        assert self.buffer.text == before + wanted + closers + after

    def _fitting_part(
        self, before: str, wanted: str, after: str, num_written: int, closers: str
    ) -> str | None:
        """How much of the ghost text says what is to be typed: all, its first word, nothing."""
        ghost, text = self.ghost, self.buffer.text
        if ghost is None or not ghost.text:
            return None
        for part, insert, end in (
            ("all", ghost.insert, ghost.end),
            ("word", first_word(ghost.text), ghost.start),
        ):
            then = text[: ghost.start] + insert + text[end:]
            found = progress(then, before, wanted, after, closers)
            if found is not None and found[0] > num_written:
                return part
        return None


async def open_window(
    client: Client,
    profile: Profile,
    text: str,
    *,
    uri: str = "file:///project/main.py",
    language: str = "python",
    seed: int = 0,
    scale: float = 0.1,
    capabilities: Json = None,
) -> Replay:
    """A window on a new document; introduces the client first if that was not done."""
    if capabilities is None:
        capabilities = await client.initialize(profile.capabilities)
    encoding: Encoding = capabilities.get("positionEncoding", "utf-16")
    window = Replay(client, profile, uri, Buffer(text, encoding), Hands(seed, scale))
    window.open(language)
    return window
