from lsp_server.prediction import Bar
from lsp_server.session import Action, Ahead, Offer, Reply, Session, Start, Stop, Update
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


def place(marked: str, version: int = 1) -> Snapshot:
    return snapshot_at(marked, version=version)


def whole(text: str, request_id: str = "1") -> Finished:
    return Finished(request_id, text, "line")


def test_backspacing_past_a_place_and_typing_on_gives_it_back() -> None:
    session, _ = started()
    session.receive(whole("foo(a)"))
    session.change("x =\n", 2)
    session.change("x = \n", 3)
    [reply, end] = session.request("2", place("x = █\n", 3))
    assert replies([reply]) == [("2", "foo(a)")]
    assert (reply.offer.tier, end) == ("recent", Update(reply.offer))


def test_coming_back_to_a_place_gives_it_back() -> None:
    session, snapshot = started("a = █\nb = \n")
    session.receive(whole("1"))
    session.request("2", place("a = \nb = █\n"))
    session.receive(whole("2", "2"))
    assert replies(session.request("3", snapshot)) == [("3", "1")]
    assert replies(session.request("4", place("a = \nb = █\n"))) == [("4", "2")]


def test_tiers_say_where_an_answer_came_from() -> None:
    session, _ = started()
    [reply, _] = session.receive(whole("foo(a)"))
    assert reply.offer.tier == "live"
    session.change("x = f\n", 2)
    [reply, _] = session.request("2", place("x = f█\n", 2))
    assert reply.offer.tier == "typed"


def chained() -> tuple[Session, list[Action]]:
    """A session whose one suggestion is on screen, and what it did then."""
    session = Session(Ahead(lambda _: "\n"))
    session.request("1", place("x = █\n"))
    return session, session.receive(whole("foo(a)"))


def test_once_all_is_shown_the_engine_works_ahead() -> None:
    _, [*_, start] = chained()
    after = place("x = foo(a)\n█\n")
    assert start == Start("1+1", after, is_ahead=True)


def test_after_an_acceptance_the_next_block_is_there() -> None:
    session, _ = chained()
    assert session.receive(BlockCommitted("1+1", "y = 2")) == []
    assert session.receive(Finished("1+1", "y = 2", "end_of_hole")) == []
    assert session.change("x = foo(a)\n", 2) == []
    [reply, end, start] = session.request("2", place("x = foo(a)█\n", 2))
    assert (reply.offer.text, reply.offer.tier) == ("\ny = 2", "speculative")
    assert end == Update(reply.offer)
    assert start == Start("1+1+2", place("x = foo(a)\ny = 2\n█\n", 2), is_ahead=True)


def test_typing_the_line_break_by_hand_finds_it_too() -> None:
    session, _ = chained()
    session.receive(Finished("1+1", "y = 2", "end_of_hole"))
    session.change("x = foo(a)\n", 2)
    assert session.change("x = foo(a)\n\n", 3) == []
    assert replies(session.request("2", place("x = foo(a)\n█\n", 3))) == [("2", "y = 2")]


def test_work_ahead_that_is_still_running_is_waited_for() -> None:
    session, _ = chained()
    session.change("x = foo(a)\n", 2)
    assert session.request("2", place("x = foo(a)█\n", 2)) == []
    assert session.receive(BlockCommitted("1+1", "y")) == []
    assert replies(session.receive(Finished("1+1", "y = 2", "line"))) == [("2", "\ny = 2")]


def test_work_ahead_that_gave_way_is_begun_again_if_it_is_waited_for() -> None:
    session, _ = chained()
    session.change("x = foo(a)\n", 2)
    snapshot = place("x = foo(a)█\n", 2)
    session.request("2", snapshot)
    assert session.receive(Failed("gave way", "1+1")) == [Start("2", snapshot)]
    assert replies(session.receive(Finished("2", "y", "line"))) == [("2", "y")]


