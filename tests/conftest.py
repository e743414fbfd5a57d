"""Fixtures that every kind of test shares."""

import os
import shutil
from pathlib import Path

import pytest

from lsp_server.settings import PREFIX
from model import hub

if shutil.which("nvidia-smi") is None:
    # Read when triton is first imported, which PyTorch may do before tests.interpreter does.
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def weights_path() -> Path:
    """The default model's file, which `make setup` fetched; tests that need it are `weights`."""
    try:
        return hub.resolve(hub.DEFAULT_MODEL, offline=True)
    except hub.HubError as error:
        pytest.fail(f"{error} (or run `make setup`, or leave these out: pytest -m 'not weights')")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The developer's own settings must not decide what a test sees."""
    for name in os.environ:
        if name.startswith(PREFIX) and name != f"{PREFIX}CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}TUNE", "off")  # no engine measures beside other tests
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
