"""Whatever the engine answers, whichever action, wherever in real files: the rest stays."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import NamedTuple

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.documents import Document
from lsp_server.engine_client import EngineEvent
from lsp_server.rewrite import MAX_CODE_CHARS, RewriteError, Rewritten, Wish, rewrite
from lsp_server.settings import Settings
from lsp_server.workspace_edit import Abilities, workspace_edit
from model.format.indentation import leading
from model.format.rewriting import ACTIONS, FIX, REWRITE, Action
from model.format.selection import Selection, hunks, select
from model.format.syntax import num_syntax_errors
from sampler.messages import BlockCommitted, Complete, Finished, Stats
from tests.e2e.buffer import Buffer, Encoding
from tests.property.test_selection import CODE, Chosen, selections

NAMES = ("self", "text", "line", "e", "t")
LINES = ("x = 1\n", '"""Say what."""\n', "import os\n", "pass\n", "# só 😀\n", "\n")


class Mutation(NamedTuple):
    """What a model makes of the code that it is given: some lines go, come or change."""

    place: float
    """Share of the code before it."""
    num_lines: int
    text: str

    def of(self, code: str) -> str:
        lines = code.splitlines(keepends=True)
        index = int(self.place * len(lines))
        margin = leading(lines[index]) if index < len(lines) else ""
        return "".join([*lines[:index], margin + self.text, *lines[index + self.num_lines :]])


MUTATIONS = st.lists(
    st.one_of(
        st.builds(Mutation, st.floats(0, 1), st.integers(0, 1), st.sampled_from(LINES)),
        st.builds(Mutation, st.floats(0, 1), st.just(0), st.sampled_from(LINES)),
        st.builds(Mutation, st.floats(0, 1), st.integers(0, 3), CODE),
    ),
    max_size=2,
)


class Scripted:
    """An engine that changes what it is asked to rewrite, and tells it in blocks."""

    def __init__(self, mutations: list[Mutation], replaced: tuple[str, str]) -> None:
        self._mutations, self._replaced = mutations, replaced

    async def complete(self, request: Complete) -> AsyncGenerator[EngineEvent, None]:
        answer = request.old_code.replace(*self._replaced)
        for mutation in self._mutations:
            answer = mutation.of(answer)
        for start in range(0, len(answer), 40):
            yield BlockCommitted(request.request_id, answer[start : start + 40], 1.0)
        yield Finished(request.request_id, answer, "end_of_hole", Stats())


def rewritten(engine: Scripted, selection: Selection, wish: Wish) -> Rewritten | None:
    """The edit, if there is one."""
    work = rewrite(
        engine, selection, wish, Settings(), document="file:///a.py", on_progress=lambda _: None
    )
    try:
        return asyncio.run(work)
    except RewriteError:
        return None


def apply(text: str, edit: types.WorkspaceEdit, encoding: Encoding) -> str:
    """What an editor makes of it, by its own means."""
    buffer = Buffer(text, encoding)
    assert edit.changes is not None
    (edits,) = edit.changes.values()
    spans = [
        tuple(
            buffer.offset({"line": end.line, "character": end.character})
            for end in (one.range.start, one.range.end)
        )
        for one in edits
    ]
    # All ranges are those of the old text, and no two overlap.
    assert all(before[1] <= behind[0] for before, behind in itertools.pairwise(spans))
    for (start, end), one in reversed([*zip(spans, edits, strict=True)]):
        buffer.replace(start, end, one.new_text)
    return buffer.text


@given(
    chosen=selections(),
    action=st.one_of(st.just(REWRITE), st.sampled_from(ACTIONS)),
    mutations=MUTATIONS,
    replaced=st.tuples(st.sampled_from(NAMES), st.sampled_from(("other", "ä😀", ""))),
    encoding=st.sampled_from(("utf-8", "utf-16")),
)
@example(
    chosen=Chosen("class A:\r\n\tdef f(self, a):\r\n\t\treturn a\r\n", 30, 30),
    action=REWRITE,
    mutations=[Mutation(0.9, 1, "    return a + 1\n")],
    replaced=("self", "self"),
    encoding="utf-16",
)
@settings(max_examples=100, deadline=None)
def test_no_byte_outside_the_selection_changes(
    chosen: Chosen,
    action: Action,
    mutations: list[Mutation],
    replaced: tuple[str, str],
    encoding: Encoding,
) -> None:
    text, start, end = chosen
    selection = select("python", text, start, end)
    if selection is None or len(selection.code) > MAX_CODE_CHARS:
        return
    wish = Wish(action, "tidy up" if action in (REWRITE, FIX) else "")
    result = rewritten(Scripted(mutations, replaced), selection, wish)
    event("an edit" if result else "none")
    if result is None:
        return
    document = Document("file:///a.py", "python", 1, text, encoding)
    edit = workspace_edit(
        document,
        hunks(selection.old, result.new, selection.start),
        label="Rewrite",
        description="",
        abilities=Abilities(),
    )
    new = apply(text, edit, encoding)
    before, behind = text[: selection.start], text[selection.end :]
    assert new.encode().startswith(before.encode())
    assert new.encode().endswith(behind.encode())
    assert new == before + result.new + behind
    assert result.new != selection.old
    # What was sound stays sound, and lines end as they did.
    num_before, num_now = (num_syntax_errors("python", one) for one in (text, new))
    assert num_before is not None
    assert num_now is not None
    assert num_now <= num_before
    if "\r\n" in text and "\n" not in text.replace("\r\n", ""):
        assert "\n" not in new.replace("\r\n", "")
