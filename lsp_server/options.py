"""What the commands share: their options, the settings of one run, and how they fail.

Knows no command.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lsp_server.settings import Problem, Settings
from lsp_server.sources import Sources, load

EXIT_FAILED = 1
"""The engine, or a check, failed."""
EXIT_BAD_INPUT = 2
"""The person asked for something that does not exist."""


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Settings that the command line can give; they win over every other source."""

    model: Annotated[str | None, Parameter(help="known name, hub id, .gguf file or folder")] = None
    adapter: Annotated[
        str | None, Parameter(help="auto: the one that comes with the model; none; or a file")
    ] = None
    device: Annotated[str | None, Parameter(help="auto, cpu or cuda")] = None
    dtype: Annotated[str | None, Parameter(help="auto, bfloat16, float16 or float32")] = None
    kernels: Annotated[str | None, Parameter(help="auto, native or torch")] = None
    threads: Annotated[str | None, Parameter(help="CPU threads of the engine")] = None
    block_size: Annotated[str | None, Parameter(help="tokens denoised together")] = None
    mode: Annotated[str | None, Parameter(help="fast, balanced, exact, ar or diffusion")] = None
    max_new_tokens: Annotated[str | None, Parameter(help="longest completion in tokens")] = None
    max_lines: Annotated[str | None, Parameter(help="longest completion in lines")] = None
    budget_ms: Annotated[str | None, Parameter(help="time limit of a completion")] = None
    offline: Annotated[bool | None, Parameter(help="never use the network", negative="")] = None
    log_level: Annotated[str | None, Parameter(help="debug, info, warning or error")] = None
    log_file: Annotated[str | None, Parameter(help="file that receives the log")] = None
    set: Annotated[tuple[str, ...], Parameter(help="KEY=VALUE of any other setting")] = ()
    config: Annotated[Path | None, Parameter(help="read instead of the user's file")] = None

    def sources(self, project_folder: Path | None = None) -> Sources:
        """Where the settings of this run come from."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        config_file = given.pop("config", None)
        for assignment in given.pop("set"):
            key, _, value = assignment.partition("=")
            given.setdefault(key, value)
        return Sources(command_line=given, project_folder=project_folder, config_file=config_file)


NO_OPTIONS = Options()


def checked_settings(options: Options, project_folder: Path | None = None) -> Settings:
    """Settings for one command; what the person typed wrongly is refused, the rest is a warning.

    Raises:
        ValueError: for a bad value on the command line.
    """
    settings, problems = load(options.sources(project_folder or Path.cwd()))
    for problem in problems:
        if problem.source == "command line":
            raise ValueError(problem.message)
    warn(problems)
    return settings


def fetch_weights(settings: Settings) -> Path:
    """The weights, fetched before an engine needs them: a terminal can show how far that is.

    Raises:
        ValueError: if they cannot be had.
    """
    from lsp_server import terminal
    from model import hub

    with terminal.progress_bar() as report:
        return hub.resolve(settings.model, offline=settings.offline, report=report)


def warn(problems: list[Problem]) -> None:
    """Say what was ignored."""
    for problem in problems:
        sys.stderr.write(f"warning: {problem}\n")


def fail(message: str, code: int) -> int:
    """Say what went wrong; returns the exit code."""
    sys.stderr.write(f"error: {message}\n")
    return code
