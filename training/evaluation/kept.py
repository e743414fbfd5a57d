"""Runs in the form in which a repository may hold them: figures, and no text.

Right completions are often a benchmark's solutions, and paths tell about people. Knows neither
engines nor sets.
"""

import hashlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

from training.evaluation.records import Header, Run, RunError, read_run, write_run

_HASHED = "sha256:"
# All but the last part of a path that leads out of the working folder: /home/ada/data, ../data and
# ~/data become data, also behind `holes:` and `--data=`. Names of models, a/b, remain.
_FOLDERS = re.compile(r"(^|(?<=[=:]))[/~.][^=:]*/(?=[^/])")


def slim(folder: Path, out: Path) -> Path:
    """Store a run again without any text of benchmarks or completions; returns `out`.

    A completion is replaced by its checksum: equal texts stay equal, so that all figures and all
    comparisons with later runs remain possible. Paths are cut to their last part.

    Raises:
        RunError: if the folder holds no run, or `out` a whole one.
    """
    if (out / "samples.jsonl").exists():
        raise RunError(f"{out} holds a whole run: name another folder for what is to be kept.")
    run = read_run(folder)
    samples = {
        key: replace(sample, completion=_hashed(sample.completion))
        for key, sample in run.samples.items()
    }
    write_run(out, Run(without_paths(run.header), samples, run.scores))
    return out


def without_paths(header: Header) -> Header:
    """The same, with paths cut to their last part."""
    return replace(
        header,
        set=_last_part(header.set),
        source=Path(header.source).name,
        command=shlex.join(map(_last_part, shlex.split(header.command))),
    )


def _last_part(word: str) -> str:
    return _FOLDERS.sub("", word.rstrip("/"))


def _hashed(text: str) -> str:
    if text.startswith(_HASHED):
        return text
    return _HASHED + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
