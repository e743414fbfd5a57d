"""Where settings come from, and what was wrong with what was found there.

Values come from six places; the first that names a key wins: command line, environment
(`SEED_LSP_*`), editor, project file, user file, default. A bad value is reported as a `Problem` and
the next place is asked, so settings never stop the server. Knows neither LSP nor what a setting
means.
"""

import contextlib
import difflib
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

import cattrs
from platformdirs import user_config_path

from lsp_server.settings import PREFIX, TRUSTED_ONLY, Problem, Settings

PROJECT_FILE = "seed-lsp.toml"
NOT_SETTINGS = frozenset({"CACHE", "API_KEY"})
"""Environment names with our prefix that other modules read."""
EDITORS_OWN = frozenset({"trace"})
"""Keys of an editor's section that its client library reads."""


@dataclass(frozen=True)
class Sources:
    """Where settings are read from. Texts from a shell are parsed, values from a file are checked.

    Attributes:
        command_line: option name to its text or value; None means not given.
        environment: usually `os.environ`; only names that start with `SEED_LSP_` count.
        editor: the editor's settings as they came over the wire, or a table with a `seed-lsp`
            section of them.
        project_folder: where the search for a project file starts, upwards.
        config_file: read instead of the user file, e.g. `--config`.
    """

    command_line: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(os.environ))
    editor: object = None
    project_folder: Path | None = None
    config_file: Path | None = None


def load(sources: Sources | None = None) -> tuple[Settings, list[Problem]]:
    """The settings that hold now, and what had to be ignored. Never raises on bad input."""
    settings, _, problems = load_with_origins(sources)
    return settings, problems


def load_with_origins(
    sources: Sources | None = None,
) -> tuple[Settings, dict[str, str], list[Problem]]:
    """Like `load`, plus the source of each key, e.g. `{"mode": "environment", ...}`."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = dict.fromkeys(_KEYS, "default")
    problems: list[Problem] = []
    for source, table in _tables(sources or Sources(), problems):
        for given, raw in table.items():
            if raw is None:  # how editors say "not set"
                continue
            key = canonical_key(str(given))
            try:
                _check_key(key, str(given), is_project=source.startswith("project"))
                value = _parse(key, raw)
            except ValueError as error:
                problems.append(Problem(source, key, str(error)))
                continue
            if origins[key] == "default":
                values[key], origins[key] = value, source
    return replace(Settings(), **values), origins, problems


def user_file() -> Path:
    """The user's own settings file; it need not exist."""
    return user_config_path("seed-lsp", appauthor=False) / "config.toml"


_KEYS = {item.name: item for item in fields(Settings)}
_TYPES = get_type_hints(Settings)
_CHOICES: dict[str, tuple[str, ...]] = {
    name: kind.__args__
    for name, kind in _TYPES.items()
    if getattr(kind, "__origin__", 0) is Literal
}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _tables(
    sources: Sources, problems: list[Problem]
) -> Iterator[tuple[str, Mapping[Any, object]]]:
    """Every place with its table of raw values, strongest first."""
    yield "command line", sources.command_line
    environment = {
        name.removeprefix(PREFIX): value
        for name, value in sources.environment.items()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in NOT_SETTINGS
    }
    yield "environment", environment
    editor = sources.editor
    if isinstance(editor, Mapping) and isinstance(editor.get("seed-lsp"), Mapping):
        editor = editor["seed-lsp"]
    if isinstance(editor, Mapping):
        yield "editor", {key: value for key, value in editor.items() if key not in EDITORS_OWN}
    elif editor is not None:
        problems.append(Problem("editor", "", "the section seed-lsp must be a table of settings"))
    if sources.project_folder is not None:
        path, table = _project_table(sources.project_folder, problems)
        yield f"project file {path}", table
    path = sources.config_file or user_file()
    if sources.config_file is not None or path.is_file():
        yield f"user file {path}", _read_toml(path, "user file", problems)


def _project_table(folder: Path, problems: list[Problem]) -> tuple[Path, Mapping[str, object]]:
    """The nearest project settings at or above `folder`, within the repository that holds it."""
    try:
        for own, shared in _project_files(folder):
            if own.is_file():
                return own, _read_toml(own, "project file", problems)
            if shared.is_file():
                section = _project_section(_read_toml(shared, "project file", problems))
                if section:
                    return shared, section
    except PermissionError:
        pass
    return folder, {}


