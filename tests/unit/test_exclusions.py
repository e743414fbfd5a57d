"""What is excluded, compared with git where git knows, and why."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsp_server.exclusions import Exclusions


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", "prod.env", "id_rsa", "ID_ED25519.pub", "server.pem", "tls.key"),
        *(".netrc", "credentials", "credentials.json", "secrets.yaml", "src/secrets.py"),
        *("terraform.tfvars", ".ssh/config", "src/.aws/anything", ".npmrc", "store.p12"),
    ],
)
def test_credentials_by_name(project: Path, name: str) -> None:
    (project / ".seedignore").write_text("!*\n!**/*\n")
    reason = Exclusions([project]).reason(project / name)
    assert reason is not None
    assert "credentials" in reason


@pytest.mark.parametrize(
    "name", ["environment.py", "keys.py", "monkey.py", "secretary.py", "src/env/main.py", "a.keys"]
)
def test_ordinary_names(project: Path, name: str) -> None:
    assert Exclusions([project]).reason(project / name) is None


def test_the_reason_names_the_rule(project: Path) -> None:
    rules = project / "src" / ".gitignore"
    rules.write_text("# logs\n\n*.log\n")
    assert Exclusions([project]).reason(project / "src" / "deep" / "a.log") == (
        f"a rule excludes it: {rules}:3: *.log"
    )


def test_own_rules_have_the_last_word(project: Path) -> None:
    (project / ".gitignore").write_text("generated/\n*.min.js\n")
    (project / ".seedignore").write_text("!generated/\nprivate/\n")
    exclusions = Exclusions([project])
    assert exclusions.reason(project / "generated" / "api.py") is None
    assert exclusions.reason(project / "generated" / "api.min.js") is not None
    assert exclusions.reason(project / "src" / "private" / "a.py") is not None


def test_rules_are_read_again_when_they_change(project: Path) -> None:
    exclusions = Exclusions([project])
    path = project / "a.py"
    assert exclusions.reason(path) is None
    (project / ".gitignore").write_text("a.py\n")
    assert exclusions.reason(path) is not None
    (project / ".gitignore").write_text("other.py\n")
    assert exclusions.reason(path) is None


def test_rules_above_the_workspace_folder_count_up_to_the_repository(project: Path) -> None:
    (project.parent / ".gitignore").write_text("*\n")
    (project / ".gitignore").write_text("top.py\n")
    exclusions = Exclusions([project / "src"])
    assert exclusions.reason(project / "src" / "top.py") is not None
    assert exclusions.reason(project / "src" / "other.py") is None


def test_links_do_not_lead_out_of_the_workspace(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("x = 1\n")
    (project / "link.py").symlink_to(outside)
    (project / "folder").symlink_to(tmp_path)
    (project / "inner.py").symlink_to(project / "src" / "x.py")
    exclusions = Exclusions([project])
    assert "link" in (exclusions.reason(project / "link.py") or "")
    assert "link" in (exclusions.reason(project / "folder" / "outside.py") or "")
    assert exclusions.reason(project / "inner.py") is None
    assert not exclusions.is_inside(project / "link.py")
    assert exclusions.is_inside(project / "src" / ".." / "inner.py")
    assert not exclusions.is_inside(project / ".." / "outside.py")


def test_a_link_to_credentials_is_excluded(project: Path) -> None:
    (project / ".env").write_text("A=1\n")
    (project / "settings.py").symlink_to(project / ".env")
    assert Exclusions([project]).reason(project / "settings.py") is not None


def test_a_workspace_that_is_itself_a_link(project: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(project)
    (project / ".gitignore").write_text("b.py\n")
    exclusions = Exclusions([tmp_path / "alias"])
    assert exclusions.reason(tmp_path / "alias" / "a.py") is None
    assert exclusions.reason(tmp_path / "alias" / "b.py") is not None
    assert exclusions.is_inside(tmp_path / "alias" / "a.py")


@pytest.mark.parametrize("rules", [b"\xff\xfe[", b"[\n!\n\\\n", b"\0\0", b"***/***\n/\n//\n"])
def test_damaged_rules_are_no_error(project: Path, rules: bytes) -> None:
    (project / ".gitignore").write_bytes(rules + b"\nlast.py\n")
    assert Exclusions([project]).reason(project / "last.py") is not None


def test_rules_that_are_a_folder_are_no_error(project: Path) -> None:
    (project / ".gitignore").mkdir()
    assert Exclusions([project]).reason(project / "a.py") is None


NAMES = ["a", "b", "a.x", "b.x", "d"]
PATTERNS = [
    *NAMES,
    "d/**",
    "!d/a",
    "*.x",
    "/a",
    "d/",
    "!a",
    "!b.x",
    "!d/",
    "d/a",
    "**/b",
    "!*.x",
    "a*",
    "/d/*",
    "# a",
]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.sampled_from(PATTERNS), max_size=4),
    st.lists(st.sampled_from(PATTERNS), max_size=4),
    st.lists(st.sampled_from(PATTERNS), max_size=3),
)
def test_as_git_does(
    tmp_path: Path, outer: list[str], inner: list[str], innermost: list[str]
) -> None:
    folder = tmp_path / "repository"
    if not (folder / ".git").exists():
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        (folder / "d" / "d").mkdir(parents=True)
    for place, rules in (("", outer), ("d", inner), ("d/d", innermost)):
        (folder / place / ".gitignore").write_text("\n".join(rules) + "\n")
    paths = [f"{place}{name}" for place in ("", "d/", "d/d/") for name in NAMES if name != "d"]
    listed = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=folder,
        input="\n".join(paths),
        capture_output=True,
        check=False,
        text=True,
        env={"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path)},
    )
    assert listed.returncode in (0, 1), listed.stderr
    exclusions = Exclusions([folder])
    excluded = {path for path in paths if exclusions.reason(folder / path)}
    assert excluded == set(listed.stdout.split("\n")) - {""}
