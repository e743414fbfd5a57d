"""Profiles: what is kept is what comes back, and anything else in their folder counts as none."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampler import machine
from sampler.profile import (
    VERSION,
    Profile,
    Target,
    file_identity,
    profile_folder,
    profile_path,
    read_profile,
    write_profile,
)

TARGET = Target("AMD EPYC 25 17 1", 2, 2, None, "native avx512 3", "model.gguf 1", "none")
PROFILE = Profile(
    TARGET,
    measured_at="2026-11-21T12:00:00+00:00",
    measured_s=17.5,
    threads=2,
    costs_ms=((1, 18.0), (16, 29.125), (64, 110.0)),
    prefill_ms=((64, 70.5), (128, 139.0)),
    acceptance=(0.55, 0.5),
    num_judged=321,
    load=0.25,
)


def test_a_profile_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    assert read_profile(TARGET, folder) is None
    path = write_profile(PROFILE, folder)
    assert path == profile_path(TARGET, folder)
    assert read_profile(TARGET, folder) == PROFILE
    assert [file.name for file in folder.iterdir()] == [path.name], "nothing else is left"


@pytest.mark.parametrize(
    "change",
    [
        {"device": "another"},
        {"num_cores": 4},
        {"num_cpus": 4},
        {"threads": 1},
        {"kernels": "torch"},
        {"model": "model.gguf 2"},
        {"adapter": "a.safetensors 0"},
    ],
    ids=str,
)
def test_another_target_has_none(tmp_path: Path, change: dict[str, object]) -> None:
    write_profile(PROFILE, tmp_path)
    other = replace(TARGET, **change)  # type: ignore[arg-type]
    assert read_profile(other, tmp_path) is None
    profile_path(TARGET, tmp_path).rename(profile_path(other, tmp_path))
    assert read_profile(other, tmp_path) is None, "a file that was copied there"


RECORD = {"version": VERSION} | json.loads(json.dumps(PROFILE, default=vars))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        json.dumps(RECORD | {"version": VERSION + 1}).encode(),
        json.dumps({key: RECORD[key] for key in RECORD if key != "version"}).encode(),
        json.dumps(RECORD | {"costs_ms": []}).encode(),
        json.dumps(RECORD | {"costs_ms": [[2, 1.0], [1, 2.0]]}).encode(),
        json.dumps(RECORD | {"costs_ms": [[1, -1.0]]}).encode(),
        json.dumps(RECORD | {"prefill_ms": [[64, float("nan")]]}).encode(),
        json.dumps(RECORD | {"prefill_ms": "fast"}).encode(),
        json.dumps(RECORD | {"acceptance": [1.5]}).encode(),
        json.dumps(RECORD | {"threads": 0}).encode(),
        json.dumps(RECORD | {"surprise": 1}).encode(),
        json.dumps(RECORD)[:-40].encode(),
        b" " * (2 << 20),
    ],
)
def test_what_is_no_profile_counts_as_none(tmp_path: Path, content: bytes) -> None:
    profile_path(TARGET, tmp_path).write_bytes(content)
    assert read_profile(TARGET, tmp_path) is None
    assert write_profile(PROFILE, tmp_path), "and is replaced"
    assert read_profile(TARGET, tmp_path) == PROFILE


def test_the_unharmed_record_is_read(tmp_path: Path) -> None:
    """Else the cases above would prove nothing."""
    profile_path(TARGET, tmp_path).write_text(json.dumps(RECORD))
    assert read_profile(TARGET, tmp_path) == PROFILE


@given(st.binary(max_size=60))
def test_noise_counts_as_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("profiles")
    profile_path(TARGET, folder).write_bytes(content)
    assert read_profile(TARGET, folder) is None


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert write_profile(PROFILE, tmp_path / "file") is None
    profile_path(TARGET, tmp_path).mkdir()
    assert write_profile(PROFILE, tmp_path) is None
    assert read_profile(TARGET, tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["file", profile_path(TARGET, tmp_path).name]
    ), "no temporary file is left"


def test_profiles_lie_beside_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEED_LSP_CACHE", str(tmp_path))
    assert profile_folder() == tmp_path / "profiles"


def test_files_of_weights_are_told_apart(tmp_path: Path) -> None:
    first, second, folder = tmp_path / "a" / "w", tmp_path / "b" / "w", tmp_path / "c" / "w"
    for path, content in ((first, b"1"), (second, b"2"), (folder / "x.safetensors", b"12")):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    identities = [file_identity(path) for path in (first, second, folder, None, tmp_path / "w")]
    assert len(set(identities)) == 5
    os.utime(first, (0, 0))
    assert file_identity(first) == identities[0]


CPU_INFO = """\
processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 17
model name	: AMD EPYC
stepping	: 1

processor	: 1
cpu family	: 99
"""


def test_the_name_of_a_cpu_has_its_numbers() -> None:
    assert machine.parse_cpu_name(CPU_INFO) == "AMD EPYC 25 17 1"
    assert machine.parse_cpu_name("Processor: something\n") == ""
    assert machine.cpu_name()


def test_cpus_that_share_a_core_count_once() -> None:
    assert machine.count_cores({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}) == 2
    assert machine.count_cores({0: "0", 5: "5"}) == 2
    assert machine.count_cores({}) == 1
    assert 1 <= machine.num_cores() <= len(machine.usable_cpus())
    assert machine.thread_counts(2, 4) == (2, 4)
    assert machine.thread_counts(2, 2) == (2,)