def _project_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The places of a project's settings from `folder` upwards, to the repository's own folder."""
    for candidate in (folder, *folder.parents):
        yield candidate / PROJECT_FILE, candidate / "pyproject.toml"
        if (candidate / ".git").exists():
            return


def fingerprint(sources: Sources) -> tuple[object, ...]:
    """Changes whenever a settings file is written, appears or vanishes; a few `stat` calls."""
    paths = [sources.config_file or user_file()]
    if sources.project_folder is not None:
        with contextlib.suppress(PermissionError):
            paths += chain.from_iterable(_project_files(sources.project_folder))
    return tuple((path, _stamp(path)) for path in paths)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _read_toml(path: Path, source: str, problems: list[Problem]) -> dict[str, Any]:
    """The tables of a file; an unreadable or malformed one is a problem and empty."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        reason = f"this is not valid TOML and is ignored: {error}"
    except UnicodeDecodeError:
        reason = "this is not UTF-8 text and is ignored"
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or error}"
    problems.append(Problem(f"{source} {path}", "", reason))
    return {}


def _project_section(table: Mapping[str, Any]) -> Mapping[str, object]:
    tool = table.get("tool")
    section = tool.get("seed-lsp") if isinstance(tool, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def canonical_key(given: str) -> str:
    """`blockSize`, `block-size` and `BLOCK_SIZE` all name `block_size`."""
    if not given.isupper():
        given = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", given)
    return given.replace("-", "_").lower()


def _check_key(key: str, given: str, *, is_project: bool) -> None:
    """Raise ValueError for a key that does not exist or may not be set there."""
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
        advice = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_KEYS)}"
        raise ValueError(f"unknown setting {given!r} is ignored{advice}")
    if is_project and key in TRUSTED_ONLY:
        raise ValueError(
            f"{key!r} is ignored because a project may not set it; put it into {user_file()}"
        )


def _parse(key: str, raw: object) -> Any:
    """The checked value of a key; raises ValueError with one sentence."""
    kind, rules = _TYPES[key], _KEYS[key].metadata
    if raw == "" and _KEYS[key].default is None:
        return None
    if key in _CHOICES:
        text = str(raw).lower()
        if text not in _CHOICES[key]:
            near = difflib.get_close_matches(text, _CHOICES[key], n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            expected = ", ".join(_CHOICES[key])
            raise ValueError(f"{key!r} must be one of {expected}, not {raw!r}{advice}")
        return text
    if kind is bool:
        return _parse_bool(key, raw)
    if kind == tuple[str, ...]:
        return _parse_list(key, raw)
    is_text = kind in (str, str | None)
    if isinstance(raw, bool) or (is_text and not isinstance(raw, str)):
        raise ValueError(f"{key!r} must be {_describe(kind)}, not {raw!r}")
    try:
        value = _converter.structure(raw, kind)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key!r} must be {_describe(kind)}, not {raw!r}") from error
    if isinstance(raw, float) and value != raw:
        raise ValueError(f"{key!r} must be {_describe(kind)}, not {raw!r}")
    return _check_bounds(key, value, rules)


def _parse_bool(key: str, raw: object) -> bool:
    text = str(raw).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{key!r} must be true or false, not {raw!r}")
    return text in _TRUE


def _parse_list(key: str, raw: object) -> tuple[str, ...]:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{key!r} must be a list of texts, not {raw!r}")
    return tuple(item.strip() for item in items if item.strip())


def _check_bounds(key: str, value: Any, rules: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"{key!r} must not be empty")
        if "pattern" in rules and not re.fullmatch(rules["pattern"], value):
            raise ValueError(f"{key!r} must be {rules['help']}, not {value!r}")
        return value
    least = rules.get("minimum", 0)
    most = rules.get("maximum", sys.float_info.max)
    if not least <= value <= most:
        bounds = f"at least {least}" if "maximum" not in rules else f"between {least} and {most}"
        raise ValueError(f"{key!r} must be {bounds}, not {value}")
    return value


def _describe(kind: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number"}
    return next(text for plain, text in names.items() if kind in (plain, plain | None))


_converter = cattrs.Converter()
_converter.register_structure_hook(
    int | None, lambda value, _: None if value is None else int(value)
)
_converter.register_structure_hook(
    float | None, lambda value, _: None if value is None else float(value)
)
