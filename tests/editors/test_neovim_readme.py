"""The plugin as a new user gets it: by the README, with the real weights, or without a server.

SEED_ANIMATION=FILE.svg keeps what was on the screen while the real model wrote.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampler.stub import Answer
from tests.editors.neovim import PLUGIN, ROOT, Neovim, find_nvim, grown, server_command
from tests.editors.picture import animate
from tests.engines import StubPlace

SOURCE = """\
def mean(values: list[float]) -> float:
    \"""Return the mean of some values.\"""
    return sum(values) / len(values)


def variance(values: list[float]) -> float:
    \"""Return the variance of some values.\"""
    """


def readme_line() -> str:
    """What the README tells a user to write, with this checkout's path."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^`(vim\.opt\.runtimepath.*)`$", readme, re.MULTILINE)
    return line.replace("~/seed-lsp", str(ROOT))


@pytest.fixture
def place() -> Iterator[StubPlace]:
    place = StubPlace()
    yield place
    place.close()


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("weights_path")
def test_real_text_appears_and_is_accepted(place: StubPlace) -> None:
    neovim = Neovim(find_nvim(11), place, readme_line(), plugin=None, SEED_LSP_TUNE="off")
    try:
        neovim.open(SOURCE, "statistics.py")
        neovim.wait_for(lambda: "mean(values)" in neovim.ghost, "the model's text", 120)
        neovim.lua("vim.wait(3000)")
        neovim.draw()
        grown(neovim.grid.frames)
        neovim.type("<M-Right>")
        assert neovim.lines[-1].split()
        neovim.lua("vim.wait(500)")
        neovim.type("<C-l>")
        assert any("mean(values)" in line for line in neovim.lines)
        if path := os.environ.get("SEED_ANIMATION"):
            picture = animate(neovim.grid.frames, "Neovim with seed-lsp")
            Path(path).write_text(picture, encoding="utf-8")
        assert neovim.pids("seed-lsp"), "the checkout's own server"
    finally:
        neovim.close()


@pytest.mark.parametrize(
    ("options", "name"), [("", "seed-lsp"), ("cmd = { '/no/server' }", "/no/server")]
)
def test_without_a_server_one_sentence_says_so(place: StubPlace, options: str, name: str) -> None:
    elsewhere = Path(tempfile.mkdtemp(dir=place.folder)) / "a" / "b" / "neovim"
    shutil.copytree(PLUGIN, elsewhere)
    init = f"require('seed').setup({{ {options} }})"
    neovim = Neovim(find_nvim(11), place, init, plugin=elsewhere, PATH="/nonexistent")
    try:
        (neovim.folder / "a.py").write_text("x = 1\n")
        neovim.api.command("edit a.py")
        neovim.wait_for(lambda: "seed-lsp was not found" in neovim.draw().text, "the sentence")
        assert neovim.lua("return require('seed').status()") == "seed !"
        neovim.type("A<C-l>2<Esc>")
        assert neovim.lines[0].endswith("2")
        neovim.api.command("checkhealth seed")
        assert f"ERROR {name} was not found" in "\n".join(neovim.lines)
    finally:
        neovim.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{ tabs = true }", "there is no option tabs"),
        ("{ debounce_ms = 'long' }", "the option debounce_ms is no number"),
        ("{ keys = { jump = '<C-j>' } }", "there is no key for jump"),
    ],
)
def test_a_bad_option_is_told(place: StubPlace, options: str, says: str) -> None:
    neovim = Neovim(find_nvim(11), place, "vim.g.seed_enabled = false")
    try:
        neovim.lua(f"require('seed').setup({options})")
        assert says in neovim.draw().text
        assert neovim.lua("return require('seed.config').values.debounce_ms") == 25
        assert neovim.lua("return vim.lsp.is_enabled('seed_lsp')") is False
    finally:
        neovim.close()


def test_it_can_be_loaded_when_insert_mode_begins(place: StubPlace) -> None:
    place.write_script(Answer(["late()"]))
    command = json.dumps(server_command(place))
    init = f"""
    vim.api.nvim_create_autocmd("InsertEnter", {{ once = true, callback = function()
      vim.opt.runtimepath:append({json.dumps(str(PLUGIN))})
      require("seed").setup({{ cmd = vim.json.decode([==[{command}]==]) }})
      vim.cmd.runtime("plugin/seed.lua")
    end }})
    """
    neovim = Neovim(find_nvim(11), place, init, plugin=None)
    try:
        (neovim.folder / "a.py").write_text("x = ")
        neovim.api.command("edit a.py")
        neovim.type("A")
        neovim.wait_for_ghost("late()")
        neovim.type("<C-l>")
        assert neovim.lines == ["x = late()"]
    finally:
        neovim.close()
