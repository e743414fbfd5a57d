"""What benches ask, how they count, and what they refuse; no engine runs here."""

import dataclasses
import re
from pathlib import Path

import pytest
from rich.console import Console

from lsp_server import cli
from lsp_server.bench import decode, prefill
from lsp_server.bench.cli import check_counts
from lsp_server.bench.decode import Run
from lsp_server.bench.engines import rival_command
from lsp_server.bench.figures import busy_warning, describe_machine, machine_line, spread
from lsp_server.bench.prompts import check_sizes, read_prompts
from lsp_server.settings import Settings
from model.format.tokenizer import Tokenizer
from sampler.context import ContextLimits, build_context
from sampler.sample import read_holes
from tests.tiny import tiny_vocabulary

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)


ROOT = Path(__file__).parents[2]


def commands_of_the_page() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/bench.md").read_text(), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", commands_of_the_page())
def test_the_commands_of_the_page_exist(line: str) -> None:
    program, *arguments = line.split()
    assert program == ".venv/bin/seed-lsp"
    _, _, unused = cli.app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert not unused


def run(tokens: int = 11, forwards: int = 10, total_ms: float = 300.0, text: str = "a") -> Run:
    return Run(text, tokens, forwards, 256, 2, 100.0, total_ms)


@pytest.mark.parametrize("num_tokens", [64, 256, 1024, 2048])
@pytest.mark.parametrize("layout", ["spm", "psm"])
def test_prompts_have_the_length_that_was_asked_for(num_tokens: int, layout: str) -> None:
    prompts = read_prompts(TOKENIZER, num_tokens)
    assert len(prompts) == len(read_holes())
    for prompt in prompts:
        request = prompt.request("1", "ar", layout, 8)
        context = build_context(request, VOCABULARY, TOKENIZER, ContextLimits(4000))
        assert context.num_healed == 0, "the first token comes with prefill"
        assert num_tokens - 8 <= len(context.tokens) <= num_tokens + 2
    assert len(set(prompts)) == len(prompts), "no prompt is asked twice"


def test_a_prompt_stands_around_its_hole() -> None:
    for hole, prompt in zip(read_holes(), read_prompts(TOKENIZER, 256), strict=True):
        line_start = hole.prefix.rfind("\n") + 1
        assert (hole.prefix[:line_start]).endswith(prompt.prefix[-40:])
        assert hole.suffix.startswith(prompt.suffix[:40])


@pytest.mark.parametrize("sizes", [[31], [256, 2049], [-1], [0]])
def test_sizes_that_no_prompt_can_have_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="prompts have 32 to 2,048 tokens"):
        check_sizes(sizes)


def test_nothing_to_measure_is_refused() -> None:
    check_counts({"limit": 1})
    with pytest.raises(ValueError, match="--limit 0 is nothing to measure"):
        check_counts({"limit": 0})


def test_a_spread_names_its_unit() -> None:
    assert spread([], "ms") == {"n": 0}
    figures = spread([1.0, 2.0, 3.0, 4.0, 5.0], "ms")
    assert figures == {
        **{"n": 5, "p25_ms": 2.0, "p50_ms": 3.0, "p75_ms": 4.0},
        **{"p95_ms": 4.8, "p99_ms": 4.96, "most_ms": 5.0},
    }


def test_the_first_token_is_none_of_decoding() -> None:
    figures = decode.figures([run(), run(tokens=21, total_ms=300.0)])
    assert figures["behind_prefill"]["n"] == 2
    assert figures["behind_prefill"]["p50_tokens_per_s"] == 75.0, "10 and 20 in 200 ms each"
    assert figures["behind_prefill"]["all_tokens_per_s"] == 75.0, "30 in 400 ms"
    assert figures["per_token"]["most_ms"] == 20.0
    assert figures["with_prefill"]["all_tokens_per_s"] == pytest.approx(1000 * 32 / 600, abs=0.01)
    assert figures["tokens_per_forward"] == 1.5
    assert figures["most_cached_tokens"] == 2


def test_answers_of_one_token_have_no_rate() -> None:
    figures = decode.figures([run(tokens=1, forwards=1), run(tokens=0, forwards=0)])
    assert figures["behind_prefill"] == {"n": 0, "all_tokens_per_s": None}
    assert figures["tokens_per_forward"] is None
    assert figures["with_prefill"]["n"] == 2
    assert decode.ratios([run(tokens=1), run()], [run(), run()])["n"] == 1


