"""Wheels that were made here, built into a data set without any network."""

import csv
import hashlib
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.readers import CSVReader

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from tests.tiny import tiny_vocabulary, tokenizer_json
from training.data import standard_library
from training.data.fetch import FetchError, NoWheelError
from training.data.manifest import ManifestError, read_manifest, write_manifest
from training.data.packages import PackageError, read_list
from training.data.pipeline import BuildError, build, join, phases, prepare
from training.data.shards import Shards
from training.data.source import Release
from training.data.standard_library import standard_library as library_in
from training.data.wheels import WheelError, python_files, read_wheel
from training.data.work import Plan

OUTPUTS = ("tokens.bin", "records.npy", "dataset.json", "manifest.jsonl")


def module(name: str) -> str:
    """A module like no other."""
    lines = "".join(f"    {name}_{n} = compute_{n}({name}, '{name * n}')\n" for n in range(30))
    return f'"""About {name}."""\n\n\ndef {name}({name}):\n{lines}    return {name}_0\n'


def make_wheel(
    path: Path, files: Mapping[str, str | bytes], licence: str = "MIT", name: str = ""
) -> Path:
    """A wheel with these files."""
    name = name or path.name.partition("-")[0]
    version = path.name.split("-")[1]
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
    metadata += f"License-Expression: {licence}\n" if licence else ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}-{version}.dist-info/METADATA"), metadata)
        wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(zipfile.ZipInfo(f"{name}-{version}.dist-info/WHEEL"), wheel)
        for file, content in files.items():
            archive.writestr(zipfile.ZipInfo(file), content)
    return path


class Index:
    """A folder of wheels in the place of a package index; notes what was fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.txt"

    def __call__(self, name: str, pin: Release | None, folder: Path) -> Path:
        with self.log.open("a") as log:
            log.write(f"{name}\n")
        version = pin.version if pin else "*"
        wheels = sorted(self.folder.glob(f"{name}-{version}-*.whl"))
        if not wheels:
            raise NoWheelError("no wheel")
        copy = folder / wheels[-1].name
        copy.write_bytes(wheels[-1].read_bytes())
        return copy

    @property
    def fetched(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


class DeadlyIndex(Index):
    """Kills its process at a package, as a power cut would."""

    def __call__(self, name: str, pin: Release | None, folder: Path) -> Path:
        if name == "gamma":
            signal.raise_signal(signal.SIGKILL)
        return super().__call__(name, pin, folder)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Four packages: two good ones, one copyleft, one with a copy of another's file."""
    folder = tmp_path / "index"
    folder.mkdir()
    alpha = {"alpha/one.py": module("one"), "alpha/tests/test_one.py": module("test")}
    make_wheel(folder / "alpha-1.0-py3-none-any.whl", {**alpha, "alpha/two.py": module("two")})
    beta = {"beta/b.py": module("b"), "beta/mail.py": module("m") + "# jane@acme.org\n"}
    make_wheel(folder / "beta-2.0-py3-none-any.whl", beta, "Apache-2.0")
    make_wheel(folder / "gamma-3.0-py3-none-any.whl", {"g.py": module("g")}, "GPL-3.0-only")
    make_wheel(folder / "delta-4.0-py3-none-any.whl", {"d.py": module("d"), "o.py": module("one")})
    return Index(folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(tiny_vocabulary())))
    return folder


@pytest.fixture
def plan(tmp_path: Path, model: Path, index: Index) -> Plan:
    names = ("alpha", "beta", "gamma", "delta", "missing")
    return Plan(tmp_path / "out", names, model, fetch=index)


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def texts(folder: Path, model: Path) -> str:
    tokenizer, shards = Tokenizer(read_vocabulary(model)), Shards(folder)
    return "".join(tokenizer.decode(shards[n].tokens.tolist()) for n in range(len(shards)))


