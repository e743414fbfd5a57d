"""What a person can tell the Neovim plugin, and what it says: commands, settings, help."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from sampler.stub import Answer
from tests.editors.neovim import GHOST_COLOR, PLUGIN, Neovim


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


def test_the_color_survives_another_scheme(neovim: Neovim) -> None:
    neovim.lua("vim.api.nvim_set_hl(0, 'SeedHint', {}) vim.g.loaded_seed = nil")
    neovim.api.command("runtime plugin/seed.lua")
    neovim.api.command("colorscheme blue")
    link = neovim.lua("return vim.api.nvim_get_hl(0, { name = 'SeedHint' }).link")
    neovim.api.command("colorscheme default")
    neovim.lua("vim.api.nvim_set_hl(0, 'SeedGhost', { fg = ... })", GHOST_COLOR)
    assert link == "NonText"


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
