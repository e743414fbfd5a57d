"""Requests on their way to the engine: informed, refused, cancelled, remembered."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server import informed_engine
from lsp_server.context import build_request
from lsp_server.documents import Change, DocumentStore, Position
from lsp_server.informed_engine import InformedEngine
from lsp_server.settings import Settings
from lsp_server.snapshot import take_snapshot
from sampler.messages import BlockCommitted, Complete, Failed, Finished, Stats

MAIN = "from billing import make_invoice\n\ninvoice = make_invoice(\n"
Event = BlockCommitted | Finished | Failed


class FakeEngine:
    """Answers `x`; remembers what it was asked and whether it was cancelled."""

    def __init__(self) -> None:
        self.requests: list[Complete] = []
        self.num_closed = 0

    async def complete(self, request: Complete) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        try:
            yield BlockCommitted(request.request_id, "x")
            stats = Stats(excerpt_tokens=(7,) if request.surroundings else ())
            yield Finished(request.request_id, "x", "line", stats)
        finally:
            self.num_closed += 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "billing.py").write_text("def make_invoice(customer): ...\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    return tmp_path


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def documents() -> DocumentStore:
    return DocumentStore()


@pytest.fixture
def engine(fake: FakeEngine, documents: DocumentStore, folder: Path) -> InformedEngine:
    engine = InformedEngine(fake, documents, Settings)
    engine.use_folders([folder])
    return engine


def request_for(documents: DocumentStore, uri: str, request_id: str = "1") -> Complete:
    if documents.get(uri) is None:
        documents.open(uri, "python", 1, MAIN)
    document = documents.get(uri)
    assert document is not None
    snapshot = take_snapshot(document, Position(2, 23))
    return build_request(snapshot, Settings(), request_id)


async def events_of(engine: InformedEngine, request: Complete) -> list[Event]:
    return [event async for event in engine.complete(request)]


async def test_a_request_is_informed_and_what_was_used_is_remembered(
    engine: InformedEngine, fake: FakeEngine, documents: DocumentStore, folder: Path
) -> None:
    uri = (folder / "main.py").as_uri()
    events = await events_of(engine, request_for(documents, uri))
    assert [type(event) for event in events] == [BlockCommitted, Finished]
    assert fake.requests[0].surroundings is not None
    found = engine.inspection(uri)
    assert found is not None
    assert found == engine.inspection(session="1") == engine.inspection()
    assert [part.source for part in found.parts] == ["symbols", "prefix", "suffix"]
    assert [found.num_tokens(index) for index in range(3)] == [7, None, None]
    assert engine.inspection(uri, session="2") is None
    assert engine.inspection("file:///other.py") is None


async def test_work_ahead_is_not_what_the_editor_asked_for(
    engine: InformedEngine, documents: DocumentStore, folder: Path
) -> None:
    uri = (folder / "main.py").as_uri()
    await events_of(engine, request_for(documents, uri, "1"))
    await events_of(engine, replace(request_for(documents, uri, "2"), is_ahead=True))
    latest = engine.inspection(uri)
    assert latest is not None
    assert latest.request_id == "1"
    assert engine.inspection(session="2") is not None


async def test_an_excluded_document_never_reaches_the_engine(
    engine: InformedEngine, fake: FakeEngine, documents: DocumentStore, folder: Path
) -> None:
    uri = (folder / "ignored.py").as_uri()
    (event,) = await events_of(engine, request_for(documents, uri))
    assert isinstance(event, Failed)
    assert ".gitignore:1" in event.message
    assert fake.requests == []
    assert engine.refusal(uri) == await engine.exclusion(uri)
    engine.close(uri)
    assert engine.refusal(uri) is None


async def test_closing_the_iterator_closes_the_engines(
    engine: InformedEngine, fake: FakeEngine, documents: DocumentStore, folder: Path
) -> None:
    request = request_for(documents, (folder / "main.py").as_uri())
    async with aclosing(engine.complete(request)) as events:
        async for _ in events:
            break
    assert fake.num_closed == 1


async def test_a_file_that_hangs_does_not_keep_a_request_open(
    engine: InformedEngine,
    fake: FakeEngine,
    documents: DocumentStore,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(informed_engine, "MOST_WAIT_S", 0.05)
    is_over = asyncio.Event()
    loop = asyncio.get_running_loop()
    engine._worker.submit(lambda: asyncio.run_coroutine_threadsafe(is_over.wait(), loop).result())
    (event,) = await events_of(engine, request_for(documents, (folder / "main.py").as_uri()))
    is_over.set()
    assert isinstance(event, Failed)
    assert fake.requests == []


async def test_a_named_pipe_is_no_module(
    engine: InformedEngine, fake: FakeEngine, documents: DocumentStore, folder: Path
) -> None:
    (folder / "billing.py").unlink()
    os.mkfifo(folder / "billing.py")
    await events_of(engine, request_for(documents, (folder / "main.py").as_uri()))
    assert fake.requests[0].surroundings is None


async def test_edits_of_other_documents_are_known_until_they_close(
    engine: InformedEngine, fake: FakeEngine, documents: DocumentStore, folder: Path
) -> None:
    other, uri = (folder / "other.py").as_uri(), (folder / "main.py").as_uri()
    change = Change("unheard_of = 1\n", (Position(0, 0), Position(0, 0)))
    documents.open(other, "python", 1, "\n")
    engine.open(other)
    documents.change(other, 2, [change])
    engine.change(other, [change])
    await events_of(engine, request_for(documents, uri))
    found = fake.requests[0].surroundings
    assert found is not None
    assert any("unheard_of" in excerpt.text for excerpt in found.excerpts)
    engine.close(other)
    documents.close(other)
    engine.use_folders([folder / "elsewhere"])
    await events_of(engine, request_for(documents, uri))
    assert fake.requests[1].surroundings is None
