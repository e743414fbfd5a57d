"""Which licence a release is under, as an SPDX expression, and whether its code may be learnt from.

Sources, the first that says something decides: the License-Expression of PEP 639, the classifiers,
the field License, the text of the licence file. What is unclear is refused. Not a lawyer.
"""

import re
from collections.abc import Sequence
from email.message import Message
from functools import cache
from typing import Any

from license_expression import ExpressionError, get_spdx_licensing

ALLOWED = frozenset(
    {
        *("MIT", "MIT-0", "Apache-2.0", "ISC", "Zlib"),
        *("0BSD", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "LicenseRef-BSD"),
        *("PSF-2.0", "Python-2.0", "Python-2.0.1", "CNRI-Python"),
        *("Unlicense", "CC0-1.0"),
    }
)
"""`LicenseRef-BSD` is ours: some BSD licence, nobody says which."""

_BSD = ("BSD-2-Clause", "BSD-3-Clause")
_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "LicenseRef-BSD",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
}
_GENERIC = ("OSI Approved", "DFSG approved")
"""Titles that name no licence."""
_NAMES = {
    **dict.fromkeys(("mit", "mit license", "the mit license", "the mit license (mit)"), "MIT"),
    **dict.fromkeys(("mit licence", "expat", "expat license", "mit-license"), "MIT"),
    **dict.fromkeys(
        (
            *("apache", "apache 2", "apache 2.0", "apache2", "apache2.0", "apache-2", "asl 2"),
            *("apache license 2.0", "apache license, version 2.0", "apache license version 2.0"),
            *("apache software license 2.0", "apache software license", "apache license"),
            *("apache license, 2.0", "apache license v2.0", "apache v2", "asl 2.0", "apache v2.0"),
            *("apache 2.0 license", "apache-2.0 license", "the apache license, version 2.0"),
        ),
        "Apache-2.0",
    ),
    **dict.fromkeys(
        ("bsd", "bsd license", "bsd-like", "bsd style", "bsd licence"), "LicenseRef-BSD"
    ),
    **dict.fromkeys(
        (
            *("new bsd", "new bsd license", "modified bsd", "modified bsd license", "bsd 3"),
            *("3-clause bsd", "3-clause bsd license", "bsd 3-clause", "bsd 3-clause license"),
            *("bsd-3-clause license", "bsd 3 clause", "bsd (3 clause)", "bsd3", "bsd-3"),
            *("the bsd 3-clause license", "revised bsd license", "bsd license (3-clause)"),
        ),
        "BSD-3-Clause",
    ),
    **dict.fromkeys(
        ("simplified bsd", "2-clause bsd", "2-clause bsd license", "bsd 2-clause", "bsd-2"),
        "BSD-2-Clause",
    ),
    **dict.fromkeys(("isc", "isc license", "iscl", "isc licence"), "ISC"),
    **dict.fromkeys(
        ("psf", "psfl", "psf license", "python software foundation license", "psf-2", "python"),
        "PSF-2.0",
    ),
    **dict.fromkeys(("unlicense", "the unlicense", "unlicence"), "Unlicense"),
    **dict.fromkeys(("zlib", "zlib license"), "Zlib"),
    **dict.fromkeys(("cc0", "cc0 1.0", "cc0-1.0"), "CC0-1.0"),
}
"""Spellings in the field License that are no SPDX expressions, in lower case."""

_TEXTS: Sequence[tuple[str, str]] = (
    ("Apache-2.0", r"apache license,? version 2\.0"),
    ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("ISC", r"permission to use, copy, modify, and/or distribute this software for any purpose"),
    ("ISC", r"permission to use, copy, modify, and distribute this software for any purpose"),
    ("BSD-3-Clause", r"redistribution and use in source and binary.*neither the name"),
    ("BSD-3-Clause", r"redistribution and use in source and binary.*may not be used to endorse"),
    ("BSD-2-Clause", r"redistribution and use in source and binary"),
    ("PSF-2.0", r"python software foundation license version 2"),
    ("Unlicense", r"this is free and unencumbered software released into the public domain"),
    ("CC0-1.0", r"cc0 1\.0 universal"),
    ("Zlib", r"this software is provided 'as-is', without any express or implied warranty"),
)
"""Words that only the text of this licence has; the first that is found decides."""
_COPYLEFT = re.compile(
    r"gnu (lesser |affero |library )?general public|mozilla public license|eclipse public"
    r"|european union public|server side public|business source license|commons clause"
    r"|elastic license|creative commons attribution-(share|non)",
)
_HEAD_CHARS = 1_500
"""Where a licence file has its title."""


