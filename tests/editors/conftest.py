"""One Neovim with the plugin for all tests of it; each test opens a file of its own."""

import json
from collections.abc import Iterator

import pytest

from tests.editors.neovim import Neovim, find_nvim, server_command
from tests.engines import StubPlace


@pytest.fixture(scope="session", params=[11, 12], ids=["nvim-0.11", "nvim-0.12"])
def neovim(request: pytest.FixtureRequest) -> Iterator[Neovim]:
    """The editor, its server, and a scripted engine."""
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
