"""Settings: who wins, what is refused and how that is said."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.settings import ENGINE_KEYS, TRUSTED_ONLY, Settings, engine_arguments
from lsp_server.sources import Sources, fingerprint, load, load_with_origins, user_file


def sources(tmp_path: Path, **tables: Any) -> Sources:
    """Sources with one table per place; `project` and `user` are TOML text."""
    project_folder = None
    if "project" in tables:
        project_folder = tmp_path / "project"
        project_folder.mkdir()
        (project_folder / "seed-lsp.toml").write_text(tables["project"])
    if "user" in tables:
        user_file().parent.mkdir(parents=True, exist_ok=True)
        user_file().write_text(tables["user"])
    return Sources(
        command_line=tables.get("command_line", {}),
        environment=tables.get("environment", {}),
        editor=tables.get("editor"),
        project_folder=project_folder,
        config_file=tables.get("config_file"),
    )


@pytest.fixture(autouse=True)
def _own_user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))


def test_defaults_have_no_problems() -> None:
    assert load(Sources(environment={})) == (Settings(), [])


PLACES: list[tuple[str, str, Any]] = [
    ("command line", "command_line", {"max_lines": "2"}),
    ("environment", "environment", {"SEED_LSP_MAX_LINES": "3"}),
    ("editor", "editor", {"maxLines": 4}),
    ("project file", "project", "max-lines = 5"),
    ("user file", "user", "max_lines = 6"),
]


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_stronger_place_wins(strongest: int, tmp_path: Path) -> None:
    given_places = {key: value for _, key, value in PLACES[strongest:]}
    settings, origins, problems = load_with_origins(sources(tmp_path, **given_places))
    assert settings.max_lines == strongest + 2
    assert origins["max_lines"].startswith(PLACES[strongest][0])
    assert origins["mode"] == "default"
    assert problems == []


def test_bad_value_falls_through_to_the_next_place(tmp_path: Path) -> None:
    settings, problems = load(
        sources(tmp_path, environment={"SEED_LSP_MAX_LINES": "many"}, user="max_lines = 6")
    )
    assert settings.max_lines == 6
    assert [(problem.source, problem.key) for problem in problems] == [("environment", "max_lines")]


@pytest.mark.parametrize(
    ("given_table", "expected_words"),
    [
        ({"thread": 2}, ["unknown setting 'thread'", "did you mean 'threads'"]),
        ({"zzzzzzzz": 2}, ["unknown setting 'zzzzzzzz'", "known are model"]),
        ({"mode": "exat"}, ["'mode'", "ar, exact, balanced, fast", "did you mean 'exact'"]),
        ({"threads": 0}, ["'threads' must be at least 1"]),
        ({"blockSize": 65}, ["'block_size' must be between 1 and 64"]),
        ({"threads": True}, ["'threads' must be a whole number"]),
        ({"threads": 1.5}, ["'threads' must be a whole number"]),
        ({"budget_ms": "soon"}, ["'budget_ms' must be a number"]),
        ({"budget_ms": float("nan")}, ["'budget_ms' must be"]),
        ({"offline": "perhaps"}, ["'offline' must be true or false"]),
        ({"model": ["x"]}, ["'model' must be a text"]),
        ({"model": "  "}, ["'model' must not be empty"]),
        ({"device": "tpu"}, ["'device' must be auto, cpu or cuda"]),
    ],
)
def test_problem_names_key_source_and_remedy(
    given_table: dict[str, Any], expected_words: list[str], tmp_path: Path
) -> None:
    settings, problems = load(sources(tmp_path, editor=given_table))
    assert settings == Settings()
    (problem,) = problems
    assert str(problem).startswith("editor: ")
    for words in expected_words:
        assert words in problem.message


def test_editor_may_leave_keys_null(tmp_path: Path) -> None:
    assert load(sources(tmp_path, editor={"model": None, "offline": None})) == (Settings(), [])


@pytest.mark.parametrize("key", sorted(TRUSTED_ONLY))
def test_project_cannot_choose_files_or_network(key: str, tmp_path: Path) -> None:
    settings, problems = load(sources(tmp_path, project=f'{key} = "true"'))
    assert settings == Settings()
    assert f"{key!r} is ignored because a project may not set it" in problems[0].message


def test_every_setting_that_names_a_file_is_out_of_a_projects_reach() -> None:
    names = {item.name for item in fields(Settings)}
    assert {"model", "adapter", "log_file"} <= TRUSTED_ONLY <= names


def test_project_section_of_pyproject_is_found_from_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.seed-lsp]\nmode = "fast"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    settings, problems = load(Sources(environment={}, project_folder=inner))
    assert (settings.mode, problems) == ("fast", [])


def test_search_stops_at_the_repository(tmp_path: Path) -> None:
    (tmp_path / "seed-lsp.toml").write_text('mode = "fast"\n')
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    settings, _ = load(Sources(environment={}, project_folder=repository))
    assert settings.mode == "exact"


def test_config_file_replaces_the_user_file(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("max_lines = 9")
    settings, _ = load(sources(tmp_path, user="max_lines = 6\nthreads = 1", config_file=own))
    assert (settings.max_lines, settings.threads) == (9, None)


@pytest.mark.parametrize(
    ("content", "expected_words"),
    [(b"mode = ", "not valid TOML"), (b"mode = '\xff'", "not UTF-8"), (None, "cannot be read")],
)
def test_unusable_file_is_a_problem(
    content: bytes | None, expected_words: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    settings, problems = load(sources(tmp_path, config_file=path))
    assert settings == Settings()
    assert expected_words in problems[0].message
    assert str(path) in problems[0].source


def test_what_the_clients_library_reads_is_no_problem(tmp_path: Path) -> None:
    table = {"trace": {"server": "verbose"}, "max_lines": 3}
    assert load(sources(tmp_path, editor=table)) == (Settings(max_lines=3), [])


def test_cache_variable_is_no_setting() -> None:
    assert load(Sources(environment={"SEED_LSP_CACHE": "/x"}))[1] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
keys = st.text() | st.sampled_from([item.name for item in fields(Settings)])


@given(editor=json_values | st.dictionaries(keys, json_values))
def test_nothing_an_editor_sends_is_fatal(editor: Any) -> None:
    settings, _ = load(Sources(environment={}, editor=editor))
    engine_arguments(settings)


def test_engine_arguments_are_only_what_is_set(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gguf").touch()
    given_settings = Settings(model="a.gguf", threads=2, offline=True)
    assert engine_arguments(given_settings) == [
        *["--model", str(tmp_path / "a.gguf"), "--adapter", "auto"],
        *[
            "--device",
            "auto",
            "--dtype",
            "auto",
            "--kernels",
            "auto",
            "--threads",
            "2",
            "--offline",
        ],
    ]
    assert engine_arguments(Settings(adapter="none", block_size=4))[2:4] == ["--adapter", "none"]
    assert "4" in engine_arguments(Settings(block_size=4))
    assert "--threads" not in engine_arguments(Settings())
    assert engine_arguments(Settings(model="~nobody/\0"))[1] == "~nobody/\0"
    assert engine_arguments(Settings())[:2] == ["--model", "qwen2.5-coder-0.5b"]


OTHER_VALUES: dict[str, Any] = {"mode": "fast", "layout": "psm", "kernels": "torch"}


@pytest.mark.parametrize("item", fields(Settings), ids=lambda item: item.name)
def test_the_engine_depends_on_the_engine_keys_alone(item: Any) -> None:
    value = OTHER_VALUES.get(item.name)
    if value is None:
        value = not item.default if isinstance(item.default, bool) else 7
    if isinstance(item.default, str) and not isinstance(value, str):
        value = "other"
    changed = engine_arguments(replace(Settings(), **{item.name: value}))
    assert (changed != engine_arguments(Settings())) == (item.name in ENGINE_KEYS)


def test_fingerprint_changes_with_each_file_that_counts(tmp_path: Path) -> None:
    given_sources = sources(tmp_path, project="max_lines = 5", user="max_lines = 6")
    assert given_sources.project_folder is not None
    before = fingerprint(given_sources)
    assert fingerprint(given_sources) == before
    (given_sources.project_folder / "seed-lsp.toml").write_text("max_lines = 55")
    after = fingerprint(given_sources)
    assert after != before
    user_file().unlink()
    assert fingerprint(given_sources) != after
    (tmp_path / "pyproject.toml").write_text("")
    assert fingerprint(given_sources)[1:] != after[1:]
