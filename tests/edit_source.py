"""A file that every kind of training edit can be made of, and the edits made of it."""

import ast

from training.data.edits import Edit
from training.data.pairs import choose_edits

SOURCE = '''"""A shöp, 🛒."""

import math


class Shop:
    """Sells things."""

    def __init__(self, name: str, *wares: str, size: int = 3) -> None:
        """Open it."""
        self.name, self.wares = name, wares
        self.size = size

    @property
    def label(self):
        """What stands above the döor.

        Always in capitals.
        """

        name = self.name.upper()
        return name

    async def sell(self, ware, buyer, price=1):
        if ware not in self.wares or not buyer:
            raise KeyError(ware)
        total = price * 2 + 1
        for number in range(len(self.wares)):
            if total >= number and self.wares[0] is not None:
                total -= number
            else:
                total += math.floor(price)
        await self.send(ware, buyer, "é")
        return buyer.pay(ware, total) if buyer.rich else total


def largest(values):
    best = values[0]
    for value in values[1:]:
        if value > best:
            best = value
    return best
'''


def edits_of(text: str = SOURCE, seed: int = 0, number: int = 8, name: str = "a.py") -> list[Edit]:
    """What is chosen of a text."""
    return list(choose_edits(text, num_edits=number, seed=seed, name=name))


def is_python(text: str) -> bool:
    """Whether it parses."""
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def changed(*changes: tuple[str, str]) -> str:
    """The file with every first text of a pair replaced by the second."""
    text = SOURCE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text
