"""Builds of data sets with edits, older releases among them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from tests.unit.test_data_build import Index, make_wheel
from tests.unit.test_data_build import model as model
from training.data.fetch import NoWheelError
from training.data.manifest import ManifestError, read_manifest
from training.data.pipeline import build
from training.data.releases import has_older
from training.data.shards import EditShards
from training.data.work import Plan


class Older:
    """A folder of wheels of older releases; notes what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"

    def __call__(self, name: str, version: str, folder: Path) -> Path:
        with self.log.open("a") as log:
            log.write(f"{name}<{version} ")
        found = sorted(self.folder.glob(f"{name}-*.whl"))
        if not found:
            raise NoWheelError("no wheel")
        copy = folder / found[-1].name
        copy.write_bytes(found[-1].read_bytes())
        return copy

    @property
    def asked(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def shop(owner: str) -> str:
    """A module like no other, with something to edit."""
    words = "".join(f"{owner}_{n} = open_{owner}({n}, {owner!r})\n" for n in range(40))
    return f"{words}\n\ndef {owner}_total({owner}, count):\n    return pay({owner}, count)\n"


@pytest.fixture
def plan(tmp_path: Path, model: Path) -> Plan:
    """Two good packages, one copyleft; two that became permissive or vanished before."""
    newest, before = tmp_path / "newest", tmp_path / "before"
    newest.mkdir()
    before.mkdir()
    names = ("alpha", "beta", "gamma", "delta", "eps")
    for name in names:
        licence = "GPL-3.0-only" if name == "gamma" else "MIT"
        files = {f"{name}/one.py": shop(name), f"{name}/two.py": shop(name + "two")}
        files[f"{name}/tests/test_one.py"] = shop(name + "test")
        make_wheel(newest / f"{name}-2.5.1-py3-none-any.whl", files, licence)
        if name != "eps":
            licence = "GPL-3.0-only" if name == "delta" else "MIT"
            files = {path: text.replace("pay(", "buy(") for path, text in files.items()}
            files[f"{name}/gone.py"] = shop("gone")
            make_wheel(before / f"{name}-2.4-py3-none-any.whl", files, licence)
    seed = next(s for s in range(10_000) if all(has_older(name, s) for name in names))
    return Plan(
        *(tmp_path / "out", names, model),
        seed=seed,
        fetch=Index(newest),
        edits=True,
        fetch_older=Older(before),
    )


def edit_texts(plan: Plan) -> dict[str, str]:
    """The text of all records of each kind."""
    tokenizer, shards = Tokenizer(read_vocabulary(plan.model)), EditShards(plan.out)
    texts: dict[str, str] = {}
    for number in range(len(shards)):
        record = shards[number]
        text = texts.get(record.kind, "") + tokenizer.decode(record.tokens.tolist())
        texts[record.kind] = text
    return texts


def outputs(folder: Path) -> Mapping[str, bytes]:
    names = ("edits-tokens.bin", "edits-records.npy", "edits.json", "older.jsonl", "dataset.json")
    return {name: (folder / name).read_bytes() for name in names}


def asked(plan: Plan) -> str:
    assert isinstance(plan.fetch_older, Older)
    return plan.fetch_older.asked


def test_a_build_makes_edits_of_what_was_kept_only(plan: Plan) -> None:
    facts = build(plan).facts
    texts = edit_texts(plan)
    everything = "".join(texts.values())
    assert "Use `pay` instead of `buy`." in texts["release"]
    assert "alpha_total" in texts["release"]
    for refused in ("gamma", "gone", "alphatest"):
        assert refused not in everything
    # The older releases of these were copyleft, or there were none; their newest ones are good.
    assert "delta" not in texts["release"]
    assert "delta_total" in everything
    assert "eps_total" in everything
    older = read_manifest(plan.out / "older.jsonl")
    assert {(e.name, e.version, e.num_files) for e in older.values()} == {
        ("alpha", "2.4", 2),
        ("beta", "2.4", 2),
    }
    assert asked(plan).split() == ["alpha<2.5", "beta<2.5", "delta<2.5", "eps<2.5"]
    edits = facts["edits"]
    assert edits["num_records"] == len(EditShards(plan.out)) == sum(edits["kinds"].values())
    assert edits["kinds"]["release"] == 4
    assert edits["num_older_releases"] == 2
    assert not list(plan.out.glob("work/wheel-*"))


def test_edits_change_nothing_else_and_a_build_goes_on(plan: Plan, tmp_path: Path) -> None:
    build(replace(plan, edits=False))
    plain = (plan.out / "tokens.bin").read_bytes()
    assert not (plan.out / "edits.json").exists()
    assert asked(plan) == ""
    build(plan)
    assert (plan.out / "tokens.bin").read_bytes() == plain
    once, first = asked(plan), outputs(plan.out)
    # A part and a pack that a kill has left unwritten are made again, and nothing else.
    next(plan.out.glob("work/older-*/*/beta.jsonl.gz")).unlink()
    next(plan.out.glob("work/edits-*/alpha-*.npz")).unlink()
    build(plan)
    assert asked(plan) == once + "beta<2.5 "
    assert outputs(plan.out) == first
    again = replace(plan, out=tmp_path / "again")
    build(again)
    assert outputs(again.out) == first


def test_older_releases_are_pinned_beside_the_manifest(plan: Plan, tmp_path: Path) -> None:
    build(plan)
    assert isinstance(plan.fetch, Index)
    newest, before = plan.fetch.folder, tmp_path / "before"
    for wheel in before.glob("*-2.4-*.whl"):
        (newest / wheel.name).write_bytes(wheel.read_bytes())
    for name in ("alpha", "beta"):
        make_wheel(before / f"{name}-2.4.1-py3-none-any.whl", {f"{name}/one.py": shop("later")})
    pinned = replace(plan, out=tmp_path / "pinned", manifest=plan.out / "manifest.jsonl")
    build(pinned)
    assert outputs(pinned.out) == outputs(plan.out)
    (newest / "alpha-2.4-py3-none-any.whl").unlink()
    with pytest.raises(ManifestError, match=r"alpha 2\.4 of the manifest cannot be had"):
        build(replace(pinned, out=tmp_path / "lost"))


def test_benchmarks_are_left_out_of_older_releases(plan: Plan, tmp_path: Path) -> None:
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    text = shop("alpha").replace("pay(", "buy(")[-110:]
    (benchmark / "tasks.json").write_text(json.dumps([text]))
    build(replace(plan, decontaminate=benchmark))
    release = edit_texts(plan)["release"]
    assert "beta_total" in release
    assert "alphatwo_total" in release
    assert "alpha_total" not in release
