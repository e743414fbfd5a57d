"""Gray text in the real Neovim, with a scripted engine: what a person sees and gets."""

import itertools
import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampler.stub import Answer
from tests.editors.grid import Frame
from tests.editors.neovim import GHOST_COLOR, PLUGIN, Neovim, grown

HEAD = "import math\n\n\ndef area(radius):\n    "
BLOCKS = ["return ", "2 * math.pi", " * radius", "\n\n\nprint(area(2))"]
WHOLE = "".join(BLOCKS)
SHOWN = "return 2 * math.pi * radius\nprint(area(2))"
"""As the screen has it: blank lines have no cells in gray."""


def rest_of_screen(frame: Frame, begin: str) -> str:
    """The screen from a text on, gray or not."""
    return frame.text[frame.text.index(begin) :]


def test_text_appears_and_grows(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(BLOCKS, [150]))
    neovim.open(HEAD)
    neovim.wait_for_ghost(SHOWN)
    steps = grown(neovim.grid.frames)
    assert len(steps) >= 3, steps
    assert neovim.draw().text.count("math.pi") == 1, "Neovim shows it, too"


def test_typing_on_keeps_it(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(BLOCKS, [150]))
    neovim.open(HEAD)
    neovim.wait_for(lambda: neovim.ghost, "gray text")
    neovim.forget()
    for key in "return":  # the first block: what has not come yet cannot be typed along
        neovim.type(key)
    neovim.wait_for_ghost(SHOWN.removeprefix("return"))
    screens = [rest_of_screen(frame, "def area") for frame in neovim.grid.frames]
    for one, next_one in itertools.pairwise(screens):
        assert next_one.startswith(one), f"{one!r} became {next_one!r}"


def test_where_the_cursor_stands_is_read_before_anything_is_typed(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([WHOLE]))
    neovim.open(HEAD)
    neovim.wait_for_ghost(SHOWN)
    neovim.type("<Esc>gg")

    def is_read() -> bool:
        reads = neovim.place.records("Read")
        return bool(reads) and reads[-1]["prefix"] == "import math"

    neovim.wait_for(is_read, "reading at the end of the first line")
    num_reads = len(neovim.place.records("Read"))
    neovim.type("lll")
    neovim.type("0")
    neovim.type("A")
    neovim.wait_for_ghost(SHOWN)
    assert len(neovim.place.records("Read")) == num_reads, "it was read there"


def test_a_server_that_comes_later_is_told_where_the_cursor_is(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([]))
    neovim.open(HEAD)
    neovim.type("<Esc>")

    def num_reads() -> int:
        return len(neovim.place.records("Read"))

    neovim.wait_for(num_reads, "reading")
    neovim.lua("for _, one in ipairs(vim.lsp.get_clients()) do one:stop() end")
    neovim.wait_for(lambda: not neovim.is_attached(), "the end of the server")
    before = num_reads()
    neovim.lua("vim.lsp.enable('seed_lsp')")
    neovim.wait_for(lambda: num_reads() > before, "reading again")


def test_accept_all_and_undo_in_one_step(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([WHOLE]))
    neovim.open(HEAD)
    neovim.wait_for_ghost(SHOWN)
    neovim.type("<Tab>")
    assert neovim.lines == (HEAD + WHOLE).split("\n")
    row, column = neovim.api.current.window.cursor
    assert (row, column) == (len(neovim.lines), len("print(area(2))"))
    neovim.type("<Esc>u")
    assert neovim.lines == HEAD.split("\n")
    assert neovim.ghost == ""


def test_accept_word_and_line(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([WHOLE]))
    neovim.open(HEAD)
    neovim.wait_for_ghost(SHOWN)
    neovim.type("<M-Right>")
    assert neovim.lines[-1] == "    return"
    neovim.type("<M-Right>")
    assert neovim.lines[-1] == "    return 2"
    neovim.wait_for_ghost(SHOWN.removeprefix("return 2"))
    neovim.type("<M-C-Right>")
    assert neovim.lines[-1] == "    return 2 * math.pi * radius"
    neovim.wait_for_ghost("print(area(2))")
    neovim.type("<M-C-Right>")
    assert neovim.lines == (HEAD + WHOLE).split("\n")


