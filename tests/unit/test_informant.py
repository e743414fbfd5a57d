"""From a request to what goes to the engine: sources, exclusions, secrets, and what stays put."""

from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server.context import build_request
from lsp_server.history import Hunk
from lsp_server.informant import PAUSE_S, SAME_PLACE_LINES, Briefing, Informant, path_of
from lsp_server.notebooks import Cell
from lsp_server.settings import Settings
from lsp_server.view import OpenDocument, View
from sampler.messages import Complete
from tests.fakes import snapshot_at

BILLING = '''
def make_invoice(customer_number: int, due_date: str) -> Invoice:
    """Write an invoice."""
    return Invoice(customer_number, due_date)
'''
MARKED = "from billing import make_invoice\n\ninvoice = make_invoice(█)\n"
SIGNATURE = "def make_invoice(customer_number: int, due_date: str) -> Invoice: ..."
SETTINGS = Settings()
TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def uri_of(path: Path) -> str:
    return path.as_uri()


def request_at(path: Path, marked: str, language: str = "python") -> Complete:
    snapshot = snapshot_at(marked, uri=path.as_uri(), language=language)
    return build_request(snapshot, SETTINGS, "7")


def excerpts(briefing: Briefing) -> list[tuple[str, str]]:
    surroundings = briefing.request.surroundings
    found = surroundings.excerpts if surroundings else ()
    return [(excerpt.path, excerpt.text) for excerpt in found]


def opened(path: Path, text: str, language: str = "python") -> OpenDocument:
    return OpenDocument(path.as_uri(), language, text)


def test_an_imported_module_is_read_from_the_disk(folder: Path) -> None:
    (folder / "billing.py").write_text(BILLING)
    briefing = Informant([folder]).brief(request_at(folder / "main.py", MARKED), SETTINGS, View(
        documents=(opened(folder / "main.py", MARKED.replace("█", "")),)
    ))  # fmt: skip
    assert excerpts(briefing) == [("billing.py", SIGNATURE)]
    surroundings = briefing.request.surroundings
    assert surroundings is not None
    assert (surroundings.repository, surroundings.path) == ("shop", "main.py")
    assert surroundings.max_tokens == SETTINGS.context_tokens


def test_an_open_module_counts_as_it_is_open(folder: Path) -> None:
    (folder / "billing.py").write_text("old = 1\n")
    view = View(
        (
            opened(folder / "main.py", MARKED.replace("█", "")),
            opened(folder / "billing.py", BILLING),
        )
    )
    briefing = Informant([folder]).brief(request_at(folder / "main.py", MARKED), SETTINGS, view)
    assert ("billing.py", SIGNATURE) in excerpts(briefing)


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, context_tokens=0), replace(SETTINGS, imported_symbols=False)]
)
def test_sources_can_be_switched_off(folder: Path, settings: Settings) -> None:
    (folder / "billing.py").write_text(BILLING)
    view = View((opened(folder / "main.py", MARKED.replace("█", "")),))
    request = request_at(folder / "main.py", MARKED)
    assert Informant([folder]).brief(request, settings, view).request == request


def test_nothing_related_leaves_the_request_as_it_is(folder: Path) -> None:
    request = request_at(folder / "main.py", "def add(a, b):\n    return █\n")
    view = View((opened(folder / "main.py", ""), opened(folder / "other.py", "x = 1\n" * 50)))
    assert Informant([folder]).brief(request, SETTINGS, view).request == request


def test_recent_edits_elsewhere_are_shown(folder: Path) -> None:
    lines = [f"line_{index} = {index}" for index in range(40)]
    view = View(
        (opened(folder / "other.py", "\n".join(lines)),),
        hunks=(Hunk(uri_of(folder / "other.py"), 20, 21),),
    )
    request = request_at(folder / "main.py", "x = █\n")
    expected = ("other.py", "\n".join(lines[19:23]))
    assert excerpts(Informant([folder]).brief(request, SETTINGS, view)) == [expected]
    off = replace(SETTINGS, recent_edits=False)
    assert excerpts(Informant([folder]).brief(request, off, view)) == []


