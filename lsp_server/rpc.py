"""JSON-RPC as we want it: pygls' protocol, less what it does by itself and must not.

Its copy of the documents, tracebacks on the wire, requests left hanging. Knows no handler.
"""

import contextlib
from collections.abc import Generator
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.protocol import LanguageServerProtocol, lsp_method

from lsp_server import wire

_OWN_DOCUMENTS = (
    types.TEXT_DOCUMENT_DID_OPEN,
    types.TEXT_DOCUMENT_DID_CHANGE,
    types.TEXT_DOCUMENT_DID_CLOSE,
    types.NOTEBOOK_DOCUMENT_DID_OPEN,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE,
    types.NOTEBOOK_DOCUMENT_DID_CLOSE,
)


class SeedProtocol(LanguageServerProtocol):
    """pygls' protocol with our extensions, without its document store and its tracebacks."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for method in _OWN_DOCUMENTS:  # then ours, registered as features, are the only handlers
            del self.fm.builtin_features[method]

    def get_message_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        """The type of a message, ours included."""
        return wire.MESSAGE_TYPES.get(method) or super().get_message_type(method)

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(
        self, params: types.InitializeParams
    ) -> Generator[Any, Any, types.InitializeResult]:
        """Answer `initialize`, announcing our extensions."""
        result = yield from super().lsp_initialize(params)
        result.capabilities.experimental = wire.CAPABILITY
        return result

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Type a message; a request that has no type is refused, where pygls would leave it open.

        Of client capabilities that lsprotocol is too old for only the position encodings are kept.
        """
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if data.get("method") == types.INITIALIZE and _forget_capabilities(data):
                return self.structure_message(data)
            if "method" in data and "id" in data:
                self._send_response(data["id"], error=error.to_response_error())
            raise

    def _send_data(self, data: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # the editor is gone; stdin will end, too
            super()._send_data(data)

    def _send_response(
        self, msg_id: str | int, result: Any = None, error: types.ResponseError | None = None
    ) -> None:
        if error is not None:
            is_internal = error.code == types.ErrorCodes.InternalError
            message = "Internal error, see the server's log." if is_internal else error.message
            error = types.ResponseError(error.code, message)
        super()._send_response(msg_id, result, error)


def _forget_capabilities(data: dict[str, Any]) -> bool:
    """Reduce what a client says it can do to what we use; False if that was all of it."""
    params = data.get("params") or {}
    capabilities = params.get("capabilities") or {}
    general = capabilities.get("general") or {}
    reduced = {
        "general": {"positionEncodings": general.get("positionEncodings")},
        "experimental": capabilities.get("experimental"),
    }
    is_new = params.get("capabilities") != reduced
    params["capabilities"] = reduced
    return is_new