def test_nothing_shown_changes_while_nothing_is_typed(neovim: Neovim) -> None:
    """Random typing beside slow blocks: between two keys, what is gray only grows."""
    choose = random.Random(8)
    neovim.place.write_script(Answer(BLOCKS, [40, 90]))
    neovim.open(HEAD)
    num_growths = 0
    for _ in range(40):
        ghost = neovim.ghost.replace("\n", "")
        along = ghost[:1].replace("<", "<lt>") or "r"
        keys = [along, "z", "<BS>", "<M-Right>", "<Left>", "<CR>", "<C-]>"]
        (key,) = choose.choices(keys, [10, 1, 2, 1, 1, 1, 1])
        neovim.type(key)
        neovim.forget()
        neovim.lua("vim.wait(...)", choose.choice([0, 30, 120, 250]))
        neovim.draw()
        num_growths += len(grown(neovim.grid.frames)) > 1
    assert num_growths, "blocks have to come between keys for this to mean anything"


def test_enter_goes_on_into_the_next_line(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["\n    return 2 * a"]))
    neovim.open("def double(a):")
    neovim.wait_for_ghost("    return 2 * a")
    neovim.forget()
    neovim.type("<CR>")
    assert neovim.lines[-1] == "    ", "Neovim has indented the line"
    assert neovim.ghost == "return 2 * a"
    neovim.type("<Tab>")
    assert neovim.lines == ["def double(a):", "    return 2 * a"]


def test_line_breaks_of_dos(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([WHOLE]))
    neovim.open(HEAD.replace("\n", "\r\n"))
    assert neovim.lua("return vim.bo.fileformat") == "dos"
    neovim.wait_for_ghost(SHOWN)
    neovim.type("<M-C-Right><Tab>")
    assert neovim.lines == (HEAD + WHOLE).split("\n")


def test_it_comes_where_insert_mode_begins(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["here()"]))
    neovim.open("x = 1")
    neovim.type("<Esc>")
    assert neovim.ghost == ""
    neovim.type("i")  # moves nothing
    neovim.wait_for_ghost("here()")


def test_escape_hides_it(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([WHOLE]))
    neovim.open(HEAD)
    neovim.wait_for_ghost(SHOWN)
    neovim.type("<Esc>")
    assert neovim.ghost == ""


def test_a_dismissed_text_does_not_come_back(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([WHOLE]))
    neovim.open(HEAD)
    neovim.wait_for_ghost(SHOWN)
    neovim.type("<C-]>")
    assert neovim.ghost == ""
    assert neovim.lines == HEAD.split("\n")
    neovim.type("<Left><Right>")
    neovim.lua("vim.wait(200)")
    assert neovim.ghost == ""


def test_keys_pass_through_where_nothing_is_shown(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([]))
    neovim.open("x")
    neovim.type("<Tab>")
    assert neovim.lines == ["xUSER"]
    assert neovim.lua("return require('seed').accept()") is False
    assert neovim.lua("return require('seed').is_visible()") is False


