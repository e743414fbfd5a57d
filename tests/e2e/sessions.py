"""A scripted Python session: somebody extends a module, with slips, jumps and second thoughts.

`START` is the file when it is opened, `END` when the session is over, whatever was offered on the
way; `SESSION` has about 1,000 keystrokes if nothing is accepted.
"""

import random

from tests.e2e.gestures import (
    Accept,
    Ask,
    Backspace,
    Dismiss,
    Gesture,
    Jump,
    Replace,
    Taste,
    Think,
    Undo,
    Wander,
    Write,
)

START = '''\
"""Shopping lists: items with a price, totals, and a report for the kitchen door."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    """Something to buy."""

    name: str
    price: float
    count: int = 1

    @property
    def total(self) -> float:
        """What all of it costs."""


@dataclass
class ShoppingList:
    """What is missing in the kitchen."""

    title: str
    items: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> None:
        """Put an item on the list; more of the same is counted together."""
        self.items.append(item)

    def total(self) -> float:
        """What everything costs."""

    def cheapest(self) -> Item | None:
        """The item that costs the least, if there is one."""


def parse_item(line: str) -> Item:
    """Read a line such as `3 apples 0.50`.

    Raises:
        ValueError: if it has no price.
    """
    count, name, price = line.split()
    return Item(name, float(price), int(count))


def format_report(shopping_list: ShoppingList) -> str:
    """A line for each item, and the sum below."""
    lines = [shopping_list.title, "-" * len(shopping_list.title)]


def main() -> None:
    """Print a report of two items."""
    shopping_list = ShoppingList("Saturday")
    shopping_list.add(parse_item("3 apples 0.50"))
    shopping_list.add(parse_item("1 bread 2.80"))
    print(format_report(shopping_list))


if __name__ == "__main__":
    main()
'''

_ITEM_TOTAL = "\n        return self.price * self.count"
_LIST_TOTAL = "\n        return sum(item.total for item in self.items)"
_CHEAPEST = """
        if not self.items:
            return None
        return min(self.items, key=lambda item: item.price)"""
_REMOVE = '''

    def remove(self, name: str) -> None:
        """Take all items of that name off the list."""
        self.items = [item for item in self.items if item.name != name]'''
_LOAD = '''


def load(path: Path) -> ShoppingList:
    """Read a list from a file: its title, then a line for each item."""
    title, *lines = path.read_text(encoding="utf-8").splitlines()
    shopping_list = ShoppingList(title)
    for line in lines:
        shopping_list.add(parse_item(line))
    return shopping_list'''
_IMPORT = "\nfrom pathlib import Path"
_CHECK = """
    if line.count(" ") != 2:
        raise ValueError(f"not an item: {line}")"""
_REPORT = """
    for item in shopping_list.items:
        lines.append(f"{item.count:3} {item.name:20} {item.total:8.2f}")
    lines.append(f"Total: {shopping_list.total():.2f}")
    return "\\n".join(lines)"""

SESSION: tuple[Gesture, ...] = (
    Think(1.5),
    Jump('"""What all of it costs."""'),
    Write(_ITEM_TOTAL),
    Jump('"""What everything costs."""'),
    Write(_LIST_TOTAL),
    Think(0.5),
    # Take an offer against one's better knowledge, look at it, take it back.
    Jump('if there is one."""'),
    Write("\n        "),
    Taste(),
    Backspace(9),
    Write(_CHEAPEST),
    Write(_REMOVE),
    Jump("    count, name, price = line.split()", is_before=True),
    Backspace(1),
    Write(_CHECK + "\n"),
    Jump("lines = [shopping_list.title, "),
    Dismiss(),
    Jump('"-" * len(shopping_list.title)]'),
    Write(_REPORT),
    Write(_LOAD),
    Jump("from dataclasses import dataclass, field"),
    Write(_IMPORT),
    Replace("Saturday", "Sunday"),
    Jump("list[Item] = field(default_factory=list)"),
    Ask(),
    Write("\n    shop: str | None = None"),
    Write("  # not used yet"),
    Backspace(16),
    Jump('shopping_list.add(parse_item("1 bread 2.80"))'),
    Write('\n    shopping_list.add(parse_item("2 milk 1.10"))'),
    Write("\n    shopping_list."),
    Taste("word"),
    Backspace(19),
)

END = (
    START.replace('costs."""', 'costs."""' + _ITEM_TOTAL, 1)
    .replace('everything costs."""', 'everything costs."""' + _LIST_TOTAL)
    .replace('if there is one."""', 'if there is one."""' + _CHEAPEST + _REMOVE)
    .replace('no price.\n    """', 'no price.\n    """' + _CHECK)
    .replace(".title)]", ".title)]" + _REPORT + _LOAD)
    .replace("dataclass, field", "dataclass, field" + _IMPORT)
    .replace("Saturday", "Sunday")
    .replace("factory=list)", "factory=list)\n    shop: str | None = None")
    .replace('2.80"))', '2.80"))\n    shopping_list.add(parse_item("2 milk 1.10"))')
)

SHORT_SESSION = SESSION[:10]
"""About 100 keystrokes."""

PATIENT_SESSION: tuple[Gesture, ...] = (
    Jump('"""What all of it costs."""'),
    Write("\n        return self."),
    Ask(),
    Accept("word"),
    Ask(),
    Accept(),
    Jump('"""What everything costs."""'),
    Write("\n        return sum("),
    Ask(),
    Taste(),
    Write("item.total for"),
    Ask(),
    Accept(),
    Jump("lines = [shopping_list.title, "),
    Ask(),
    Dismiss(),
    Jump('if there is one."""'),
    Write("\n        if not self.items:\n            "),
    Ask(),
    Accept(),
    Think(1.0),
)
"""Waits for every answer that matters, however slow the machine is."""


def random_session(seed: int, num_gestures: int) -> list[Gesture]:
    """Anything that a person can do, in any order; what is written is taken from `END`."""
    dice = random.Random(seed)

    def snippet() -> str:
        start = dice.randrange(len(END))
        return END[start : start + dice.randint(1, 12)]

    def gesture() -> Gesture:
        kinds: list[Gesture] = [
            *(Write(snippet()), Write(snippet()), Write("\n" + snippet())),
            *(Wander(dice.random()), Backspace(dice.randint(1, 5)), Undo(), Think(dice.random())),
            *(Accept(), Accept("word"), Taste(), Taste("word"), Dismiss(), Ask()),
        ]
        return dice.choice(kinds)

    return [gesture() for _ in range(num_gestures)]
