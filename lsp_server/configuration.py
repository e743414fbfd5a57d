"""The settings of a running server: read again whenever a source of theirs may have changed.

Holds what the editor has said so far. Knows neither LSP nor what happens when a setting changes.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from lsp_server.settings import Problem, Settings
from lsp_server.sources import Sources, canonical_key, fingerprint, load


class Configuration:
    """Settings that hold now, and the problems that nobody was told of yet."""

    def __init__(self, sources: Sources):
        self._sources = sources
        self._introduced: Mapping[str, object] = {}
        self._told: set[Problem] = set()
        self._read()

    def introduce(self, options: object, project_folder: Path | None) -> None:
        """The editor has introduced itself, with options of its own if it has any."""
        self._introduced = _table(options)
        self._sources = replace(self._sources, editor=options, project_folder=project_folder)
        self._read()

    def use_section(self, section: object) -> None:
        """The editor has told its section `seed-lsp`; its keys win over those of `introduce`."""
        if section is None:
            return
        is_table = isinstance(section, Mapping)
        merged = {**self._introduced, **_table(section)} if is_table else section
        self._sources = replace(self._sources, editor=merged)
        self._read()

    def refresh(self) -> bool:
        """Read the files again if one of them has changed; costs a few `stat` calls if not."""
        if fingerprint(self._sources) == self._fingerprint:
            return False
        self._read()
        return True

    def new_problems(self) -> list[Problem]:
        """What is wrong with the settings, each problem once for as long as it lasts."""
        new = [problem for problem in self._problems if problem not in self._told]
        self._told = set(self._problems)
        return new

    def _read(self) -> None:
        self._fingerprint = fingerprint(self._sources)
        self.settings, self._problems = load(self._sources)


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """The settings that differ, in the order of their definition."""
    names = [item.name for item in fields(Settings)]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def _table(given: object) -> dict[str, object]:
    """Settings as an editor sent them, by the names that they have here."""
    if isinstance(given, Mapping) and isinstance(given.get("seed-lsp"), Mapping):
        given = given["seed-lsp"]
    if not isinstance(given, Mapping):
        return {}
    return {canonical_key(str(key)): value for key, value in given.items()}