def test_the_manuals_map_of_tab(neovim: Neovim) -> None:
    manual = (PLUGIN / "doc" / "seed.txt").read_text()
    (code,) = re.findall(r"^\tvim.keymap.set\(.*?^<", manual, re.MULTILINE | re.DOTALL)
    neovim.lua(code.removesuffix("<").replace("<Tab>", "<F5>"))
    neovim.place.write_script(Answer(["there()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("there()")
    neovim.type("<F5>")
    neovim.place.write_script(Answer([]))
    neovim.wait_for_ghost("")
    neovim.type("<F5>")
    assert neovim.lines == ["x = there()<F5>"]


def test_another_text_than_predicted_is_never_shown_for_the_old_place(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["old()"], [300]))
    neovim.open(HEAD)
    neovim.wait_for(lambda: neovim.lua("return vim.lsp.get_clients()[1] ~= nil"), "a client")
    neovim.place.write_script(Answer(["new()"], [50]))
    neovim.type("x")
    neovim.wait_for_ghost("new()")
    neovim.lua("vim.wait(300)")
    shown = {frame.text_in(GHOST_COLOR) for frame in neovim.grid.frames}
    assert shown <= {"", "new()"}


def test_it_hides_while_a_menu_is_open(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["_now()"]))
    neovim.open("alphabet = 1\nalphorn = 2\nalph")
    neovim.wait_for_ghost("_now()")
    neovim.type("<C-x><C-n>")
    neovim.wait_for(lambda: neovim.lua("return vim.fn.pumvisible()") == 1, "the menu")
    neovim.wait_for_ghost("")
    neovim.type("<C-e>")
    neovim.wait_for_ghost("_now()")


@pytest.mark.parametrize(
    ("module", "is_open", "opens", "closes"),
    [
        ("cmp", "visible", "for_event.menu_opened()", "for_event.menu_closed()"),
        (
            "blink.cmp",
            "is_menu_visible",
            "vim.api.nvim_exec_autocmds('User', { pattern = 'BlinkCmpMenuOpen' })",
            "vim.api.nvim_exec_autocmds('User', { pattern = 'BlinkCmpMenuClose' })",
        ),
    ],
    ids=["cmp", "blink"],
)
def test_it_hides_while_a_plugins_menu_is_open(
    neovim: Neovim, module: str, is_open: str, opens: str, closes: str
) -> None:
    neovim.lua(
        """
        local module, is_open = ...
        for_event = {}
        package.loaded[module] = {
          [is_open] = function() return menu_is_open end,
          event = { on = function(_, name, call) for_event[name] = call end },
        }
        """,
        module,
        is_open,
    )
    try:
        neovim.place.write_script(Answer(["alpha()"]))
        neovim.open("x = ")
        neovim.wait_for_ghost("alpha()")
        neovim.lua(f"menu_is_open = true; {opens}")
        assert neovim.ghost == ""
        neovim.lua(f"menu_is_open = false; {closes}")
        neovim.wait_for_ghost("alpha()")
    finally:
        neovim.lua("package.loaded[...] = nil; menu_is_open = nil", module)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text("aß寿_9 \n\t(){}.,😀", min_size=1))
def test_words_and_lines_make_up_the_text(neovim: Neovim, text: str) -> None:
    for piece in ("first_word", "first_line"):
        pieces = neovim.lua(
            """
            local left, name = ...
            local pieces = {}
            while left ~= "" do
              local piece = require("seed.text")[name](left)
              table.insert(pieces, piece)
              left = left:sub(#piece + 1)
              assert(piece ~= "")
            end
            return pieces
            """,
            text,
            piece,
        )
        assert "".join(pieces) == text
        if piece == "first_line":
            assert all("\n" not in part.lstrip() for part in pieces)


def test_next_and_previous(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["first()"]), ahead=Answer(["second()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("first()")
    neovim.lua("require('seed').next()")
    neovim.wait_for_ghost("second()")
    assert "(2/2)" in neovim.draw().text
    neovim.lua("require('seed').previous()")
    neovim.wait_for_ghost("first()")
    neovim.lua("require('seed').next()")
    neovim.type("<Tab>")
    assert neovim.lines == ["x = second()"]


def test_text_behind_the_cursor_stays_readable(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["one,\n    two"]))
    neovim.open("call()")
    neovim.type("<Left>")
    neovim.wait_for(lambda: "two" in neovim.ghost, "gray text")
    assert neovim.draw().text.split("\n")[:2] == ["call(one,", "    two)"]
    neovim.type("<Tab>")
    assert neovim.lines == ["call(one,", "    two)"]


def test_tabs_and_wide_characters(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["if 寿:\n\t\tprint('😀')"]))
    neovim.open("def f():\n\t")
    neovim.api.command("setlocal noexpandtab tabstop=4")
    neovim.wait_for(lambda: "print" in neovim.ghost, "gray text")
    assert neovim.draw().text.split("\n")[2] == "        print('😀')"
    neovim.type("<Tab>")
    assert neovim.lines == ["def f():", "\tif 寿:", "\t\tprint('😀')"]
