"""The product's server with a stub for an engine: `stub_server.py SCRIPT SETTINGS_JSON`."""

import json
import sys

from lsp_server.server import main
from lsp_server.settings import Settings

script, settings = sys.argv[1:]
engine_command = [sys.executable, "-I", "-m", "sampler.stub", "--script", script]
sys.exit(main(Settings(**json.loads(settings)), engine_command=engine_command))
