"""One thing to measure: a hole to fill, what belongs there, and how the filling is judged.

Knows neither file formats (`sets`) nor engines.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["hole", "answer"]
"""`hole`: the completion stands between two pieces of code · `answer`: the model is asked in words
and answers with code."""


@dataclass(frozen=True)
class Task:
    """Texts are verbatim, line breaks are `\\n`."""

    task_id: str
    prefix: str
    """Text before the hole; of an `answer`, what the user asks."""
    suffix: str = ""
    """Text behind the hole; of an `answer`, empty."""
    kind: Kind = "hole"
    language: str = "python"
    max_lines: int = 64
    """Lines that a completion may have; 1 means that it never holds a line break."""
    max_new_tokens: int = 256
    reference: str | None = None
    """What stands there in truth, if exact match and edit similarity are to be told."""
    old_code: str = ""
    """Of an `answer`: the code that it is asked to change; drafts are copied from it."""
    program: tuple[str, ...] | None = None
    """What a test program is made of: the completion joins these texts (mostly two, before and
    after). It passes if it runs to its end. None if nothing is run."""
    is_parse_checked: bool = False
    """Whether prefix + completion + suffix is a file that parsed with the reference in it."""


@dataclass(frozen=True)
class TaskSet:
    """A named set of tasks and where it came from."""

    name: str
    tasks: tuple[Task, ...]
    source: str
    """File or folder that was read."""
    sha256: str
    """Of the bytes that were read, so that two runs can be told to have had the same tasks."""