def test_a_build_keeps_what_is_good_and_says_what_became_of_the_rest(plan: Plan) -> None:
    seen = []
    summary = build(plan, progress=lambda *what: seen.append(what))
    assert summary.dropped == {"path: test": 1, "dedupe: exact": 1}
    assert summary.refused == {
        "gamma": "licence: GPL-3.0-only is not on the list",
        "missing": "fetch: no wheel",
    }
    assert summary.replaced == {"e-mail": 1}
    assert summary.num_files == 7
    entries = read_manifest(plan.out / "manifest.jsonl")
    assert [(e.name, e.version, e.licence, e.num_files) for e in entries.values()] == [
        ("alpha", "1.0", "MIT", 2),
        ("beta", "2.0", "Apache-2.0", 2),
        ("delta", "4.0", "MIT", 1),
    ]
    assert entries["delta"].num_bytes == len(module("d").encode())
    everything = texts(plan.out, plan.model)
    assert "jane" not in everything
    assert "compute_3(b," in everything
    assert "compute_3(g," not in everything
    assert summary.facts["num_packages"] == 3
    assert sum(summary.facts["layouts"].values()) == len(Shards(plan.out))
    assert seen[-1] == ("join", 1, 1)
    assert {what for what, _, _ in seen} == {"prepare", "gather", "dedupe", "pack", "join"}
    assert not list(plan.out.glob("work/wheel-*"))


def test_the_same_build_gives_the_same_bytes(plan: Plan, tmp_path: Path) -> None:
    build(plan)
    again = Plan(tmp_path / "again", plan.names, plan.model, fetch=plan.fetch)
    build(again, workers=2)
    assert outputs(plan.out) == outputs(again.out)
    other = Plan(tmp_path / "again", plan.names, plan.model, seed=1, fetch=plan.fetch)
    build(other)
    assert outputs(plan.out)["tokens.bin"] != outputs(other.out)["tokens.bin"]


def test_a_second_build_fetches_nothing(plan: Plan, index: Index) -> None:
    build(plan)
    first = outputs(plan.out)
    fetched = index.fetched
    build(plan)
    assert index.fetched == fetched
    assert outputs(plan.out) == first


