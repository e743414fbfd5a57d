"""Going on behind tokens that were judged before, with another one than the model's first choice.

One plain forward of one row each, whatever the request's mode. Knows neither why nor how often.
"""

from torch import Tensor

from sampler.forward import Forward, Work
from sampler.judgment import Predicted
from sampler.kv_cache import CachedSequence
from sampler.task import Task


def judge_again(task: Task, sequence: CachedSequence, settled_context: list[int]) -> Work[Tensor]:
    """Logits (V,) behind the settled context and the output's tokens, whatever the cache holds."""
    tokens = [*settled_context, *task.output.tokens]
    sequence.truncate(len(tokens) - 1)
    judgment = yield Forward(sequence, tokens[-1:], needs_logits=True)
    sequence.extend(tokens[-1:], judgment.predicted(slice(0, 1)))
    task.forwards += 1
    return judgment.logits[0]


def try_another(
    task: Task, sequence: CachedSequence, settled_context: list[int]
) -> Work[Predicted]:
    """Another attempt at a text that was not sound or not wanted: the best token but one."""
    forbidden = task.begin_retry()
    logits_V = yield from judge_again(task, sequence, settled_context)
    probabilities_V = logits_V.float().softmax(dim=-1)
    probabilities_V[forbidden] = 0.0
    best, token = probabilities_V.max(dim=-1)
    return Predicted([int(token)], [float(best)])
