"""What a Python function takes, how that has changed, and what the change asks of a call.

Knows parameters and arguments as texts, neither where calls stand nor what a name means there.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Literal

from tree_sitter import Node

Kind = Literal["positional", "plain", "keyword", "rest", "more"]
"""`positional`: before a slash · `keyword`: behind a star · `plain`: both ways · `rest`: `*x` ·
`more`: `**x`."""


@dataclass(frozen=True)
class Parameter:
    """One parameter; texts are verbatim."""

    name: str
    kind: Kind
    annotation: str | None = None
    default: str | None = None


@dataclass(frozen=True)
class Argument:
    """One argument of a call: by position if it has no name."""

    text: str
    name: str | None = None

    def __str__(self) -> str:
        """As it is written."""
        return self.text if self.name is None else f"{self.name}={self.text}"


@dataclass(frozen=True)
class SignatureChange:
    """The parameters of one function before and after an edit."""

    old: tuple[Parameter, ...]
    new: tuple[Parameter, ...]

    @cached_property
    def origins(self) -> Mapping[str, Parameter]:
        """By the names of the new parameters: which old one each of them is, if it is one.

        A name in the place of another is a rename unless its type says that it is something else.
        """
        old, new = ({it.name: it for it in some} for some in (self.old, self.new))
        origins = {name: old[name] for name in new if name in old}
        matcher = SequenceMatcher(None, [*old], [*new], autojunk=False)
        for kind, old_start, old_end, start, end in matcher.get_opcodes():
            if kind == "replace" and old_end - old_start == end - start:
                pairs = zip(self.old[old_start:old_end], self.new[start:end], strict=True)
                for before, after in pairs:
                    is_new = before.name not in new and after.name not in old
                    if is_new and _is_same_type(before, after):
                        origins[after.name] = before
        return origins

    @property
    def renames(self) -> list[tuple[str, str]]:
        """Old and new names of parameters that have another name now."""
        return [(old.name, new) for new, old in self.origins.items() if old.name != new]

    @property
    def concerns_calls(self) -> bool:
        """Whether there can be a call that suited the old parameters and does not suit the new."""
        old, new = _by_position(self.old), _by_position(self.new)
        stays = len(old) <= len(new) and all(
            before.name == after.name and before.kind in (after.kind, "positional")
            for before, after in zip(old, new, strict=False)
        )
        names = {it.name: it for it in self.new if it.kind in ("plain", "keyword")}
        stays &= all(it.name in names for it in self.old if it.kind == "keyword")
        kinds = [it.kind for it in self.new]
        stays &= all(it.kind in kinds for it in self.old if it.kind in ("rest", "more"))
        is_moved = len(new) > len(old) and any(it.kind == "rest" for it in self.old)
        needed = {it.name for it in self.new if _is_needed(it)}
        return not stays or is_moved or not needed <= {it.name for it in self.old if _is_needed(it)}

    def without_first(self) -> "SignatureChange | None":
        """The change for calls that do not write the first parameter, as `self`; None without."""
        if not self.old or not self.new or "rest" in (self.old[0].kind, self.new[0].kind):
            return None
        return SignatureChange(self.old[1:], self.new[1:])

    def carried(
        self, arguments: Sequence[Argument], fill: Callable[[Parameter], str]
    ) -> list[Argument] | None:
        """The arguments of a call with the same values for the same parameters.

        Args:
            arguments: as they stand, none of them with a star.
            fill: what to write for a parameter that is new and has no default.

        Returns:
            None if the call does not suit the old parameters, or cannot be told in the new ones.
        """
        bound = bind(self.old, arguments)
        if bound is None:
            return None
        values: dict[str, Argument] = {}
        more = {it.name: it for it in bound.more}
        for parameter in self.new:
            if parameter.kind in ("rest", "more"):
                continue
            value = self._value(parameter, bound.values, more, fill)
            if value is not None:
                values[parameter.name] = value
            elif parameter.default is None:
                return None
        kinds = {it.kind for it in self.new}
        if (bound.rest and "rest" not in kinds) or (more and "more" not in kinds):
            return None
        places = {it: index for index, it in enumerate(arguments)}
        return self._written(values, bound.rest, list(more.values()), places)

    def _value(
        self,
        parameter: Parameter,
        values: Mapping[str, Argument],
        more: dict[str | None, Argument],
        fill: Callable[[Parameter], str],
    ) -> Argument | None:
        """What a call gives to a new parameter; None if it leaves it out, or nobody knows."""
        origin = self.origins.get(parameter.name)
        if origin is not None and origin.name in values:
            return values[origin.name]
        if origin is None and parameter.name in more:
            return more.pop(parameter.name)
        if parameter.default is not None:
            return None
        if origin is None:
            return Argument(fill(parameter))
        is_known = origin.default is not None and _is_literal(origin.default)
        return Argument(origin.default or "") if is_known else None

    def _written(
        self,
        values: Mapping[str, Argument],
        rest: Sequence[Argument],
        more: Sequence[Argument],
        places: Mapping[Argument, int],
    ) -> list[Argument] | None:
        """Values as arguments: by position as long as possible if they were, else by name."""
        front: list[Argument] = []
        named: list[tuple[int, Argument]] = [(places[it], it) for it in more]
        is_open = True
        for parameter in self.new:
            value = values.get(parameter.name)
            if parameter.kind in ("rest", "more"):
                continue
            if value is None:
                is_open = False
            elif parameter.kind == "positional" and not is_open:
                return None
            elif parameter.kind == "positional" or (
                parameter.kind == "plain" and is_open and (value.name is None or rest)
            ):
                front.append(Argument(value.text))
            else:
                is_open = False
                place = places[value] if value.name is not None else len(places)
                named.append((place, Argument(value.text, parameter.name)))
        if rest and len(front) < len(_by_position(self.new)):
            return None
        behind = [it for _, it in sorted(named, key=lambda pair: pair[0])]
        return [*front, *rest, *behind]


@dataclass(frozen=True)
class Bound:
    """The arguments of a call by the parameters that they are for."""

    values: Mapping[str, Argument]
    rest: tuple[Argument, ...]
    more: tuple[Argument, ...]


def bind(parameters: Sequence[Parameter], arguments: Sequence[Argument]) -> Bound | None:
    """What Python would do with a call; None where it would raise TypeError."""
    slots = _by_position(parameters)
    kinds = {it.kind for it in parameters}
    front = [it for it in arguments if it.name is None]
    values = {slot.name: it for slot, it in zip(slots, front, strict=False)}
    rest = tuple(front[len(slots) :])
    more: list[Argument] = []
    by_name = {it.name for it in parameters if it.kind in ("plain", "keyword")}
    for argument in arguments:
        if argument.name in by_name and argument.name not in values:
            values[argument.name] = argument
        elif argument.name in by_name or (argument.name is not None and "more" not in kinds):
            return None
        elif argument.name is not None:
            more.append(argument)
    if (rest and "rest" not in kinds) or len({it.name for it in more}) < len(more):
        return None
    if any(_is_needed(it) and it.name not in values for it in parameters):
        return None
    return Bound(values, rest, tuple(more))


def read_parameters(node: Node) -> tuple[Parameter, ...] | None:
    """The parameters that a `parameters` node lists; None if it has an error in it."""
    if node.has_error:
        return None
    found: list[Parameter] = []
    by_position: Kind = "plain"
    for child in node.named_children:
        if child.type == "positional_separator":
            found = [Parameter(it.name, "positional", it.annotation, it.default) for it in found]
            continue
        if child.type == "keyword_separator":
            by_position = "keyword"
            continue
        target = child.child_by_field_name("name") or child
        if target is child and child.type == "typed_parameter":
            target = child.named_children[0]
        kind = by_position
        if target.type == "list_splat_pattern":
            kind = "rest"
        elif target.type == "dictionary_splat_pattern":
            kind = "more"
        if kind in ("rest", "more"):
            target = target.named_children[0]
        if child.type != "comment":
            annotation, default = (child.child_by_field_name(it) for it in ("type", "value"))
            found.append(Parameter(_text(target), kind, _maybe(annotation), _maybe(default)))
        if kind == "rest":
            by_position = "keyword"
    return tuple(found)


def _by_position(parameters: Sequence[Parameter]) -> list[Parameter]:
    return [it for it in parameters if it.kind in ("positional", "plain")]


def _is_needed(parameter: Parameter) -> bool:
    return parameter.default is None and parameter.kind not in ("rest", "more")


def _is_same_type(old: Parameter, new: Parameter) -> bool:
    stars = [it.kind if it.kind in ("rest", "more") else "" for it in (old, new)]
    is_typed = old.annotation is not None and new.annotation is not None
    return stars[0] == stars[1] and (not is_typed or old.annotation == new.annotation)


def _is_literal(text: str) -> bool:
    """Whether a text means the same wherever it stands."""
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _maybe(node: Node | None) -> str | None:
    return None if node is None else _text(node)


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")
