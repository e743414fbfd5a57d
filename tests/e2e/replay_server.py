"""The product's server with any engine: `replay_server.py ENGINE_COMMAND_JSON SETTINGS_JSON`."""

import json
import sys

from lsp_server.configuration import Configuration
from lsp_server.server import main
from lsp_server.sources import Sources

engine_command, settings = map(json.loads, sys.argv[1:])
sys.exit(main(Configuration(Sources(command_line=settings)), engine_command))
