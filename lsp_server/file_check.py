"""`seed-lsp doctor FILE`: why a file gets completions or none, and what the model sees beside it.

Says what `seed/explain` and `seed/inspect` say in an editor. Reads the file only after its name and
the rules allow it. Knows neither LSP nor the engine.
"""

from pathlib import Path

from rich.console import Console

from lsp_server.context import build_request
from lsp_server.documents import Document
from lsp_server.explanation import Explanation, explain, workspace_of
from lsp_server.headless import LocationError
from lsp_server.informant import Informant
from lsp_server.inspection import Inspection
from lsp_server.settings import Settings
from lsp_server.snapshot import take_snapshot
from lsp_server.view import OpenDocument, View
from model.format.syntax import language_of

EXIT_EXCLUDED = 1


def check_file(path: Path, settings: Settings) -> tuple[Explanation, Inspection | None]:
    """What holds for a file on the disk, with the cursor at its end.

    Raises:
        LocationError: if there is no such file, or it cannot be read.
    """
    path = path.absolute()
    if not path.is_file():
        raise LocationError(f"there is no file {path}")
    informant = Informant([workspace_of(path)])
    exclusion = informant.exclusion(path.as_uri())
    if exclusion is not None:
        return Explanation((f"{exclusion[0].upper()}{exclusion[1:]}.",)), None
    try:
        size = path.stat().st_size
        if size > settings.max_file_bytes:
            reason = f"Its {size} bytes are over max_file_bytes = {settings.max_file_bytes}."
            return Explanation((reason,)), None
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return Explanation(("It is not UTF-8 text.",)), None
    except OSError as error:
        raise LocationError(f"{path} cannot be read: {error.strerror or error}") from error
    document = Document(path.as_uri(), language_of(path.name), 1, text, "utf-32")
    explanation = explain(document, settings, None)
    snapshot = take_snapshot(document, document.position_at(len(text)))
    request = build_request(snapshot, settings, "doctor")
    view = View((OpenDocument(document.uri, document.language, text),))
    return explanation, informant.brief(request, settings, view).inspection


def main(path: Path, settings: Settings) -> int:
    """Print it; the exit code is 0 if the file gets completions.

    Raises:
        LocationError: if there is no such file, or it cannot be read.
    """
    explanation, inspection = check_file(path, settings)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for reason in explanation.against:
        console.print(f"no completions: {reason}")
    for note in explanation.notes:
        console.print(f"note: {note}")
    if not explanation.against:
        console.print(f"{path} gets completions.")
    if inspection is not None:
        console.print("At its end, with no other file open, the model would see:")
        for part in inspection.parts:
            name = part.source if part.source in ("prefix", "suffix") else part.path
            console.print(f"  {part.source:8} {name}: {len(part.text)} characters")
        if inspection.num_masked_chars:
            console.print(f"  of secrets, {inspection.num_masked_chars} characters are masked")
    return EXIT_EXCLUDED if explanation.against else 0