class LicenceError(ValueError):
    """A release whose code is not to be used; says why, without naming it."""


def licence_of(metadata: Message, texts: Sequence[str]) -> str:
    """The SPDX expression of a release, if it allows what we do.

    Args:
        metadata: core metadata of the release.
        texts: its licence files, the main one first.

    Raises:
        LicenceError: if the licence is unclear or not permissive.
    """
    claim = (
        _from_expression(_field(metadata, "License-Expression"))
        or _from_classifiers(metadata.get_all("Classifier") or [])
        or _from_field(_field(metadata, "License"))
        or _from_texts(texts)
    )
    if claim is None:
        raise LicenceError("unclear, neither metadata nor a licence file say it")
    if "LicenseRef-BSD" in claim:
        version = next((name for name in map(_text_licence, texts) if name in _BSD), None)
        claim = claim.replace("LicenseRef-BSD", version or "LicenseRef-BSD")
    # Only the main file: others are those of what the package carries along or speaks of.
    if texts and _COPYLEFT.search(_normal(texts[0])[:_HEAD_CHARS]) and " OR " not in claim:
        raise LicenceError(f"{claim} by the metadata, copyleft by the licence file")
    return claim


def _field(metadata: Message, name: str) -> str:
    value = str(metadata.get(name) or "").strip()
    return "" if value.lower() in ("unknown", "none") else value


def _from_expression(expression: str) -> str | None:
    return _checked(expression) if expression else None


def _from_classifiers(classifiers: Sequence[str]) -> str | None:
    """All of them, as if all had to be kept: whether one may choose, classifiers cannot say."""
    titles = [
        str(classifier).rpartition(" :: ")[2]
        for classifier in classifiers
        if str(classifier).startswith("License :: ")
    ]
    titles = [title for title in dict.fromkeys(titles) if title not in _GENERIC]
    for title in titles:
        if title not in _CLASSIFIERS:
            raise LicenceError(f"{title[:60]} is not on the list")
    return " AND ".join(_CLASSIFIERS[title] for title in titles) or None


def _from_field(value: str) -> str | None:
    """A name, an expression, or in some releases the whole text."""
    if not value:
        return None
    if len(value) > 200 or "\n" in value:
        return _from_texts([value])
    name = re.sub(r"\s+", " ", value).strip(" .\"'").lower()
    if name in _NAMES:
        return _NAMES[name]
    return _checked(value)


def _from_texts(texts: Sequence[str]) -> str | None:
    """What the main licence file is the text of."""
    return next((name for name in map(_text_licence, texts) if name is not None), None)


def _text_licence(text: str) -> str | None:
    words = _normal(text)
    if _COPYLEFT.search(words[:_HEAD_CHARS]):
        return None
    return next((name for name, pattern in _TEXTS if re.search(pattern, words)), None)


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text).lower()


@cache
def _licensing() -> Any:
    return get_spdx_licensing()


def _checked(expression: str) -> str:
    """A valid SPDX expression in its normal form, if it is allowed."""
    try:
        tree = _licensing().parse(expression, validate=True)
    except ExpressionError as error:
        raise LicenceError(f"unclear, {expression[:60]!r} is no SPDX expression") from error
    if not _is_allowed(tree):
        raise LicenceError(f"{str(tree)[:60]} is not on the list")
    return str(tree)


def _is_allowed(tree: Any) -> bool:
    """Whether every needed licence is on the list; of alternatives one is enough."""
    operator = getattr(tree, "operator", "").strip()
    if operator:
        return (all if operator == "AND" else any)(map(_is_allowed, tree.args))
    # An exception behind WITH permits more than the licence alone.
    return str(tree).partition(" WITH ")[0] in ALLOWED
