"""The Neovim plugin in the real editor, with a scripted engine: what a person sees and gets."""

import itertools
import json
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampler.stub import Answer
from tests.editors.grid import Frame
from tests.editors.neovim import GHOST_COLOR, PLUGIN, Neovim, find_nvim, grown, server_command
from tests.engines import StubPlace

HEAD = "import math\n\n\ndef area(radius):\n    "
BLOCKS = ["return ", "2 * math.pi", " * radius", "\n\n\nprint(area(2))"]
WHOLE = "".join(BLOCKS)
SHOWN = "return 2 * math.pi * radius\nprint(area(2))"
"""As the screen has it: blank lines have no cells in gray."""


@pytest.fixture(scope="module", params=[11, 12], ids=["nvim-0.11", "nvim-0.12"])
def neovim(request: pytest.FixtureRequest) -> Iterator[Neovim]:
    """One editor for all tests of this file; each opens a file of its own."""
    path = find_nvim(request.param)
    place = StubPlace()
    log = str(place.folder / "server.log")
    command = json.dumps(server_command(place, first_paint_ms=60, log_file=log))
    init = f"""
    vim.keymap.set("i", "<Tab>", "USER")
    base = {{ cmd = vim.json.decode([==[{command}]==]), keys = {{ accept = "<Tab>" }} }}
    require("seed").setup(base)
    if vim.lsp.inline_completion then vim.lsp.inline_completion.enable() end
    """
    editor = Neovim(path, place, init)
    try:
        yield editor
    finally:
        editor.close()
        place.close()


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