def test_work_ahead_that_gave_way_is_forgotten_if_nobody_waits() -> None:
    session, _ = chained()
    assert session.receive(Failed("gave way", "1+1")) == []
    session.change("x = foo(a)\n", 2)
    snapshot = place("x = foo(a)█\n", 2)
    assert session.request("2", snapshot) == [Start("2", snapshot)]


def test_typing_something_else_stops_work_ahead() -> None:
    session, _ = chained()
    assert session.change("x = g\n", 2) == [Stop("1+1")]


def test_nothing_more_ahead_is_an_empty_answer_at_once() -> None:
    session, _ = chained()
    session.receive(Finished("1+1", "", "end_of_hole"))
    session.change("x = foo(a)\n", 2)
    assert session.request("2", place("x = foo(a)█\n", 2)) == [Reply("2", None)]


def test_where_the_cursor_rests_the_engine_reads() -> None:
    session, _ = started()
    session.receive(whole("foo(a)"))
    there = place("x = \ny█\n")
    [start] = session.rest("2", there)
    assert start == Start("2", there, is_ahead=True, is_read=True)
    assert session.state == "shown", "what is shown may be gone back to"
    assert session.rest("3", there) == [], "it is read there"
    elsewhere = place("x = \n█y\n")
    assert session.rest("4", elsewhere)[0] == Stop("2")
    assert session.receive(Finished("4", "", "limit")) == []
    assert session.request("5", elsewhere) == [Start("5", elsewhere)]


def test_reading_gives_way_to_a_request_and_outlasts_a_key() -> None:
    session = Session()
    session.rest("1", place("x = █\n"))
    assert session.change("x = f\n", 2) == []
    snapshot = place("x = f█\n", 2)
    assert session.request("2", snapshot) == [Stop("1"), Start("2", snapshot)]


def test_what_is_being_read_is_read_on_while_somebody_types() -> None:
    for marked, is_at_cursor in [
        ("x = f█\n", True),
        ("x =█\n", True),
        ("x = \n\t█\n", True),
        ("█y = \n", False),
    ]:
        session = Session(Ahead(reads_on=True))
        session.request("1", place("x = █\n"))
        session.begin("1")
        snapshot = place(marked, 2)
        actions = session.change(snapshot.text, 2)
        assert actions[:2] == [Reply("1", None), Stop("1")]
        expected = [Start("1!1", snapshot, is_read=True)] if is_at_cursor else []
        assert actions[2:] == expected
        stops = [Stop("1!1")] if is_at_cursor else []
        assert session.request("2", snapshot) == [*stops, Start("2", snapshot)]


def test_what_was_not_begun_or_written_already_is_not_read_on() -> None:
    session = Session(Ahead(reads_on=True))
    session.request("0", place("x = █\n", 0))
    assert session.change("x = f\n", 1) == [Reply("0", None), Stop("0")]
    session.request("1", place("x = █\n"))
    session.begin("1")
    session.receive(BlockCommitted("1", "foo"))
    assert session.change("x = g\n", 2) == [Reply("1", None), Stop("1")]


def test_nothing_is_read_where_the_engine_is_asked() -> None:
    session, snapshot = started()
    assert session.rest("2", snapshot) == [], "it is being asked"
    session.receive(BlockCommitted("1", "foo\n"))
    assert session.rest("2", snapshot, is_pause=True) == [], "it is writing"
    session.receive(Finished("1", "foo\n", "line"))
    assert session.rest("2", snapshot) == [], "it is there"
    [start] = session.rest("2", snapshot, is_pause=True)
    assert start.is_read


def test_what_is_being_written_for_another_place_is_left_for_reading() -> None:
    session, _ = started()
    session.receive(BlockCommitted("1", "foo\n"))
    [stop, start] = session.rest("2", place("x = \n█"))
    assert (stop, start.is_read) == (Stop("1"), True)


