"""JSON that knows where it is: what a file says, with the path that errors name, like $.model.merges[12]."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.formats.files import MAX_DEPTH
from tinyllm.tokenizers.stage import short

SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # the only way to write one in UTF-8
LONE = re.compile("[\ud800-\udfff]")


def parse(data: bytes) -> Any:
    """The value that the bytes of a JSON file stand for. TokenizerError for what is none, for a key that stands twice
    in one object, for NaN and infinities, and for what is nested deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except TokenizerError:
        raise
    except UnicodeDecodeError as error:
        raise TokenizerError(f"byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise TokenizerError("the JSON is nested too deeply") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise TokenizerError(f"no JSON: {error}") from None
    if SURROGATE.search(data):
        _check_text(value, "$")
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [item.values() if type(item) is dict else item for item in level if type(item) in (dict, list)]
        level = [item for items in inner for item in items if type(item) in (dict, list)]
        if not level:
            return value
    raise TokenizerError(f"the JSON is nested too deeply: more than {MAX_DEPTH} levels")


def _check_text(value: Any, path: str) -> None:
    """Raises TokenizerError for a lone surrogate in a string or a key, where the value is not nested too deeply."""
    waiting = [(value, path, 0)]
    while waiting:
        value, path, depth = waiting.pop()
        inner: list[tuple[Any, str]] = []
        if type(value) is dict:
            inner = [(part, f"{path}[{short(key)}]") for key, item in value.items() for part in (key, item)]
        elif type(value) is list:
            inner = [(item, f"{path}[{i}]") for i, item in enumerate(value)]
        elif type(value) is str and LONE.search(value):
            raise TokenizerError(f"{path}: there is a lone surrogate, which is no text")
        if depth <= MAX_DEPTH:
            waiting += [(item, where, depth + 1) for item, where in inner]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise TokenizerError(f"the key {short(twice)} stands twice in one object")
    return found


def _constant(name: str) -> Any:
    raise TokenizerError(f"no JSON: {name} is no number")


class Node:
    """A value and its path; every method raises TokenizerError if the value is something else than asked for."""

    def __init__(self, value: Any, path: str = "$") -> None:
        self.value = value
        self.path = path

    def object(self) -> dict[str, Any]:
        return self._typed(dict, "an object")

    def list(self) -> list[Any]:
        return self._typed(list, "a list")

    def string(self) -> str:
        return self._typed(str, "a string")

    def number(self) -> int | float:
        return self.value if type(self.value) is int else self._typed(float, "a number")

    def integer(self, low: int = 0, high: int = (1 << 32) - 1) -> int:
        if not low <= self._typed(int, "an integer") <= high:
            raise TokenizerError(f"{self.path} is {short(self.value)}; it must be from {low} to {high}")
        return self.value

    def boolean(self) -> bool:
        return self._typed(bool, "true or false")

    def _typed(self, kind: type, name: str) -> Any:
        if type(self.value) is not kind:
            raise TokenizerError(f"{self.path} is {short(self.value)}; it must be {name}")
        return self.value

    def has(self, name: str) -> bool:
        """Whether there is a field of that name, and it isn't null."""
        return self.object().get(name) is not None

    def __getitem__(self, name: str) -> Node:
        if name not in self.object():
            raise TokenizerError(f"{self.path}.{name} is missing")
        return Node(self.value[name], f"{self.path}.{name}")

    def only(self, *names: str) -> None:
        """No fields but these."""
        for name in self.object():
            if name not in names:
                raise TokenizerError(f"{self.path}.{name} is a field that tinyllm doesn't know")

    def one_of(self, *values: Any) -> Any:
        """The value, which must be one of these, type and all."""
        if not any(self.value == one and type(self.value) is type(one) for one in values):
            known = " or ".join(json.dumps(one) for one in values)
            raise TokenizerError(f"{self.path} is {short(self.value)}; tinyllm can reproduce {known} only")
        return self.value
