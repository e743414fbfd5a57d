"""Schema and reference say what the code does; the shipped files are the generated ones."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lsp_server import schema
from lsp_server.settings import Settings
from lsp_server.sources import Sources, load

ROOT = Path(__file__).parents[2]
PROPERTIES: dict[str, dict[str, Any]] = schema.schema()["properties"]


def test_shipped_schema_is_the_generated_one() -> None:
    assert schema.SCHEMA_FILE.read_text() == schema.schema_text(), (
        "run `.venv/bin/seed-lsp config schema > lsp_server/settings.schema.json`"
    )


def test_reference_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == schema.reference(), (
        "run `.venv/bin/seed-lsp config reference > docs/settings.md`"
    )


def test_every_setting_is_in_schema_and_reference() -> None:
    names = [item.name for item in fields(Settings)]
    assert list(PROPERTIES) == names
    for name in names:
        assert f"| `{name}`" in schema.reference()
        assert PROPERTIES[name]["description"]


def accepted(key: str, value: object) -> bool:
    _, problems = load(Sources(environment={}, editor={key: value}, config_file=Path("/dev/null")))
    return not problems


@pytest.mark.parametrize("key", PROPERTIES)
def test_schema_and_parser_agree(key: str) -> None:
    """What the schema allows is accepted; what lies just outside is not."""
    rules = PROPERTIES[key]
    if "enum" in rules:
        assert all(accepted(key, choice) for choice in rules["enum"])
        assert not accepted(key, "no such choice")
    elif rules["type"] == "array":
        assert accepted(key, ["a", "b"])
        assert not accepted(key, [1])
    elif rules["type"] == "boolean":
        assert accepted(key, True)
        assert not accepted(key, "perhaps")
    elif rules["type"] == "string":
        assert accepted(key, "text")
        assert not accepted(key, 1)
    else:
        least = rules.get("minimum", 0)
        assert accepted(key, least)
        assert not accepted(key, least - 1)
        if "maximum" in rules:
            assert accepted(key, rules["maximum"])
            assert not accepted(key, rules["maximum"] + 1)
    if "default" in rules:
        assert accepted(key, rules["default"])


def test_schema_is_json() -> None:
    assert json.loads(schema.schema_text()) == schema.schema()
