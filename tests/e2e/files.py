"""Files that editors and servers count differently, and gestures that touch every line of one."""

from tests.e2e.buffer import LINE_BREAK
from tests.e2e.gestures import Accept, Ask, Edit, Gesture, Taste, Undo, Write

FILES = {
    "crlf": "import os\r\n\r\n\r\ndef f(a):\r\n    return a\r\n",
    "cr": "a = 1\rb = 2\r",
    "astral": "name = '😀é𝒳'  # 𝒳 😀\nother = '日本'\n",
    "line_separator": "a = 'x\u2028y\u2029z'\nb = '\x85'\n",
    "form_feed": "import os\n\x0c\ndef f():\n    pass\x0b\n",
    "no_final_newline": "x = 1\ny = 2",
    "tabs": "def f():\n\tif x:\n\t\treturn 1\n",
    "byte_order_mark": "\ufeff# é😀\r\n\ta = 1\r\n",
    "joiners": "flag = '👩‍💻e\u0301'\n",
    "empty": "",
}


def everywhere(text: str) -> list[Gesture]:
    """Change the beginning, middle and end of every line from the last to the first; accept an
    offer of several lines, undo it."""
    spans = [(0, len(LINE_BREAK.split(text)[0]))]
    for found in LINE_BREAK.finditer(text):
        line = LINE_BREAK.split(text[found.end() :], maxsplit=1)[0]
        spans.append((found.end(), found.end() + len(line)))
    gestures: list[Gesture] = []
    for start, end in reversed(spans):
        middle = (start + end) // 2
        gestures += [Edit(((place, 0, typed),)) for place, typed in ((end, "é"), (start, "😀"))]
        gestures += [Edit(((middle + 1, 0, "\t𝒳"),)), Undo(), Ask()]
    return [*gestures, Write("\n\tq"), Taste(), Accept("word"), Write("😀\n"), Ask()]
