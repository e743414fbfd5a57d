"""Command lines of the product's server with engines that tests and benches choose."""

import json
import sys
from pathlib import Path

from tests.engines import StubPlace

HERE = Path(__file__).parent


def server_command(engine: list[str], **settings: object) -> list[str]:
    """The product's server with that engine."""
    arguments = [json.dumps(engine), json.dumps(settings)]
    return [sys.executable, str(HERE / "replay_server.py"), *arguments]


def oracle_command(place: StubPlace, target: str, **settings: object) -> list[str]:
    """A server whose engine knows the target."""
    place.script_path.with_name("target.txt").write_text(target)
    engine = [sys.executable, "-I", str(HERE / "oracle_engine.py")]
    return server_command([*engine, "--script", str(place.script_path)], **settings)
