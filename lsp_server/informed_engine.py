"""An engine whose requests know the workspace, and that remembers what was used for the latest.

Stands between the sessions and the engine and looks like the engine to them. The work is done by an
`Informant` in one thread of its own: pygls reads the wire with its pool, and files may be slow.
Knows neither LSP nor sockets.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from lsp_server.documents import Change, DocumentStore
from lsp_server.history import History
from lsp_server.inspection import Inspection
from lsp_server.notebooks import Notebooks
from lsp_server.settings import Settings
from lsp_server.view import take_view
from sampler.messages import BlockCommitted, Complete, Failed, Finished

if TYPE_CHECKING:  # imported in the worker: what it needs takes a tenth of a second to load
    from lsp_server.informant import Informant

logger = logging.getLogger(__name__)

MOST_WAIT_S = 3.0
"""For files: a network folder that hangs must not keep requests open."""
_MAX_INSPECTIONS = 64
_MAX_CLOSED = 8
_SCANNER_AFTER_S = 1.0

_Result = TypeVar("_Result")


class Engine(Protocol):
    """What is needed of an `EngineClient`."""

    def complete(
        self, request: Complete
    ) -> AsyncGenerator[BlockCommitted | Finished | Failed, None]:
        """The request's events; closing the iterator cancels the request."""


class InformedEngine:
    """Informs requests on their way to `engine`; tell it what happens to documents."""

    def __init__(
        self, engine: Engine, documents: DocumentStore, settings: Callable[[], Settings]
    ) -> None:
        self.notebooks = Notebooks()
        self._engine = engine
        self._documents = documents
        self._settings = settings
        self._history = History()
        self._edited: set[str] = set()
        self._closed: list[str] = []
        self._folders: tuple[Path, ...] = ()
        self._informant: Informant | None = None  # of the worker alone, as the next one is
        self._informed: tuple[Path, ...] = ()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="informant")
        self._inspections: OrderedDict[str, Inspection] = OrderedDict()
        self._refusals: dict[str, str] = {}

    def use_folders(self, folders: Sequence[Path]) -> None:
        """The workspace's folders have changed."""
        self._folders = tuple(folders)

    async def prepare(self) -> None:
        """Load what the first request would load."""
        await self._with_informant(lambda _: None)
        if self._settings().secret_scan:
            # Later, and beside the worker: few texts have a line suspicious enough to need it.
            await asyncio.sleep(_SCANNER_AFTER_S)
            await asyncio.to_thread(_load_scanner)

    def open(self, uri: str) -> None:
        """A document was opened."""
        if uri in self._closed:
            self._closed.remove(uri)

    def change(self, uri: str, changes: Sequence[Change]) -> None:
        """A document was edited."""
        self._history.change(uri, changes)
        self._edited.add(uri)

    def close(self, uri: str) -> None:
        """A document was closed."""
        self._history.close(uri)
        self._refusals.pop(uri, None)
        if uri in self._edited:
            self._edited.remove(uri)
            self._closed = [uri, *self._closed][:_MAX_CLOSED]

    async def exclusion(self, uri: str) -> str | None:
        """Why a document gets no completions and is shown to no model; None if it is."""
        owner = self.notebooks.notebook_of(uri) or uri
        return await self._with_informant(lambda informant: informant.exclusion(owner))

    def refusal(self, uri: str) -> str | None:
        """Why the latest request for a document was refused, without looking again."""
        return self._refusals.get(uri)

    def inspection(self, uri: str | None = None, session: str | None = None) -> Inspection | None:
        """What was used for a session, or for the latest request that the editor made.

        Args:
            uri: of the document; None for any.
            session: the prediction's name; None for the latest.
        """
        for inspection in reversed(self._inspections.values()):
            is_meant = inspection.request_id == session if session else not inspection.is_ahead
            if is_meant and uri in (None, inspection.uri):
                return inspection
        return None

    async def complete(
        self, request: Complete
    ) -> AsyncGenerator[BlockCommitted | Finished | Failed, None]:
        """The events of the request, informed; `Failed` if its document is excluded."""
        settings, uri = self._settings(), request.document
        view = take_view(uri, self._documents, self._history, self.notebooks, tuple(self._closed))
        try:
            async with asyncio.timeout(MOST_WAIT_S):
                briefing = await self._with_informant(
                    lambda one: one.brief(request, settings, view)
                )
        except TimeoutError:
            # Whether the document may be shown is not known, so it is not.
            yield Failed("The files of the workspace cannot be read in time.", request.request_id)
            return
        self._note(briefing.inspection)
        if briefing.refusal is not None:
            if self._refusals.get(uri) != briefing.refusal:
                logger.warning("no completions for %s: %s", uri, briefing.refusal)
                self._refusals[uri] = briefing.refusal
            yield Failed(f"No completions here: {briefing.refusal}.", request.request_id)
            return
        self._refusals.pop(uri, None)
        async with aclosing(self._engine.complete(briefing.request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    self._note(replace(briefing.inspection, stats=event.stats))
                yield event

    def _note(self, inspection: Inspection) -> None:
        self._inspections[inspection.request_id] = inspection
        if len(self._inspections) > _MAX_INSPECTIONS:
            self._inspections.popitem(last=False)

    async def _with_informant(self, work: "Callable[[Informant], _Result]") -> _Result:
        folders = self._folders

        def run() -> _Result:
            if self._informed != folders or self._informant is None:
                from lsp_server.informant import Informant

                self._informant, self._informed = Informant(folders), folders
            return work(self._informant)

        return await asyncio.get_running_loop().run_in_executor(self._worker, run)


def _load_scanner() -> None:
    from lsp_server.redaction import load_patterns

    load_patterns()
