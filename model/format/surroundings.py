"""What is known besides the document that is completed, chosen and ranked by whoever asks.

A frozen record of text and numbers, carried inside a request to the engine and laid out by
`prompt.render_surroundings`. Knows neither files nor tokens.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Excerpt:
    """A piece of another file, as the model is to see it."""

    path: str
    """Where it is from, relative to the repository, with forward slashes."""
    text: str


@dataclass(frozen=True)
class Surroundings:
    """Excerpts in the order of the prompt: what changes least comes first."""

    repository: str
    """Name of the repository or of its folder."""
    path: str
    """The completed document, relative to the repository, with forward slashes."""
    excerpts: tuple[Excerpt, ...]
    max_tokens: int
    """What does not fit into so many tokens is left out, excerpt by excerpt."""
