from lsp_server.session import Action, Offer, Reply, Session, Start, Stop, Update
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Failed, Finished, Stats
from tests.fakes import snapshot_at


def replies(actions: list[Action]) -> list[tuple[str, str | None]]:
    return [
        (action.reply_id, action.offer.text if action.offer else None)
        for action in actions
        if isinstance(action, Reply)
    ]


def started(marked: str = "x = █\n") -> tuple[Session, Snapshot]:
    session, snapshot = Session(), snapshot_at(marked)
    assert session.request("1", snapshot) == [Start("1", snapshot)]
    return session, snapshot


def test_the_states_in_order() -> None:
    session = Session()
    assert session.state == "idle"
    snapshot = snapshot_at("x = █\n")
    session.request("1", snapshot)
    assert session.state == "waiting"
    session.receive(BlockCommitted("1", "1 + "))
    assert session.state == "streaming"
    session.receive(Finished("1", "1 + 1", "line"))
    assert session.state == "shown"
    session.change("x = 1 + 1\n", 2)
    assert session.state == "settled"
    session.change("x = \n\n", 3)
    assert session.state == "idle"


def test_first_paint_is_the_first_complete_line() -> None:
    session, snapshot = started()
    assert session.receive(BlockCommitted("1", "f(a,")) == []
    actions = session.receive(BlockCommitted("1", " b)\n"))
    assert actions == [Reply("1", Offer("1", snapshot, "f(a, b)\n", False))]
    actions = session.receive(BlockCommitted("1", "g()"))
    assert actions == [Update(Offer("1", snapshot, "f(a, b)\ng()", False))]
    actions = session.receive(Finished("1", "f(a, b)\ng()", "end_of_hole"))
    assert actions == [Update(Offer("1", snapshot, "f(a, b)\ng()", True, Stats()))]


def test_a_leading_line_break_is_not_a_complete_line() -> None:
    session, _ = started("def f():█\n")
    assert session.receive(BlockCommitted("1", "\n    ")) == []
    assert session.receive(BlockCommitted("1", "return")) == []
    assert replies(session.receive(BlockCommitted("1", " 1\n"))) == [("1", "\n    return 1\n")]


def test_first_paint_is_the_end() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "f(a"))
    actions = session.receive(Finished("1", "f(a)", "line", Stats(tokens=3)))
    assert replies(actions) == [("1", "f(a)")]
    assert actions[1].offer.is_final
    assert actions[1].offer.stats == Stats(tokens=3)


def test_at_the_deadline_whatever_is_there_is_shown() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "f(a"))
    assert replies(session.pass_deadline("1")) == [("1", "f(a")]


def test_after_the_deadline_the_first_visible_block_is_shown() -> None:
    session, _ = started()
    assert session.pass_deadline("1") == []
    assert session.receive(BlockCommitted("1", "  ")) == []
    assert replies(session.receive(BlockCommitted("1", "f("))) == [("1", "  f(")]


def test_blank_predictions_are_not_shown() -> None:
    session, _ = started()
    assert replies(session.receive(Finished("1", " \n", "end_of_hole"))) == [("1", None)]


def test_a_newer_request_supersedes() -> None:
    session, _ = started("a█\nb\n")
    below = snapshot_at("a\nb█\n")
    assert session.request("2", below) == [Reply("1", None), Stop("1"), Start("2", below)]
    assert session.receive(BlockCommitted("1", "late\n")) == []
    assert replies(session.receive(Finished("2", "new", "line"))) == [("2", "new")]


def test_typing_through_asks_the_engine_nothing() -> None:
    session, _ = started()
    session.receive(Finished("1", "foo(a)", "line"))
    assert session.change("x = fo\n", 2) == []
    assert replies(session.request("2", snapshot_at("x = fo█\n", version=2))) == [("2", "o(a)")]
    assert session.change("x = f\n", 3) == []  # and back
    assert replies(session.request("3", snapshot_at("x = f█\n", version=3))) == [("3", "oo(a)")]


def test_typing_through_keeps_a_running_request() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "foo(a"))
    assert session.change("x = f\n", 2) == [Reply("1", None)]  # was for version 1
    [update] = session.receive(BlockCommitted("1", ", b"))
    assert isinstance(update, Update)
    assert (update.offer.text, update.offer.snapshot.version) == ("oo(a, b", 2)
    snapshot = snapshot_at("x = f█\n", version=2)
    assert replies(session.request("2", snapshot)) == [("2", "oo(a, b")]
    assert replies(session.request("3", snapshot)) == [("3", "oo(a, b")]


def test_typing_all_that_is_there_waits_for_more() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "foo"))
    session.change("x = foo\n", 2)
    assert session.request("2", snapshot_at("x = foo█\n", version=2)) == []
    session.pass_deadline("2")
    assert replies(session.receive(BlockCommitted("1", "(a)"))) == [("2", "(a)")]


def test_a_spent_prediction_makes_room_for_the_next() -> None:
    session, _ = started()
    session.receive(Finished("1", "foo", "line"))
    session.change("x = foo\n", 2)
    snapshot = snapshot_at("x = foo█\n", version=2)
    assert session.request("2", snapshot) == [Start("2", snapshot)]


def test_anything_else_typed_cancels() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "foo"))
    assert session.change("x = g\n", 2) == [Reply("1", None), Stop("1")]
    assert session.receive(BlockCommitted("1", "bar\n")) == []


def test_the_same_document_at_another_cursor_is_another_request() -> None:
    session, _ = started("a█\nb\n")
    session.receive(Finished("1", "1", "line"))
    below = snapshot_at("a\nb█\n")
    assert session.request("2", below) == [Start("2", below)]


def test_asking_again_at_the_same_place_asks_the_engine_nothing() -> None:
    session, snapshot = started()
    session.receive(Finished("1", "foo", "line"))
    assert replies(session.request("2", snapshot)) == [("2", "foo")]


def test_cancel_stops_the_engine_once() -> None:
    session, _ = started()
    assert session.cancel("1") == [Stop("1")]
    assert session.cancel("1") == []
    assert session.pass_deadline("1") == []


def test_cancel_of_an_answered_request_does_nothing() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "foo\n"))
    assert session.cancel("1") == []
    assert session.state == "streaming"


def test_close_answers_and_stops() -> None:
    session, _ = started()
    assert session.close() == [Reply("1", None), Stop("1")]


def test_a_failure_answers_with_what_there_is_and_is_forgotten() -> None:
    session, snapshot = started()
    assert session.receive(Failed("no", "1")) == [Reply("1", None)]
    assert session.request("2", snapshot) == [Start("2", snapshot)]
    session.receive(BlockCommitted("2", "foo"))
    assert replies(session.receive(Failed("no", "2"))) == [("2", "foo")]
    assert session.request("3", snapshot) == [Start("3", snapshot)]


def test_predicted_line_breaks_are_the_documents() -> None:
    session, _ = started("def f():█\r\n")
    [reply] = replies(session.receive(Finished("1", "\n    pass", "end_of_hole")))
    assert reply == ("1", "\r\n    pass")
    session.change("def f():\r\n    pa\r\n", 2)
    snapshot = snapshot_at("def f():\r\n    pa█\r\n", version=2)
    assert replies(session.request("2", snapshot)) == [("2", "ss")]
