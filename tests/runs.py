"""Stored runs made by hand, for tests of figures and of the page."""

from training.evaluation.records import Contender, Header, Lines, Sample, Score, write_header

SECRET = "def canonical(solution): return secret"


def contender(name, **fields):
    engine, mode, *layout = name.split("/")
    layout = layout[0] if layout else "spm"
    return Contender(name, engine, mode, "model.gguf", "ab" * 32, layout=layout, **fields)


def sample(task_id, name, **fields):
    given = {
        "completion": f"{SECRET} {task_id}",
        "stop": "end_of_hole",
        "tokens": 10,
        "forwards": 5,
        "accepted": (),
        "prefill_tokens": 100,
        "prefill_ms": 100.0,
        "total_ms": 300.0,
        "first_text_ms": 150.0,
        "memory_mib": 1024.0,
    }
    return Sample(task_id, name, **(given | fields))


def score(task_id, name, **fields):
    given = {"passed": True, "outcome": "passed", "exact": True, "similarity": 1.0, "parses": None}
    return Score(task_id, name, **(given | fields))


def write_run(folder, names, num_tasks=4, *, samples=(), scores=(), **fields):
    """A run in which everybody does the same, but for what `samples` and `scores` say."""
    tasks = [f"task/{index}" for index in range(num_tasks)]
    given = {
        "set": "single-line",
        "source": "/home/ada/data/set.jsonl",
        "data_sha256": "cd" * 32,
        "seed": 0,
        "limit": None,
        "task_ids": tuple(tasks),
        "contenders": tuple(map(contender, names)),
        "machine": {"cpu": "A CPU", "cores": 2},
        "commits": ("abc1234",),
        "started": "2026-01-02T03:04:05+00:00",
        "command": "seed-train evaluate single-line --data /home/ada/data --mode ar",
    }
    write_header(folder, Header(**(given | fields)))
    changed = {(each.task_id, each.contender): each for each in samples}
    judged = {(each.task_id, each.contender): each for each in scores}
    keys = [(task, name) for task in tasks for name in names]
    Lines(folder / "samples.jsonl").extend(changed.get(key, sample(*key)) for key in keys)
    Lines(folder / "scores.jsonl").extend(judged.get(key, score(*key)) for key in keys)
    return folder
