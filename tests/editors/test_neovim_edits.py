"""Edits in the real Neovim: looked at, accepted in one step, rejected, stopped, refused."""

from sampler.stub import Answer
from tests.editors.neovim import Neovim

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
