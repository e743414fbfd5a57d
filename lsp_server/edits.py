"""From predicted text to the edit an editor shows, and how typing moves through a prediction.

Pure functions of texts. Removing what the suffix repeats is the format's business (`settle`), not
this module's; neither is deciding when something is shown.
"""

from dataclasses import dataclass

from lsp_server.documents import LINE_BREAK, Encoding, Position, num_units
from lsp_server.snapshot import Snapshot


@dataclass(frozen=True)
class Edit:
    """Replace `start` to `end`, which lie on one line, by `text`."""

    text: str
    start: Position
    end: Position


def make_edit(snapshot: Snapshot, text: str, encoding: Encoding) -> Edit:
    """The edit that puts `text` at the cursor of `snapshot`.

    Text with a line break takes the rest of the line along: VS Code shows it only if the range ends
    at the end of the line and what the range held is a subsequence of the new text.
    """
    column = num_units(snapshot.line_prefix, encoding)
    start = Position(snapshot.line, column)
    if not LINE_BREAK.search(text):
        return Edit(text, start, start)
    line_suffix = snapshot.line_suffix
    end = Position(snapshot.line, column + num_units(line_suffix, encoding))
    return Edit(text + line_suffix, start, end)


def num_typed(snapshot: Snapshot, prediction: str, text: str) -> int | None:
    """Characters of `prediction` that were typed to turn the snapshot's document into `text`.

    None if `text` came about in any other way. Backspacing over typed characters counts them less.
    """
    count = len(text) - len(snapshot.text)
    if not 0 <= count <= len(prediction):
        return None
    has_followed = (
        text.startswith(prediction[:count], snapshot.offset)
        and text.endswith(snapshot.suffix)
        and text.startswith(snapshot.prefix)
    )
    return count if has_followed else None


def with_line_breaks(text: str, line_break: str) -> str:
    """`text` with every line break written as `line_break`.

    A `\\r` at the very end is held back, since a line feed may follow: so the result for a longer
    text always starts with the result for a shorter one.
    """
    return LINE_BREAK.sub(lambda _: line_break, text.removesuffix("\r"))
