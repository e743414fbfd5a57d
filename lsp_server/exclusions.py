"""Which files are neither completed nor shown to a model, and why not.

Names that hold credentials, what `.gitignore` and `.seedignore` exclude, and links that lead out of
the workspace. Reads the files with the rules, anew whenever they have changed. Knows nothing of
what files hold: sizes and contents are the business of whoever reads them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec, RegexPattern

IGNORE_FILES = (".gitignore", ".seedignore")
"""In each folder the second one has the last word: `!name` there takes an exclusion back."""

CREDENTIALS = (
    *(".env", ".env.*", "*.env", ".envrc"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.ppk", "*.gpg"),
    *("*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.asc"),
    *("credentials", "credentials.*", ".credentials", ".git-credentials", "application_default_*"),
    *("secret.*", "secrets.*", "*.secret", "*.secrets", "*.tfvars", "*.tfstate"),
    *(".netrc", "_netrc", ".pgpass", ".my.cnf", ".htpasswd", ".npmrc", ".pypirc", ".dockercfg"),
    *(".ssh/", ".gnupg/", ".aws/", ".kube/", ".docker/config.json", "kubeconfig"),
)
"""Names of files and folders in lower case, as patterns of a `.gitignore`. No rule takes them
back, because rules come with a cloned repository."""

_MAX_RULES_BYTES = 256 * 1024
_credentials = GitIgnoreSpec.from_lines(CREDENTIALS)


@dataclass(frozen=True)
class _Rule:
    pattern: RegexPattern
    origin: str

    def matches(self, name: str, *, is_folder: bool) -> bool:
        """Whether the rule is about this path itself, not about a folder above it."""
        is_for_folders = self.origin.endswith("/")
        if is_for_folders and not is_folder:
            return False
        name += "/" * is_for_folders
        result = self.pattern.match_file(name)
        if result is None:
            return False
        end = result.match.groupdict().get("ps_d") and result.match.end("ps_d")
        return end is None or end == len(name)


@dataclass(frozen=True)
class _Rules:
    """One file of rules."""

    stamp: tuple[int, int]
    rules: tuple[_Rule, ...]

    def verdict(self, name: str, *, is_folder: bool) -> tuple[bool, str] | None:
        """What the last matching rule says of a path relative to the rules' folder."""
        for rule in reversed(self.rules):
            if rule.matches(name, is_folder=is_folder):
                return bool(rule.pattern.include), rule.origin
        return None


class Exclusions:
    """The rules that hold in some workspace folders, perhaps none."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = [_absolute(folder) for folder in folders]
        self._real_folders = [Path(os.path.realpath(folder)) for folder in folders]
        self._rules: dict[Path, _Rules] = {}

    def reason(self, path: Path) -> str | None:
        """Why a file is excluded, in a few words; None if it is not. It need not exist."""
        path, real = _absolute(path), Path(os.path.realpath(path))
        if self._folder_of(path, self.folders) and not self._folder_of(real, self._real_folders):
            return "it is reached by a symbolic link that leads out of the workspace"
        return self._reason(path) or (self._reason(real) if real != path else None)

    def is_inside(self, path: Path) -> bool:
        """Whether a file, links followed, lies in a folder of the workspace."""
        return self._folder_of(Path(os.path.realpath(path)), self._real_folders) is not None

    def folder_of(self, path: Path) -> Path | None:
        """The innermost workspace folder that holds a path, links not followed."""
        return self._folder_of(_absolute(path), self.folders)

    def _reason(self, path: Path) -> str | None:
        match = _credentials.check_file(str(path).lower().lstrip("/"))
        if match.include and match.index is not None:
            return f"its name is one for credentials: {CREDENTIALS[match.index]}"
        root = self._root(path)
        parts = path.relative_to(root).parts
        rules: list[tuple[int, _Rules]] = []
        for depth in range(len(parts)):
            folder = root.joinpath(*parts[:depth])
            rules += [
                (depth, found) for name in IGNORE_FILES if (found := self._read(folder / name))
            ]
            verdict = None
            for base, one in rules:
                name = "/".join(parts[base : depth + 1])
                verdict = one.verdict(name, is_folder=depth < len(parts) - 1) or verdict
            if verdict is not None and verdict[0]:
                # As in git: nothing below an excluded folder can be taken back.
                return f"a rule excludes it: {verdict[1]}"
        return None

    def _root(self, path: Path) -> Path:
        """Where rules begin: at the repository, else the workspace folder, else the file's own."""
        for folder in path.parents:
            if (folder / ".git").exists():
                return folder
        folders = (*self.folders, *self._real_folders)
        return self._folder_of(path, folders) or path.parent

    def _read(self, path: Path) -> _Rules | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._rules.get(path)
            if known is not None and known.stamp == stamp:
                return known
            if not path.is_file():
                return None
            with path.open("rb") as file:
                text = file.read(_MAX_RULES_BYTES).decode(errors="replace")
        except OSError:
            return None
        rules = []
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                spec = GitIgnoreSpec.from_lines([line.rstrip("\r")])
            except ValueError:  # git passes over a pattern that is none
                continue
            rules += [
                _Rule(pattern, f"{path}:{number}: {line.strip()}")
                for pattern in spec.patterns
                if pattern.include is not None  # a comment
            ]
        self._rules[path] = _Rules(stamp, tuple(rules))
        return self._rules[path]

    @staticmethod
    def _folder_of(path: Path, folders: Sequence[Path]) -> Path | None:
        holders = [folder for folder in folders if path.is_relative_to(folder)]
        return max(holders, key=lambda folder: len(folder.parts), default=None)


def _absolute(path: Path) -> Path:
    """Without `..`, but with the links that `Path.resolve` would follow."""
    return Path(os.path.normpath(path.absolute()))
