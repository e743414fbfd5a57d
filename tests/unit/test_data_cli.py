"""pip as it is, with a folder in the place of a package index; and the command."""

import json
from pathlib import Path

import pytest
from cyclopts import App

from tests.tiny import tiny_vocabulary, tokenizer_json
from tests.unit.test_data_build import make_wheel, module
from training.data.cli import register
from training.data.fetch import NoWheelError, fetch_older_wheel, fetch_wheel
from training.data.manifest import ManifestError
from training.data.packages import OUR_LIST, read_list
from training.data.shards import EditShards, Shards
from training.data.source import Release
from training.data.wheels import file_sha256


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip finds packages in."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    make_wheel(folder / "seedtestpure-1.0-py3-none-any.whl", {"a.py": module("old")})
    make_wheel(folder / "seedtestpure-1.1-py3-none-any.whl", {"a.py": module("new")})
    for tag in ("manylinux_2_17_x86_64", "win_amd64"):
        make_wheel(folder / f"seedtestnative-2.0-cp312-cp312-{tag}.whl", {"b.py": module("n")})
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_the_newest_wheel_is_fetched_and_nothing_else(index: Path, scratch: Path) -> None:
    wheel = fetch_wheel("seedtestpure", None, scratch)
    assert wheel.name == "seedtestpure-1.1-py3-none-any.whl"
    assert list(scratch.iterdir()) == [wheel]


def test_without_a_pure_wheel_that_of_linux_is_fetched(index: Path, scratch: Path) -> None:
    wheel = fetch_wheel("seedtestnative", None, scratch)
    assert wheel.name == "seedtestnative-2.0-cp312-cp312-manylinux_2_17_x86_64.whl"


def test_a_pinned_wheel_is_fetched(index: Path, scratch: Path) -> None:
    sha256 = file_sha256(index / "seedtestpure-1.0-py3-none-any.whl")
    pin = Release("seedtestpure", "1.0", sha256)
    assert fetch_wheel("seedtestpure", pin, scratch).name == "seedtestpure-1.0-py3-none-any.whl"


def test_another_hash_than_the_pinned_one_is_no_wheel(index: Path, scratch: Path) -> None:
    with pytest.raises(NoWheelError, match="HASHES"):
        fetch_wheel("seedtestpure", Release("seedtestpure", "1.0", "0" * 64), scratch)


def test_the_newest_wheel_before_a_version_is_fetched(index: Path, scratch: Path) -> None:
    wheel = fetch_older_wheel("seedtestpure", "1.1", scratch)
    assert wheel.name == "seedtestpure-1.0-py3-none-any.whl"
    wheel.unlink()
    with pytest.raises(NoWheelError, match="no wheel that is pure"):
        fetch_older_wheel("seedtestpure", "1.0", scratch)


def test_an_unknown_package_is_no_wheel(index: Path, scratch: Path) -> None:
    with pytest.raises(NoWheelError, match="no wheel that is pure"):
        fetch_wheel("seedtestabsent", None, scratch)


def test_the_command(
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    library = Release("cpython", "3", "0" * 64, "PSF-2.0"), [("l.py", module("l").encode())]
    monkeypatch.setattr("training.data.packages.standard_library", lambda: library)
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer.json").write_text(json.dumps(tokenizer_json(tiny_vocabulary())))
    # A folder without weights is no model.
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (model / "config.json").write_text("{}")
    names = tmp_path / "names.txt"
    names.write_text("seedtestpure\nseedtestabsent\n")
    app = App()
    register(app)
    words = ["data", "build", "--packages", str(names), "--out", str(tmp_path / "out")]
    words += ["--limit", "1", "--model", str(model)]
    with pytest.raises(ManifestError, match=r"There is no manifest .*absent"):
        app([*words, "--manifest", "absent"], exit_on_error=False)
    (tmp_path / "manifest.jsonl").touch()  # ours would pin the standard library
    words += ["--manifest", str(tmp_path / "manifest.jsonl")]
    app(words, result_action="return_value")
    said = capsys.readouterr()
    facts = json.loads(said.out.splitlines()[-1])
    assert facts["num_packages"] == 2
    assert facts["num_records"] == len(Shards(tmp_path / "out"))
    assert "from 2 packages" in said.err
    assert "edits" not in facts
    app([*words, "--edits"], result_action="return_value")
    said = capsys.readouterr()
    facts = json.loads(said.out.splitlines()[-1])
    assert facts["edits"]["num_records"] == len(EditShards(tmp_path / "out"))
    assert " edits, " in said.err


def test_our_own_list_is_in_order() -> None:
    assert 300 <= len(read_list(OUR_LIST)) <= 600