def test_an_edited_file_is_searched_after_it_was_closed(folder: Path) -> None:
    (folder / "closed.py").write_text(BILLING)
    request = request_at(folder / "main.py", "def make_invoice(customer_number, due_date█\n")
    view = View(closed=(uri_of(folder / "closed.py"),))
    (found,) = excerpts(Informant([folder]).brief(request, SETTINGS, view))
    assert found[0] == "closed.py"


@pytest.mark.parametrize("name", [".env", "ignored.py", "id_rsa"])
def test_an_excluded_document_is_refused(folder: Path, name: str) -> None:
    (folder / ".gitignore").write_text("ignored.py\n")
    briefing = Informant([folder]).brief(request_at(folder / name, "A=█"), SETTINGS, View())
    assert briefing.refusal is not None
    assert briefing.inspection.refusal == briefing.refusal
    assert briefing.inspection.parts == ()


@pytest.mark.parametrize("is_open", [True, False])
def test_an_excluded_file_is_no_context(folder: Path, is_open: bool) -> None:
    (folder / ".seedignore").write_text("billing.py\n")
    (folder / "billing.py").write_text(BILLING)
    documents = [opened(folder / "main.py", MARKED.replace("█", ""))]
    documents += [opened(folder / "billing.py", BILLING)] if is_open else []
    request = request_at(folder / "main.py", MARKED)
    briefing = Informant([folder]).brief(request, SETTINGS, View(tuple(documents)))
    assert excerpts(briefing) == []
    reasons = [(left.path, ".seedignore:1" in left.reason) for left in briefing.inspection.left]
    assert reasons == ([("billing.py", True)] if is_open else [])


@pytest.mark.parametrize("content", [b"\0" + BILLING.encode(), b"\xff" + BILLING.encode(),
                                     BILLING.encode() + b"#" * 300_000])  # fmt: skip
def test_binaries_and_large_files_are_not_read(folder: Path, content: bytes) -> None:
    (folder / "billing.py").write_bytes(content)
    view = View((opened(folder / "main.py", MARKED.replace("█", "")),))
    briefing = Informant([folder]).brief(request_at(folder / "main.py", MARKED), SETTINGS, view)
    assert excerpts(briefing) == []


def test_links_out_of_the_workspace_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "billing.py").write_text(BILLING)
    (folder / "billing.py").symlink_to(tmp_path / "billing.py")
    view = View((opened(folder / "main.py", MARKED.replace("█", "")),))
    briefing = Informant([folder]).brief(request_at(folder / "main.py", MARKED), SETTINGS, view)
    assert excerpts(briefing) == []


def test_secrets_are_masked_in_the_text_and_left_out_of_excerpts(folder: Path) -> None:
    (folder / "billing.py").write_text(BILLING + f"make_token = '{TOKEN}'\n")
    marked = f"from billing import *\nT = '{TOKEN}'\ninvoice = make_invoice(make_token, █)\n"
    view = View((opened(folder / "main.py", marked.replace("█", "")),))
    request = request_at(folder / "main.py", marked)
    briefing = Informant([folder]).brief(request, SETTINGS, view)
    sent = replace(briefing.request, plan=request_at(folder / "main.py", "█").plan)
    assert TOKEN not in repr((sent, briefing.inspection)), (
        "a plan is for comparing, not for the model"
    )
    assert len(briefing.request.prefix) == len(request.prefix)
    assert briefing.inspection.num_masked_chars == len(TOKEN)
    assert excerpts(briefing) == [("billing.py", SIGNATURE)]
    off = Informant([folder]).brief(request, replace(SETTINGS, secret_scan=False), view)
    assert off.request.prefix == request.prefix


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_chosen_stays_while_somebody_types(folder: Path) -> None:
    settings = replace(SETTINGS, ahead=False)
    clock = Clock()
    informant = Informant([folder], clock)
    main, other = folder / "main.py", folder / "other.py"
    lines = [f"line_{index} = {index}" for index in range(40)]

    def brief(marked: str, hunk_line: int) -> list[tuple[str, str]]:
        hunk = Hunk(uri_of(other), hunk_line, hunk_line)
        view = View((opened(other, "\n".join(lines)),), hunks=(hunk,))
        return excerpts(informant.brief(request_at(main, marked), settings, view))

    first = brief("x = █\n", 5)
    assert first
    for count in range(SAME_PLACE_LINES):
        clock.now += PAUSE_S / 2
        assert brief("x = 1" + "\ny = 2" * count + "█\n", 15) == first
    assert brief("x = 1" + "\ny = 2" * 30 + "█\n", 15) != first, "another place"
    second = brief("x = 1" + "\ny = 2" * 30 + "█\n", 25)
    clock.now += PAUSE_S + 1
    assert brief("x = 1" + "\ny = 2" * 30 + "█\n", 25) != second, "a pause"


