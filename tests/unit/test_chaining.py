import pytest

from lsp_server.chaining import lead_in
from tests.fakes import snapshot_at


@pytest.mark.parametrize(
    ("marked", "lead"),
    [
        ("x = f(a)█\n", "\n"),
        ("x = f(a)█", "\n"),
        ("def f():\n    x = 1█\n", "\n    "),
        ("def f():\n    x = 1█  \n", "\n    "),
        ("def f():\r\n\tx = 1█\r\n", "\r\n\t"),
        ("class A:\n  def f(self):█\n", "\n    "),
        ("def f():\n    return 1█\n\nx = 2\n", "\n"),  # nothing more at that level
        ("f(a█)\n", None),  # inside of a line
        ("x = 1\n    █\n", None),  # nothing was accepted in this line
        ('x = """a\nb█\n"""\n', None),
        ("# a█\n", "\n"),
    ],
)
def test_what_leads_to_the_next_block(marked: str, lead: str | None) -> None:
    assert lead_in(snapshot_at(marked)) == lead
