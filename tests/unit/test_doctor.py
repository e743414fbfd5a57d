"""The doctor: what it says about checks, and the checks that need no weights."""

import asyncio
import sys
from pathlib import Path

import pytest

from lsp_server import checks, doctor
from lsp_server.checks import CheckError, Remark
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient
from lsp_server.engine_place import socket_path
from lsp_server.settings import Problem, Settings, engine_arguments
from tests.engines import StubPlace, eventually


def fails(_: Settings) -> str:
    raise CheckError("the disk is full; make room")


async def works(_: Settings) -> str:
    return "fine [sic]"


def could_be_better(_: Settings) -> Remark:
    return Remark("it is slow", "buy a faster one")


def test_all_well_is_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(Settings(), [], [("one", works), ("two", works)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok     one: fine [sic]",
        "ok     two: fine [sic]",
        "Everything works.",
    ]


def test_remarks_and_problems_are_warnings_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("editor", "mod", "unknown setting 'mod'")
    assert doctor.main(Settings(), [problem], [("speed", could_be_better)]) == 0
    out = capsys.readouterr().out
    assert "warning settings: editor: unknown setting 'mod'" in out
    assert "warning speed: it is slow; buy a faster one" in out
    assert "Everything works" not in out


def test_the_first_failure_ends_it_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(Settings(), [], [("disk", fails), ("never", works)]) == 1
    out = capsys.readouterr().out
    assert "failed disk: the disk is full; make room" in out
    assert "never" not in out


def test_our_own_errors_are_no_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(_: Settings) -> str:
        raise KeyError("x")

    assert doctor.main(Settings(), [], [("disk", breaks)]) == 1
    assert "failed disk: KeyError: 'x'; this is an error of ours" in capsys.readouterr().out


def test_adapter_is_found_missed_or_left_out(tmp_path: Path) -> None:
    assert "MB" in str(checks.check_adapter(Settings()))
    assert checks.check_adapter(Settings(adapter="none")) == "none, as set"
    assert isinstance(checks.check_adapter(Settings(model="owner/other")), Remark)
    with pytest.raises(CheckError, match="there is no file"):
        checks.check_adapter(Settings(adapter=str(tmp_path / "none.safetensors")))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> StubPlace:
    place = StubPlace()
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return place


async def test_other_engines_are_found_and_stale_sockets_are_not(place: StubPlace) -> None:
    assert await asyncio.to_thread(checks.check_other_engines, Settings()) == "none"
    client = EngineClient(Settings(), lambda _: None, place.command)
    await client.start()
    await eventually(lambda: client.ready is not None)
    (socket_path(place.command).parent / "stale.sock").touch()
    found = await asyncio.to_thread(checks.check_other_engines, Settings())
    assert isinstance(found, Remark)
    assert found.text.startswith(f"1 more: stub in process {place.pids()[0]} with ")
    await client.close()
    place.close()


def test_our_own_engine_is_no_other_engine(place: StubPlace) -> None:
    own = socket_path([*ENGINE_COMMAND, *engine_arguments(Settings())])
    assert own.parent.is_relative_to(place.runtime)
    assert sys.executable == ENGINE_COMMAND[0]
    own.touch()
    assert checks.check_other_engines(Settings()) == "none"
    place.close()
