"""The page that explains our extensions of LSP was last read beside the file that defines them."""

import hashlib
import re
from pathlib import Path

import attrs
import pytest

from lsp_server import wire

PAGE = (Path(__file__).parents[2] / "docs/protocol.md").read_text(encoding="utf-8")
MESSAGES = (
    wire.InlineCompletionUpdateParams,
    wire.StatusParams,
    wire.Cost,
    wire.CursorRestParams,
)


def test_the_page_was_written_for_this_wire() -> None:
    content = Path(wire.__file__).read_bytes()
    found = re.search(r"^<!-- lsp_server/wire\.py: (\w*) -->$", PAGE, re.MULTILINE)
    assert found is not None, "docs/protocol.md does not say for which lsp_server/wire.py it is"
    expected = hashlib.sha256(content).hexdigest()[:16]
    assert found[1] == expected, (
        "lsp_server/wire.py has changed: read docs/protocol.md beside it, correct the page and "
        f"perhaps the plugins, then put {expected} where the page has {found[1]}"
    )


@pytest.mark.parametrize("message", MESSAGES)
def test_every_field_is_explained(message: type[attrs.AttrsInstance]) -> None:
    words = set(re.findall(r"\w+", PAGE))
    assert {field.name for field in attrs.fields(message)} <= words


def test_every_method_is_explained() -> None:
    announced = wire.CAPABILITY["seed"]
    names = (*announced["notifications"], *announced["accepts"], *announced["requests"])
    for method in names:
        assert f"**`{method}`**" in PAGE
