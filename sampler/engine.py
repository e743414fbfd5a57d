"""The engine: requests in, committed blocks out, one forward at a time, which requests may share.

Synchronous and single-threaded: whoever calls `step` owns the device. Knows neither sockets nor
LSP, nor how a completion is written (`sampler.generation`): it keeps the queue.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

from model.format.soundness import Soundness
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from sampler.forward import Forward, InterruptedForwardError, Turn
from sampler.generation import EngineSettings, Writer
from sampler.judgment import Judgment
from sampler.kv_cache import PrefixCache
from sampler.messages import Complete, Event, Failed
from sampler.output import Output
from sampler.refusal import Refusal
from sampler.runner import Runner
from sampler.sharing import least_room, room_beside
from sampler.task import Task

logger = logging.getLogger(__name__)


class Engine:
    """Serves requests in order of arrival; a newer one for a document replaces the older."""

    def __init__(
        self,
        runner: Runner,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        settings: EngineSettings | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.runner = runner
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self._writer = Writer(runner, vocabulary, tokenizer, self.settings)
        self._tasks: deque[Task] = deque()
        self._context_tokens = 0
        self._writing: tuple[Complete, ...] = ()
        """Whose forward runs now, if it may be interrupted."""

    @property
    def cache(self) -> PrefixCache:
        """Of all sequences."""
        return self._writer.cache

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._tasks)

    @property
    def context_tokens(self) -> int:
        """Tokens of prompts that were computed so far for requests that somebody waited for."""
        return self._context_tokens + sum(map(_waited_for, self._tasks))

    def adopt(self, settings: EngineSettings) -> None:
        """Work by other settings from the next forward on; estimates begin anew, the cache stays.

        What the cache was made for, its sequences and positions, must be as before.
        """
        before = self.settings
        assert settings.num_positions == before.num_positions
        assert settings.num_sequences == before.num_sequences
        self.settings = self._writer.settings = settings
        self._writer.drafting.clear()

    def submit(self, request: Complete) -> list[Event]:
        """Queue a request. Returns `Failed` for each older request that it supersedes.

        Those are all that work ahead, and the one for its document; but if it works ahead itself,
        none that does.
        """
        superseded = [task for task in self._tasks if request.supersedes(task.request)]
        self._drop(superseded)
        self._tasks.append(
            Task(
                request,
                arrived=time.perf_counter(),
                output=Output(
                    self.tokenizer,
                    self.vocabulary.end_ids | self.vocabulary.special_ids,
                    request.plan,
                    request.max_new_tokens,
                    _soundness(request),
                    Refusal(request.old_code) if request.must_change else None,
                ),
            )
        )
        return [
            Failed("superseded by a newer request", task.request.request_id) for task in superseded
        ]

    def cancel(self, request_id: str) -> None:
        """Drop a request: no further forward starts for it. Unknown ids are ignored."""
        self._drop([task for task in self._tasks if task.request.request_id == request_id])

    def cancel_all(self, prefix: str) -> None:
        """Drop all requests whose id starts with `prefix`."""
        self._drop([task for task in self._tasks if task.request.request_id.startswith(prefix)])

    def interrupt(self, is_useless: Callable[[Complete], bool]) -> None:
        """End the forward that runs if it is of no use to any request; in any thread.

        What reads a prompt goes on to its end, for the next request there will need it. Until
        `end_interrupt` no other forward comes to its end either: call that first, then `submit` or
        `cancel` what has made it useless.
        """
        writing = self._writing
        if writing and all(map(is_useless, writing)):
            self.runner.interrupt()

    def end_interrupt(self) -> None:
        """Forwards run to their end again."""
        self.runner.end_interrupt()

    def step(self) -> list[Event]:
        """At most one forward; returns what came out of it.

        It is the oldest request's, which takes as many rows as it likes. Later ones join it as far
        as that hardly lengthens it (`sampler.sharing`).
        """
        events: list[Event] = []
        chosen: list[tuple[Task, Forward]] = []
        for task in list(self._tasks):
            turn = self._turn(task, [forward for _, forward in chosen])
            if turn is None:
                continue
            task.turn = turn
            if task.pending is None:
                events += self._resume(task)
            forward = task.pending
            if forward is not None and self._fits(forward, turn, chosen):
                chosen.append((task, forward))
            if not chosen or not self.runner.most_shared_rows:
                break  # the oldest needed no forward to go on, or shares none
        for task, judgment in self._compute(chosen, events):
            task.pending = None
            events += self._resume(task, judgment)
        return events

    def _turn(self, task: Task, before: list[Forward]) -> Turn | None:
        """What a request may take beside those before it; None if it has to wait."""
        if not before:
            return Turn()
        if task.work is None and not self.cache.has_free:
            return None
        num_before = sum(forward.num_rows for forward in before)
        room = room_beside(
            num_before,
            self.settings.costs_ms,
            first=before[0].num_rows,
            most_rows=self.runner.most_shared_rows,
            is_waited_for=not self._tasks[0].request.is_ahead,
        )
        if room < least_room(task.request, self.settings.max_rows):
            return None
        return Turn(num_before, room)

    def _fits(self, forward: Forward, turn: Turn, chosen: list[tuple[Task, Forward]]) -> bool:
        has_room = turn.room is None or forward.num_rows <= turn.room
        return has_room and all(forward.can_share(other) for _, other in chosen)

    def _compute(
        self, chosen: list[tuple[Task, Forward]], events: list[Event]
    ) -> list[tuple[Task, Judgment]]:
        """What the forwards say; a request whose forward fails is dropped, others go on."""
        if not chosen:
            return []
        forwards = [forward for _, forward in chosen]
        is_reading = any(forward.num_early for forward in forwards)
        self._writing = () if is_reading else tuple(task.request for task, _ in chosen)
        try:
            judgments = self.runner.advance_together(forwards, may_interrupt=not is_reading)
        except InterruptedForwardError:
            return []  # who is still there after what was said asks for the same again
        except Exception as error:
            if len(chosen) > 1:  # whose fault it is shows when each is alone
                return [pair for one in chosen for pair in self._compute([one], events)]
            events += [self._fail(task, error) for task, _ in chosen]
            return []
        finally:
            self._writing = ()
        return [(task, judgment) for (task, _), judgment in zip(chosen, judgments, strict=True)]

    def _resume(self, task: Task, judgment: Judgment | None = None) -> list[Event]:
        """Let a request go on until it needs a forward or has events; those are returned."""
        try:
            if task.work is None:
                task.work = self._writer.generate(task)
            found = next(task.work) if judgment is None else task.work.send(judgment)
        except Exception as error:
            return [self._fail(task, error)]
        if isinstance(found, Forward):
            task.pending = found
            return []
        if task.output.stop is None:
            return found
        self._drop([task])
        return [*found, task.finish()]

    def _fail(self, task: Task, error: Exception) -> Failed:
        """The engine outlives a request whatever happens in it."""
        logger.error("request failed", exc_info=error)
        self._drop([task])
        return Failed(_sentence(error), task.request.request_id)

    def _drop(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._tasks.remove(task)
            self._context_tokens += _waited_for(task)
            task.close()


def _waited_for(task: Task) -> int:
    """Tokens of its prompt that were computed while somebody waited for it."""
    return 0 if task.request.is_ahead else task.prefill_tokens


def _soundness(request: Complete) -> Soundness | None:
    """What judges the text of a hole; answers in words and edits are not parsed in their place."""
    if request.layout == "chat" or request.old_code:
        return None
    return Soundness(request.plan, request.prefix, request.suffix)


def _sentence(error: Exception) -> str:
    """One sentence for a person: user errors verbatim, anything else by its type."""
    if isinstance(error, ValueError):
        return str(error)
    return f"The engine could not complete this request ({type(error).__name__}: {error})."
