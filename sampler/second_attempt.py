"""Going on behind tokens that were judged before, with another one than the model's first choice.

One plain forward of one row each, whatever the request's mode. Knows neither why nor how often.
"""

from sampler.forward import Forward, Work
from sampler.judgment import Judgment, Predicted
from sampler.kv_cache import CachedSequence
from sampler.task import Task


def judge_again(
    task: Task, sequence: CachedSequence, settled_context: list[int], *, needs_logits: bool
) -> Work[Judgment]:
    """What follows the settled context and the output's tokens, whatever the cache holds.

    With logits (1, V), or else with the likeliest tokens.
    """
    tokens = [*settled_context, *task.output.tokens]
    sequence.truncate(len(tokens) - 1)
    judgment = yield Forward(
        sequence, tokens[-1:], needs_logits=needs_logits, needs_candidates=not needs_logits
    )
    sequence.extend(tokens[-1:], judgment.predicted(slice(0, 1)))
    task.forwards += 1
    return judgment


def try_another(
    task: Task, sequence: CachedSequence, settled_context: list[int]
) -> Work[Predicted]:
    """Another attempt at a text that was not sound or not wanted: the best token but one."""
    forbidden = task.begin_retry()
    judgment = yield from judge_again(task, sequence, settled_context, needs_logits=True)
    probabilities_V = judgment.logits[0].float().softmax(dim=-1)
    probabilities_V[forbidden] = 0.0
    best, token = probabilities_V.max(dim=-1)
    return Predicted([int(token)], [float(best)])
