"""The rival gets the same question: same prompt, same stop rule, and mostly the same answer."""

import pytest

from training.evaluation.engines import EngineError, EngineSpec, open_measured
from training.evaluation.evaluate import request_for
from training.evaluation.tasks import Task

TASKS = [
    Task("line", "def add(a, b):\n", "\n\n\nprint(add(1, 2))\n", max_lines=1),
    Task("word", "import os\n\nprint(os.path.exi", "('/tmp'))\n", max_lines=1),
    Task("answer", "Write a function `double(x)` that returns two times x.", kind="answer"),
]


def test_without_the_library_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    with pytest.raises(EngineError, match="pip install"):
        open_measured(EngineSpec("llama.cpp", tmp_path / "model.gguf"))


@pytest.mark.weights
@pytest.mark.slow
def test_both_engines_answer_alike(weights_path):
    pytest.importorskip("llama_cpp", reason="the extra `bench` is not installed")
    ours, rival = (
        open_measured(EngineSpec(name, weights_path, num_positions=1024))
        for name in ("ours", "llama.cpp")
    )
    for task in TASKS:
        request = request_for(task, "ar", "spm")
        ours_finished, rival_finished = ours.complete(request), rival.complete(request)
        assert rival_finished.text == ours_finished.text
        assert rival_finished.stop == ours_finished.stop
        assert rival_finished.stats.tokens == ours_finished.stats.tokens
        assert rival_finished.text.strip()
        # Nothing is kept: the same question costs the same again.
        again = ours.complete(request).stats
        assert again.prefill_tokens == ours_finished.stats.prefill_tokens > 0
        assert rival.complete(request).text == rival_finished.text