def test_pairs_are_compared_hole_by_hole() -> None:
    record = decode.summarize(
        {
            "ar": [run(), run(total_ms=500.0, text="b")],
            "exact": [run(total_ms=200.0), run(text="b")],
            "fast": [run(text="c"), run(text="b")],
            "llama.cpp": [run(total_ms=700.0), run(total_ms=700.0)],
        }
    )
    ratios = record["speed_ratios"]
    assert list(ratios) == [
        *("exact/ar", "fast/ar"),
        *("ar/llama.cpp", "exact/llama.cpp", "fast/llama.cpp"),
    ]
    assert ratios["exact/ar"]["p50_times"] == 2.0
    assert ratios["ar/llama.cpp"]["p50_times"] == 2.25, "3 and 1.5"
    assert record["same_text_as_ar_share"] == {"exact": 1.0, "fast": 0.5, "llama.cpp": 0.5}


def test_a_third_mode_is_measured_if_it_was_asked_for() -> None:
    assert decode.modes_of("exact") == decode.modes_of("ar") == ("ar", "exact")
    assert decode.modes_of("fast") == ("ar", "exact", "fast")


def test_prefill_counts_what_was_read() -> None:
    record = prefill.summarize({"ours": [run()], "llama.cpp": [run(total_ms=900.0)]})
    assert record["contenders"]["ours"]["rate"]["p50_tokens_per_s"] == pytest.approx(
        1000 * 254 / 300, abs=0.01
    )
    assert record["speed_ratios"]["ours/llama.cpp"]["p50_times"] == 3.0
    assert "speed_ratios" not in prefill.summarize({"ours": [run()]})


def test_memory_is_that_of_the_process() -> None:
    memory = prefill.memory_mib(1 << 30)
    assert memory == {"resident_mib": None, "most_resident_mib": None}


def test_tables_show_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    runs = {"ar": [run()], "exact": [run(total_ms=200.0)], "llama.cpp": [run(tokens=1)]}
    console = Console(width=100, highlight=False)
    decode.show([{"context_tokens": 256, **decode.summarize(runs)}], console)
    told = capsys.readouterr().out
    assert "exact/ar: 2.00 times as fast (2.00 to 2.00, n 1)" in told
    assert "llama.cpp/" not in told
    assert "ar/llama.cpp" not in told, "it had nothing to decode"
    both = prefill.summarize({"ours": [run()], "llama.cpp": [run(total_ms=900.0)]})
    memory = {"ours": {"resident_mib": 1000, "most_resident_mib": 2000}}
    prefill.show({"sizes": [{"size_tokens": 256, **both}], "memory": memory}, console)
    told = capsys.readouterr().out
    assert "256 tokens, ours/llama.cpp: 3.00 times as fast" in told
    assert "memory of ours: 1,000 MiB resident, at most 2,000" in told


def test_the_machine_is_told_in_a_line() -> None:
    machine = describe_machine()
    assert machine["num_cpus"] >= 1
    engine = {"model": "m.gguf", "device": "cpu", "kernels": "native avx2", "threads": 1}
    engine |= {"has_adapter": True, "is_tuned": False}
    told = machine_line({**machine, "commit": None}, engine)
    assert told.startswith(machine["cpu"])
    assert "m.gguf on cpu, native avx2, 1 thread, with adapter, not tuned" in told
    assert "PyTorch chooses" in machine_line(machine, {**engine, "threads": None})
    assert busy_warning({"load_before_per_cpu": 0.1}) is None
    assert "busy" in str(busy_warning({"load_before_per_cpu": 0.9}))


def test_a_rival_reads_gguf_files(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra `bench` is not installed")
    good, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    good.write_bytes(b"GGUF")
    other.write_bytes(b"none")
    settings = Settings()
    command = rival_command(dataclasses.replace(settings, threads=3), other, good)
    assert command[-4:] == ["--model", str(good), "--threads", "3"]
    for path, words in ((tmp_path, "is a folder"), (other, "is none"), (tmp_path / "c", "No such")):
        with pytest.raises(ValueError, match=words):
            rival_command(settings, path, None)


def test_without_the_library_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install"):
        rival_command(Settings(), tmp_path / "a.gguf", None)
