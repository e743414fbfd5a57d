"""What a status line says, from all that bears on it."""

import asyncio

import pytest

from lsp_server.engine_client import EngineStatus
from lsp_server.status import Quiet, Status, StatusBoard, quiet_of
from lsp_server.switch import Switch

READY = EngineStatus("ready", "model on cpu")
OFF = Quiet("off", "off")
EXCLUDED = Quiet("excluded", "a secret")


@pytest.fixture
def sent() -> list[Status]:
    return []


@pytest.fixture
def board(sent: list[Status]) -> StatusBoard:
    return StatusBoard(sent.append)


def test_a_switch_and_a_place_hide_the_engine_and_give_it_back(
    board: StatusBoard, sent: list[Status]
) -> None:
    board.set_engine(READY)
    board.set_place(EXCLUDED)
    board.set_switch(OFF)
    board.set_switch(None)
    board.set_place(None)
    assert [(status.state, status.reason) for status in sent] == [
        ("ready", None),
        ("disabled", "excluded"),
        ("disabled", "off"),
        ("disabled", "excluded"),
        ("ready", None),
    ]
    assert sent[1].message == "a secret"


def test_a_failure_shows_whatever_is_switched_off(board: StatusBoard, sent: list[Status]) -> None:
    board.set_switch(OFF)
    board.set_engine(EngineStatus("failed", "no weights"))
    assert (sent[-1].state, sent[-1].message) == ("failed", "no weights")


def test_nothing_is_sent_twice_in_a_row(board: StatusBoard, sent: list[Status]) -> None:
    for _ in range(3):
        board.set_engine(READY)
        board.set_place(None)
    assert len(sent) == 1
    board.set_switch(OFF)
    board.set_engine(EngineStatus("busy", "working"))
    assert len(sent) == 2


def test_reasons_that_pass_by_are_not_shown() -> None:
    assert quiet_of("nothing") is quiet_of("comment") is quiet_of("unsure") is None
    manual = quiet_of("manual")
    assert manual is not None
    assert manual.reason == "manual"


async def test_snoozing_ends_by_itself_and_can_be_ended() -> None:
    told: list[Quiet | None] = []
    switch = Switch(told.append)
    switch.snooze(600)
    assert told[-1] == Quiet("snoozed", "Completions are snoozed for 10 min.")
    switch.snooze(0)
    assert told[-1] is None
    switch.snooze(0.05)
    assert switch.quiet is not None
    await asyncio.sleep(0.15)
    assert told[-1] is switch.quiet is None


async def test_the_switch_wins_over_snoozing() -> None:
    told: list[Quiet | None] = []
    switch = Switch(told.append)
    switch.snooze(600)
    assert switch.toggle() is False
    assert told[-1] is not None
    assert told[-1].reason == "off"
    assert switch.toggle(False) is False
    assert switch.toggle() is True
    assert told[-1] is not None
    assert told[-1].reason == "snoozed"
    switch.snooze(0)
