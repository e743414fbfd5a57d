"""The order of work for a request, told as a generator that asks for one forward after the other.

Who runs them may let several requests share one. Whoever closes the generator has cancelled the
request. In modes `exact`, `balanced` and `fast` a
cycle is one forward: it verifies the drafts of the last one and drafts what follows each possible
end of them (`sampler.drafting`). In mode `diffusion` a block is denoised step by step, then
accepted whole. The reference for what is generated is `sampler.denoise`. Knows no queue.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from model.format.healing import Continuations
from model.format.prompt import MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from model.masks import Branches
from sampler.canvas import Canvas, reveal
from sampler.context import Context, ContextLimits, build_context
from sampler.drafting import (
    NATIVE_COSTS,
    CostCurve,
    Draft,
    Drafting,
    expected_accepted,
    within_reach,
)
from sampler.forward import Forward, Work
from sampler.judgment import Judgment, Predicted
from sampler.kv_cache import CachedSequence, PrefixCache
from sampler.lookup import lookup_draft
from sampler.messages import Complete, Mode, Stop
from sampler.old_code import OldCode
from sampler.output import Output
from sampler.policy import UnmaskPolicy, draw, num_accepted, ranked
from sampler.runner import Runner
from sampler.second_attempt import judge_again, try_another
from sampler.task import Task

FEWEST_EARLY = 12
"""Tokens of a context that are read together from which on they leave the network early
(`model.early`). Fewer, such as those just typed, take no longer if they go all the way."""


@dataclass(frozen=True)
class EngineSettings:
    """How the engine works here. But for rounding, nothing in it changes `ar` and `exact`."""

    block_size: int = 16
    """Tokens drafted together, the settled one before them included."""
    max_rows: int = 32
    """Of a forward that verifies and drafts."""
    costs_ms: CostCurve = NATIVE_COSTS
    """Milliseconds of a forward by rows, on this machine."""
    acceptance: tuple[float, ...] = ()
    """By place in a branch: the chance that a draft is right if those before it are; to begin with,
    then as experience has it. Empty: a guess."""
    has_lookup: bool = True
    """Whether drafts are copied from the context where it has the like."""
    max_steps: int = 4
    """Mode `diffusion`: denoising steps per block; the last one reveals whatever is masked then."""
    policy: UnmaskPolicy = field(default_factory=UnmaskPolicy)
    """Mode `diffusion`: what a step reveals."""
    delta: float = 0.9
    """Mode `balanced` accepts a denoised draft whose AR probability is at least this share of the
    best."""
    fast_delta: float = 0.8
    """Likewise mode `fast`."""
    prefill_chunk: int = 128
    """Context tokens per forward: the longest time that a cancellation waits."""
    num_sequences: int = 4
    num_positions: int = 4096
    max_prefix_chars: int = MAX_PREFIX_CHARS
    max_suffix_chars: int = MAX_SUFFIX_CHARS


class Writer:
    """Writes completions: what all requests share."""

    def __init__(
        self, runner: Runner, vocabulary: Vocabulary, tokenizer: Tokenizer, settings: EngineSettings
    ) -> None:
        self.runner = runner
        self.settings = settings
        self.cache = PrefixCache(
            lambda: runner.allocate(settings.num_positions),
            num_sequences=settings.num_sequences,
            num_positions=settings.num_positions,
        )
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._continuations = Continuations(vocabulary, tokenizer)
        self.drafting: dict[Mode, Drafting] = {}

    def generate(self, task: Task) -> Work[None]:
        """All work for one request; yields events after each forward, at last with `output.stop`
        set.
        """
        request, output = task.request, task.output
        context = self._context(request)
        output.required = context.required
        task.excerpt_tokens = context.excerpt_tokens
        if request.old_code:
            task.old_code = OldCode(self._tokenizer.encode(request.old_code))
        is_edit = request.old_code or request.must_change
        if is_edit and request.mode != "ar":  # nothing that accepts more has been faster or as good
            task.request = replace(request, mode="exact")
        sequence, num_cached = self.cache.acquire(context.tokens)
        try:
            yield from self._write(task, sequence, context, num_cached)
        finally:
            self.cache.release(sequence)

    def _write(
        self, task: Task, sequence: CachedSequence, context: Context, num_cached: int
    ) -> Work[None]:
        request, output = task.request, task.output
        fresh, drafts = yield from self._prefill(task, sequence, context, num_cached)
        if request.max_new_tokens == 0:
            output.stop = "limit"
            yield []
            return
        length = len(context.tokens) - context.num_healed + len(fresh.tokens) - 1
        is_healing = len(fresh.tokens) <= context.num_healed
        settled_context = context.tokens[: len(context.tokens) - context.num_healed]
        if request.temperature > 0:
            yield from self._draw(task, sequence, settled_context, fresh)
            return
        while True:
            # The last fresh token is settled: it is shown before its own forward.
            events = task.push(fresh)
            if output.retry is not None:
                yield events
                fresh = yield from try_another(task, sequence, settled_context)
                drafts = []
                length = len(settled_context) + output.num_tokens
                continue
            num_slots = min(self.settings.num_positions - length, output.num_left + 1)
            if output.stop is None:
                stop: Stop | None = "limit" if num_slots <= 0 else None
                stop = "budget" if task.is_over_budget() else stop
                if stop is not None:
                    events += task.emit(output.finish(stop))
            yield events

            settled = fresh.tokens[-1]
            replayed = self._replay(request.mode, sequence, length, settled, output)
            if replayed.tokens:
                length += len(replayed.tokens)
                fresh, drafts, is_healing = replayed, [], False
                continue
            sequence.truncate(length)
            # A token that heals is not drafted behind: what follows it is unconditional again.
            if self._drafts_by_steps(request.mode) and not is_healing:
                fresh = yield from self._denoise(task, sequence, settled, num_slots)
                length += len(fresh.tokens)
            else:
                is_healing = output.required_left != b""
                fresh, drafts = yield from self._advance(task, sequence, settled, drafts, num_slots)
                length += len(fresh.tokens)

    def _prefill(
        self, task: Task, sequence: CachedSequence, context: Context, num_cached: int
    ) -> Work[tuple[Predicted, list[Draft]]]:
        """Write K/V of the uncached tail of the context, chunk by chunk.

        The last `num_healed` tokens of the context are only a draft of the output's first ones: the
        forward that writes them judges them too, and mostly they are what the model prefers.

        Returns the first tokens of the output, of which all but the last are in the cache, and
        drafts of what follows.
        """
        required, num_healed = context.required, context.num_healed
        num_settled = len(context.tokens) - num_healed
        drafts: list[Draft] = []
        first = sequence.recall(num_settled, required) if num_cached >= num_settled else None
        if first is None:
            num_cached = min(num_cached, num_settled - 1)
            sequence.truncate(num_cached)
            judgment = yield from self._prefill_tail(task, sequence, context.tokens, num_healed + 1)
            first, left = Predicted([], []), required.encode()
            for index, draft in enumerate(context.tokens[num_settled:]):
                first += self._choose(judgment.logits[index], left)
                if first.tokens[-1] != draft:
                    break
                left = left[len(self._continuations.spelling(draft)) :]
            else:
                first += judgment.predicted(slice(num_healed, num_healed + 1))
                rows = slice(num_healed + 1, None)
                drafts = self._branch(task.request.mode, judgment, rows, first.tokens[-1])
            sequence.truncate(num_settled + len(first.tokens) - 1)
            sequence.first = (num_settled, required, first)
        task.cached_tokens = num_cached
        return first, drafts

    def _prefill_tail(
        self, task: Task, sequence: CachedSequence, context: list[int], num_judged: int
    ) -> Work[Judgment]:
        begin = len(sequence.tokens)
        while True:
            if task.is_over_budget():
                yield task.emit(task.output.finish("budget"))
            # The rows that are judged stay in one chunk.
            chunk, num_left = task.turn.limit(self.settings.prefill_chunk), len(context) - begin
            is_last = num_left <= max(task.turn.limit(chunk + num_judged), num_judged)
            tokens = context[begin:]
            if not is_last:
                tokens = context[begin : begin + min(chunk, num_left - num_judged)]
            started = time.perf_counter()
            sizes: tuple[int, ...] = ()
            is_drawn = task.request.temperature > 0  # token by token, without drafts
            if is_last and not is_drawn and not self._drafts_by_steps(task.request.mode):
                num_before = len(tokens) - 1
                room = min(
                    self.settings.num_positions - len(context),
                    max(task.turn.limit(self.settings.max_rows + num_before) - num_before, 1),
                )
                branch = self._drafting_of(task.request.mode).choose(
                    [], num_positions=room, num_before=task.turn.num_before + num_before
                )
                sizes = (0,) * num_before + branch
            num_early = len(tokens) - (num_judged if is_last else 0)
            judgment = yield Forward(
                sequence,
                tokens,
                sizes,
                num_judged=num_judged if is_last else 0,
                num_early=num_early if num_early >= FEWEST_EARLY else 0,
                needs_logits=is_last and num_judged > 1,
            )
            sequence.extend(tokens, judgment.predicted(slice(0, num_judged if is_last else 0)))
            task.prefill_ms += (time.perf_counter() - started) * 1000
            task.prefill_tokens += len(tokens)
            begin += len(tokens)
            if is_last:
                return judgment
            yield []

    def _advance(
        self,
        task: Task,
        sequence: CachedSequence,
        settled: int,
        drafts: list[Draft],
        num_slots: int,
    ) -> Work[tuple[Predicted, list[Draft]]]:
        """One cycle: commit the settled token and what is right of the drafts.

        Args:
            task: whose forward it is.
            sequence: of all tokens before the settled one.
            settled: the token at its end that has no K/V yet.
            drafts: of what follows it.
            num_slots: how many tokens there is room for, the settled one included.

        Returns the tokens behind the settled one, of which the last is settled now, and drafts of
        what follows.
        """
        mode, drafting = task.request.mode, self._drafting_of(task.request.mode)
        is_healing = task.output.required_left != b""
        sizes: tuple[int, ...] = (0,)
        if is_healing:  # what heals is chosen among few tokens: it is not drafted behind
            drafts = []
        else:
            drafts = self._propose(task, sequence, settled, drafts)[: num_slots - 1]
            num_left = self.settings.num_positions - len(sequence.tokens)
            sizes = drafting.choose(
                drafts,
                num_positions=task.turn.limit(num_left),
                num_before=task.turn.num_before,
            )
        drafts = drafts[: len(sizes) - 1]
        chain = [settled, *(draft.token for draft in drafts)]
        judgment = yield Forward(sequence, chain, sizes, needs_logits=is_healing)
        task.forwards += 1
        accepted = num_accepted(
            chain[1:],
            judgment.tokens,
            judgment.shares,
            [self._least_share(mode, draft) for draft in drafts],
        )
        following = judgment.predicted(slice(0, accepted + 1))
        sequence.extend(chain[: accepted + 1], following)
        if drafts:
            task.accepted.append(accepted)
        if is_healing:
            return self._choose(judgment.logits[0], task.output.required_left), []
        drafting.learn(sizes, drafts, accepted)
        tokens = [*chain[1 : accepted + 1], following.tokens[-1]]
        is_best = [token == best for token, best in zip(tokens, following.tokens, strict=True)]
        probabilities = [
            probability if is_best[row] else probability * judgment.shares[row]
            for row, probability in enumerate(following.probabilities)
        ]
        fresh = Predicted(tokens, probabilities)
        return fresh, self._branch(mode, judgment, Branches(sizes).branch(accepted), tokens[-1])

    def _draw(
        self, task: Task, sequence: CachedSequence, settled_context: list[int], first: Predicted
    ) -> Work[None]:
        """A text drawn token by token. What heals the last word is no matter of chance."""
        request, output = task.request, task.output
        generator = torch.Generator().manual_seed(request.seed)
        end_ids = self._vocabulary.end_ids | self._vocabulary.special_ids
        rank = request.first_rank
        fresh = Predicted(first.tokens[:-1], first.probabilities[:-1])
        while True:
            events = task.push(fresh)
            if output.retry is not None:
                yield events
                fresh = yield from try_another(task, sequence, settled_context)
                continue
            length = len(settled_context) + output.num_tokens
            if output.stop is None and task.is_over_budget():
                events += task.emit(output.finish("budget"))
            elif output.stop is None and length >= self.settings.num_positions:
                events += task.emit(output.finish("limit"))
            yield events
            must_heal = output.required_left != b""
            judgment = yield from judge_again(
                task, sequence, settled_context, needs_logits=must_heal
            )
            if must_heal:
                fresh = self._choose(judgment.logits[0], output.required_left)
                continue
            ids_K, log_p_K = judgment.likeliest(0)
            if rank > 0:
                fresh, rank = ranked(ids_K, log_p_K, rank, end_ids), 0
            else:
                token, probability = draw(ids_K, log_p_K, request.temperature, generator)
                fresh = Predicted([token], [probability])

    def _denoise(
        self, task: Task, sequence: CachedSequence, settled: int, num_slots: int
    ) -> Work[Predicted]:
        """A block of mode `diffusion`: denoised in steps, a yield behind each, then committed.

        Its forwards are its own: a canvas is not shared.
        """
        settings, runner = self.settings, self.runner
        canvas = Canvas.masked(
            len(sequence.tokens),
            settled,
            min(num_slots, settings.block_size),
            runner.model.config.mask_id,
            runner.device,
        )
        for step in range(settings.max_steps):
            if not canvas.has_masked:
                break
            judgment = runner.denoise(sequence, canvas, needs_logits=settings.policy.needs_logits)
            task.forwards += 1
            task.denoising_steps += 1
            reveal(canvas, judgment, settings.policy, is_last=step == settings.max_steps - 1)
            yield []
        tokens = canvas.tokens_L.tolist()
        judgment = runner.advance(sequence, tokens)
        task.forwards += 1
        following = judgment.predicted(slice(0, len(tokens)))
        sequence.extend(tokens, following)
        if len(tokens) > 1:
            task.accepted.append(len(tokens) - 1)
        return Predicted([*tokens[1:], following.tokens[-1]], following.probabilities)

    @property
    def _has_adapter(self) -> bool:
        return self.runner.model.adapter is not None

    def _drafts_by_steps(self, mode: Mode) -> bool:
        return mode == "diffusion" and self._has_adapter

    def _least_share(self, mode: Mode, draft: Draft) -> float:
        """What a draft must have to be accepted, see `policy.num_accepted`.

        A copied one, which no model has proposed, has to be the base's own choice in all modes.
        """
        if draft.is_copied or mode not in ("balanced", "fast"):
            return 2.0
        return self.settings.delta if mode == "balanced" else self.settings.fast_delta

    def _drafting_of(self, mode: Mode) -> Drafting:
        """Modes learn apart; without an adapter only copied drafts are there to be verified."""
        if mode not in self.drafting:
            can_draft = mode != "ar" and self._has_adapter
            self.drafting[mode] = Drafting(
                self.settings.costs_ms,
                self.settings.acceptance,
                max_rows=1 if mode == "ar" else self.settings.max_rows,
                longest_branch=self.settings.block_size - 1 if can_draft else 0,
                learns=mode == "exact",
            )
        return self.drafting[mode]

    def _propose(
        self, task: Task, sequence: CachedSequence, settled: int, drafts: list[Draft]
    ) -> list[Draft]:
        """Drafts to verify: of denoised ones and such as old code or context have, the best."""
        mode = task.request.mode
        if mode == "ar":
            return []
        if not self.settings.has_lookup:
            return drafts
        chances = self._drafting_of(mode).chances
        num_most, num_known = self.settings.max_rows - 1, len(sequence.tokens) + 1
        tokens = [*sequence.tokens, settled, *(draft.token for draft in drafts)]
        tokens_N = np.asarray(tokens, dtype=np.int64)
        # Denoised drafts are few and soon unsure, but they make a tail that may occur elsewhere.
        candidates, reached = [], 1.0
        for num in range(len(drafts) + 1):
            found = lookup_draft(tokens_N[: num_known + num], num_most - num)
            candidates.append(drafts[:num] + chances.copied(found, reached))
            if num < len(drafts):
                reached *= drafts[num].chance
        if task.old_code is not None:
            old = task.old_code
            candidates.append(chances.aligned(old.drafts(self.settings.max_rows - 1), old.run))
        return within_reach(max(candidates, key=expected_accepted))

    def _branch(self, mode: Mode, judgment: Judgment, rows: slice, settled: int) -> list[Draft]:
        """Drafts that the MASK rows of a branch have given, which stands behind `settled`."""
        predicted = judgment.predicted(rows)
        if judgment.candidates is not None:
            predicted = Predicted(
                *self.runner.model.couple(judgment.candidates.rows(rows), settled)
            )
        chances = self._drafting_of(mode).chances
        return chances.denoised(predicted.tokens, predicted.probabilities)

    def _choose(self, logits_V: Tensor, required: bytes) -> Predicted:
        """The most likely token among those that spell `required` or begin to."""
        ids = torch.from_numpy(self._continuations.of(required)).to(logits_V.device)
        best, index = logits_V[ids].float().softmax(dim=-1).max(dim=-1)
        return Predicted([int(ids[index])], [float(best)])

    def _context(self, request: Complete) -> Context:
        """The prompt of a request, with room behind it for a full completion."""
        settings = self.settings
        room = settings.num_positions - request.max_new_tokens - settings.block_size
        if room < 8:
            raise ValueError(
                f"max_new_tokens is {request.max_new_tokens}, too many for a context window of "
                f"{settings.num_positions} tokens."
            )
        limits = ContextLimits(room, settings.max_prefix_chars, settings.max_suffix_chars)
        return build_context(request, self._vocabulary, self._tokenizer, limits)

    def _replay(
        self, mode: Mode, sequence: CachedSequence, length: int, settled: int, output: Output
    ) -> Predicted:
        """What an earlier request generated behind the token `settled` and the cache still holds.

        Only where the mode's text is the greedy AR text, so that a warm cache never changes a
        result.
        """
        replayed = Predicted([], [])
        if mode not in ("ar", "exact") or output.required_left:
            return replayed
        while length < len(sequence.tokens) and sequence.tokens[length] == settled:
            following = sequence.following(length + 1)
            if following is None:
                break
            replayed += following
            settled = following.tokens[-1]
            length += 1
        return replayed
