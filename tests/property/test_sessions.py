"""Random interleavings of editor and engine: nothing stale is ever shown, and nothing shrinks."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lsp_server.session import Action, Offer, Reply, Session, Start, Stop, Update
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Failed, Finished

URI = "file:///a.py"
fragments = st.text(st.sampled_from("ab \n"), max_size=4)


class Editor(RuleBasedStateMachine):
    """An editor that types, moves, asks and cancels, and an engine that answers when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session()
        self.text, self.cursor, self.version = "ab\n", 0, 1
        self.ids = map(str, itertools.count(1))
        self.open_replies: dict[str, Snapshot] = {}  # with what they were asked for
        self.engine: dict[str, str] = {}  # running requests and their text so far
        self.origins: dict[str, Snapshot] = {}
        self.predicted: dict[str, str] = {}
        self.seen: dict[tuple[str, int], str] = {}

    def snapshot(self) -> Snapshot:
        line = self.text.count("\n", 0, self.cursor)
        return Snapshot(URI, self.version, "python", self.text, self.cursor, line)

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(request_id, snapshot):
                    assert not self.engine, "one request at a time per document"
                    assert snapshot == self.snapshot()
                    self.engine[request_id] = ""
                    self.origins[request_id] = snapshot
                    self.predicted[request_id] = ""
                case Stop(request_id):
                    del self.engine[request_id]  # was running
                case Reply(reply_id, offer):
                    asked_for = self.open_replies.pop(reply_id)  # answered exactly once
                    if offer is not None:
                        assert offer.snapshot == asked_for
                        assert offer.text.strip()
                        self.show(offer)
                case Update(offer):
                    self.show(offer)

    def show(self, offer: Offer) -> None:
        assert (offer.snapshot.text, offer.snapshot.version) == (self.text, self.version)
        origin, predicted = self.origins[offer.session], self.predicted[offer.session]
        as_accepted = offer.snapshot.prefix + offer.text + offer.snapshot.suffix
        assert as_accepted == origin.prefix + predicted + origin.suffix
        before = self.seen.get((offer.session, self.version), "")
        assert offer.text.startswith(before), "shown text only grows"
        self.seen[offer.session, self.version] = offer.text

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

    @precondition(lambda self: self.cursor > 0)
    @rule(count=st.integers(1, 3))
    def backspace(self, count: int) -> None:
        start = max(0, self.cursor - count)
        self.edit(self.text[:start] + self.text[self.cursor :], start)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        self.cursor = data.draw(st.integers(0, len(self.text)))

    @rule()
    def ask(self) -> None:
        reply_id = next(self.ids)
        self.open_replies[reply_id] = self.snapshot()
        self.carry_out(self.session.request(reply_id, self.snapshot()))
        assert self.open_replies.keys() <= {reply_id}, "the older request was superseded"

    @precondition(lambda self: self.open_replies)
    @rule()
    def cancel(self) -> None:
        reply_id, _ = self.open_replies.popitem()
        self.carry_out(self.session.cancel(reply_id))
        assert not self.engine

    @precondition(lambda self: self.open_replies)
    @rule()
    def pass_deadline(self) -> None:
        self.carry_out(self.session.pass_deadline(next(iter(self.open_replies))))

    @precondition(lambda self: self.engine)
    @rule(block=fragments)
    def commit(self, block: str) -> None:
        [request_id] = self.engine
        self.engine[request_id] += block
        self.predicted[request_id] = self.engine[request_id]
        self.carry_out(self.session.receive(BlockCommitted(request_id, block)))

    @precondition(lambda self: self.engine)
    @rule(is_failure=st.booleans())
    def end(self, is_failure: bool) -> None:
        request_id, text = self.engine.popitem()
        event = Failed("no", request_id) if is_failure else Finished(request_id, text, "line")
        self.carry_out(self.session.receive(event))
        assert not self.open_replies, "the end of a request answers"

    @precondition(lambda self: len(self.origins) > len(self.engine))
    @rule(data=st.data(), block=fragments)
    def event_of_a_stopped_request(self, data: st.DataObject, block: str) -> None:
        """Frames that were under way when the engine was told to stop."""
        stopped = sorted(self.origins.keys() - self.engine.keys())
        request_id = data.draw(st.sampled_from(stopped))
        if self.session.state in ("shown", "settled") and request_id == max(stopped, key=int):
            return  # it ended by itself: a real engine sends nothing after the end
        assert self.session.receive(BlockCommitted(request_id, block)) == []

    @invariant()
    def an_open_reply_has_a_request_behind_it(self) -> None:
        assert not self.open_replies or self.engine

    @invariant()
    def the_engine_works_only_for_a_live_session(self) -> None:
        assert bool(self.engine) == (self.session.state in ("waiting", "streaming"))


Editor.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestSessions = Editor.TestCase
