"""The editor's own settings: asked for at the start, and again when it says that they changed."""

import asyncio
import contextlib

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.configuration import Configuration

SECTION = "seed-lsp"
PULL_TIMEOUT_S = 2.0
"""An editor that does not tell its settings in time has none."""


async def pull(server: LanguageServer, configuration: Configuration) -> bool:
    """Ask for our section and use it; False if the editor cannot be asked."""
    workspace = server.client_capabilities.workspace
    if workspace is None or not workspace.configuration:
        return False
    params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
    with contextlib.suppress(JsonRpcException, TimeoutError):
        async with asyncio.timeout(PULL_TIMEOUT_S):
            answer = await server.workspace_configuration_async(params)
        configuration.use_section(answer[0] if answer else None)
    return True


async def watch(server: LanguageServer) -> None:
    """Ask to be told of changes, where that has to be asked for."""
    workspace = server.client_capabilities.workspace
    change = workspace.did_change_configuration if workspace else None
    if change is None or not change.dynamic_registration:
        return
    options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
    registration = types.Registration(
        "seed-lsp-settings", types.WORKSPACE_DID_CHANGE_CONFIGURATION, options
    )
    with contextlib.suppress(JsonRpcException):
        await server.client_register_capability_async(types.RegistrationParams([registration]))
