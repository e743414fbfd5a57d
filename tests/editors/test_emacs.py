"""Emacs with the lines of docs/editors.md, its clients as Debian packages them, a scripted engine.

Needs `emacs-nox` with `elpa-lsp-mode` or `elpa-eglot`; without them a test says so and is skipped.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampler.stub import Answer
from tests.engines import StubPlace

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests/e2e/stub_server.py"
SOURCE = "def area(width, height):\n"
COMPLETED = f"{SOURCE}    return width * height"
SIMPLIFIED = "def area(width, height):\n    return height * width"
REWRITTEN = "def area(width, height):\n    return None"
BATCH = ["--batch", "--eval", "(setq native-comp-deferred-compilation nil)"]
TIMEOUT_S = 120


def emacs(library: str) -> str:
    """The editor, or a skip."""
    path = shutil.which("emacs")
    if path is None:
        pytest.skip("there is no emacs here")
    look = f'(kill-emacs (if (progn (package-activate-all) (locate-library "{library}")) 0 1))'
    found = subprocess.run([path, *BATCH, "--eval", look], capture_output=True, timeout=TIMEOUT_S)
    if found.returncode != 0:
        pytest.skip(f"emacs has no {library} here")
    return path


def documented_lines(heading: str) -> str:
    """The configuration that the page tells a user to write."""
    page = (ROOT / "docs/editors.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {heading}\n")[2]
    block = re.search(r"^```elisp\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert block is not None
    return block[1]


@pytest.fixture
def place() -> Iterator[StubPlace]:
    place = StubPlace()
    yield place
    place.close()


def act(place: StubPlace, home: Path, *, library: str, heading: str) -> dict[str, Any]:
    """What happens in an Emacs whose user has the server where the page says and its lines."""
    path = emacs(library)
    command = home / "seed-lsp/.venv/bin/seed-lsp"
    command.parent.mkdir(parents=True)
    stub = [sys.executable, str(SERVER), str(place.script_path), json.dumps({"ahead": False})]
    command.write_text(f"#!/bin/sh\nexec {shlex.join(stub)}\n")
    command.chmod(0o755)
    project = home / "project"
    project.mkdir()
    (project / "area.py").write_text(SOURCE)
    (home / "init.el").write_text(documented_lines(heading))
    driver = Path(__file__).with_name(f"emacs_{library.replace('-', '_')}.el")
    done = subprocess.run(
        [
            *(path, *BATCH, "--eval", "(package-activate-all)"),
            *("-l", str(home / "init.el"), "-l", str(driver)),
        ],
        env={**os.environ, **place.environment, "HOME": str(home), "SEED_PROJECT": str(project)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


@pytest.mark.slow
def test_lsp_mode_completes_and_rewrites(place: StubPlace, tmp_path: Path) -> None:
    place.write_script(
        Answer(["return width * height"]),  # the item is the same prediction
        Answer([f"{SIMPLIFIED}\n"]),
        Answer([f"{REWRITTEN}\n"]),
    )
    result = act(place, tmp_path, library="lsp-mode", heading="Emacs with lsp-mode")
    assert result["servers"] == ["seed-lsp"]
    assert result["status"] == " seed: ready"
    assert result["inline"] == ["return width * height"]
    assert result["completed"] == COMPLETED
    assert {"Add type hints", "Add docstring", "Simplify"} <= set(result["titles"])
    assert result["simplified"] == SIMPLIFIED
    assert result["rewritten"] == REWRITTEN
    assert result["undone"] == SIMPLIFIED
    assert result["warnings"] == ""


@pytest.mark.slow
def test_eglot_completes_and_rewrites(place: StubPlace, tmp_path: Path) -> None:
    place.write_script(Answer(["return width * height"]), Answer([f"{SIMPLIFIED}\n"]))
    result = act(place, tmp_path, library="eglot", heading="Emacs with Eglot")
    assert result["status"] == " seed: ready"
    assert result["completed"] == COMPLETED
    assert {"Add type hints", "Add docstring", "Simplify"} <= set(result["titles"])
    assert result["simplified"] == SIMPLIFIED
    assert result["warnings"] == ""
