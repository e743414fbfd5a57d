"""What flows through the stages: source files, each with the release that it came from.

A stage takes files and yields files. One that refuses a file does not swallow it: it passes it on
without its text and with the reason, so that the last stage can tell what became of everything.
Knows no stage.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Release:
    """One release of a package, as it was fetched."""

    name: str
    version: str = ""
    sha256: str = ""
    """Of the archive, in hexadecimal digits."""
    licence: str = ""
    """SPDX expression; empty if the package was refused before it was known."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a release; `\\n` ends its lines."""

    release: Release
    path: str
    """Inside the archive, with `/`; empty where the whole release is meant."""
    text: str = field(repr=False)
    dropped: str = ""
    """`stage: reason` of the stage that refused it, after which `text` is empty."""
    replaced: tuple[tuple[str, int], ...] = ()
    """What was replaced in the text, and how often (`scrub`)."""

    def drop(self, stage: str, reason: str) -> "SourceFile":
        """The same file, refused."""
        return replace(self, text="", dropped=f"{stage}: {reason}")


Stage = Callable[[Iterable[SourceFile]], Iterator[SourceFile]]
"""Files in, the same files out, some of them changed or dropped."""


def each(
    change: Callable[[SourceFile], SourceFile], files: Iterable[SourceFile]
) -> Iterator[SourceFile]:
    """Apply a change to each file that was not dropped before."""
    for file in files:
        yield file if file.dropped else change(file)
