"""From a request to the tokens of its prompt: cut to the window, laid out, the last word split off.

Every engine that is compared with ours builds its prompts here, too. Knows no model and no cache.
"""

from dataclasses import dataclass, replace

from model.format.healing import split_word
from model.format.prompt import (
    MAX_PREFIX_CHARS,
    MAX_SUFFIX_CHARS,
    Front,
    render,
    render_chat,
    render_surroundings,
    split_far,
    window,
)
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from sampler.messages import Complete


@dataclass(frozen=True)
class Context:
    """A prompt, ready for prefill."""

    tokens: list[int]
    num_healed: int
    """So many of the last tokens only draft what the output has to begin with."""
    required: str
    """The text that they spell (token healing)."""
    excerpt_tokens: tuple[int, ...] = ()
    """Tokens of each of the request's excerpts; 0 for one that did not fit."""


@dataclass(frozen=True)
class ContextLimits:
    """Text around the cursor is cut to these characters, and all of it to these tokens."""

    num_tokens: int
    """Prompt tokens that leave room for the longest completion."""
    max_prefix_chars: int = MAX_PREFIX_CHARS
    max_suffix_chars: int = MAX_SUFFIX_CHARS


def build_context(
    request: Complete, vocabulary: Vocabulary, tokenizer: Tokenizer, limits: ContextLimits
) -> Context:
    """The prompt of a request.

    Characters are cut first, at stable places (`window`); dense text that still has too many
    tokens is cut again by half. Excerpts of other files stand before all of it, so that typing
    leaves them in the cache, and take at most half of the window.

    Raises:
        ValueError: if this vocabulary has no way to ask for it.
    """
    if request.layout == "chat":
        return _chat_context(request, vocabulary, tokenizer, limits)
    front = _front(request, vocabulary, tokenizer, limits)
    max_prefix, max_suffix = limits.max_prefix_chars, limits.max_suffix_chars
    while True:
        cut = window(
            request.prefix,
            request.suffix,
            max_prefix_chars=max_prefix,
            max_suffix_chars=max_suffix,
        )
        far, near = "", cut.prefix
        if request.layout == "spm" and vocabulary.fim is not None:
            far, near = split_far(cut.prefix)
        all_ids = tokenizer.encode(near)
        prefix_ids, required = split_word(tokenizer, all_ids)
        if vocabulary.fim is None:
            if not prefix_ids:  # something has to stand before the first prediction
                prefix_ids, required = all_ids, ""
            context = prefix_ids
        else:
            suffix_ids = tokenizer.encode(cut.suffix)
            far_ids = tokenizer.encode(far)
            context = render(request.layout, vocabulary.fim, prefix_ids, suffix_ids, far_ids)
        if not context:
            raise ValueError("This model knows no fill-in-the-middle and the prefix is empty.")
        healed = all_ids[len(prefix_ids) :]
        context = [*front.ids, *context, *healed]
        if len(context) <= limits.num_tokens:
            return Context(context, len(healed), required, front.excerpt_tokens)
        max_prefix, max_suffix = max_prefix // 2, max_suffix // 2


def _front(
    request: Complete, vocabulary: Vocabulary, tokenizer: Tokenizer, limits: ContextLimits
) -> Front:
    """Nothing where the vocabulary cannot tell files apart: then they would pass for one."""
    surroundings = request.surroundings
    if surroundings is None or vocabulary.fim is None or vocabulary.repository is None:
        return Front([], ())
    if surroundings.max_tokens > limits.num_tokens // 2:
        surroundings = replace(surroundings, max_tokens=limits.num_tokens // 2)
    return render_surroundings(vocabulary.repository, tokenizer.encode, surroundings)


def _chat_context(
    request: Complete, vocabulary: Vocabulary, tokenizer: Tokenizer, limits: ContextLimits
) -> Context:
    """A question is not cut: what was left out might have been what was asked."""
    if vocabulary.chat is None:
        raise ValueError("This model knows no chat: its vocabulary has no <|im_start|>.")
    tokens = render_chat(
        vocabulary.chat, tokenizer.encode, request.prefix, language=request.plan.language
    )
    if len(tokens) > limits.num_tokens:
        raise ValueError(
            f"The question has {len(tokens)} tokens, {limits.num_tokens} are possible."
        )
    return Context(tokens, 0, "")
