"""Duplicates within the data, and what it shares with benchmarks."""

import gzip
import json
from pathlib import Path

import pytest

from model.format.tokenizer import Tokenizer
from tests.tiny import tiny_vocabulary
from training.data.decontaminate import (
    NUM_TOKENS,
    DecontaminationError,
    decontaminate,
    index_folder,
    index_texts,
    run_hashes,
)
from training.data.dedupe import deduplicate
from training.data.source import Release, SourceFile

TOKENIZER = Tokenizer(tiny_vocabulary())


def file(text: str, path: str = "a.py") -> SourceFile:
    return SourceFile(Release("p"), path, text)


def function(name: str) -> str:
    """Forty different lines."""
    lines = "".join(f"    {name}_{n} = compute_{n}({name}, {n * n})\n" for n in range(40))
    return f"def {name}():\n{lines}    return {name}_0\n"


def verdicts(*texts: str) -> list[str]:
    return [out.dropped for out in deduplicate([file(text) for text in texts])]


def test_the_first_of_equal_files_is_kept() -> None:
    one, other = function("one"), function("other")
    assert verdicts(one, other, one, other) == ["", "", "dedupe: exact", "dedupe: exact"]
    assert verdicts(one, one.replace("    ", "\t")) == ["", "dedupe: exact"]


def test_near_duplicates_are_dropped_and_relatives_are_not() -> None:
    one = function("one")
    edited = one.replace("compute_7", "derive_7") + "\n\n# one more line\n"
    half = one[: len(one) // 2] + function("other")
    assert verdicts(one, edited, half) == ["", "dedupe: near", ""]


def test_dropped_and_tiny_files_pass_through() -> None:
    dropped = file("").drop("path", "test")
    assert list(deduplicate([dropped, dropped])) == [dropped, dropped]
    assert verdicts("x", "y", "x") == ["", "", "dedupe: exact"]


def tokens(count: int, start: int = 0) -> str:
    """A text of so many tokens, no run of which occurs twice."""
    text = "".join(f"{chr(97 + n % 26)}{'+-*/|&^%'[n // 26]}" for n in range(200))
    ids = TOKENIZER.encode(text)[start : start + count]
    assert len(set(zip(ids, ids[1:], ids[2:], strict=False))) == count - 2
    return TOKENIZER.decode(ids)


@pytest.mark.parametrize(("count", "is_dropped"), [(NUM_TOKENS, True), (NUM_TOKENS - 1, False)])
def test_thirty_tokens_are_found_and_twenty_nine_are_not(count: int, is_dropped: bool) -> None:
    benchmark = tokens(60)
    index = index_texts([benchmark, "something else entirely"], TOKENIZER)
    # Digits are tokens of their own, so nothing merges across the borders of what is planted.
    planted = file("9" * 40 + tokens(count, start=20) + "9" * 40)
    assert TOKENIZER.encode(planted.text)[40:-40] == TOKENIZER.encode(benchmark)[20 : 20 + count]
    out = decontaminate(planted, index, TOKENIZER)
    assert bool(out.dropped) is is_dropped


def test_hashes_tell_runs_apart() -> None:
    ids = list(range(1000))
    assert len(set(run_hashes(ids).tolist())) == 1000 - NUM_TOKENS + 1
    assert run_hashes(ids[5:50])[0] == run_hashes(ids)[5]
    assert run_hashes([0] * NUM_TOKENS)[0] != run_hashes([0] * (NUM_TOKENS - 1) + [1])[0]
    assert run_hashes(ids[: NUM_TOKENS - 1]).size == 0


def test_an_index_reads_every_text_of_every_file(tmp_path: Path) -> None:
    deep = {"a": [{"b": tokens(40)}], "n": 3}
    (tmp_path / "one.json").write_text(json.dumps(deep))
    (tmp_path / "sub").mkdir()
    lines = json.dumps({"x": tokens(40, start=50)}) + "\n\n" + json.dumps({"y": "short"})
    (tmp_path / "sub/two.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "README.md").write_text(tokens(40, start=100))
    index = index_folder(tmp_path, TOKENIZER)
    assert index.hits(TOKENIZER.encode(tokens(40)))
    assert index.hits(TOKENIZER.encode(tokens(40, start=50)))
    assert not index.hits(TOKENIZER.encode(tokens(40, start=100)))
    assert not index.hits([])


def test_a_folder_without_benchmarks_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecontaminationError, match="holds no JSON files"):
        index_folder(tmp_path, TOKENIZER)
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(DecontaminationError, match=r"a\.jsonl is no JSON file"):
        index_folder(tmp_path, TOKENIZER)
