"""What a tokenizer is composed of: normalizer -> pre-tokenizer -> model -> post-processor -> decoder.

A stage is a small frozen dataclass. Its class name is the "type" of its object in tokenizer.json, its fields are that
object's fields, in the names and with the defaults of Hugging Face's `tokenizers`; so a stage is written and read
without code of its own, and two stages are equal if they do the same.

Between the stages text is an `Aligned` (aligned.py): a str whose characters know where they came from in the text
that the caller gave. A byte that is no UTF-8 is one lone surrogate there ("surrogateescape"). Models see the UTF-8
bytes of one piece, and say how many of them each token covers.

Who needs no offsets can be faster: a model that has a compiled encoder for a whole pipeline says so in `fused`.

    as_json(NFC()) == {"type": "NFC"};  from_json(Normalizer, {"type": "NFC"}, "$.normalizer") == NFC()
"""

from __future__ import annotations

import base64
import dataclasses
import json
import reprlib
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned

if TYPE_CHECKING:
    from tinyllm.tokenizers.encoding import Encoding


class Stage:
    """The common base: the name of the class is the "type" in tokenizer.json. A field that is not compared (how the
    stage runs, not what it does) or that `__init__` doesn't take is not written.
    """


class Normalizer(Stage, ABC):
    """Changes text, character by character or by its meaning, and keeps the alignment."""

    @abstractmethod
    def normalize(self, text: Aligned) -> Aligned:
        """`text` changed."""

    @property
    def quick(self) -> Callable[[bytes], bytes] | None:
        """A function from bytes to bytes that does the same without alignment, and faster, if there is one."""
        return None


class PreTokenizer(Stage, ABC):
    """Cuts text into pieces; no token crosses the border of a piece."""

    @abstractmethod
    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        """The pieces in order, none empty. `first`: the text begins the input (no special token before it)."""

    def texts(self, text: str, first: bool = True) -> Iterator[str | bytes]:
        """The texts of `pieces` alone, one by one, as a str or in UTF-8, whichever is faster."""
        return (piece.text for piece in self.pieces(Aligned.of(text), first))

    @property
    def scanner(self) -> str | None:
        """The name of the pattern that cuts the bytes of a text in the same way, if there is one ("gpt2")."""
        return None

    @property
    def heeds_first(self) -> bool:
        """Whether `pieces` asks where a text stands."""
        return False


class Model(Stage, ABC):
    """Pieces to ids. `tokens[i]` is the spelling of id i, as bytes: UTF-8, or any bytes in byte-level models."""

    tokens: Sequence[bytes]

    @abstractmethod
    def tokenize(self, piece: bytes) -> list[tuple[int, int]]:
        """(id, how many bytes of the piece it covers) of each token; the widths add up to len(piece)."""

    def encode(self, piece: bytes) -> list[int]:
        """The ids alone."""
        return [token for token, _ in self.tokenize(piece)]

    def fused(
        self, normalizer: Normalizer | None, pre_tokenizer: PreTokenizer | None
    ) -> Callable[[bytes], list[int]] | None:
        """A compiled function from the bytes of a text to its ids, the same as through the stages, if there is one."""
        return None

    @property
    def reads_str(self) -> bool:
        """Whether that function takes a str as well, and refuses one as base.utf8 does."""
        return False

    @property
    def random(self) -> bool:
        """Whether a piece may have other ids each time."""
        return False

    def reserving(self, ids: frozenset[int]) -> Model:
        """This model, but one that never reads any of these ids (special tokens) out of the text of a piece."""
        return self


class Trainer(ABC):
    """Learns a model from how often each piece occurs."""

    @abstractmethod
    def train(self, words: Any, progress: Callable[[int, int], object] | None = None) -> Model:
        """The model. `words`: pieces (bytes) and their counts, a mapping or a WordCounter."""


class PostProcessor(Stage, ABC):
    """Puts special tokens around one text or a pair of texts, and numbers them (type ids)."""

    @abstractmethod
    def added(self, pair: bool) -> int:
        """How many tokens `process` adds to one text, or to a pair."""

    @abstractmethod
    def process(self, parts: list[Encoding], tokens: Sequence[bytes], special: bool) -> list[Encoding]:
        """The parts of the whole, in order, from the one or two texts `parts`; `special`: with special tokens."""


class Decoder(Stage, ABC):
    """Tokens back to text, one at a time: `begin()` gives a fresh `DecodeStep`."""

    @abstractmethod
    def begin(self) -> DecodeStep:
        """A new state."""

    def later(self, tokens: Sequence[bytes]) -> list[bytes] | None:
        """What each token becomes where it is not the first, if that depends on the token alone; see `joined`."""
        return None

    def joined(self, text: bytes, tokens: Iterable[bytes]) -> bytes | None:
        """The text of `tokens` from what `later` makes of them, joined; None if it depends on more."""
        return None