def test_nobody_waits_for_a_new_choice_where_the_engine_reads_ahead(folder: Path) -> None:
    clock = Clock()
    informant = Informant([folder], clock)
    main, other = folder / "main.py", folder / "other.py"
    lines = "\n".join(f"line_{index} = {index}" for index in range(40))

    def brief(marked: str, hunk_line: int, *, is_read: bool) -> list[tuple[str, str]]:
        view = View((opened(other, lines),), hunks=(Hunk(uri_of(other), hunk_line, hunk_line),))
        request = request_at(main, marked)
        if is_read:
            request = replace(request, max_new_tokens=0, is_ahead=True)
        return excerpts(informant.brief(request, SETTINGS, view))

    there = "x = 1" + "\ny = 2" * 30 + "█\n"
    first = brief("x = █\n", 5, is_read=False)
    clock.now += PAUSE_S + 1
    assert brief(there, 15, is_read=False) == first, "a pause and another place"
    second = brief("x = █\n", 15, is_read=True)
    assert second == brief(there, 25, is_read=False) == first, "near, and no pause"
    clock.now += PAUSE_S + 1
    assert brief("x = █\n", 15, is_read=True) != first
    third = brief(there, 25, is_read=True)
    assert brief(there, 35, is_read=False) == third


def test_a_cell_is_seen_among_the_others(folder: Path) -> None:
    notebook = uri_of(folder / "a.ipynb")
    cells = [OpenDocument(f"cell:{n}", "python", text) for n, text in enumerate("abc")]
    view = View(
        tuple(cells),
        cells_before=(Cell("cell:0", "code"),),
        cells_after=(Cell("cell:2", "code"),),
        notebook=notebook,
    )
    snapshot = snapshot_at("b█", uri="cell:1")
    briefing = Informant([folder]).brief(build_request(snapshot, SETTINGS, "1"), SETTINGS, view)
    assert (briefing.request.prefix, briefing.request.suffix) == ("a\n\nb", "\n\nc\n\n")
    off = replace(SETTINGS, notebook_cells=False)
    assert (
        Informant().brief(build_request(snapshot, SETTINGS, "1"), off, view).request.prefix == "b"
    )
    (folder / ".gitignore").write_text("*.ipynb\n")
    assert Informant([folder]).brief(build_request(snapshot, SETTINGS, "1"), off, view).refusal


def test_the_text_behind_the_cursor_can_be_left_out(folder: Path) -> None:
    request = request_at(folder / "main.py", "x = █ + 1\n")
    settings = replace(SETTINGS, suffix=False)
    briefing = Informant([folder]).brief(request, settings, View())
    assert (briefing.request.prefix, briefing.request.suffix) == ("x = ", "")
    assert briefing.request.plan.line_suffix == " + 1"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c.py", Path("/a/b c.py")),
        ("git:/a/.env?x", Path("/a/.env")),
        ("vscode-notebook-cell:/a/n.ipynb#X0", Path("/a/n.ipynb")),
        ("untitled:Untitled-1", None),
        ("untitled:/a/new.py", None),
        ("cell:1", None),
        ("file:///a%00b", None),
        ("http://[", None),
    ],
)
def test_paths_of_uris(uri: str, path: Path | None) -> None:
    assert path_of(uri) == path
