"""What the server knows and must not know, as an editor sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from lsp_server import wire
from sampler.stub import Answer
from tests.e2e.editors import VS_CODE, Editor, start_editor, stop_editor
from tests.engines import StubPlace, eventually

BILLING = "def make_invoice(customer: int, due_date: str) -> str:\n    return str(customer)\n"
MAIN = "from billing import make_invoice\n\ninvoice = make_invoice(\n"
SIGNATURE = "def make_invoice(customer: int, due_date: str) -> str: ..."
TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "billing.py").write_text(BILLING)
    (folder / ".gitignore").write_text("ignored.py\n")
    return folder


@pytest.fixture
async def editor(place: StubPlace, folder: Path) -> AsyncIterator[Editor]:
    place.write_script(Answer(["1, 2)"]))
    editor = await start_editor(place, VS_CODE, root_uri=folder.as_uri())
    yield editor
    await stop_editor(editor)


def plain(value: Any) -> Any:
    """A result without a type, which pygls makes objects of, as plain data."""
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


async def asked(editor: Editor, method: str, **params: object) -> Any:
    """The result of a request of ours."""
    return plain(await editor.request(method, params)[1])


async def test_inspect_tells_what_was_used(editor: Editor, folder: Path) -> None:
    uri = (folder / "main.py").as_uri()
    text = f"{MAIN.rstrip()}\nTOKEN = '{TOKEN}'\n"
    editor.open(text, uri=uri)
    assert await asked(editor, wire.INSPECT, uri=uri) is None
    (item,) = await editor.ask(2, len("invoice = make_invoice("), uri)
    assert item.insert_text == "1, 2)"
    found = await asked(editor, wire.INSPECT, uri=uri)
    assert [(part["source"], part["path"]) for part in found["parts"]] == [
        ("symbols", "billing.py"),
        ("prefix", uri),
        ("suffix", uri),
    ]
    assert found["parts"][0]["text"] == SIGNATURE
    assert found["parts"][1]["text"] == MAIN.rstrip()
    assert found["masked_chars"] == len(TOKEN)
    assert TOKEN not in json.dumps(found)
    assert (found["mode"], found["model"]) == ("exact", "qwen2.5-coder-0.5b")
    assert found["cost"]["total_ms"] is not None
    assert await asked(editor, wire.INSPECT, session=found["session"]) == found


@pytest.mark.parametrize("name", [".env", "ignored.py"])
async def test_excluded_files_get_nothing_and_are_told_why(
    place: StubPlace, editor: Editor, folder: Path, name: str
) -> None:
    uri = (folder / name).as_uri()
    editor.open("A = \n", uri=uri)
    assert await editor.ask(0, 4, uri) == []
    found = await asked(editor, wire.EXPLAIN, uri=uri)
    assert len(found["against"]) == 1
    assert (".gitignore:1" if name == "ignored.py" else "credentials") in found["against"][0]
    inspected = await asked(editor, wire.INSPECT, uri=uri)
    assert inspected["refusal"] in found["against"][0].replace("It", "it").replace(
        "A rule", "a rule"
    )
    assert inspected["parts"] == []
    await eventually(lambda: any(s.reason == "excluded" for s in editor.statuses))
    assert place.records("request") == []


async def test_rules_that_change_count_at_once(editor: Editor, folder: Path) -> None:
    uri = (folder / "main.py").as_uri()
    editor.open("A = \n", uri=uri)
    assert await editor.ask(0, 4, uri)
    assert (await asked(editor, wire.EXPLAIN, uri=uri))["against"] == []
    (folder / ".seedignore").write_text("main.py\n")

    async def against() -> Any:
        return (await asked(editor, wire.EXPLAIN, uri=uri))["against"]

    for _ in range(100):
        if found := await against():
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the rule is not seen")
    assert ".seedignore:1" in found[0]


async def test_requests_of_ours_refuse_nonsense(editor: Editor) -> None:
    with pytest.raises(JsonRpcInvalidParams, match="takes the uri"):
        await asked(editor, wire.EXPLAIN)
    with pytest.raises(JsonRpcInvalidParams, match="takes texts"):
        await asked(editor, wire.INSPECT, uri=[1])
    assert await asked(editor, wire.INSPECT, uri="file:///nowhere") is None


async def test_a_selected_item_is_continued(editor: Editor, folder: Path) -> None:
    uri = (folder / "main.py").as_uri()
    editor.open("x = 1\ninv = make + 2\n", uri=uri)
    params: dict[str, object] = {
        "textDocument": {"uri": uri},
        "position": {"line": 1, "character": 10},
        "context": {
            "triggerKind": 2,
            "selectedCompletionInfo": {
                "range": {
                    "start": {"line": 1, "character": 6},
                    "end": {"line": 1, "character": 10},
                },
                "text": "make_invoice(",
            },
        },
    }
    (item,) = await editor.request(types.TEXT_DOCUMENT_INLINE_COMPLETION, params)[1]
    assert item.insert_text == "make_invoice(1, 2)"
    assert (item.range.start.character, item.range.end.character) == (6, 10)
    found = await asked(editor, wire.INSPECT, uri=uri)
    (prefix,) = [part["text"] for part in found["parts"] if part["source"] == "prefix"]
    assert prefix == "x = 1\ninv = make_invoice("


async def test_cells_of_a_notebook_know_each_other(editor: Editor, folder: Path) -> None:
    notebook = (folder / "a.ipynb").as_uri()
    cells = [f"vscode-notebook-cell:{folder}/a.ipynb#{index}" for index in range(3)]
    kind = types.NotebookCellKind.Code
    editor.notebook_document_did_open(
        types.DidOpenNotebookDocumentParams(
            types.NotebookDocument(
                notebook, "jupyter", 1, [types.NotebookCell(kind, uri) for uri in cells[:2]]
            ),
            [types.TextDocumentItem(uri, "python", 1, f"x{uri[-1]} = ") for uri in cells[:2]],
        )
    )
    assert await editor.ask(0, 5, cells[1])
    found = await asked(editor, wire.INSPECT, uri=cells[1])
    assert found["parts"][-2]["text"] == "x0 = \n\nx1 = "
    editor.notebook_document_did_change(
        types.DidChangeNotebookDocumentParams(
            types.VersionedNotebookDocumentIdentifier(2, notebook),
            types.NotebookDocumentChangeEvent(
                cells=types.NotebookDocumentCellChanges(
                    structure=types.NotebookDocumentCellChangeStructure(
                        types.NotebookCellArrayChange(0, 1, [types.NotebookCell(kind, cells[2])]),
                        did_open=[types.TextDocumentItem(cells[2], "python", 1, "import new")],
                        did_close=[types.TextDocumentIdentifier(cells[0])],
                    ),
                    text_content=[
                        types.NotebookDocumentCellContentChanges(
                            types.VersionedTextDocumentIdentifier(2, cells[1]),
                            [types.TextDocumentContentChangeWholeDocument("y = ")],
                        )
                    ],
                )
            ),
        )
    )
    assert await editor.ask(0, 4, cells[1])
    found = await asked(editor, wire.INSPECT, uri=cells[1])
    assert found["parts"][-2]["text"] == "import new\n\ny = "
    editor.notebook_document_did_close(
        types.DidCloseNotebookDocumentParams(
            types.NotebookDocumentIdentifier(notebook),
            [types.TextDocumentIdentifier(uri) for uri in cells[1:]],
        )
    )
    assert await editor.ask(0, 4, cells[1]) == []
