"""Code to try fixes and conversions on: what is broken, and what can be written otherwise.

Written for this project. Knows neither the model nor how an answer is judged.
"""

from tests.bench.action_cases import Case

CASES: tuple[Case, ...] = (
    Case(
        ("fix",),
        """\
def average(numbers):
    total = 0
    for number in numbers:
        total += number
    return total / count
""",
        "assert average([1, 2, 6]) == 3\n",
        detail='line 5: undefined name "count"',
    ),
    Case(
        ("fix",),
        """\
def last_word(text):
    words = text.splt()
    return words[-1]
""",
        'assert last_word("a quick fox") == "fox"\n',
        detail='line 2: Cannot access attribute "splt" for class "str"',
    ),
    Case(
        ("fix",),
        """\
def describe(name, age):
    return name + " is " + age + " years old"
""",
        'assert describe("Ada", 36) == "Ada is 36 years old"\n',
        detail='line 2: Operator "+" not supported for types "str" and "int"',
    ),
    Case(
        ("fix",),
        """\
def first_even(numbers):
    for number in numbers
        if number % 2 == 0:
            return number
    return None
""",
        "assert first_even([1, 3, 4, 6]) == 4\nassert first_even([1]) is None\n",
        detail="line 2: SyntaxError: expected ':'",
    ),
    Case(
        ("fix",),
        """\
def area(width, height):
    result = width * heigth
    return result
""",
        "assert area(3, 4) == 12\n",
        detail='line 2: "heigth" is not defined',
    ),
    Case(
        ("fix",),
        """\
def load(path):
    with open(path) as file:
        return jsn.load(file)
""",
        """\
import os, tempfile
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.json")
    with open(path, "w") as file:
        _ = file.write("[1]")
    assert load(path) == [1]
""",
        detail='line 3: undefined name "jsn"',
        file_head="import json\n\n\n",
    ),
    Case(
        ("fix",),
        """\
def add_tag(tag, tags=[]):
    tags.append(tag)
    return tags
""",
        'assert add_tag("a") == ["a"]\nassert add_tag("b") == ["b"]\n'
        'assert add_tag("c", ["d"]) == ["d", "c"]\n',
        detail="line 1: Do not use mutable data structures for argument defaults",
    ),
    Case(
        ("comprehension",),
        """\
def squares(numbers):
    result = []
    for number in numbers:
        result.append(number * number)
    return result
""",
        "assert squares([1, 2, 3]) == [1, 4, 9]\nassert squares(()) == []\n",
    ),
    Case(
        ("comprehension",),
        """\
def long_words(text, size):
    found = set()
    for word in text.split():
        if len(word) > size:
            found.add(word.lower())
    return found
""",
        'assert long_words("The tall Tree", 3) == {"tall", "tree"}\n'
        'assert long_words("", 3) == set()\n',
    ),
    Case(
        ("comprehension",),
        """\
def by_name(users):
    table = {}
    for user in users:
        table[user["name"]] = user
    return table
""",
        'assert by_name([{"name": "a"}]) == {"a": {"name": "a"}}\n',
    ),
    Case(
        ("comprehension",),
        """\
def positive_lines(lines):
    numbers = []
    for line in lines:
        if line.strip():
            numbers.append(int(line))
    numbers.sort()
    return numbers
""",
        'assert positive_lines(["3", " ", "1"]) == [1, 3]\n',
    ),
    Case(
        ("loop",),
        """\
def doubled(numbers):
    return [2 * number for number in numbers if number > 0]
""",
        "assert doubled([1, -1, 3]) == [2, 6]\nassert doubled([]) == []\n",
    ),
    Case(
        ("loop",),
        """\
def lengths(words):
    return {word: len(word) for word in words}
""",
        'assert lengths(["a", "bcd"]) == {"a": 1, "bcd": 3}\n',
    ),
    Case(
        ("loop",),
        """\
def flat(rows):
    cells = [cell for row in rows for cell in row]
    return cells
""",
        "assert flat([[1, 2], [], [3]]) == [1, 2, 3]\n",
    ),
    Case(
        ("loop",),
        """\
def extensions(names):
    return {name.rsplit(".", 1)[1] for name in names if "." in name}
""",
        'assert extensions(["a.py", "b.c.md", "d"]) == {"py", "md"}\n',
    ),
    Case(
        ("fstring",),
        """\
def greeting(name, count):
    return "Hello %s, you have %d messages" % (name, count)
""",
        'assert greeting("Ada", 3) == "Hello Ada, you have 3 messages"\n',
    ),
    Case(
        ("fstring",),
        """\
def point(x, y):
    return "({}, {})".format(x, y)
""",
        'assert point(1, 2.5) == "(1, 2.5)"\n',
    ),
    Case(
        ("fstring",),
        """\
def price_line(item, price):
    label = "{0:<8}".format(item)
    return label + "%.2f EUR" % price
""",
        'assert price_line("tea", 2.5) == "tea     2.50 EUR"\n',
    ),
    Case(
        ("fstring",),
        """\
def report(user):
    print("User: {}".format(user["name"]))
    return "%s/%s" % (user["home"], user["name"])
""",
        'assert report({"name": "a", "home": "/h"}) == "/h/a"\n',
    ),
)
