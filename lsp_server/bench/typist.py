"""Somebody at VS Code, in front of the real server: types a trace, asks, looks when text appears.

After a change the answer that is still open is cancelled, and 50 ms later the next one is asked
for. Where the cursor comes to stand before a change at another place the server is told of it, as
our plugin does. Nothing is ever accepted. Knows no figures.
"""

import asyncio
import contextlib
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server import wire
from lsp_server.bench.traces import Edit, Trace
from lsp_server.documents import Change, Document
from lsp_server.loopback import Loopback, inserted_text

DEBOUNCE_S = 0.05
"""What VS Code waits behind a key before it asks."""
REST_S = 0.1
"""How long the cursor has to stand still before our plugin says where."""
LOOK_S = 3.0
"""Between opening a file and the first key."""
LEAVE_S = 5.0
"""For the answers that are still open at the end."""
PATIENCE_S = 20.0
"""How long somebody waits who waits for every answer."""
Count = Callable[[], Awaitable[int]]


@dataclass
class Key:
    """One change and what became of it. Times are of `time.perf_counter`."""

    version: int
    pressed_at: float
    before: "Key | None" = field(default=None, repr=False)
    is_stroke: bool = False
    """Whether one key has made the change, see `Edit.is_stroke`."""
    is_followed: bool = False
    """Typed what was shown: the text stays, no forward is needed."""
    asked_at: float | None = None
    shown_at: float | None = None
    is_empty: bool = False
    """The answer was that there is no text."""
    tier: str | None = None
    """Where its text came from, as far as the server has told."""
    computed_tokens: int | None = None
    """Context tokens that the engine computed between this change and the next one."""
    prefill_tokens: int | None = None
    """Those for the prediction that was shown, as far as the server has told."""
    forwards: int | None = None
    is_over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def learn(self, cost: wire.Cost) -> None:
        """What the prediction cost that was shown for this key.

        If it was typed through, the first key of those has had it computed.
        """
        is_live = cost.tier == "live"
        self.tier = cost.tier
        self.prefill_tokens = cost.prefill_tokens if is_live else 0
        self.forwards = cost.forwards if is_live else 0
        origin = self
        while cost.tier == "typed" and origin.is_followed and origin.before is not None:
            origin = origin.before
        if origin.tier is None:  # typed on before it was whole
            origin.tier = "live"
            origin.prefill_tokens, origin.forwards = cost.prefill_tokens, cost.forwards


