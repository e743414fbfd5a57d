"""The project's own files agree with each other and with what the commands can do."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import lsp_server
from lsp_server import cli
from training import cli as training_cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TARGETS = {"help", "setup", "demo", "test", "lint", "types", "bench", "fix", "vsix", "editors"}
FIXED_LAYOUT = {
    *(".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "docs"),
    *("editors", "lsp_server", "model", "pyproject.toml", "sampler", "tests", "training"),
}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.stdout.split("\0") if name]


def shell_lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_has_shell_blocks() -> None:
    assert {"make demo", "make test"} <= set(shell_lines())


@pytest.mark.parametrize("line", shell_lines())
def test_readme_commands_exist(line: str) -> None:
    program, *arguments = line.split()
    if program == "make":
        assert set(arguments) <= make_targets()
        return
    apps = {".venv/bin/seed-lsp": cli.app, ".venv/bin/seed-train": training_cli.app}
    assert program in apps, f"{line!r} is no command of ours"
    _, _, unused = apps[program].parse_args(arguments, exit_on_error=False, print_error=False)
    assert not unused


def test_readme_neovim_block_is_six_lines() -> None:
    (block,) = re.findall(r"^```lua\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) == 6


def test_readme_file_tree_is_true() -> None:
    tree = re.findall(r"^```text\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)[0]
    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).exists(), line


def test_readme_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_make_target_is_explained_and_phony() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    assert phony == make_targets() == TARGETS


def test_top_level_is_the_fixed_one() -> None:
    top = {path.parts[0] for path in tracked_files()}
    assert top <= FIXED_LAYOUT
    assert FIXED_LAYOUT - top <= {"editors"}


def test_versions_agree() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert lsp_server.__version__ == version
    assert importlib.metadata.version("seed-lsp") == version
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_its_reason() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    reasons = (ROOT / "docs" / "decisions.md").read_text()
    for line in lines:
        name = re.split(r"[<>=; \[]", line)[0]
        plugin = name.removeprefix("pytest-")
        is_grammar = name.startswith("tree-sitter-")
        is_own_extra = name == project["name"]
        assert is_grammar or is_own_extra or name in reasons or plugin in reasons, name


def test_ci_runs_the_tests_command_of_the_readme() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in text
    assert "make test" in text
    assert "||" not in text, "failures are not hidden"


def test_no_file_names_a_registry_host() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "hugging" + "face.co", "npm" + "js"]
    for path in tracked_files():
        content = (ROOT / path).read_bytes().lower()
        found = [host for host in hosts if host.encode() in content]
        assert not found, f"{path} names {found}"


HEAVY = (
    "import sys; heavy = {'torch', 'triton', 'transformers'} & set(sys.modules); "
    "assert not heavy, heavy"
)


@pytest.mark.parametrize(
    "modules",
    [
        "lsp_server.cli, lsp_server.server, lsp_server.doctor, lsp_server.demo",
        "sampler.messages, sampler.stub",
        "model.hub, model.format",
    ],
)
def test_light_modules_load_no_torch(modules: str) -> None:
    subprocess.run([sys.executable, "-I", "-c", f"import {modules}; {HEAVY}"], check=True)


def test_server_start_loads_nothing_that_takes_time() -> None:
    """What only the engine, a worker thread or HTTP need is not there when an editor waits."""
    code = (
        "import sys, lsp_server.cli, lsp_server.server; "
        "slow = {'numpy', 'gguf', 'yaml', 'detect_secrets', 'starlette', 'uvicorn', "
        "'filelock', 'huggingface_hub', 'rich.console'} & set(sys.modules); assert not slow, slow"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_server_start_loads_nothing_for_terminals() -> None:
    code = (
        "import sys, lsp_server.cli, lsp_server.settings; assert 'rich.console' not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
