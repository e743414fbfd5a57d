"""`doctor FILE` and `seed/explain` say why."""

from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server import file_check
from lsp_server.explanation import explain, workspace_of
from lsp_server.headless import LocationError
from lsp_server.settings import Settings
from tests.fakes import document_at


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (".env", b"A=1\n", "credentials"),
        ("ignored.py", b"x = 1\n", ".gitignore:1"),
        ("large.py", b"#" * 200, "max_file_bytes"),
        ("binary.py", b"\0\1", "NUL"),
        ("latin.py", b"\xe9", "UTF-8"),
    ],
)
def test_files_without_completions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, reason: str
) -> None:
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    (tmp_path / name).write_bytes(content)
    settings = replace(Settings(), max_file_bytes=100)
    assert file_check.main(tmp_path / name, settings) == file_check.EXIT_EXCLUDED
    assert reason in capsys.readouterr().out


def test_a_file_with_completions_and_what_the_model_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "billing.py").write_text("def make_invoice(customer): ...\n")
    (tmp_path / "main.py").write_text("from billing import make_invoice\nsecret = 'a1b2c3d4'\n")
    assert file_check.main(tmp_path / "main.py", Settings()) == 0
    told = capsys.readouterr().out
    assert "gets completions" in told
    assert "billing.py: 31 characters" in told
    assert "8 characters are masked" in told


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="there is no file"):
        file_check.main(tmp_path / "nothing.py", Settings())


def test_every_reason_is_told() -> None:
    document, _ = document_at("█", language="klingon")
    settings = replace(Settings(), show="never", off_languages=("klingon",))
    explanation = explain(document, settings, "a rule excludes it: x")
    assert explanation.against[0] == "A rule excludes it: x."
    assert len(explanation.against) == 2
    assert "klingon" in explanation.notes[0]
    assert explain(None, settings, None).against == ("The document is not open.",)


def test_the_workspace_of_a_file_is_its_repository(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.py"
    path.parent.mkdir(parents=True)
    assert workspace_of(path) == path.parent
    (tmp_path / ".git").mkdir()
    assert workspace_of(path) == tmp_path