class DecodeStep(ABC):
    """The state of a decoder within one sequence of tokens. What comes out, joined, is the text."""

    @abstractmethod
    def push(self, token: bytes) -> bytes:
        """The bytes of text that are certain once this token is known; often its own, sometimes none."""

    def finish(self) -> bytes:
        """What was held back."""
        return b""


# Where the stages of each kind are, by the name of their base.
WHERE = {
    "Normalizer": "normalizers",
    "PreTokenizer": "pretokenizers",
    "PostProcessor": "postprocess",
    "Decoder": "decoders",
}
S = TypeVar("S", bound=Stage)


def as_json(value: Any) -> Any:
    """A stage, or a value of one of its fields, as JSON values. Bytes are written in base64; a value that isn't written
    field by field has `to_json` and `from_json(value, path)`.
    """
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        fields = {field.name: as_json(getattr(value, field.name)) for field in written(type(value))}
        return {"type": type(value).__name__, **fields} if isinstance(value, Stage) else fields
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else as_json(key): as_json(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return as_json(sorted(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(item) for item in value]
    return value


def from_json(slot: type[S], value: Any, path: str = "$") -> S:
    """The stage that the object `value` of a tokenizer.json describes; `slot` is the kind that is expected.

    Raises TokenizerError with the path of whatever is wrong: a type or a field that tinyllm doesn't have, a field
    that is missing or of another type, a value that the stage refuses.
    """
    if type(value) is not dict:
        raise TokenizerError(f"{path} is {short(value)}; it must be an object")
    name = value.get("type")
    if not isinstance(name, str):
        raise TokenizerError(f"{path}.type is {short(name)}; it must be the name of a {slot.__name__}")
    found = getattr(import_module(f"{__package__}.{WHERE[slot.__name__]}"), name, None)
    if not (isinstance(found, type) and issubclass(found, slot) and dataclasses.is_dataclass(found)):
        raise TokenizerError(f"{path}.type is {short(name)}; tinyllm has no {slot.__name__} of that type")
    return _made(found, {key: item for key, item in value.items() if key != "type"}, path)


def written(kind: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass that stand in tokenizer.json; `engine` says how a model runs, not what it does."""
    return [field for field in dataclasses.fields(kind) if field.init and field.compare and field.name != "engine"]


def short(value: Any) -> str:
    """A value as error messages show it."""
    text = json.dumps(value) if value is None or type(value) is bool else reprlib.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of the fields of a class of ours; read once, for that compiles what the source says."""
    return typing.get_type_hints(kind)


def _made(kind: Any, given: dict[str, Any], path: str) -> Any:
    """A `kind` (a dataclass) with the fields `given` as JSON values."""
    hints = _hints(kind)
    fields = {field.name: field for field in written(kind)}
    for name in given:
        if name not in fields:
            raise TokenizerError(f"{path}.{name} is a field that tinyllm doesn't know")
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise TokenizerError(f"{path}.{name} is missing")
    values = {name: _read(hints[name], item, f"{path}.{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def _read(hint: Any, value: Any, path: str) -> Any:
    """The JSON value `value` as a value of the type `hint`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _read_one(arguments, value, path)
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise TokenizerError(f"{path} is {short(value)}; it must be {' or '.join(map(short, arguments))}")
        return value
    if hasattr(hint, "from_json"):
        return hint.from_json(value, path)
    if isinstance(hint, type) and issubclass(hint, Stage):
        return from_json(hint, value, path)
    if dataclasses.is_dataclass(hint) and type(value) is dict:
        return _made(hint, value, path)
    if origin in (tuple, Sequence) and type(value) is list:
        if origin is Sequence or arguments[1:] == (...,):
            return tuple(_read(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
        if len(arguments) == len(value):
            pairs = zip(arguments, value, strict=True)
            return tuple(_read(one, item, f"{path}[{i}]") for i, (one, item) in enumerate(pairs))
    if origin in (dict, Mapping) and type(value) is dict:
        return {key: _read(arguments[1], item, f"{path}[{short(key)}]") for key, item in value.items()}
    if hint is float and type(value) is int or type(value) is hint:
        return value
    if hint is bytes and isinstance(value, str):
        return _base64(value, path)
    raise TokenizerError(f"{path} is {short(value)}; it must be {_named(hint)}")


def _read_one(hints: tuple[Any, ...], value: Any, path: str) -> Any:
    """As the first of the hints that fits; the error is that of the last one that isn't None."""
    if value is None and type(None) in hints:
        return None
    error: TokenizerError | None = None
    for hint in hints:
        if hint is not type(None):
            try:
                return _read(hint, value, path)
            except TokenizerError as refused:
                error = refused
    assert error is not None
    raise error


def _base64(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise TokenizerError(f"{path} is no base64: {error}") from None


def _named(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false", bytes: "base64"}
    names |= {tuple: "a list", Sequence: "a list", dict: "an object", Mapping: "an object"}
    return names.get(origin, "an object")