def test_other_texts_come_when_a_person_asks_again() -> None:
    session, snapshot = Session(Ahead(num_alternatives=2)), place("x = █\n")
    session.request("1", snapshot, is_invoked=True)
    [reply, _, *starts] = session.receive(whole("foo(a)"))
    assert reply.offer.alternatives == ()
    assert starts == [
        Start(f"1~{number}", snapshot, is_ahead=True, variant=number) for number in (1, 2)
    ]
    assert session.receive(whole("foo(b)", "1~2")) == []
    assert session.receive(whole("foo(a)", "1~1")) == []
    [reply, _] = session.request("2", snapshot, is_invoked=True)
    assert (reply.offer.text, reply.offer.alternatives) == ("foo(a)", ("foo(b)",))
    session.change("x = foo(\n", 2)
    [reply, _] = session.request("3", place("x = foo(█\n", 2))
    assert (reply.offer.text, reply.offer.alternatives) == ("a)", ("b)",))


def test_other_texts_come_after_what_is_being_worked_at() -> None:
    session, snapshot = Session(Ahead(lambda _: "\n", num_alternatives=1)), place("x = █\n")
    session.request("1", snapshot)
    session.receive(whole("foo(a)"))
    actions = session.request("2", snapshot, is_invoked=True)
    assert not any(isinstance(action, Start) for action in actions)
    [start] = session.receive(Finished("1+1", "y", "line"))
    assert start == Start("1~2", snapshot, is_ahead=True, variant=1)


def test_other_texts_stop_with_what_they_are_others_of() -> None:
    session, snapshot = Session(Ahead(num_alternatives=2)), place("x = █\n")
    session.request("1", snapshot, is_invoked=True)
    session.receive(whole("foo(a)"))
    assert session.receive(Failed("no", "1~1")) == []
    assert session.change("y = \n", 2) == [Stop("1~2")]
    assert session.receive(whole("foo(b)", "1~2")) == []


def test_what_comes_by_itself_has_no_other_texts() -> None:
    session, snapshot = Session(Ahead(num_alternatives=2)), place("x = █\n")
    session.request("1", snapshot)
    assert not any(isinstance(action, Start) for action in session.receive(whole("foo(a)")))


SURE = Bar(min_confidence=0.5)


def test_an_unsure_line_is_not_shown_unless_a_person_asks() -> None:
    session, snapshot = Session(), place("x = █\n")
    session.request("1", snapshot, SURE)
    session.receive(BlockCommitted("1", "foo(a)", 0.4))
    assert session.receive(whole("foo(a)")) == [Reply("1", None)]
    assert session.is_unsure
    assert replies(session.request("2", snapshot, is_invoked=True)) == [("2", "foo(a)")]


def test_half_a_line_is_not_yet_sure() -> None:
    session = Session()
    session.request("1", place("x = █\n"), SURE)
    session.receive(BlockCommitted("1", "foo(", 0.9))
    assert session.pass_deadline("1") == []
    actions = session.receive(BlockCommitted("1", "a)\n", 0.6))
    assert replies(actions) == [("1", "foo(a)\n")]


def test_a_short_text_is_not_shown_but_its_rest_stays() -> None:
    session, snapshot = Session(), place("x = █\n")
    session.request("1", snapshot, Bar(min_chars=3))
    assert session.receive(whole(" a )")) == [Reply("1", None)]
    session, snapshot = Session(), place("x = █\n")
    session.request("1", snapshot, Bar(min_chars=3))
    session.receive(whole("abc"))
    session.change("x = ab\n", 2)
    assert replies(session.request("2", place("x = ab█\n", 2), Bar(min_chars=3))) == [("2", "c")]


def test_a_dismissed_text_comes_back_only_by_hand_or_after_a_change() -> None:
    session, snapshot = started()
    session.receive(whole("foo"))
    assert session.dismiss() == []
    assert session.request("2", snapshot) == [Reply("2", None)]
    assert replies(session.request("3", snapshot, is_invoked=True)) == [("3", "foo")]
    session.dismiss()
    session.change("x = f\n", 2)
    assert replies(session.request("4", place("x = f█\n", 2))) == [("4", "oo")]


def test_the_last_offer_is_remembered() -> None:
    session, _ = started()
    assert session.last is None
    session.receive(whole("foo"))
    session.change("y\n", 2)
    assert session.last is not None
    assert session.last.text == "foo"
