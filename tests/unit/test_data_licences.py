"""What a release says about its licence, and what follows from it."""

from email.message import Message

import pytest

from training.data import licences
from training.data.licences import ALLOWED, LicenceError, licence_of

MIT_TEXT = "MIT\n\nPermission is hereby granted, free of\ncharge, to any person obtaining a copy"
BSD_3_TEXT = "Redistribution and use in source and binary forms ...\nNeither the name of the"
BSD_2_TEXT = "Redistribution and use in source and binary forms, with or without"
GPL_TEXT = "                    GNU GENERAL PUBLIC LICENSE\n          Version 3, 29 June 2007"


def metadata(**fields: str | list[str]) -> Message:
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


def classified(*titles: str) -> Message:
    return metadata(Classifier=[f"License :: OSI Approved :: {title}" for title in titles])


@pytest.mark.parametrize(
    ("said", "texts", "expected"),
    [
        (metadata(License_Expression="MIT"), [], "MIT"),
        (metadata(License_Expression="mit or GPL-3.0-only"), [], "MIT OR GPL-3.0-only"),
        (metadata(License_Expression="Apache-2.0 AND MIT"), [], "Apache-2.0 AND MIT"),
        (classified("MIT License"), [], "MIT"),
        (classified("Apache Software License", "BSD License"), [], "Apache-2.0 AND LicenseRef-BSD"),
        (classified("BSD License"), [BSD_3_TEXT], "BSD-3-Clause"),
        (classified("BSD License"), [BSD_2_TEXT], "BSD-2-Clause"),
        (metadata(License="Apache License, Version 2.0"), [], "Apache-2.0"),
        (metadata(License="new  BSD License."), [], "BSD-3-Clause"),
        (metadata(License="MIT OR Apache-2.0"), [], "MIT OR Apache-2.0"),
        (metadata(License=MIT_TEXT), [], "MIT"),
        (metadata(License="UNKNOWN"), [MIT_TEXT], "MIT"),
        (metadata(), ["Apache License\n  Version 2.0, January 2004"], "Apache-2.0"),
        # A generic classifier says nothing, what is carried along does not count.
        (metadata(Classifier="License :: OSI Approved", License="ISC"), [], "ISC"),
        (metadata(Classifier=["License :: DFSG approved"], License="MIT"), [], "MIT"),
        (metadata(License="MIT"), [MIT_TEXT, GPL_TEXT], "MIT"),
        (
            metadata(License_Expression="Apache-2.0 WITH LLVM-exception"),
            [],
            "Apache-2.0 WITH LLVM-exception",
        ),
        # The newer field wins over the older ones.
        (metadata(License_Expression="MIT", License="GPL"), [], "MIT"),
    ],
)
def test_a_permissive_licence_is_known(said: Message, texts: list[str], expected: str) -> None:
    assert licence_of(said, texts) == expected


@pytest.mark.parametrize(
    ("said", "texts", "why"),
    [
        (metadata(), [], "unclear"),
        (metadata(), ["All rights reserved."], "unclear"),
        (metadata(), [GPL_TEXT], "unclear"),
        (metadata(License_Expression="MPL-2.0"), [], "MPL-2.0 is not on the list"),
        (metadata(License_Expression="MIT AND GPL-3.0-only"), [], "not on the list"),
        (metadata(License_Expression="LicenseRef-Mine"), [], "no SPDX expression"),
        (metadata(License="Do what you like"), [], "no SPDX expression"),
        (classified("MIT License", "GNU General Public License v3 (GPLv3)"), [], "GNU General"),
        (metadata(Classifier="License :: Other/Proprietary License"), [MIT_TEXT], "Proprietary"),
        (classified("MIT License"), [GPL_TEXT], "copyleft by the licence file"),
    ],
)
def test_what_is_unclear_or_not_permissive_is_refused(
    said: Message, texts: list[str], why: str
) -> None:
    with pytest.raises(LicenceError, match=why):
        licence_of(said, texts)


def test_all_our_names_of_licences_are_allowed() -> None:
    names = {*licences._CLASSIFIERS.values(), *licences._NAMES.values()}
    names |= {name for name, _ in licences._TEXTS}
    assert names <= ALLOWED
