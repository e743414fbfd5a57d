"""The engine: requests in, committed blocks out, one forward at a time.

Synchronous and single-threaded: whoever calls `step` owns the device. Knows neither sockets nor
LSP, nor how a completion is written (`sampler.generation`): it keeps the queue.
"""

import logging
import time
from collections import deque

from model.format.soundness import Soundness
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from sampler.generation import EngineSettings, Writer
from sampler.kv_cache import PrefixCache
from sampler.messages import Complete, Event, Failed
from sampler.output import Output
from sampler.refusal import Refusal
from sampler.runner import Runner
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

    @property
    def cache(self) -> PrefixCache:
        """Of all sequences."""
        return self._writer.cache

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return bool(self._tasks)

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

        Those are the ones for its document, and unless it works ahead itself all that do.
        """
        superseded = [
            task
            for task in self._tasks
            if task.request.document == request.document
            or (task.request.is_ahead and not request.is_ahead)
        ]
        for task in superseded:
            self._tasks.remove(task)
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
        for task in self._tasks:
            if task.request.request_id == request_id:
                self._tasks.remove(task)
                return

    def cancel_all(self, prefix: str) -> None:
        """Drop all requests whose id starts with `prefix`."""
        self._tasks = deque(
            task for task in self._tasks if not task.request.request_id.startswith(prefix)
        )

    def step(self) -> list[Event]:
        """At most one forward for the oldest request; returns what came out of it."""
        if not self._tasks:
            return []
        task = self._tasks[0]
        if task.work is None:
            task.work = self._writer.generate(task)
        try:
            events = next(task.work)
        except Exception as error:  # the engine outlives a request whatever happens in it
            logger.exception("request failed")
            self._tasks.remove(task)
            return [Failed(_sentence(error), task.request.request_id)]
        if task.output.stop is not None:
            self._tasks.remove(task)
            events = [*events, task.finish()]
        return events


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
