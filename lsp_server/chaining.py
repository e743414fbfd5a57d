"""What stands between an accepted text and the next block: a line break and an indentation.

Pure. Knows neither the engine nor when anything is accepted.
"""

from lsp_server.documents import LINE_BREAK
from lsp_server.snapshot import Snapshot
from model.format.syntax import MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS, plan_hole


def lead_in(accepted: Snapshot) -> str | None:
    """What a person would type next to get to the line below; None if that is not what comes next.

    Only behind a whole line of code: inside of a line, a string or a comment there is no next
    block.

    Args:
        accepted: the document with the text in it, the cursor behind that.
    """
    if accepted.line_suffix.strip() or not accepted.line_prefix.strip():
        return None
    # All that is read of it: a large file costs no more than a small one.
    start, end = max(accepted.offset - MAX_PREFIX_CHARS, 0), accepted.offset + MAX_SUFFIX_CHARS
    prefix = LINE_BREAK.sub("\n", accepted.text[start : accepted.offset])
    suffix = LINE_BREAK.sub("\n", accepted.text[accepted.offset : end])
    plan = plan_hole(accepted.language, f"{prefix}\n", suffix)
    if plan.kind not in ("line", "block"):
        return None
    return accepted.line_break + plan.indent
