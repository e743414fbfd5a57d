"""The command `seed-lsp`: without a subcommand it is the server, with one it works in a terminal.

Reads arguments, loads settings and hands over. Knows neither LSP nor sockets. Whatever only a
terminal needs is imported inside the commands, so that the server answers its editor at once.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from lsp_server import __version__
from lsp_server.configuration import Configuration
from lsp_server.options import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    NO_OPTIONS,
    Options,
    checked_settings,
    fail,
    fetch_weights,
    warn,
)
from lsp_server.sources import load, load_with_origins

app = App(
    name="seed-lsp",
    version=__version__,
    help="Local code completion by a diffusion language model, as a language server.",
    help_format="plaintext",
)
config_app = App(name="config", help="Look at the settings.")
app.command(config_app)
app.command(  # imported when it is asked for
    "lsp_server.bench.cli:app", name="bench", help="Measure how fast it is on this machine."
)


@app.default
def serve(
    *,
    options: Options = NO_OPTIONS,
    stdio: Annotated[bool, Parameter(help="accepted for editors; always so", negative="")] = False,
) -> int:
    """Run the language server on standard input and output."""
    with _clean_stdout():
        from lsp_server import server
    return server.main(Configuration(options.sources()))


@app.command
def complete(
    location: Annotated[str, Parameter(help="FILE:LINE:COL, counted from 1")],
    /,
    *,
    options: Options = NO_OPTIONS,
    as_json: Annotated[bool, Parameter(name="json", help="print one object", negative="")] = False,
    stream: Annotated[bool, Parameter(help="show each block as it arrives", negative="")] = False,
) -> int:
    """Complete the code at one place of a file and print the result."""
    from lsp_server import headless, terminal

    try:
        place = headless.parse_location(location)
        settings = checked_settings(options, place.path.absolute().parent)
        snapshot = headless.read_snapshot(place, settings.max_file_bytes)
        fetch_weights(settings)
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)
    view = terminal.CompletionView(snapshot, is_streaming=stream and not as_json)
    try:
        finished = headless.run_complete(snapshot, settings, view.show_status, view.show_block)
    except headless.EngineFailedError as error:
        view.close()
        return fail(str(error), EXIT_FAILED)
    view.close()
    if as_json:
        print(json.dumps(terminal.describe(finished, settings)))  # noqa: T201
    else:
        view.show_result(finished)
    return 0


@app.command
def fetch(*, options: Options = NO_OPTIONS) -> int:
    """Fetch the weights, with a progress bar; quick if they are already here."""
    try:
        path = fetch_weights(checked_settings(options))
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)
    sys.stdout.write(f"{path}\n")
    return 0


@app.command
def doctor(
    file: Annotated[Path | None, Parameter(help="only say why it gets completions or none")] = None,
    /,
    *,
    options: Options = NO_OPTIONS,
) -> int:
    """Check everything that a completion needs and say what to do about what is missing."""
    if file is not None:
        from lsp_server import file_check

        try:
            return file_check.main(file, checked_settings(options, file.absolute().parent))
        except ValueError as error:
            return fail(str(error), EXIT_BAD_INPUT)
    from lsp_server.doctor import main as run_checks

    return run_checks(*load(options.sources(Path.cwd())))


@app.command
def tune(
    *,
    options: Options = NO_OPTIONS,
    as_json: Annotated[bool, Parameter(name="json", help="print one object", negative="")] = False,
) -> int:
    """Measure what is fastest on this machine, in at most 20 seconds, and work that way."""
    from lsp_server import headless, terminal
    from lsp_server import tune as tuning

    try:
        settings = checked_settings(options)
        fetch_weights(settings)
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)
    try:
        with terminal.progress_bar() as report:
            tuned = tuning.run_tune(settings, report)
    except headless.EngineFailedError as error:
        return fail(str(error), EXIT_FAILED)
    if as_json:
        sys.stdout.write(json.dumps(tuning.describe_json(tuned)) + "\n")
    else:
        tuning.show(tuned)
    return 0


@app.command(name="serve")
def serve_http(
    *,
    options: Options = NO_OPTIONS,
    host: Annotated[str, Parameter(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="port to listen on")] = 8012,
    api_key: Annotated[
        str | None, Parameter(help="asked of every request", env_var="SEED_LSP_API_KEY")
    ] = None,
) -> int:
    """Serve plugins that speak HTTP: `/infill` and `/v1/completions`."""
    from lsp_server import http_front

    try:
        settings = checked_settings(options)
        fetch_weights(settings)
        return http_front.serve(settings, host, port, api_key)
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)


@app.command
def edit(
    target: Annotated[
        str, Parameter(help="FILE:START-END, a FILE or a pattern such as 'src/**/*.py'")
    ],
    instruction: Annotated[str, Parameter(help="what is to be done, in words")] = "",
    /,
    *,
    options: Options = NO_OPTIONS,
    action: Annotated[
        str | None, Parameter(help="what editors offer: docstring, types, simplify, …")
    ] = None,
    diff: Annotated[bool, Parameter(help="show what would change (default)", negative="")] = False,
    write: Annotated[bool, Parameter(help="change the files", negative="")] = False,
) -> int:
    """Rewrite lines of a file, or every function of many; nothing is written without --write."""
    from lsp_server import edit_command
    from lsp_server.edit_view import EditView

    try:
        wish = edit_command.parse_wish(instruction, action)
        targets = edit_command.find_targets(target)
        settings = checked_settings(options)
        limit = settings.max_file_bytes
        sources = [(it, edit_command.read_source(it.path, limit)) for it in targets]
        fetch_weights(settings)
        with EditView(shows_diff=diff or not write) as view:
            edits = edit_command.run_edit(sources, wish, settings, view, is_written=write)
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)
    view.show_summary(edits, is_written=write)
    return EXIT_FAILED if any(it.num_failed for it in edits) else 0


@app.command
def demo(*, options: Options = NO_OPTIONS) -> int:
    """Show completions of real Python files, streamed by the real server."""
    from lsp_server.demo import main as run_demo

    try:
        return run_demo(checked_settings(options))
    except ValueError as error:
        return fail(str(error), EXIT_BAD_INPUT)


@app.command
def stats(
    *,
    as_json: Annotated[bool, Parameter(name="json", help="print one object", negative="")] = False,
    reset: Annotated[bool, Parameter(help="forget all counts", negative="")] = False,
) -> int:
    """Print what was shown, accepted and kept on this machine, and how fast it was."""
    from lsp_server import stats as statistics
    from lsp_server.counters import CounterFile, counters_path

    path = counters_path()
    try:
        if reset:
            CounterFile(path).reset()
    except OSError as error:
        return fail(f"{path} cannot be removed: {error.strerror}", EXIT_FAILED)
    counts = CounterFile(path).read()
    if as_json:
        sys.stdout.write(json.dumps(statistics.describe(counts)) + "\n")
    else:
        statistics.show(counts, str(path))
    return 0


@config_app.command
def show(
    *,
    options: Options = NO_OPTIONS,
    as_json: Annotated[bool, Parameter(name="json", help="print one object", negative="")] = False,
) -> int:
    """Print each setting, its value and where the value came from."""
    from lsp_server import terminal

    settings, origins, problems = load_with_origins(options.sources(Path.cwd()))
    if as_json:
        values = {
            key: {"value": value, "source": origins[key]} for key, value in asdict(settings).items()
        }
        record = {"settings": values, "problems": [str(problem) for problem in problems]}
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    else:
        terminal.show_settings(settings, origins)
        warn(problems)
    return 0


@config_app.command
def schema() -> int:
    """Print a JSON schema of `config.toml` and `seed-lsp.toml`."""
    from lsp_server.schema import schema_text

    sys.stdout.write(schema_text())
    return 0


@config_app.command
def reference() -> int:
    """Print every setting with default, values and meaning, in Markdown."""
    from lsp_server.schema import reference as reference_text

    sys.stdout.write(reference_text())
    return 0


@contextmanager
def _clean_stdout() -> Iterator[None]:
    """While heavy modules are imported, what they print goes to stderr: stdout is the wire."""
    wire = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(wire, 1)
        os.close(wire)


def main(arguments: list[str] | None = None) -> None:
    """Run a command line; `entry` calls it first thing."""
    result: Any = EXIT_BAD_INPUT
    try:
        result = app(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        fail(f"{error} (see seed-lsp --help)", EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        result = 130
    except BrokenPipeError:  # e.g. `seed-lsp config show | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        result = EXIT_FAILED
    sys.exit(result if isinstance(result, int) else 0)
