"""A stub engine that knows what is being written: `oracle_engine.py --script FILE --socket PATH`.

Beside the script lies `target.txt`, the text that the typist has in mind. An answer is what follows
there behind the lines before the cursor, in blocks with short delays; one in six says something
else, one in forty fails. What a request gets depends on its texts alone.
"""

import itertools
import random
import sys
import zlib
from pathlib import Path

from sampler.messages import Complete
from sampler.stub import Answer, Stub, main

NUM_TEXT_CHARACTERS = 100_000
"""Longer texts are not written into the record, which would grow by them with every key."""


class Oracle(Stub):
    """Answers from the target."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._target = path.with_name("target.txt").read_text()

    def choose(self, request: Complete) -> Answer:
        """The next one to three lines, mostly."""
        prefix, suffix = request.prefix, request.suffix
        dice = random.Random(zlib.crc32(f"{prefix[-200:]}\0{suffix[:200]}".encode()))
        delays_ms = [dice.uniform(0, 5)]
        if dice.random() < 1 / 40:
            return Answer(delays_ms=delays_ms, failure="This one fails.")
        text = self._continuation(prefix, suffix, dice.randint(1, 3))
        if not text or dice.random() < 1 / 6:
            text = f"unlikely_{dice.randint(10, 99)}(thing)"
        cuts = sorted(dice.sample(range(len(text)), min(len(text) - 1, 3)))
        pairs = zip([0, *cuts], [*cuts, len(text)], strict=True)
        return Answer([text[start:end] for start, end in pairs if start < end], delays_ms)

    def record(self, kind: str, **fields: object) -> None:
        """As the stub does, without long texts."""
        super().record(kind, **{name: _shortened(value) for name, value in fields.items()})

    def _continuation(self, prefix: str, suffix: str, num_lines: int) -> str:
        """What the target has behind the last two lines of `prefix`, up to where `suffix` goes
        on."""
        here = prefix.rsplit("\n", 2)
        for tail in ("\n".join(here[-2:]), here[-1]):
            place = self._target.find(tail) if tail.strip() else -1
            if place >= 0:
                break
        else:
            return ""
        rest = self._target[place + len(tail) :]
        line_suffix, *following = suffix.split("\n", 20)
        lines = rest.split("\n")[:num_lines]
        if line_suffix.strip():
            return lines[0].removesuffix(line_suffix.strip())
        ahead = {line.strip() for line in following if line.strip()}
        kept = list(itertools.takewhile(lambda line: line.strip() not in ahead, lines))
        return "\n".join(kept).rstrip()


def _shortened(value: object) -> object:
    is_long = isinstance(value, str) and len(value) > NUM_TEXT_CHARACTERS
    return None if is_long else value


if __name__ == "__main__":
    sys.exit(main(engine=Oracle))