def test_a_build_that_was_killed_goes_on(plan: Plan, index: Index, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    code = (
        "from pathlib import Path\n"
        "from tests.unit.test_data_build import DeadlyIndex\n"
        "from training.data.pipeline import build\n"
        "from training.data.work import Plan\n"
        f"build(Plan(Path({str(killed)!r}), {plan.names!r}, Path({str(plan.model)!r}),\n"
        f"    fetch=DeadlyIndex(Path({str(index.folder)!r}))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (killed / "dataset.json").exists()
    assert index.fetched == ["alpha", "beta"]
    build(Plan(killed, plan.names, plan.model, fetch=index))
    assert index.fetched == ["alpha", "beta", "gamma", "delta", "missing"]
    build(plan)
    assert outputs(killed) == outputs(plan.out)


def test_a_manifest_pins_releases(plan: Plan, index: Index, tmp_path: Path) -> None:
    build(plan)
    make_wheel(index.folder / "alpha-1.1-py3-none-any.whl", {"alpha/n.py": module("n")})
    pinned = Plan(
        tmp_path / "pinned",
        plan.names,
        plan.model,
        manifest=plan.out / "manifest.jsonl",
        fetch=index,
    )
    build(pinned)
    assert outputs(pinned.out) == outputs(plan.out)
    newest = Plan(tmp_path / "newest", plan.names, plan.model, fetch=index)
    build(newest)
    assert read_manifest(newest.out / "manifest.jsonl")["alpha"].version == "1.1"


def test_another_archive_than_the_pinned_one_is_refused(
    plan: Plan, index: Index, tmp_path: Path
) -> None:
    build(plan)
    make_wheel(index.folder / "alpha-1.0-py3-none-any.whl", {"alpha/one.py": module("evil")})
    manifest = plan.out / "manifest.jsonl"
    pinned = Plan(tmp_path / "p", plan.names, plan.model, manifest=manifest, fetch=index)
    with pytest.raises(ManifestError, match=r"by version or sha256: alpha;"):
        build(pinned)
    assert not (pinned.out / "dataset.json").exists()
    (index.folder / "alpha-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ManifestError, match=r"alpha 1\.0 of the manifest cannot be had"):
        build(Plan(tmp_path / "q", plan.names, plan.model, manifest=manifest, fetch=index))


def test_a_network_that_fails_ends_the_build_and_is_not_remembered(plan: Plan) -> None:
    def offline(name: str, pin: Release | None, folder: Path) -> Path:
        raise FetchError("no network")

    with pytest.raises(FetchError, match="no network"):
        build(Plan(plan.out, plan.names, plan.model, fetch=offline))
    build(plan)
    assert Shards(plan.out)


def test_two_builds_do_not_work_in_one_folder(plan: Plan) -> None:
    def fetch(name: str, pin: Release | None, folder: Path) -> Path:
        build(plan)
        raise AssertionError("the inner build was refused")

    with pytest.raises(BuildError, match="Another build"):
        build(Plan(plan.out, plan.names, plan.model, fetch=fetch))


def test_what_a_benchmark_holds_is_left_out(plan: Plan, tmp_path: Path) -> None:
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    (benchmark / "tasks.json").write_text(json.dumps({"solution": module("two")[60:400]}))
    summary = build(
        Plan(plan.out, plan.names, plan.model, decontaminate=benchmark, fetch=plan.fetch)
    )
    assert summary.dropped["decontaminate: 30 tokens of a benchmark"] == 1
    assert "compute_3(two," not in texts(plan.out, plan.model)
    assert "compute_3(one," in texts(plan.out, plan.model)


def test_the_phases_take_another_reader_of_datatrove(plan: Plan, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, name in enumerate(("x", "y")):
        with (source / f"{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "id"])
            writer.writerows([module(name + other), f"{name}/{other}.py"] for other in "abc")
    work = prepare(Plan(tmp_path / "web", ("part-00000", "part-00001"), plan.model))
    for phase in phases(work, CSVReader(str(source))):
        LocalPipelineExecutor(
            phase.steps, tasks=phase.num_tasks, workers=1, logging_dir=str(tmp_path / phase.name)
        ).run()
        assert phase.is_done() == phase.num_tasks
    summary = join(work)
    assert (summary.num_files, summary.dropped, summary.refused) == (6, {}, {})


# Wheels


def test_a_wheel_is_read(tmp_path: Path) -> None:
    files = {
        "a/b.py": "b\n",
        "a/a.py": b"\xff",
        "a/data.json": "{}",
        "a-1.dist-info/licenses/LICENSE": "MIT text",
        "a-1.dist-info/licenses/vendored/LICENSE": "GPL text",
    }
    path = make_wheel(tmp_path / "a-1-py3-none-any.whl", files)
    wheel = read_wheel(path)
    assert (wheel.name, wheel.version, wheel.licence_texts) == ("a", "1", ("MIT text", "GPL text"))
    assert wheel.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(python_files(path)) == [("a/a.py", b"\xff"), ("a/b.py", b"b\n")]


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "C:/e.py"])
def test_a_wheel_that_points_out_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    path = make_wheel(tmp_path / "a-1-py3-none-any.whl", {name: "x"})
    with pytest.raises(WheelError, match="points out"):
        read_wheel(path)
    with pytest.raises(WheelError, match="points out"):
        list(python_files(path))


def test_bombs_and_rubbish_are_refused(tmp_path: Path) -> None:
    bomb = make_wheel(tmp_path / "a-1-py3-none-any.whl", {})
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/bomb.py", "0" * 900_000)
    with pytest.raises(WheelError, match="bomb"):
        list(python_files(bomb))
    rubbish = tmp_path / "r.whl"
    rubbish.write_bytes(b"PK rubbish")
    with pytest.raises(WheelError, match="damaged"):
        read_wheel(rubbish)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.py", "x")
    rubbish.write_bytes(buffer.getvalue())
    with pytest.raises(WheelError, match="no metadata"):
        read_wheel(rubbish)


# Lists, manifests, the standard library


def test_lists_of_packages(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# ours\nZope.Interface  # by name\n\nattrs\nzope_interface\n")
    assert read_list(path) == ("zope-interface", "attrs")
    for text, why in (("a b\n", "line 1: 'a b'"), ("\n--pre\n", "line 2"), ("#\n", "names no")):
        path.write_text(text)
        with pytest.raises(PackageError, match=why):
            read_list(path)
    with pytest.raises(PackageError, match=r"absent\.txt cannot be read: No such file"):
        read_list(tmp_path / "absent.txt")


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    assert read_manifest(path) == {}
    path.write_text('{"name": "a"}\n')
    with pytest.raises(ManifestError, match="line 1"):
        read_manifest(path)
    write_manifest(path, [])
    assert read_manifest(path) == {}


def test_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "site-packages").mkdir()
    for name in ("json/tool.py", "abc.py", "site-packages/x.py", "_sysconfigdata_x.py", "a.txt"):
        (tmp_path / name).write_text(name)
    release, files = library_in(tmp_path)
    assert files == [("abc.py", b"abc.py"), ("json/tool.py", b"json/tool.py")]
    assert (release.name, release.licence) == (standard_library.NAME, "PSF-2.0")
    (tmp_path / "abc.py").write_text("changed")
    assert library_in(tmp_path)[0].sha256 != release.sha256
