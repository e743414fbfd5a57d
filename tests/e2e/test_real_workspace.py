"""Two files and the real weights: what another file defines is called by its arguments' names."""

from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server.context import build_request
from lsp_server.informant import Informant
from lsp_server.settings import Settings
from lsp_server.view import OpenDocument, View
from sampler.engine import Engine
from sampler.load import choose_device, open_engine
from sampler.messages import Failed, Finished
from tests.fakes import snapshot_at

pytestmark = [pytest.mark.weights, pytest.mark.slow]

SETTINGS = replace(Settings(), mode="ar", max_new_tokens=32)
DEPOT = '''class Delivery:
    """What is on its way."""


def schedule_delivery(parcel_number: int, pickup_window: str, insured_value: float) -> Delivery:
    """Book a van."""
    van = find_van(pickup_window)
    return Delivery(parcel_number, van, insured_value)


def cancel_delivery(parcel_number: int, refund_reason: str) -> None:
    find_delivery(parcel_number).cancel(refund_reason)
'''


@pytest.fixture(scope="module")
def engine(weights_path: Path) -> Engine:
    device, dtype = choose_device("cpu", "auto", None)
    return open_engine(weights_path, device=device, dtype=dtype, kernels="auto")


def complete(engine: Engine, folder: Path, marked: str, *, is_open: bool) -> Finished:
    """The completion in `main.py`, with or without `depot.py` open beside it."""
    snapshot = snapshot_at(marked, uri=(folder / "main.py").as_uri())
    documents = [OpenDocument(snapshot.uri, "python", snapshot.text)]
    if is_open:
        documents.append(OpenDocument((folder / "depot.py").as_uri(), "python", DEPOT))
    request = build_request(snapshot, SETTINGS, "1")
    engine.submit(Informant([folder]).brief(request, SETTINGS, View(tuple(documents))).request)
    while engine.has_work:
        for event in engine.step():
            assert not isinstance(event, Failed), event
            if isinstance(event, Finished):
                return event
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    ("marked", "names"),
    [
        (
            "from depot import schedule_delivery\n\ndelivery = schedule_delivery(\n    █\n)\n",
            ["parcel_number=", "pickup_window=", "insured_value="],
        ),
        (
            "from depot import cancel_delivery\n\n\ndef give_up(number):\n"
            "    cancel_delivery(parcel_number=number, █)\n",
            ["refund_reason="],
        ),
    ],
)
def test_names_of_arguments_come_from_the_other_file(
    engine: Engine, tmp_path: Path, marked: str, names: list[str]
) -> None:
    alone = complete(engine, tmp_path, marked, is_open=False)
    beside = complete(engine, tmp_path, marked, is_open=True)
    assert not any(name in alone.text for name in names)
    assert all(name in beside.text for name in names)
    assert alone.stats.excerpt_tokens == ()
    assert 0 < sum(beside.stats.excerpt_tokens) <= SETTINGS.context_tokens
