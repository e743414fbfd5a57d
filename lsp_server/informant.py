"""From a request to a request that knows the workspace: excerpts added, secrets masked.

Everything that reads files or many lines happens here, in one worker thread, on frozen views of the
open documents. What stands in front of a prompt and changes makes the engine compute all of it
again: pieces are chosen anew at another place and after a pause, and kept in between; if the engine
reads ahead, only then, when nobody waits for it. Knows neither LSP, tasks nor tokens.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lsp_server.exclusions import Exclusions
from lsp_server.history import Hunk
from lsp_server.inspection import Inspection, Left, Part
from lsp_server.notebooks import join_cells
from lsp_server.redaction import redact_around, without_secrets
from lsp_server.related import (
    Module,
    Piece,
    Query,
    choose,
    keep_order,
    symbol_pieces,
    window_pieces,
    without_loose_ends,
)
from lsp_server.rhythm import PAUSE_S
from lsp_server.settings import Settings
from lsp_server.symbols import definitions, imports
from lsp_server.view import View
from lsp_server.workspace import Workspace
from model.format.prompt import MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS, window
from model.format.surroundings import Excerpt, Surroundings
from sampler.messages import Complete

SAME_PLACE_LINES = 12
MAX_WINDOW_CHARS = 120_000
"""Of one file that are searched for windows."""
CHARS_PER_TOKEN = 3.2
"""Of source code, so that about as much is chosen as the engine's budget has room for."""
_BEGINNING_CHARS = 64
_MAX_PICKS = 32
_MAX_VERDICTS = 256
_VERDICT_S = 1.0
"""For so long a file is not looked up in the rules again."""


@dataclass(frozen=True)
class Briefing:
    """A request as it goes to the engine, and what was done for it; or why it must not go."""

    request: Complete
    inspection: Inspection
    refusal: str | None = None


@dataclass
class _Pick:
    """Pieces, and the place for which they were chosen: the text before it as the prompt has it."""

    prefix: str
    used_at: float
    pieces: tuple[Piece, ...] = ()
    left: tuple[Left, ...] = ()

    def is_near(self, prefix: str) -> bool:
        """Whether another place has the same beginning of the prompt's text, a few lines away."""
        length = min(len(prefix), len(self.prefix), _BEGINNING_CHARS)
        num_lines = abs(prefix.count("\n") - self.prefix.count("\n"))
        return prefix[:length] == self.prefix[:length] and num_lines <= SAME_PLACE_LINES


