"""Which packages, and the files of one: fetched, licence checked, decoded, not yet filtered."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.data.fetch import Fetch, NoWheelError
from training.data.filters import decode
from training.data.licences import LicenceError, licence_of
from training.data.manifest import Entry, ManifestError
from training.data.source import Release, SourceFile
from training.data.standard_library import NAME as STANDARD_LIBRARY
from training.data.standard_library import standard_library
from training.data.wheels import WheelError, python_files, read_wheel

OUR_LIST = Path(__file__).with_name("packages.txt")
OUR_MANIFEST = Path(__file__).with_name("manifest.jsonl")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class PackageError(ValueError):
    """A list of packages that cannot be used; one sentence for a person."""


def read_list(path: Path) -> tuple[str, ...]:
    """The names in a file, one a line, in its order and in normal form (PEP 503).

    Empty lines and what follows a `#` do not count.

    Raises:
        PackageError: if there is no such file, or a line is no name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise PackageError(f"{path} is no list of packages: it is no UTF-8.") from error
    names = []
    for number, line in enumerate(lines, start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        if not _NAME.fullmatch(name) or name == STANDARD_LIBRARY:
            raise PackageError(f"{path}, line {number}: {name!r} is no package's name.")
        names.append(re.sub(r"[-_.]+", "-", name).lower())
    if not names:
        raise PackageError(f"{path} names no packages.")
    return tuple(dict.fromkeys(names))


def package_files(
    name: str, pins: Mapping[str, Entry], fetch: Fetch, scratch: Path
) -> Iterator[SourceFile]:
    """The Python files of a package, those refused without their text.

    A package that is refused as a whole is one file without a path.

    Args:
        name: of the list, or `standard_library.NAME`.
        pins: releases that have to be taken where they are named.
        fetch: gets the wheel.
        scratch: folder in which one for the wheel is made, and removed at the end.

    Raises:
        ManifestError: if a pinned release is not to be had any more.
        FetchError: if pip or the network fails.
    """
    if name == STANDARD_LIBRARY:
        release, contents = standard_library()
        yield from _decoded(release, iter(contents))
        return
    pin = pins[name].release if name in pins else None
    refused = SourceFile(pin or Release(name), "", "")
    with tempfile.TemporaryDirectory(dir=scratch, prefix="wheel-") as folder:
        try:
            path = fetch(name, pin, Path(folder))
            wheel = read_wheel(path)
            refused = SourceFile(Release(name, wheel.version, wheel.sha256), "", "")
            licence = licence_of(wheel.metadata, wheel.licence_texts)
            release = Release(name, wheel.version, wheel.sha256, licence)
            yield from _decoded(release, python_files(path))
        except NoWheelError as error:
            if pin:
                raise ManifestError(
                    f"{name} {pin.version} of the manifest cannot be had: {error}."
                ) from error
            yield refused.drop("fetch", str(error))
        except WheelError as error:
            yield refused.drop("archive", str(error))
        except LicenceError as error:
            yield refused.drop("licence", str(error))


def _decoded(release: Release, contents: Iterator[tuple[str, bytes]]) -> Iterator[SourceFile]:
    is_empty = True
    for path, content in contents:
        is_empty = False
        text = decode(content)
        file = SourceFile(release, path, text or "")
        yield file.drop("text", "no UTF-8") if text is None else file
    if is_empty:
        yield SourceFile(release, "", "").drop("archive", "it has no Python files")
