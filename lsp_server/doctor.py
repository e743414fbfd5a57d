"""`seed-lsp doctor`: everything a completion needs, checked in the order in which it is needed.

Checks that depend on a failed one are not run. Knows nothing of what is checked (`checks`).
"""

import asyncio
from collections.abc import Sequence

from rich.console import Console

from lsp_server import checks
from lsp_server.checks import Check, CheckError, Remark
from lsp_server.headless import EngineFailedError
from lsp_server.loopback import LoopbackError
from lsp_server.settings import Problem, Settings
from lsp_server.tune import describe_profile

CHECKS: Sequence[tuple[str, Check]] = (
    ("Python", checks.check_python),
    ("packages", checks.check_packages),
    ("settings", checks.check_settings),
    ("weights", checks.check_weights),
    ("adapter", checks.check_adapter),
    ("other engines", checks.check_other_engines),
    ("memory", checks.check_memory),
    ("engine", checks.check_engine),
    ("profile", describe_profile),
    ("completion", checks.check_completion),
    ("cancellation", checks.check_cancellation),
    ("language server", checks.check_server),
)


def main(
    settings: Settings, problems: Sequence[Problem], checks: Sequence[tuple[str, Check]] = CHECKS
) -> int:
    """Run all checks, a line each; the exit code is 0 if nothing failed."""
    console = Console(highlight=False, soft_wrap=True)
    for problem in problems:
        _say(console, "[yellow]warning[/]", "settings", str(problem))
    num_remarks = len(problems)
    for name, check in checks:
        try:
            with console.status(f"checking {name}"):
                found = asyncio.run(_run(check, settings))
        except (CheckError, EngineFailedError, LoopbackError) as error:
            _say(console, "[bold red]failed[/]", name, str(error))
            console.print("The checks after this one need it, so they were not run.")
            return 1
        except Exception as error:  # whatever is wrong here must not end in a traceback
            advice = "this is an error of ours: please report it with the lines above"
            _say(console, "[bold red]failed[/]", name, f"{type(error).__name__}: {error}; {advice}")
            return 1
        if isinstance(found, Remark):
            num_remarks += 1
            _say(console, "[yellow]warning[/]", name, f"{found.text}; {found.advice}")
        else:
            _say(console, "[green]ok[/]    ", name, found)
    summary = "Everything works." if not num_remarks else "It works; the warnings say what to do."
    console.print(summary)
    return 0


def _say(console: Console, mark: str, name: str, text: str) -> None:
    console.print(f"{mark} {name}:", end=" ")
    console.print(text, markup=False)


async def _run(check: Check, settings: Settings) -> str | Remark:
    result = check(settings)
    return result if isinstance(result, str | Remark) else await result