def test_the_server_counts_an_acceptance_once(neovim: Neovim) -> None:
    def count(name: str) -> int:
        neovim.lua(
            """
            counts = nil
            require("seed.server").execute("seed.stats", {}, function(it) counts = it end)
            """
        )
        neovim.wait_for(lambda: neovim.lua("return counts"), "counts")
        return int(neovim.lua("return counts[...]", name))

    neovim.place.write_script(Answer(["one() + two()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("one() + two()")
    accepted, dismissed = count("accepted"), count("dismissed")
    neovim.type("<Tab>")
    assert count("accepted") == accepted + 1
    neovim.open("y = ")
    neovim.wait_for_ghost("one() + two()")
    neovim.type("<C-]>")
    assert count("accepted") == accepted + 1
    assert count("dismissed") == dismissed + 1


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


def test_the_color_survives_another_scheme(neovim: Neovim) -> None:
    neovim.lua("vim.api.nvim_set_hl(0, 'SeedHint', {}) vim.g.loaded_seed = nil")
    neovim.api.command("runtime plugin/seed.lua")
    neovim.api.command("colorscheme blue")
    link = neovim.lua("return vim.api.nvim_get_hl(0, { name = 'SeedHint' }).link")
    neovim.api.command("colorscheme default")
    neovim.lua("vim.api.nvim_set_hl(0, 'SeedGhost', { fg = ... })", GHOST_COLOR)
    assert link == "NonText"


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


def test_settings_of_the_server_can_change(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["there()"]))
    manual = "vim.tbl_extend('force', base, { settings = { trigger = 'manual' } })"
    neovim.open("")
    log = (neovim.place.folder / "server.log").read_text()
    assert "settings" not in log, "what the editor has sent is as it should be"
    neovim.lua(f"require('seed').setup({manual})")
    try:
        neovim.lua("vim.wait(300)")  # the server asks for them
        neovim.open("x = ")
        neovim.wait_for(lambda: neovim.lua("return require('seed').status()") == "seed off", "off")
        assert neovim.ghost == ""
        neovim.lua("require('seed').trigger()")
        neovim.wait_for_ghost("there()")
    finally:
        neovim.lua("require('seed').setup(base)")
        neovim.lua("vim.wait(300)")
    neovim.open("y = ")
    neovim.wait_for_ghost("there()")


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


def test_the_last_suggestion_comes_back(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["again()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("again()")
    neovim.type("<C-]>")
    assert neovim.ghost == ""
    neovim.lua("require('seed').last()")
    neovim.wait_for_ghost("again()")
    neovim.type("<Esc>:Seed last<CR>")
    neovim.wait_for(lambda: "Latest suggestion" in neovim.draw().text, "the window")
    neovim.type("q")
    assert "Latest suggestion" not in neovim.draw().text


def test_toggle_snooze_and_status(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["there()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("there()")
    neovim.wait_for(lambda: neovim.lua("return require('seed').status()") == "seed", "ready")
    neovim.lua("require('seed').snooze(5)")
    neovim.wait_for(lambda: neovim.lua("return require('seed').status()") == "seed zzz", "quiet")
    assert neovim.ghost == ""
    neovim.lua("require('seed').snooze(0)")
    neovim.wait_for(lambda: neovim.lua("return require('seed').status()") == "seed", "ready")
    neovim.type("<Esc>:Seed toggle off<CR>")
    neovim.wait_for(lambda: neovim.lua("return require('seed').status()") == "seed off", "off")
    neovim.type(":Seed toggle on<CR>A")
    neovim.wait_for_ghost("there()")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc")
def test_a_killed_server_comes_back(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["back()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("back()")
    (pid,) = neovim.server_pids()
    os.kill(pid, signal.SIGKILL)
    neovim.wait_for(lambda: neovim.server_pids() not in ([pid], []), "another server")
    neovim.wait_for(neovim.is_attached, "a server for the buffer")
    neovim.wait_for_ghost("back()")


def test_the_command_line_completes(neovim: Neovim) -> None:
    choices = neovim.lua("return vim.fn.getcompletion('Seed s', 'cmdline')")
    assert choices == ["snooze", "stats", "status"]
    assert neovim.lua("return vim.fn.getcompletion('Seed toggle ', 'cmdline')") == ["off", "on"]
    neovim.open("x = 1")
    neovim.type("<Esc>:Seed nonsense<CR>")
    assert "there is no :Seed nonsense" in neovim.draw().text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("explain", "Nothing speaks against completions here."),
        ("inspect", "── prefix"),
        ("stats", "shown"),
    ],
)
def test_windows_to_read(neovim: Neovim, name: str, says: str) -> None:
    neovim.place.write_script(Answer(["here()"]))
    neovim.open("x = ")
    neovim.wait_for_ghost("here()")
    neovim.type(f"<Esc>:Seed {name}<CR>")
    neovim.wait_for(lambda: says in neovim.draw().text, "the window")
    neovim.type("q")
    assert says not in neovim.draw().text
    assert neovim.lines == ["x = "]


def test_health(neovim: Neovim) -> None:
    neovim.open("x = 1")
    neovim.type("<Esc>")
    neovim.api.command("checkhealth seed")
    report = "\n".join(neovim.lines)
    neovim.api.command("bwipeout")
    assert "ERROR" not in report
    assert "a server runs for" in report


def test_help(neovim: Neovim) -> None:
    folder = neovim.folder / "help"
    shutil.copytree(PLUGIN / "doc", folder / "doc", ignore=lambda *_: ["tags"])
    neovim.api.command(f"helptags {folder / 'doc'}")  # fails if a tag stands twice
    neovim.api.command(f"set runtimepath^={folder}")
    for name in ("seed", "seed-keys", ":Seed", "seed.setup()"):
        neovim.api.command(f"help {name}")
        assert f"*{name}*" in neovim.api.current.line
        neovim.api.command("helpclose")


OLD = "def double(a):\n    return a + a\n"
NEW = "def double(a):\n    return 2 * a\n"


def test_an_edit_is_looked_at_accepted_and_undone(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([NEW]))
    neovim.open(OLD + "\nx = 1")
    neovim.type("<Esc>gg:1,2Seed rewrite multiply<CR>")
    neovim.wait_for(lambda: "+    return 2 * a" in neovim.draw().text, "the difference")
    assert "-    return a + a" in neovim.draw().text
    neovim.type("a")
    neovim.wait_for(lambda: neovim.lines[1] == "    return 2 * a", "the edit")
    assert neovim.lines == (NEW + "\nx = 1").split("\n")
    neovim.type("u")
    assert neovim.lines == (OLD + "\nx = 1").split("\n")


def test_an_edit_is_made_at_once_without_preview(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([NEW]))
    neovim.open(OLD)
    neovim.lua("require('seed.config').values.preview = false")
    try:
        neovim.type("<Esc>gg:1,2Seed rewrite multiply<CR>")
        neovim.wait_for(lambda: neovim.lines == NEW.splitlines(), "the edit")
    finally:
        neovim.lua("require('seed.config').values.preview = true")


def test_an_edit_says_how_far_it_is_and_can_be_stopped(neovim: Neovim) -> None:
    neovim.place.write_script(Answer(["def double(a):\n", "never"], [50, 60_000]))
    before = len(neovim.place.records("Cancel"))
    neovim.open(OLD)
    neovim.type("<Esc>gg:Seed rewrite multiply<CR>")
    neovim.wait_for(lambda: "seed: Rewrite, " in neovim.draw().text, "the progress")
    neovim.type(":Seed cancel<CR>")
    neovim.wait_for(lambda: "The edit was cancelled." in neovim.draw().text, "the sentence")
    neovim.wait_for(lambda: len(neovim.place.records("Cancel")) > before, "the engine's stop")
    neovim.type(":Seed cancel<CR>")
    assert "there is no edit to cancel" in neovim.draw().text


def test_an_edit_is_rejected(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([NEW]))
    neovim.open(OLD)
    neovim.type("<Esc>gg:Seed rewrite multiply<CR>")
    neovim.wait_for(lambda: "+    return 2 * a" in neovim.draw().text, "the difference")
    neovim.type("q")
    neovim.wait_for(lambda: "The edit was rejected." in neovim.draw().text, "the sentence")
    assert neovim.lines == OLD.splitlines()


def test_edits_of_the_lamp_are_looked_at_too(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([NEW]))
    neovim.open(OLD)
    neovim.lua(
        """
        vim.ui.select = function(items, _, choose)
          for _, item in ipairs(items) do
            if (item.action or item).title == "Simplify" then choose(item) end
          end
        end
        """
    )
    neovim.type("<Esc>gg")
    for start in ("require('seed').edit()", "vim.lsp.buf.code_action()"):
        neovim.lua(start)
        neovim.wait_for(lambda: "a accepts" in neovim.draw().text, "the difference")
        neovim.type("q")
        neovim.wait_for(lambda: "a accepts" not in neovim.draw().text, "the end of it")
    assert neovim.lines == OLD.splitlines()


def test_what_tools_have_found_is_told(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([NEW]))
    neovim.open(OLD)
    neovim.lua(
        """
        vim.diagnostic.set(vim.api.nvim_create_namespace("tool"), 0, {
          { lnum = 1, col = 4, message = "too slow" },
        })
        vim.ui.select = function(items)
          titles = vim.tbl_map(function(it) return it.title end, items)
        end
        """
    )
    neovim.type("<Esc>gg:1,2Seed edit<CR>")
    neovim.wait_for(lambda: neovim.lua("return titles"), "something to choose from")
    assert "Fix with the model" in neovim.lua("return titles")


def test_an_edit_for_an_older_text_is_refused(neovim: Neovim) -> None:
    neovim.place.write_script(Answer([NEW]))
    neovim.open(OLD)
    buffer = neovim.api.current.buffer.number
    neovim.type("<Esc>gg:Seed rewrite multiply<CR>")
    neovim.wait_for(lambda: "a accepts" in neovim.draw().text, "the difference")
    neovim.lua("vim.api.nvim_buf_set_lines(..., 0, 0, true, { '# new' })", buffer)
    neovim.type("a")
    neovim.wait_for(lambda: "nothing was edited" in neovim.draw().text, "the sentence")
    assert neovim.lines == ["# new", *OLD.splitlines()]
