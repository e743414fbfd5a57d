"""Code to try the actions of edits on, each with calls that say what it is to do.

Written for this project. Knows neither the model nor how an answer is judged.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Code, and statements that hold once the action is done; the code is one definition."""

    actions: tuple[str, ...]
    code: str
    checks: str
    detail: str = ""
    """The wish of a person, or what a tool reports."""
    file_head: str = ""
    """What stands above it in its file."""


_PLAIN = ("docstring", "types", "simplify", "errors")

CASES: tuple[Case, ...] = (
    Case(
        _PLAIN,
        """\
def initials(name):
    letters = ""
    for word in name.split():
        if len(word) > 0:
            letters = letters + word[0].upper()
    return letters
""",
        """\
assert initials("ada lovelace") == "AL"
assert initials("") == ""
""",
    ),
    Case(
        ("docstring", "types", "simplify"),
        """\
def is_leap(year):
    if year % 400 == 0:
        return True
    elif year % 100 == 0:
        return False
    elif year % 4 == 0:
        return True
    else:
        return False
""",
        """\
assert [year for year in (1900, 2000, 2023, 2024) if is_leap(year)] == [2000, 2024]
assert is_leap(2024) is True
""",
    ),
    Case(
        _PLAIN,
        """\
def count_lines(path, skip_blank=False):
    count = 0
    with open(path) as file:
        for line in file:
            if skip_blank == True and line.strip() == "":
                continue
            count = count + 1
    return count
""",
        """\
import os, tempfile
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.txt")
    with open(path, "w") as file:
        _ = file.write("a\\n\\nb\\n")
    assert count_lines(path) == 3
    assert count_lines(path, skip_blank=True) == 2
    assert count_lines(path, True) == 2
""",
    ),
    Case(
        _PLAIN,
        """\
def merge_totals(first, second):
    result = {}
    for key in first:
        result[key] = first[key]
    for key in second:
        if key in result:
            result[key] = result[key] + second[key]
        else:
            result[key] = second[key]
    return result
""",
        """\
left = {"a": 1, "b": 2}
assert merge_totals(left, {"b": 3, "c": 4}) == {"a": 1, "b": 5, "c": 4}
assert left == {"a": 1, "b": 2}
""",
    ),
    Case(
        _PLAIN,
        """\
def parse_size(text):
    units = {"k": 1024, "m": 1024 * 1024}
    text = text.strip().lower()
    if text[-1] in units:
        number = text[:-1]
        unit = units[text[-1]]
    else:
        number = text
        unit = 1
    return int(number) * unit
""",
        """\
assert parse_size("12") == 12
assert parse_size(" 3k ") == 3072
assert parse_size("2M") == 2097152
""",
    ),
    Case(
        _PLAIN,
        """\
def chunks(items, size):
    result = []
    index = 0
    while index < len(items):
        result.append(items[index:index + size])
        index = index + size
    return result
""",
        """\
assert chunks([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
assert chunks([], 3) == []
""",
    ),
    Case(
        ("docstring", "types"),
        """\
def clamp(value, low=0.0, high=1.0):
    return max(low, min(high, value))
""",
        """\
assert clamp(2.0) == 1.0
assert clamp(-1.0, low=-0.5) == -0.5
""",
    ),
    Case(
        ("docstring", "types"),
        """\
class Stack:
    def __init__(self, items=None):
        self.items = list(items or [])

    def push(self, item):
        self.items.append(item)

    def is_empty(self):
        return len(self.items) == 0
""",
        """\
stack = Stack([1])
stack.push(2)
assert stack.items == [1, 2]
assert stack.is_empty() is False
""",
    ),
    Case(
        ("body",),
        '''\
def factorial(number: int) -> int:
    """The product of all integers from 1 to number; 1 for 0."""
    pass
''',
        "assert [factorial(n) for n in (0, 1, 5)] == [1, 1, 120]\n",
    ),
    Case(
        ("body",),
        '''\
def is_palindrome(text: str) -> bool:
    """Whether a text reads the same backwards, whatever the case of its letters."""
    ...
''',
        'assert is_palindrome("Anna")\nassert not is_palindrome("Annal")\n',
    ),
    Case(
        ("body",),
        '''\
def most_common(words: list[str]) -> str:
    """The word that occurs most often."""
    # TODO
    raise NotImplementedError
''',
        'assert most_common(["a", "b", "a"]) == "a"\n',
    ),
    Case(
        ("body",),
        '''\
def transpose(rows: list[list[int]]) -> list[list[int]]:
    """Rows become columns."""
    pass
''',
        "assert transpose([[1, 2, 3], [4, 5, 6]]) == [[1, 4], [2, 5], [3, 6]]\n",
    ),
    Case(
        ("rewrite",),
        """\
def total(prices):
    return sum(prices)
""",
        "assert total([1, 2]) == 3\nassert total([1, 2], 0.5) == 4.5\n",
        detail="Add a parameter tax with the default 0, as a share that is added to the total",
    ),
    Case(
        ("rewrite",),
        """\
def find(items, wanted):
    for index, item in enumerate(items):
        if item == wanted:
            return index
    return -1
""",
        """\
assert find([1, 2], 2) == 1
try:
    find([1], 3)
except ValueError:
    pass
else:
    raise AssertionError
""",
        detail="Raise ValueError instead of returning -1",
    ),
    Case(
        ("rewrite",),
        """\
def words(text):
    return text.split(" ")
""",
        'assert words("a b") == ["a", "b"]\nassert words("B a") == ["a", "b"]\n',
        detail="Return the words in lower case and sorted",
    ),
    Case(
        ("rewrite",),
        """\
def evens(limit):
    result = []
    for number in range(limit):
        if number % 2 == 0:
            result.append(number)
    return result
""",
        "found = evens(5)\nassert iter(found) is found\nassert list(found) == [0, 2, 4]\n",
        detail="Make it a generator",
    ),
    Case(
        ("rewrite",),
        """\
def distance(x1, y1, x2, y2):
    return ((x1 - x2) ** 2 + (y1 - y2) ** 2) ** 0.5
""",
        "assert distance((0, 0), (3, 4)) == 5\n",
        detail="Take two points as tuples instead of four numbers",
    ),
    Case(
        ("rewrite",),
        """\
def safe_divide(a, b):
    return a / b
""",
        "assert safe_divide(6, 3) == 2\nassert safe_divide(1, 0) is None\n",
        detail="Return None if b is zero",
    ),
)