class Typist:
    """One document in one editor."""

    def __init__(
        self, client: Loopback, trace: Trace, folder: Path, count: Count, speed: float
    ) -> None:
        """Open the document of a trace.

        Args:
            client: a server that serves.
            trace: what is typed.
            folder: where the file would be; nothing is written.
            count: tells how many context tokens the engine has computed so far.
            speed: 1 is a person's.
        """
        self.keys: list[Key] = []
        self._client = client
        self._edits = trace.edits
        self._count = count
        self._num_computed = 0
        self._speed = speed
        self._uri = client.open_file(folder / trace.name, trace.language, trace.text)
        self._document = Document(self._uri, trace.language, 1, trace.text, "utf-16")
        self._chance = random.Random(0)
        self._open_id: str | None = None
        self._is_leaving = False
        self._ghost, self._offset = "", 0
        self._asking: set[asyncio.Task[None]] = set()

    async def type(self, *, waits: bool) -> None:
        """Make every change; whoever waits makes the next one when the answer is whole."""
        listening = asyncio.create_task(self._listen())
        try:
            if self._edits:  # whoever has opened a file looks at it first
                self._tell_rest(self._edits[0])
                await asyncio.sleep(LOOK_S / self._speed)
            for edit in self._edits:
                await self._pause(edit)
                await self._note_computed()
                key = self._press(edit)
                if waits:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(key.is_over.wait(), PATIENCE_S)
            if self.keys:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.keys[-1].is_over.wait(), PATIENCE_S)
            await self._note_computed()
        finally:
            self._is_leaving = True
            self._supersede()
            if self._asking:
                await asyncio.wait(self._asking, timeout=LEAVE_S)
            for task in (listening, *self._asking):
                task.cancel()
            await asyncio.gather(listening, *self._asking, return_exceptions=True)

    async def _note_computed(self) -> None:
        """What was computed since the last change was computed for it."""
        before, self._num_computed = self._num_computed, await self._count()
        if self.keys:
            self.keys[-1].computed_tokens = self._num_computed - before

    async def _pause(self, edit: Edit) -> None:
        """Log-normal around 130 ms, as large studies of typists find it, and what was thought."""
        key_s = min(self._chance.lognormvariate(math.log(0.13), 0.4), 1.0)
        pause_s = (key_s + edit.pause_s) / self._speed
        rest_s = (edit.rest_s or 0.0) / self._speed
        if rest_s <= REST_S:
            await asyncio.sleep(pause_s)
            return
        await asyncio.sleep(pause_s - rest_s + REST_S)
        self._tell_rest(edit)
        await asyncio.sleep(rest_s - REST_S)

    def _tell_rest(self, edit: Edit) -> None:
        """The cursor, or a selection, is where a change will be."""
        document = self._document
        start, end = (types.Position(*document.position_at(at)) for at in edit.selected)
        self._client.protocol.notify(
            wire.REST,
            wire.CursorRestParams(self._uri, document.version, types.Range(start, end)),
        )

    def _press(self, edit: Edit) -> Key:
        document, version = self._document, self._document.version + 1
        changes: list[types.TextDocumentContentChangeEvent] = []
        for offset, length, text in edit.patches:
            start, end = document.position_at(offset), document.position_at(offset + length)
            document.apply([Change(text, (start, end))], version)
            place = types.Range(types.Position(*start), types.Position(*end))
            changes.append(types.TextDocumentContentChangePartial(text=text, range=place))
        is_insertion = len(edit.patches) == 1 and edit.patches[0][1] == 0
        typed = edit.patches[-1][2]
        is_followed = is_insertion and 0 < len(typed) < len(self._ghost)
        is_followed = is_followed and self._ghost.startswith(typed) and self._was_at(edit)
        self._ghost = self._ghost[len(typed) :] if is_followed else ""
        self._offset = edit.end
        self._client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(version, self._uri), changes
            )
        )
        before = self.keys[-1] if self.keys else None
        key = Key(version, time.perf_counter(), before, edit.is_stroke, is_followed)
        self.keys.append(key)
        self._supersede()
        task = asyncio.create_task(self._ask(key, document.position_at(self._offset)))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return key

    def _was_at(self, edit: Edit) -> bool:
        """Whether an edit begins where the last one has left the cursor."""
        return bool(self.keys) and edit.patches[0][0] == self._offset

    def _supersede(self) -> None:
        if self._open_id is not None:
            self._client.cancel_request(types.CancelParams(self._open_id))
            self._open_id = None

    async def _ask(self, key: Key, position: tuple[int, int]) -> None:
        await asyncio.sleep(DEBOUNCE_S)
        if key is not self.keys[-1] or self._is_leaving:
            return
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            text_document=types.TextDocumentIdentifier(self._uri),
            position=types.Position(*position),
        )
        key.asked_at = time.perf_counter()
        self._open_id = request_id = str(uuid.uuid4())
        answer = self._client.protocol.send_request(
            types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=request_id
        )
        try:
            # Shielded: pygls complains of an answer that nobody can take any more.
            reply = await asyncio.shield(asyncio.wrap_future(answer))
        except JsonRpcException:  # mostly because it was cancelled
            key.is_over.set()
            return
        if self._open_id == request_id:
            self._open_id = None
        items = reply.items if isinstance(reply, types.InlineCompletionList) else reply or []
        if items:
            self._show(key, inserted_text(items[0]))
        elif key.shown_at is None:
            key.is_empty = key is self.keys[-1]  # what is typed over is answered without text, too
            key.is_over.set()

    async def _listen(self) -> None:
        while True:
            update = await self._client.updates.get()
            key = self._key_of(update)
            if key is None:
                continue
            self._show(key, update.text)
            if update.cost is not None:
                key.learn(update.cost)
            if update.done:
                key.is_over.set()

    def _key_of(self, update: wire.InlineCompletionUpdateParams) -> Key | None:
        index = update.version - 2  # the document was opened as version 1
        is_known = update.uri == self._uri and 0 <= index < len(self.keys)
        return self.keys[index] if is_known else None

    def _show(self, key: Key, text: str) -> None:
        if key is not self.keys[-1] or not text.strip():
            return
        if key.shown_at is None:
            key.shown_at = time.perf_counter()
        if len(text) > len(self._ghost):  # an update may have overtaken the answer
            self._ghost = text
