"""Counting along a session: what is saved, and what is left of accepted text."""

import asyncio
from pathlib import Path

import pytest

from lsp_server import usage
from lsp_server.counters import CounterFile
from lsp_server.prediction import Offer
from lsp_server.usage import Usage
from tests.fakes import snapshot_at

URI = "file:///fake.py"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CounterFile:
    monkeypatch.setattr(usage, "KEPT_AFTER_S", 0.05)
    return CounterFile(tmp_path / "stats.json")


async def accept(counting: Usage, texts: dict[str, str]) -> None:
    """An offer that is shown and taken over as a whole."""
    snapshot = snapshot_at("x = \u2588\n", uri=URI)
    counting.answer(Offer("1", snapshot, "first + second", True), "nothing", 12.0)
    texts[URI] = "x = first + second\n"
    counting.change(URI, texts[URI])


async def test_what_is_kept_is_looked_for_after_a_while(file: CounterFile) -> None:
    texts: dict[str, str] = {}
    counting = Usage(file, texts.get)
    await accept(counting, texts)
    texts[URI] = "x = first\n"
    await asyncio.sleep(0.15)
    await counting.close()
    counts = file.read()
    assert (counts.accepted, counts.characters_accepted) == (1, 14)
    assert (counts.characters_checked, counts.characters_kept) == (14, 5)
    assert sum(counts.latency_ms["live"]) == 1


async def test_a_closed_document_is_not_counted_as_lost(file: CounterFile) -> None:
    texts: dict[str, str] = {}
    counting = Usage(file, texts.get)
    await accept(counting, texts)
    del texts[URI]
    await asyncio.sleep(0.15)
    await counting.close()
    assert file.read().characters_checked == 0


async def test_leaving_at_once_leaves_no_timer_behind(file: CounterFile) -> None:
    texts: dict[str, str] = {}
    counting = Usage(file, texts.get)
    await accept(counting, texts)
    await counting.close()
    await asyncio.sleep(0.1)
    counts = file.read()
    assert (counts.accepted, counts.characters_checked) == (1, 0)


async def test_counts_are_saved_along_the_way(
    file: CounterFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SAVE_EVERY_S", 0.05)
    counting = Usage(file, lambda _: None)
    for _ in range(3):
        counting.answer(None, "manual", 0.0)
    await asyncio.sleep(0.2)
    assert file.read().quiet == {"manual": 3}
    counting.answer(None, "manual", 0.0)
    assert (await counting.total()).quiet == {"manual": 4}
    await counting.close()
    assert file.read().quiet == {"manual": 4}


async def test_without_a_file_nothing_is_kept(file: CounterFile) -> None:
    counting = Usage(None, lambda _: None)
    counting.answer(None, "manual", 0.0)
    await counting.close()
    assert file.read().is_empty


async def test_what_was_counted_before_it_was_switched_off_is_forgotten(file: CounterFile) -> None:
    counting = Usage(file, lambda _: None)
    counting.answer(None, "manual", 0.0)
    counting.use(None)
    counting.use(file)
    await counting.close()
    assert file.read().is_empty
