"""Secrets are masked in place; ordinary code is left alone."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.redaction import redact, redact_around, without_secrets

TOKEN = "ghp_" + "a1B2" * 9
AWS = "AKIA" + "Z3X5Q7W9" * 2
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----"
KEY_END = "-----END RSA " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"token = '{TOKEN}'", TOKEN),
        (f"client({AWS!r})", AWS),
        ('password = "hunter2!x"', "hunter2!x"),
        ('{"api_key": "abc123def456"}', "abc123def456"),
        ('url = "postgres://bob:s3cr3t@db/x"', "s3cr3t"),
        (
            "Authorization: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27u",
            "eyJhbGci",
        ),
    ],
)
def test_secrets_are_masked_in_place(line: str, secret: str) -> None:
    redacted = redact(f"x = 1\n{line}\ny = 2\n")
    assert secret not in redacted
    assert len(redacted) == len(f"x = 1\n{line}\ny = 2\n")
    assert redacted.startswith("x = 1\n")
    assert redacted.endswith("\ny = 2\n")
    assert line[: line.index(secret)] in redacted


@pytest.mark.parametrize(
    "line",
    [
        "def password_hash(value: str) -> str:",
        "token = get_token(request, 'name')",
        'if secret == "required":',
        'label = "Enter the password 123"',
        'ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"',
        'password = os.environ["DB_PASSWORD"]',
        'password: "<your password>"',
        'digest = "d41d8cd98f00b204e9800998ecf8427e"',
        "from password_store import a_very_long_name_of_a_function_that_is_imported",
        'secret_name = "field_name"',
        "url = f'postgres://{user}:{password}@{host}'",
    ],
)
def test_ordinary_code_is_left_alone(line: str) -> None:
    assert redact(line) == line


def test_a_private_key_is_masked_wherever_the_text_is_cut() -> None:
    lines = ["MIIEpAIBAAKCAQEA7d9f/x+1" * 2, "kq3Lw8Zr5Tn6Vb0Mx2Cy4Du7" * 2]
    text = "\n".join([KEY, *lines, KEY_END, "x = 1"])
    for cut in range(0, len(KEY) + 2 * 49, 7):
        redacted = redact(text[cut:])
        assert "kq3Lw8Zr5Tn6" not in redacted
        assert redacted.endswith("x = 1")
        assert "kq3Lw8Zr5Tn6" not in redact(text[: -cut or None])


def test_a_password_that_is_being_typed_is_masked() -> None:
    prefix, suffix = redact_around('x = 1\npassword = "hunt3r22', "\ny = 2\n")
    assert prefix == 'x = 1\npassword = "********'
    assert suffix == "\ny = 2\n"


def test_a_secret_around_the_cursor_is_one() -> None:
    prefix, suffix = redact_around(f"t = '{TOKEN[:9]}", f"{TOKEN[9:]}'\n")
    assert TOKEN[4:9] not in prefix
    assert TOKEN[9:] not in suffix
    assert (len(prefix), len(suffix)) == (len("t = '") + 9, len(TOKEN) - 9 + 2)


def test_lines_with_secrets_are_left_out_of_an_excerpt() -> None:
    assert without_secrets(f"a = 1\nt = '{TOKEN}'\nb = 2") == "a = 1\nb = 2"


PARTS = st.sampled_from(
    [TOKEN, AWS, 'password = "a1b2c3d4"', "\n", "é😀", "x = f(1)", '"', KEY, " "]
)


@given(st.lists(PARTS, max_size=12).map("".join), st.lists(PARTS, max_size=6).map("".join))
def test_no_position_moves(prefix: str, suffix: str) -> None:
    redacted = redact_around(prefix, suffix)
    assert [len(text) for text in redacted] == [len(prefix), len(suffix)]
    for old, new in zip((prefix, suffix), redacted, strict=True):
        assert all(o == n or n == "*" for o, n in zip(old, new, strict=True))
        assert [c.isspace() for c in old] == [c.isspace() for c in new]


def test_the_scanner_is_loaded_with_the_first_line_not_with_the_server() -> None:
    code = (
        "import sys, lsp_server.server; assert 'detect_secrets' not in sys.modules; "
        "assert 'pathspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
