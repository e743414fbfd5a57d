"""One document's completion session: idle → waiting → streaming → shown → settled.

A state machine without input or output: every method takes what happened and returns what to do
about it. Knows neither LSP, tasks, clocks nor the engine's connection.

A session holds at most one live prediction (one engine request) and at most one open reply. A newer
request supersedes the older. Typing or backspacing within the predicted text keeps the prediction,
any other change drops it. Text leaves only together with the snapshot it belongs to, and for one
document version it only grows.
"""

from dataclasses import dataclass
from typing import Literal

from lsp_server.edits import num_typed, with_line_breaks
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Failed, Finished, Stats

State = Literal["idle", "waiting", "streaming", "shown", "settled"]


@dataclass(frozen=True)
class Offer:
    """Text to show at the cursor of `snapshot`; `session` names the prediction it is from."""

    session: str
    snapshot: Snapshot
    text: str
    is_final: bool
    stats: Stats | None = None
    """What it cost, once it is final."""


@dataclass(frozen=True)
class Start:
    """Ask the engine for a completion at `snapshot`."""

    request_id: str
    snapshot: Snapshot


@dataclass(frozen=True)
class Stop:
    """Cancel a request of the engine."""

    request_id: str


@dataclass(frozen=True)
class Reply:
    """Answer the editor's request `reply_id`; without an offer the answer is empty."""

    reply_id: str
    offer: Offer | None


@dataclass(frozen=True)
class Update:
    """Tell the editor that a prediction which it knows about has grown or ended."""

    offer: Offer


Action = Start | Stop | Reply | Update


@dataclass
class _Prediction:
    request_id: str
    origin: Snapshot
    """The document as it was when the engine was asked."""
    now: Snapshot
    """The document as it is, the cursor behind what was typed of the text."""
    raw_text: str = ""
    is_final: bool = False
    was_offered: bool = False
    stats: Stats | None = None

    @property
    def text(self) -> str:
        """The prediction at its origin, with the line breaks of the document."""
        return with_line_breaks(self.raw_text, self.origin.line_break)

    @property
    def remaining(self) -> str:
        """What is left of the text behind the cursor."""
        return self.text[self.now.offset - self.origin.offset :]

    def follow(self, text: str, version: int) -> bool:
        """Move on to a changed document; False if the change leaves the prediction's path."""
        count = num_typed(self.origin, self.text, text)
        if count is None:
            return False
        self.now = self.origin.after_typing(self.text[:count], text, version)
        return True


@dataclass
class _OpenReply:
    reply_id: str
    is_late: bool = False
    """Past the first paint deadline: whatever there is will do."""


class Session:
    """The state machine of one document."""

    def __init__(self) -> None:
        self._prediction: _Prediction | None = None
        self._reply: _OpenReply | None = None

    @property
    def state(self) -> State:
        """Where the session stands; follows from what it holds."""
        prediction = self._prediction
        if prediction is None:
            return "idle"
        if not prediction.raw_text and not prediction.is_final:
            return "waiting"
        if not prediction.is_final:
            return "streaming"
        return "shown" if prediction.remaining else "settled"

    def request(self, reply_id: str, snapshot: Snapshot) -> list[Action]:
        """The editor asks for a completion at `snapshot`; `reply_id` must be new."""
        actions = self._answer_nothing()
        if not self._can_serve(snapshot):
            actions += self._drop()
            self._prediction = _Prediction(reply_id, origin=snapshot, now=snapshot)
            actions.append(Start(reply_id, snapshot))
        self._reply = _OpenReply(reply_id)
        return actions + self._answer_if_ready()

    def change(self, text: str, version: int) -> list[Action]:
        """The document is `text` now; an open reply would be for the version before."""
        actions = self._answer_nothing()
        if self._prediction is not None and not self._prediction.follow(text, version):
            actions += self._drop()
        return actions

    def pass_deadline(self, reply_id: str) -> list[Action]:
        """The editor has waited long enough for the best answer: from now on any text will do."""
        if self._reply is None or self._reply.reply_id != reply_id:
            return []
        self._reply.is_late = True
        return self._answer_if_ready()

    def cancel(self, reply_id: str) -> list[Action]:
        """The editor no longer wants an answer. One that was answered already is ignored."""
        if self._reply is None or self._reply.reply_id != reply_id:
            return []
        self._reply = None
        return self._drop()

    def close(self) -> list[Action]:
        """The document is gone."""
        return self._answer_nothing() + self._drop()

    def receive(self, event: BlockCommitted | Finished | Failed) -> list[Action]:
        """The engine has more text, is done, or failed. Events of dropped requests are ignored."""
        prediction = self._prediction
        if prediction is None or event.request_id != prediction.request_id:
            return []
        if isinstance(event, BlockCommitted):
            prediction.raw_text += event.text
        else:
            if isinstance(event, Finished) and event.text.startswith(prediction.raw_text):
                prediction.raw_text = event.text
                prediction.stats = event.stats
            prediction.is_final = True
        has_open_reply = self._reply is not None
        actions = self._answer_if_ready()
        if not has_open_reply or (prediction.is_final and prediction.was_offered):
            actions.append(Update(self._offer(prediction)))
        if isinstance(event, Failed):
            self._prediction = None  # asking again at the same place asks the engine again
        return actions

    def _can_serve(self, snapshot: Snapshot) -> bool:
        """Whether the live prediction covers a request, from text it has or is about to get."""
        prediction = self._prediction
        if prediction is None or not prediction.follow(snapshot.text, snapshot.version):
            return False
        is_spent = prediction.is_final and not prediction.remaining
        return prediction.now.offset == snapshot.offset and not is_spent

    def _answer_if_ready(self) -> list[Action]:
        """First paint: a complete line, the end, or after the deadline whatever is visible."""
        prediction, reply = self._prediction, self._reply
        if prediction is None or reply is None:
            return []
        text = prediction.remaining
        is_visible = bool(text.strip())
        has_line = "\n" in text.lstrip() or "\r" in text.lstrip()
        is_ready = has_line or reply.is_late or prediction.was_offered
        if prediction.is_final or (is_visible and is_ready):
            self._reply = None
            return [Reply(reply.reply_id, self._offer(prediction) if is_visible else None)]
        return []

    def _answer_nothing(self) -> list[Action]:
        """Close an open reply with an empty answer."""
        reply, self._reply = self._reply, None
        return [Reply(reply.reply_id, None)] if reply else []

    def _drop(self) -> list[Action]:
        """Forget the prediction; the engine stops if it is still at it."""
        prediction, self._prediction = self._prediction, None
        return [Stop(prediction.request_id)] if prediction and not prediction.is_final else []

    def _offer(self, prediction: _Prediction) -> Offer:
        prediction.was_offered = True
        return Offer(
            prediction.request_id,
            prediction.now,
            prediction.remaining,
            prediction.is_final,
            prediction.stats,
        )
