"""The VS Code extension's own parts: its unit tests under Node, and what it repeats of the server.

Needs Node 20 and `npm ci` in editors/vscode; without them the tests that run something say so and
are skipped.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lsp_server import __version__, actions, commands, wire
from lsp_server.schema import schema
from lsp_server.settings import TRUSTED_ONLY

FOLDER = Path(__file__).parents[2] / "editors/vscode"
MANIFEST: dict[str, Any] = json.loads((FOLDER / "package.json").read_text())
SOURCES = "\n".join(path.read_text() for path in sorted((FOLDER / "src").glob("*.ts")))
TIMEOUT_S = 200


def run(*command: str) -> str:
    """Run something of the extension's; what it prints if it fails is the test's message."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node or no npm here")
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs_packages() -> None:
    if not (FOLDER / "node_modules/esbuild").exists():
        pytest.skip("run `npm ci` in editors/vscode first")


def camel_case(name: str) -> str:
    return re.sub("_(.)", lambda found: found[1].upper(), name)


def test_unit_tests_pass() -> None:
    needs_packages()
    printed = run("npm", "run", "--silent", "test")
    passed = re.search(r"(?m)^\D* pass (\d+)$", printed)
    assert passed is not None
    assert int(passed[1]) > 30


def test_types_are_right() -> None:
    needs_packages()
    run("npx", "--no-install", "tsc", "--noEmit")


def test_settings_are_those_of_the_schema() -> None:
    run("node", "scripts/settings.mjs", "--check")


def test_every_setting_is_there_with_its_default() -> None:
    properties = MANIFEST["contributes"]["configuration"]["properties"]
    for name, described in schema()["properties"].items():
        mine = properties[f"seed-lsp.{camel_case(name)}"]
        assert mine["default"] == described.get("default"), name
        assert mine.get("enum") == described.get("enum"), name
        assert mine["markdownDescription"], name


def test_an_untrusted_workspace_sets_nothing_that_needs_trust() -> None:
    restricted = MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]
    names = {f"seed-lsp.{camel_case(name)}" for name in TRUSTED_ONLY}
    assert set(restricted) == {"seed-lsp.server.command"} | names
    command = MANIFEST["contributes"]["configuration"]["properties"]["seed-lsp.server.command"]
    assert command["scope"] == "machine"


def test_keys_count_only_while_a_suggestion_is_visible_and_none_is_tab() -> None:
    for binding in MANIFEST["contributes"]["keybindings"]:
        assert binding["when"].startswith("inlineSuggestionVisible && "), binding
        assert "tab" not in binding["key"].lower(), binding


def test_every_contributed_command_is_registered() -> None:
    contributed = {item["command"] for item in MANIFEST["contributes"]["commands"]}
    registered = set(re.findall(r'"(seed\.\w+)": \(', SOURCES))
    assert contributed <= registered
    assert actions.ASK_COMMAND in registered


def test_names_on_the_wire_are_the_servers() -> None:
    for name in (wire.UPDATE, wire.STATUS, wire.INSPECT, wire.EXPLAIN):
        assert f'"{name}"' in SOURCES, name
    version = wire.CAPABILITY["seed"]["version"]
    assert f"PROTOCOL_VERSION = {version};" in SOURCES
    for name in (commands.ACCEPT, commands.DISMISS, commands.SNOOZE, commands.LAST_SUGGESTION):
        assert f'"{name}"' in SOURCES, name


def test_one_version_for_server_and_extension() -> None:
    assert MANIFEST["version"] == __version__
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    assert lock["version"] == __version__


def test_no_proposed_interface_is_used() -> None:
    assert "enabledApiProposals" not in MANIFEST


def test_files_stay_small() -> None:
    for path in (FOLDER / "src").glob("*.ts"):
        assert len(path.read_text().splitlines()) < 300, path.name
