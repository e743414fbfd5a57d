"""Where the server's log goes, and how stdout is kept for the wire alone."""

import contextlib
import logging
import os
import sys
from collections.abc import Generator
from typing import Any

from lsp_server.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Log to stderr and the file of the settings; stdout is the wire."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_file is not None:
        with contextlib.suppress(OSError):
            handlers.append(logging.FileHandler(settings.log_file, encoding="utf-8"))
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )
    # pygls logs whole message bodies at INFO, and at ERROR tracebacks that quote them.
    logging.getLogger("pygls").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def take_stdout() -> Generator[Any, None, None]:
    """Move the wire away from descriptor 1: whatever else prints there goes to stderr."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # pygls has closed it, or the editor is gone
            stream.close()
