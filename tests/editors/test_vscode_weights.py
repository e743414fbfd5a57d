"""The extension in a real VS Code with the real weights, as a new user has it."""

import pytest

from tests.editors.vscode.installation import NotInstalledError, find_installation
from tests.editors.vscode.session import SEED_LSP, EditorPlace, open_vs_code

SOURCE = '''\
import math


def circle_area(radius: float) -> float:
    return math.pi * radius**2


def circumference(radius: float) -> float:
    """Return the circumference of a circle."""
    '''


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.usefixtures("weights_path")
def test_a_completion_is_shown_and_accepted() -> None:
    try:
        installation = find_installation()
    except NotInstalledError as error:
        pytest.skip(str(error))
    place = EditorPlace()
    with open_vs_code(installation, place, [str(SEED_LSP)]) as editor:
        window = editor.window
        window.open("circles.py", SOURCE)
        editor.wait_until_ready(120)
        window.type("return")
        window.wait_for_ghost(" 2 * math.pi * radius")
        window.press("Tab")
        window.wait_for_saved(f"{SOURCE}return 2 * math.pi * radius")
    place.close()
