"""One document's completion session: idle → waiting → streaming → shown → settled.

A state machine without input or output: every method takes what happened and returns what to do
about it. Knows neither LSP, tasks, clocks nor the engine's connection.

A session holds at most one prediction, at most one running request for it, and at most one open
reply. A newer request supersedes the older. Typing or backspacing within the predicted text keeps
the prediction, any other change drops it, and a dropped one that had ended is remembered. While a
prediction is on screen the engine works ahead: at other texts for the place if a person has asked,
all of them at once, then at what follows its acceptance. Where the cursor comes to rest it reads.
Text leaves only together with the snapshot it belongs to, and for one document version it only
grows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lsp_server.prediction import NO_BAR, Bar, Offer, Prediction
from lsp_server.recents import Recents
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Failed, Finished

__all__ = ["Action", "Ahead", "Offer", "Reply", "Session", "Start", "Stop", "Update"]

State = Literal["idle", "waiting", "streaming", "shown", "settled"]
LeadIn = Callable[[Snapshot], str | None]
"""What stands between a text that was accepted and the next block; None if none may follow."""


@dataclass(frozen=True)
class Start:
    """Ask the engine for a completion at `snapshot`."""

    request_id: str
    snapshot: Snapshot
    is_ahead: bool = False
    """Nobody waits for it: any other request goes before it."""
    variant: int = 0
    """0 is the most likely text; others are drawn, each number another one."""
    is_read: bool = False
    """No text is wanted: the engine only reads what it would need for some."""


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


@dataclass(frozen=True)
class Ahead:
    """What a session works at while a prediction is on screen."""

    lead_in: LeadIn | None = None
    """None: it never works at what follows an acceptance."""
    num_alternatives: int = 0
    """Other texts for a place where a person has asked."""
    reads_on: bool = False
    """Whether what was being read when something was typed is read on before it is asked for."""


@dataclass
class _OpenReply:
    reply_id: str
    is_late: bool = False
    """Past the first paint deadline: whatever there is will do."""


class Session:
    """The state machine of one document."""

    def __init__(self, ahead: Ahead | None = None) -> None:
        self.ahead = ahead or Ahead()
        self.last: Offer | None = None
        """What was shown last."""
        self._prediction: Prediction | None = None
        self._reply: _OpenReply | None = None
        self._next: Prediction | None = None
        """What follows the acceptance of the prediction; its origin has the version before that."""
        self._variants: set[str] = set()
        """Running requests for other texts of the prediction."""
        self._num_variants_wanted = 0
        self._num_ahead = 0
        """Requests ahead so far; names must not repeat, and a recent prediction keeps its own."""
        self._reading: str | None = None
        """The running request that only reads."""
        self._begun: str | None = None
        """The latest request that the engine was sent."""
        self._place: Snapshot | None = None
        """The latest one that was asked about or read."""
        self._recents = Recents()
        self._dismissed: Snapshot | None = None

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

    @property
    def is_unsure(self) -> bool:
        """Whether there is a text that the model was not sure enough of to show it."""
        return self._prediction is not None and self._prediction.is_unsure

    def is_showing(self, snapshot: Snapshot) -> bool:
        """Whether the editor shows a prediction for the place."""
        prediction = self._prediction
        if prediction is None or not prediction.was_offered:
            return False
        return self._covers(prediction, snapshot)

    def request(
        self, reply_id: str, snapshot: Snapshot, bar: Bar = NO_BAR, *, is_invoked: bool = False
    ) -> list[Action]:
        """The editor asks for a completion at `snapshot`; `reply_id` must be new.

        Args:
            reply_id: names the answer, and the engine's request if one is needed.
            snapshot: the document and the cursor.
            bar: what a prediction has to pass to be shown.
            is_invoked: a person has asked, not the editor by itself.
        """
        actions = [*self._answer_nothing(), *self._stop_reading()]
        if not is_invoked and self._dismissed is not None:
            if self._dismissed == snapshot:
                return [*actions, Reply(reply_id, None)]
            self._dismissed = None
        actions += self._hold_for(reply_id, snapshot)
        prediction = self._prediction
        assert prediction is not None
        prediction.bar = bar
        if is_invoked and not prediction.alternatives:
            self._num_variants_wanted = self.ahead.num_alternatives
        self._reply, self._place = _OpenReply(reply_id), snapshot
        return actions + self._answer_if_ready() + self._work_ahead()

    def rest(self, read_id: str, snapshot: Snapshot, *, is_pause: bool = False) -> list[Action]:
        """Nothing is being typed, so the engine may read what a request at `snapshot` needs.

        Args:
            read_id: names the engine's request if there is one; must be new.
            snapshot: the document and the cursor.
            is_pause: what is in front of the text may be another by now, so that what is predicted
                for the place was made with something else.
        """
        prediction = self._prediction
        is_covered = prediction is not None and prediction.covers(snapshot)
        is_running = prediction is not None and not prediction.is_final
        is_known = is_covered or self._place == snapshot
        if self._reply is not None or (is_known and (is_running or not is_pause)):
            return []
        # The engine would leave what it is at for what is newer in the document.
        actions = self._drop() if is_running else []
        actions += self._stop_reading()
        self._reading, self._place = read_id, snapshot
        return [*actions, Start(read_id, snapshot, is_ahead=True, is_read=True)]

    def begin(self, request_id: str) -> None:
        """The engine has been sent a request; what it is for may have changed before that."""
        self._begun = request_id

    def change(self, text: str, version: int) -> list[Action]:
        """The document is `text` now; an open reply would be for the version before."""
        actions = self._answer_nothing()
        prediction, following = self._prediction, self._next
        if prediction is None or prediction.follow(text, version):
            return actions
        if following is not None and following.follow(text, version):
            return actions + self._advance()
        actions += self._drop()
        place = self._place.after_change(text, version) if self._place else None
        is_reading = self._begun == prediction.request_id and not prediction.raw_text
        if self.ahead.reads_on and is_reading and not prediction.is_final and place:
            self._reading, self._place = self._name_ahead(prediction, "!"), place
            actions.append(Start(self._reading, place, is_read=True))
        return actions

    def pass_deadline(self, reply_id: str) -> list[Action]:
        """The editor has waited long enough for the best answer: from now on any text will do."""
        if self._reply is None or self._reply.reply_id != reply_id:
            return []
        self._reply.is_late = True
        return self._answer_if_ready() + self._work_ahead()

    def cancel(self, reply_id: str) -> list[Action]:
        """The editor no longer wants an answer. One that was answered already is ignored."""
        if self._reply is None or self._reply.reply_id != reply_id:
            return []
        self._reply = None
        return self._drop()

    def dismiss(self) -> list[Action]:
        """The user has rejected what is shown: nothing is offered there by itself any more."""
        actions = self._answer_nothing()
        if self._prediction is not None:
            self._dismissed = self._prediction.now
        return actions + self._stop_reading() + self._drop()

    def close(self) -> list[Action]:
        """The document is gone."""
        return self._answer_nothing() + self._stop_reading() + self._drop()

    def receive(self, event: BlockCommitted | Finished | Failed) -> list[Action]:
        """The engine has more text, is done, or failed. Events of dropped requests are ignored."""
        prediction = self._prediction
        if event.request_id == self._reading:
            self._reading = None
            return []
        if event.request_id in self._variants:
            return self._receive_variant(event)
        if self._next is not None and event.request_id == self._next.request_id:
            self._next.extend(event)
            if isinstance(event, Failed):
                self._next = None
            return self._work_ahead()
        if prediction is None or event.request_id != prediction.request_id or prediction.is_final:
            return []
        prediction.extend(event)
        reply = self._reply
        if isinstance(event, Failed) and reply and prediction.tier == "speculative":
            # Work ahead gave way to another window's request: here it is waited for by now.
            return self._begin(reply.reply_id, prediction.now, prediction.bar)
        actions = self._answer_if_ready()
        if reply is None and (prediction.is_showable(is_late=True) or prediction.was_offered):
            actions.append(Update(self._offer(prediction)))
        if isinstance(event, Failed):
            self._prediction = None  # asking again at the same place asks the engine again
        return actions + self._work_ahead()

    def _hold_for(self, reply_id: str, snapshot: Snapshot) -> list[Action]:
        """Make the prediction the one for `snapshot`, from the nearest place that has it."""
        prediction, following = self._prediction, self._next
        if prediction is not None and self._covers(prediction, snapshot):
            if prediction.was_offered:
                prediction.tier = "typed"
            return []
        if following is not None and self._covers(following, snapshot):
            return self._advance()
        actions = self._drop()
        recent = self._recents.find(snapshot)
        if recent is None:
            return actions + self._begin(reply_id, snapshot)
        self._prediction = recent
        return actions

    def _begin(self, request_id: str, snapshot: Snapshot, bar: Bar = NO_BAR) -> list[Action]:
        self._prediction = Prediction(request_id, origin=snapshot, now=snapshot, bar=bar)
        return [Start(request_id, snapshot)]

    def _advance(self) -> list[Action]:
        """The prediction was accepted: what follows is the prediction now."""
        actions = self._stop_variants()
        if self._prediction is not None:
            self._recents.keep(self._prediction)
        self._prediction, self._next = self._next, None
        return actions

    def _covers(self, prediction: Prediction, snapshot: Snapshot) -> bool:
        """Whether a prediction is for the place, from text it has or is about to get."""
        if not prediction.follow(snapshot.text, snapshot.version):
            return False
        is_spent = prediction.is_final and not prediction.remaining
        return prediction.now.offset == snapshot.offset and not is_spent

    def _answer_if_ready(self) -> list[Action]:
        """First paint, see `Prediction.is_showable`, and the end of what was answered whole."""
        prediction, reply = self._prediction, self._reply
        if prediction is None or reply is None:
            return []
        is_showable = prediction.is_showable(is_late=reply.is_late)
        if not is_showable and not prediction.is_final:
            return []
        self._reply = None
        if not is_showable:
            return [Reply(reply.reply_id, None)]
        offer = self._offer(prediction)
        return [Reply(reply.reply_id, offer), *([Update(offer)] if offer.is_final else [])]

    def _work_ahead(self) -> list[Action]:
        """If the engine has nothing to do for what is on screen, let it work ahead."""
        prediction = self._prediction
        is_next_there = self._next is None or self._next.is_final
        is_idle = not self._variants and is_next_there and self._reply is None
        if prediction is None or not is_idle or not prediction.is_shown_whole:
            return []
        # Together, since what they begin with has been read and they share forwards.
        variants = [
            Start(self._name_ahead(prediction, "~"), prediction.origin, True, number)
            for number in range(len(prediction.alternatives) + 1, self._num_variants_wanted + 1)
        ]
        if variants:
            self._variants = {start.request_id for start in variants}
            return list(variants)
        if self.ahead.lead_in is None or prediction.was_continued:
            return []
        prediction.was_continued = True
        accepted = prediction.after_acceptance()
        lead = self.ahead.lead_in(accepted)
        if lead is None:
            return []
        request_id = self._name_ahead(prediction, "+")
        place = accepted.after_typing(
            lead, accepted.prefix + lead + accepted.suffix, accepted.version
        )
        self._next = Prediction(
            request_id, accepted, accepted, lead=lead, raw_text=lead, tier="speculative"
        )
        return [Start(request_id, place, is_ahead=True)]

    def _name_ahead(self, prediction: Prediction, mark: str) -> str:
        self._num_ahead += 1
        return f"{prediction.request_id}{mark}{self._num_ahead}"

    def _receive_variant(self, event: BlockCommitted | Finished | Failed) -> list[Action]:
        """Another text for the prediction; only whole ones are of use."""
        prediction = self._prediction
        assert prediction is not None
        if isinstance(event, BlockCommitted):
            return []
        self._variants = self._variants - {event.request_id}
        if isinstance(event, Failed):
            self._num_variants_wanted = 0
        else:
            prediction.alternatives.append(event.text)
        return self._work_ahead()

    def _stop_variants(self) -> list[Action]:
        stops = [Stop(request_id) for request_id in sorted(self._variants)]
        self._variants, self._num_variants_wanted = set(), 0
        return list(stops)

    def _stop_reading(self) -> list[Action]:
        """What was read so far stays read."""
        read_id, self._reading = self._reading, None
        return [Stop(read_id)] if read_id else []

    def _answer_nothing(self) -> list[Action]:
        """Close an open reply with an empty answer."""
        reply, self._reply = self._reply, None
        return [Reply(reply.reply_id, None)] if reply else []

    def _drop(self) -> list[Action]:
        """Forget the prediction and what follows it; the engine stops if it is still at them."""
        actions = self._stop_variants()
        for one in (self._prediction, self._next):
            if one is not None and not one.is_final:
                actions.append(Stop(one.request_id))
            if one is not None:
                self._recents.keep(one)
        self._prediction = self._next = None
        return actions

    def _offer(self, prediction: Prediction) -> Offer:
        self.last = prediction.offer()
        return self.last
