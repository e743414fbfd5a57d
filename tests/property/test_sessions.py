"""Random interleavings of editor and engine: nothing stale is ever shown, and nothing shrinks.

`SEED_LSP_EXAMPLES=5000` runs it as long as the issue asks.
"""

import itertools
import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lsp_server.prediction import Bar
from lsp_server.session import Action, Ahead, Offer, Reply, Session, Start, Stop, Update
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Failed, Finished

URI = "file:///a.py"
NUM_EXAMPLES = int(os.environ.get("SEED_LSP_EXAMPLES", "300"))
fragments = st.text(st.sampled_from("ab \n"), max_size=4)


def lead_in(accepted: Snapshot) -> str | None:
    """As the product's, but that it needs no language."""
    return None if accepted.line_suffix.strip() else "\n "


class Editor(RuleBasedStateMachine):
    """An editor that types, moves, asks and cancels, and an engine that answers when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session()
        self.text, self.cursor, self.version = "ab\n", 0, 1
        self.ids = map(str, itertools.count(1))
        self.open_replies: dict[str, Snapshot] = {}  # with what they were asked for
        self.bars: dict[str, Bar] = {}
        self.engine: dict[str, str] = {}  # running requests and their text so far
        self.variants: set[str] = set()
        self.reads: set[str] = set()
        self.confidence: dict[str, float] = {}
        self.stopped: set[str] = set()
        self.origins: dict[str, Snapshot] = {}
        self.predicted: dict[str, str] = {}
        self.seen: dict[tuple[str, int], str] = {}
        self.dismissed: Snapshot | None = None

    @initialize(is_ahead=st.booleans(), num_alternatives=st.integers(0, 2))
    def begin(self, is_ahead: bool, num_alternatives: int) -> None:
        self.session.ahead = Ahead(lead_in if is_ahead else None, num_alternatives, is_ahead)

    def snapshot(self) -> Snapshot:
        line = self.text.count("\n", 0, self.cursor)
        return Snapshot(URI, self.version, "python", self.text, self.cursor, line)

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(request_id, snapshot) if action.is_read:
                    assert not self.open_replies, "somebody waits"
                    assert not self.reads & set(self.engine), "one place at a time is read"
                    assert (snapshot.text, snapshot.version) == (self.text, self.version)
                    assert snapshot == self.snapshot() or not action.is_ahead
                    assert request_id not in self.stopped
                    self.reads.add(request_id)
                    self.engine[request_id] = ""
                case Start(request_id, snapshot):
                    others = set(self.engine) - self.variants - self.reads
                    assert not others, "one request at a time, but for other texts of one place"
                    assert action.variant or not set(self.engine) - self.reads
                    assert action.is_ahead or not self.engine, "what only reads gives way"
                    if action.variant:
                        self.variants.add(request_id)
                    assert request_id not in self.origins, "no name is used twice"
                    self.engine[request_id] = ""
                    self.confidence[request_id] = 1.0
                    self.origins[request_id] = snapshot
                    self.predicted[request_id] = ""
                    assert action.is_ahead or snapshot == self.snapshot()
                    assert not (action.is_ahead and self.open_replies), "somebody waits"
                    if action.is_ahead and not action.variant:
                        # Its text is for where the cursor will be; on screen it begins further up.
                        lead = "\n "
                        start = snapshot.offset - len(lead)
                        assert snapshot.text[start : snapshot.offset] == lead
                        before = snapshot.text[:start] + snapshot.suffix
                        self.origins[request_id] = Snapshot(URI, 0, "", before, start, 0)
                        self.predicted[request_id] = lead
                case Stop(request_id):
                    del self.engine[request_id]  # was running
                    self.stopped.add(request_id)
                case Reply(reply_id, offer):
                    asked_for = self.open_replies.pop(reply_id)  # answered exactly once
                    if offer is not None:
                        assert offer.snapshot == asked_for
                        assert offer.text.strip()
                        self.show(offer, self.bars[reply_id])
                case Update(offer):
                    self.show(offer)

    def show(self, offer: Offer, bar: Bar | None = None) -> None:
        assert (offer.snapshot.text, offer.snapshot.version) == (self.text, self.version)
        origin, predicted = self.origins[offer.session], self.predicted[offer.session]
        as_accepted = offer.snapshot.prefix + offer.text + offer.snapshot.suffix
        assert as_accepted == origin.prefix + predicted + origin.suffix
        before = self.seen.get((offer.session, self.version), "")
        assert offer.text.startswith(before), "shown text only grows"
        is_first = not any(session == offer.session for session, _ in self.seen)
        if bar is not None and is_first:
            assert self.confidence[offer.session] >= bar.min_confidence
            assert len("".join(offer.text.split())) >= bar.min_chars
            assert offer.snapshot != self.dismissed or bar == Bar()
        self.seen[offer.session, self.version] = offer.text
        for alternative in offer.alternatives:
            whole = (offer.snapshot.prefix + alternative)[len(origin.prefix) :]
            assert whole in [
                text
                for name, text in self.predicted.items()
                if name.startswith(f"{offer.session}~")
            ]

    def edit(self, text: str, cursor: int) -> None:
        self.text, self.cursor, self.version = text, cursor, self.version + 1
        self.carry_out(self.session.change(text, self.version))
        assert not self.open_replies, "an answer would be for an older version"

    @rule(typed=fragments)
    def type_anything(self, typed: str) -> None:
        text = self.text[: self.cursor] + typed + self.text[self.cursor :]
        self.edit(text, self.cursor + len(typed))

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def type_along(self, data: st.DataObject) -> None:
        """Type the beginning of what was seen last, or all of it: an accept."""
        seen = list(self.seen.values())[-1]
        typed = seen[: data.draw(st.integers(0, len(seen)))]
        text = self.text[: self.cursor] + typed + self.text[self.cursor :]
        self.edit(text, self.cursor + len(typed))

    @precondition(lambda self: self.seen)
    @rule(has_asked=st.booleans())
    def accept(self, has_asked: bool) -> None:
        seen = list(self.seen.values())[-1]
        text = self.text[: self.cursor] + seen + self.text[self.cursor :]
        self.edit(text, self.cursor + len(seen))
        if has_asked:
            self.ask(Bar(), is_invoked=False)

    @precondition(lambda self: self.cursor > 0)
    @rule(count=st.integers(1, 3))
    def backspace(self, count: int) -> None:
        start = max(0, self.cursor - count)
        self.edit(self.text[:start] + self.text[self.cursor :], start)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        self.cursor = data.draw(st.integers(0, len(self.text)))

    @rule(
        bar=st.builds(Bar, st.sampled_from([0.0, 0.5]), st.integers(1, 3)), is_invoked=st.booleans()
    )
    def ask(self, bar: Bar, is_invoked: bool) -> None:
        bar = Bar() if is_invoked else bar
        reply_id = next(self.ids)
        self.open_replies[reply_id] = self.snapshot()
        self.bars[reply_id] = bar
        if is_invoked:
            self.dismissed = None
        self.carry_out(self.session.request(reply_id, self.snapshot(), bar, is_invoked=is_invoked))
        assert self.open_replies.keys() <= {reply_id}, "the older request was superseded"

    @precondition(lambda self: self.engine)
    @rule(data=st.data())
    def begin_request(self, data: st.DataObject) -> None:
        self.session.begin(data.draw(st.sampled_from(sorted(self.engine))))

    @rule(is_pause=st.booleans())
    def rest(self, is_pause: bool) -> None:
        read_id = next(self.ids)
        self.carry_out(self.session.rest(read_id, self.snapshot(), is_pause=is_pause))

    @precondition(lambda self: self.open_replies)
    @rule()
    def cancel(self) -> None:
        reply_id, _ = self.open_replies.popitem()
        self.carry_out(self.session.cancel(reply_id))
        assert not self.engine

    @rule()
    def dismiss(self) -> None:
        has_something = self.session.state != "idle"
        self.carry_out(self.session.dismiss())
        assert not self.engine
        assert not self.open_replies
        if has_something:
            self.dismissed = self.snapshot()

    @precondition(lambda self: self.open_replies)
    @rule()
    def pass_deadline(self) -> None:
        self.carry_out(self.session.pass_deadline(next(iter(self.open_replies))))

    @precondition(lambda self: set(self.engine) - self.reads)
    @rule(data=st.data(), block=fragments, confidence=st.sampled_from([1.0, 0.6, 0.2]))
    def commit(self, data: st.DataObject, block: str, confidence: float) -> None:
        request_id = data.draw(st.sampled_from(sorted(set(self.engine) - self.reads)))
        self.engine[request_id] += block
        self.predicted[request_id] += block
        self.confidence[request_id] = min(confidence, self.confidence[request_id])
        event = BlockCommitted(request_id, block, self.confidence[request_id])
        self.carry_out(self.session.receive(event))

    @precondition(lambda self: self.engine)
    @rule(data=st.data(), is_failure=st.booleans())
    def end(self, data: st.DataObject, is_failure: bool) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.engine)))
        text = self.engine.pop(request_id)
        event = Failed("no", request_id) if is_failure else Finished(request_id, text, "line")
        self.stopped.add(request_id)
        self.carry_out(self.session.receive(event))
        assert not self.open_replies or self.engine, "the end of a request answers"

    @precondition(lambda self: self.stopped)
    @rule(data=st.data(), block=fragments)
    def event_of_a_stopped_request(self, data: st.DataObject, block: str) -> None:
        """Frames that were under way when the engine was told to stop."""
        request_id = data.draw(st.sampled_from(sorted(self.stopped)))
        assert self.session.receive(BlockCommitted(request_id, block)) == []

    @invariant()
    def an_open_reply_has_a_request_behind_it(self) -> None:
        assert not self.open_replies or set(self.engine) - self.reads

    @invariant()
    def the_engine_works_for_a_live_session(self) -> None:
        writing = set(self.engine) - self.reads
        if self.session.state in ("waiting", "streaming"):
            assert writing
        if self.session.state == "idle":
            assert not writing


Editor.TestCase.settings = settings(
    max_examples=NUM_EXAMPLES, stateful_step_count=40, deadline=None
)
TestSessions = Editor.TestCase