class Informant:
    """Informs requests; one thread at a time."""

    def __init__(
        self, folders: Sequence[Path] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._exclusions = Exclusions(folders)
        self._workspace = Workspace(self._exclusions)
        self._picks: OrderedDict[str, _Pick] = OrderedDict()
        self._verdicts: dict[str, tuple[float, str | None]] = {}

    def exclusion(self, uri: str) -> str | None:
        """Why a document is excluded; one that is no file is so only for its name."""
        now = self._clock()
        known = self._verdicts.get(uri)
        if known is not None and now - known[0] < _VERDICT_S:
            return known[1]
        path = path_of(uri)
        reason = None if path is None else self._exclusions.reason(path)
        if len(self._verdicts) > _MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[uri] = (now, reason)
        return reason

    def brief(self, request: Complete, settings: Settings, view: View) -> Briefing:
        """Add to a request what the settings allow; refuse it if its document is excluded."""
        own_uri = view.notebook or request.document
        refusal = self.exclusion(own_uri)
        if refusal is not None:
            inspection = Inspection(request.request_id, request.document, refusal=refusal)
            return Briefing(request, inspection, refusal)
        prefix, suffix = request.prefix, request.suffix if settings.suffix else ""
        if settings.notebook_cells and view.notebook:
            prefix, suffix = _with_cells(request.plan.language, prefix, suffix, view)
        pick = _Pick("", 0.0)
        if settings.context_tokens > 0:
            pick = self._pick(replace(request, prefix=prefix, suffix=suffix), settings, view)
        num_masked = 0
        if settings.secret_scan:
            plain = prefix + suffix
            prefix, suffix = redact_around(prefix, suffix)
            masked = prefix + suffix
            if masked != plain:
                num_masked = sum(map(str.__ne__, masked, plain))
        parts = [Part(piece.source, piece.path, piece.text) for piece in pick.pieces]
        parts += [Part("prefix", own_uri, prefix), Part("suffix", own_uri, suffix)]
        surroundings = None
        if pick.pieces:
            surroundings = Surroundings(
                repository=self._repository(own_uri),
                path=self._name(own_uri),
                excerpts=tuple(Excerpt(piece.path, piece.text) for piece in pick.pieces),
                max_tokens=settings.context_tokens,
            )
        inspection = Inspection(
            request.request_id,
            request.document,
            parts=tuple(parts),
            left=pick.left,
            num_masked_chars=num_masked,
            mode=request.mode,
            layout=request.layout,
            model=settings.model,
            is_ahead=request.is_ahead or request.max_new_tokens == 0,
        )
        informed = replace(request, prefix=prefix, suffix=suffix, surroundings=surroundings)
        return Briefing(informed, inspection)

    def _pick(self, request: Complete, settings: Settings, view: View) -> _Pick:
        """The pieces for this place: those of the last request there, or new ones."""
        now = self._clock()
        before = self._picks.get(request.document)
        if before is not None:
            is_paused = now - before.used_at >= PAUSE_S
            before.used_at = now
            is_due = is_paused or not before.is_near(request.prefix)
            is_waited_for = request.max_new_tokens > 0 or not request.is_ahead
            if not is_due or (settings.ahead and is_waited_for):
                return before
        pieces, left = self._choose(request, settings, view)
        ordered = keep_order(pieces, before.pieces if before else ())
        pick = _Pick(request.prefix, now, ordered, tuple(left))
        self._picks[request.document] = pick
        self._picks.move_to_end(request.document)
        if len(self._picks) > _MAX_PICKS:
            self._picks.popitem(last=False)
        return pick

    def _choose(
        self, request: Complete, settings: Settings, view: View
    ) -> tuple[list[Piece], list[Left]]:
        query = Query(request.prefix, request.suffix)
        own_uri = view.notebook or request.document
        language, own_path = request.plan.language, path_of(own_uri)
        cells = {cell.uri for cell in (*view.cells_before, *view.cells_after)}
        texts: dict[str, str] = {}
        left: list[Left] = []
        for document in view.documents:
            if document.uri in cells:
                continue
            reason = self.exclusion(document.uri)
            if reason is None and len(document.text) > settings.max_file_bytes:
                reason = "it is over max_file_bytes"
            if reason is None and "\0" in document.text:
                reason = "it is not text"
            if reason is not None:
                left.append(Left(self._name(document.uri), reason))
                continue
            texts[document.uri] = _line_feeds(document.text)
        own_text = texts.pop(request.document, "")
        if view.notebook is not None:
            own_text = request.prefix
        max_chars = int(settings.context_tokens * CHARS_PER_TOKEN)
        symbols, edits, windows = [], [], []
        if settings.imported_symbols:
            modules = self._modules(own_path, language, own_text, view, texts)
            symbols = symbol_pieces(query, modules, max_chars)
        if settings.recent_edits:
            edits = self._edits(query, view.hunks, {**texts, request.document: own_text})
        if settings.related_files:
            named = [(self._name(uri), text[:MAX_WINDOW_CHARS]) for uri, text in texts.items()]
            for uri in view.closed:
                path = path_of(uri)
                text = self._workspace.text(path) if path and uri not in texts else None
                named += [(self._name(uri), text[:MAX_WINDOW_CHARS])] if text else []
            named.append((self._name(own_uri), _far_parts(own_text, request)))
            windows = window_pieces(query, named)
        if settings.secret_scan:
            symbols, edits, windows = (
                [piece for piece in map(_clean, pieces) if piece is not None]
                for pieces in (symbols, edits, windows)
            )
        return choose(symbols, edits, windows, max_chars), left

    def _modules(
        self,
        own_path: Path | None,
        language: str,
        own_text: str,
        view: View,
        texts: dict[str, str],
    ) -> list[Module]:
        """What the document imports, from the disk or as it is open, and the other open files."""
        languages = {document.uri: document.language for document in view.documents}
        open_paths = {path_of(uri): uri for uri in texts}
        modules, imported = [], set()
        if own_path is not None:
            found = self._workspace.resolve(own_path, language, imports(language, own_text))
            for path, names in found:
                if path == own_path:
                    continue
                uri = open_paths.get(path)
                defined = (
                    definitions(languages[uri], texts[uri])
                    if uri is not None
                    else self._workspace.definitions(path)
                )
                imported.add(uri)
                modules.append(Module(self._name(path.as_uri()), defined, names))
        for uri, text in texts.items():
            if uri not in imported:
                modules.append(Module(self._name(uri), definitions(languages[uri], text)))
        return modules

    def _edits(self, query: Query, hunks: Sequence[Hunk], texts: dict[str, str]) -> list[Piece]:
        """Places edited lately, as they are now; the prompt shows those around the cursor."""
        pieces = []
        for hunk in hunks:
            lines = texts.get(hunk.uri, "").split("\n")
            text = "\n".join(lines[max(hunk.first - 1, 0) : hunk.last + 2])
            text = without_loose_ends(text).strip("\n")
            if text.strip() and not query.has(text):
                pieces.append(Piece("edits", self._name(hunk.uri), text))
        return pieces

    def _repository(self, uri: str) -> str:
        path = path_of(uri)
        folder = self._exclusions.folder_of(path) if path else None
        return folder.name if folder else "workspace"

    def _name(self, uri: str) -> str:
        """A document as the model is told of it: relative to its folder, never a home folder."""
        path = path_of(uri)
        if path is None:
            return uri.rpartition("/")[2].rpartition(":")[2] or "untitled"
        folder = self._exclusions.folder_of(path)
        return path.relative_to(folder).as_posix() if folder else path.name


def _with_cells(language: str, prefix: str, suffix: str, view: View) -> tuple[str, str]:
    """The text around the cursor of a cell with the other cells before and after it."""
    texts = {document.uri: document.text for document in view.documents}
    before = join_cells(language, view.cells_before, texts.get)
    after = join_cells(language, view.cells_after, texts.get)
    cut = window(
        _line_feeds(before) + prefix,
        suffix + ("\n\n" if after else "") + _line_feeds(after),
        max_prefix_chars=MAX_PREFIX_CHARS,
        max_suffix_chars=MAX_SUFFIX_CHARS,
    )
    return cut.prefix, cut.suffix


def path_of(uri: str) -> Path | None:
    """The file that a document is, or is a part or an older state of; None for a new one."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    is_file = parts.scheme != "untitled" and parts.path.startswith("/") and "\0" not in uri
    return Path(unquote(parts.path)) if is_file and "%00" not in uri else None


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _far_parts(text: str, request: Complete) -> str:
    """The document without the part that the request shows, as far as it is searched."""
    prefix = request.prefix
    start = text.find(prefix) if prefix else -1
    if start < 0 or len(text) <= MAX_PREFIX_CHARS:
        return ""
    before = text[max(start - MAX_WINDOW_CHARS // 2, 0) : start]
    end = start + len(prefix) + len(request.suffix)
    return before + text[end : end + MAX_WINDOW_CHARS // 2]


def _clean(piece: Piece) -> Piece | None:
    text = without_secrets(piece.text)
    return replace(piece, text=text) if text.strip() else None
