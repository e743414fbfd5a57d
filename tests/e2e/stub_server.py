"""The product's server with a stub for an engine: `stub_server.py SCRIPT SETTINGS_JSON`."""

import json
import sys

from lsp_server.configuration import Configuration
from lsp_server.server import main
from lsp_server.sources import Sources

script, settings = sys.argv[1:3]  # VS Code adds --stdio
engine_command = [sys.executable, "-I", "-m", "sampler.stub", "--script", script]
configuration = Configuration(Sources(command_line=json.loads(settings)))
sys.exit(main(configuration, engine_command))
