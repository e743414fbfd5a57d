"""The settings of a running server follow their sources."""

from pathlib import Path

import pytest

from lsp_server.configuration import Configuration, changed_keys
from lsp_server.settings import Settings
from lsp_server.sources import Sources, user_file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


def test_files_are_followed(project: Path) -> None:
    configuration = Configuration(Sources(environment={}))
    configuration.introduce(None, project)
    assert not configuration.refresh()
    (project / "seed-lsp.toml").write_text("max_lines = 3\n")
    assert configuration.refresh()
    assert configuration.settings.max_lines == 3
    user_file().parent.mkdir(parents=True)
    user_file().write_text("max_new_tokens = 7\n")
    assert configuration.refresh()
    assert configuration.settings.max_new_tokens == 7
    (project / "seed-lsp.toml").unlink()
    assert configuration.refresh()
    assert configuration.settings == Settings(max_new_tokens=7)


def test_a_section_wins_over_the_options_key_by_key(project: Path) -> None:
    configuration = Configuration(Sources(environment={}))
    configuration.introduce({"maxLines": 3, "mode": "ar"}, project)
    configuration.use_section({"max_lines": 4})
    assert configuration.settings == Settings(max_lines=4, mode="ar")
    configuration.use_section({"seed-lsp": {"max-lines": 5}})
    assert configuration.settings == Settings(max_lines=5, mode="ar")
    configuration.use_section({})
    assert configuration.settings == Settings(max_lines=3, mode="ar")
    configuration.use_section(None)
    assert configuration.settings == Settings(max_lines=3, mode="ar")


def test_each_problem_is_new_once_for_as_long_as_it_lasts(project: Path) -> None:
    configuration = Configuration(Sources(environment={}))
    configuration.use_section({"max_line": 3})
    (problem,) = configuration.new_problems()
    assert "did you mean 'max_lines'" in problem.message
    configuration.use_section({"max_line": 3, "mode": "ar"})
    assert configuration.new_problems() == []
    configuration.use_section({})
    assert configuration.new_problems() == []
    configuration.use_section({"max_line": 3})
    assert configuration.new_problems() == [problem]


def test_nonsense_from_an_editor_is_a_problem(project: Path) -> None:
    configuration = Configuration(Sources(environment={}))
    problems = []
    for nonsense in ([1], "text", 7):
        configuration.use_section(nonsense)
        assert configuration.settings == Settings()
        problems += configuration.new_problems()
    assert [str(problem) for problem in problems] == [
        "editor: the section seed-lsp must be a table of settings"
    ]


def test_changed_keys_are_named_in_order() -> None:
    assert changed_keys(Settings(), Settings()) == []
    assert changed_keys(Settings(), Settings(threads=2, mode="ar")) == ["threads", "mode"]
