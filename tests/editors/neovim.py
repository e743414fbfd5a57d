"""A real Neovim under a test's control: keys in, frames of its screen out.

The server is the product's with a stub for an engine, unless a test says otherwise.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pynvim
import pytest

from tests.editors.grid import Frame, Grid
from tests.engines import StubPlace, has_ended

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "editors" / "neovim"
STUB_SERVER = ROOT / "tests" / "e2e" / "stub_server.py"
TIMEOUT_S = 60
"""Other processes may keep the machine busy; nothing here waits that long on an idle one."""

GHOST_COLOR = 0x7A8491
WIDTH, HEIGHT = 80, 24


def find_nvim(minor: int) -> str:
    """A Neovim 0.`minor`, from SEED_NVIM, the environment's own or PATH; or a skip."""
    own = str(Path(sys.executable).parent / "nvim")
    for path in (os.environ.get("SEED_NVIM"), own, shutil.which("nvim")):
        if path is None or not Path(path).exists():
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if re.match(rf"NVIM v0\.{minor}\.", version):
            return path
    pytest.skip(f"there is no Neovim 0.{minor} here (SEED_NVIM=PATH names one)")


def server_command(place: StubPlace, **settings: object) -> list[str]:
    """Starts the server with a scripted engine."""
    return [sys.executable, str(STUB_SERVER), str(place.script_path), json.dumps(settings)]


class Neovim:
    """An editor with the plugin; `close` ends it and checks that nothing is left."""

    def __init__(
        self, path: str, place: StubPlace, init: str, plugin: Path | None = PLUGIN, **more: str
    ) -> None:
        """Start it.

        Args:
            path: of the editor.
            place: for its files, sockets and logs.
            init: Lua that it runs at its start, behind what makes frames easy to read.
            plugin: folder of the plugin, or None if `init` sees to it.
            more: environment variables.
        """
        self.place = place
        self.folder = place.folder / "project"
        self.folder.mkdir()
        init_path = place.folder / "init.lua"
        init_path.write_text(
            f"""
            {f"vim.opt.runtimepath:append({json.dumps(str(plugin))})" if plugin else ""}
            vim.o.swapfile, vim.o.laststatus, vim.o.showmode, vim.o.ruler = false, 0, false, false
            vim.o.termguicolors = true
            vim.opt.shortmess:append("IF")
            vim.opt.fillchars = {{ eob = " " }}
            vim.api.nvim_set_hl(0, "SeedGhost", {{ fg = {GHOST_COLOR} }})
            {init}
            """
        )
        pairs = {**place.environment, "XDG_DATA_HOME": str(place.folder), **more}
        environment = [f"{name}={value}" for name, value in pairs.items()]
        argv = ["/usr/bin/env", *environment, path, "--embed", "-i", "NONE", "-u", str(init_path)]
        self.grid = Grid(WIDTH, HEIGHT)
        self.api = pynvim.attach("child", argv=argv)
        self._num_marks = 0
        self._num_files = 0
        self.api.ui_attach(WIDTH, HEIGHT, rgb=True, ext_linegrid=True)
        self.api.command(f"cd {self.folder}")

    def lua(self, code: str, *arguments: Any) -> Any:
        """Run Lua in the editor; what it returns."""
        return self.api.exec_lua(code, *arguments)

    def draw(self) -> Frame:
        """Take over all frames up to now; the newest one."""
        self._num_marks += 1
        self.api.command(f"call rpcnotify({self.api.channel_id}, 'mark', {self._num_marks})")
        while True:
            message = self.api.next_message()
            assert message is not None, "the editor has ended"
            _, name, arguments = message
            if name == "redraw":
                self.grid.take(arguments, time.monotonic())
            elif name == "mark" and arguments == [self._num_marks]:
                return self.grid.frames[-1]

    def wait_for(
        self, is_so: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Follow the screen until something is so."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come about; on screen:\n{self.draw().text}")
            self.draw()
            time.sleep(0.02)

    def wait_for_ghost(self, text: str) -> None:
        """Until exactly that is shown in gray."""
        self.wait_for(lambda: self.ghost == text, f"gray {text!r}")

    def type(self, keys: str) -> None:
        """Press keys, and see them worked off."""
        self.api.input(keys)
        self.draw()

    def forget(self) -> None:
        """Keep only the newest frame."""
        self.draw()
        del self.grid.frames[:-1]

    @property
    def ghost(self) -> str:
        """What is shown in gray now."""
        return self.draw().text_in(GHOST_COLOR)

    @property
    def lines(self) -> list[str]:
        """The buffer."""
        return list(self.api.current.buffer[:])

    def open(self, text: str, name: str = "") -> None:
        """Edit a new file with the cursor at its end, in insert mode, once the server is there."""
        self._num_files += 1
        path = self.folder / (name or f"file_{self._num_files}.py")
        path.write_text(text)
        self.type("<C-\\><C-n>")
        self.api.command(f"edit {path}")
        self.wait_for(self.is_attached, "a server for the buffer")
        self.api.command("echo ''")  # what the test before was told
        self.forget()
        self.type("GA")

    def is_attached(self) -> bool:
        return bool(self.lua("return require('seed.server').client(0) ~= nil"))

    def pids(self, part: str) -> list[int]:
        """Processes that this editor has started whose command line has a part."""
        return self.place.processes(part)

    def server_pids(self) -> list[int]:
        return self.pids("stub_server.py")

    def close(self) -> None:
        """End the editor, its server with it, and the engine; nothing is left."""
        servers = self.server_pids()
        try:
            self.api.input("<C-c><C-\\><C-n>")  # out of whatever asks for something
            messages = self.lua("return vim.api.nvim_exec2('messages', { output = true }).output")
            self.api.command("qall!", async_=True)
            gone = [has_ended(pid, TIMEOUT_S) for pid in servers]
        finally:
            self.api.close()
        for pid in self.pids("sampler."):
            os.kill(pid, signal.SIGTERM)
            gone.append(has_ended(pid, TIMEOUT_S))
        assert all(gone), f"the servers {servers} or their engine do not end"
        assert not re.search(r"\bE\d+:|[Tt]raceback|Error", messages), messages


def grown(frames: Sequence[Frame]) -> list[str]:
    """What each frame shows in gray, from the first that shows any; asserts that it only grew."""
    shown = [frame.text_in(GHOST_COLOR) for frame in frames]
    while shown and not shown[0]:
        del shown[0]
    for before, after in itertools.pairwise(shown):
        assert after.startswith(before), f"{before!r} became {after!r}"
    return list(dict.fromkeys(shown))
