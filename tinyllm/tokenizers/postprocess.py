"""Post-processors: special tokens around a text or a pair of texts, and offsets without the space before a word.

    bert = TemplateProcessing.of("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", {"[CLS]": 101, "[SEP]": 102})

Names, fields and effects are those of Hugging Face's `tokenizers`; but for this: windows of a text that is cut get the
type id of the text. There, a template that numbers the texts otherwise than 0 and 1 (RobertaProcessing without special
tokens, too) numbers only what is left of them, and the windows stay 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any, Literal

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.encoding import Encoding
from tinyllm.tokenizers.stage import PostProcessor, short


def numbered(parts: list[Encoding], type_ids: Seq[int] = (0, 1)) -> list[Encoding]:
    """What every post-processor begins with, and all there is to do without one: text i is sequence i, of type i."""
    return [part.numbered(i, type_ids[i]) for i, part in enumerate(parts)]


@dataclass(frozen=True)
class Piece:
    """One part of a template: a text ("A" or "B") or a special token by its name, and the type id it gets."""

    kind: Literal["Sequence", "SpecialToken"]
    id: str
    type_id: int = 0

    @classmethod
    def of(cls, text: str) -> Piece:
        """ "$A", "$B:1", "$" (A), "$1" (A, type 1), "[CLS]", "[SEP]:1"."""
        name, colon, number = text.rpartition(":")
        if not colon or not number.isdecimal():
            name, number = text, "0"
        if not name.startswith("$"):
            return cls("SpecialToken", name, int(number))
        if name[1:].isdecimal():
            return cls("Sequence", "A", int(name[1:]))
        return cls("Sequence", name[1:].upper() or "A", int(number))

    @classmethod
    def from_json(cls, value: Any, path: str) -> Piece:
        """From {"Sequence": {"id": "A", "type_id": 0}} or {"SpecialToken": ...}."""
        kind, fields = next(iter(value.items())) if type(value) is dict and len(value) == 1 else (None, None)
        if kind not in ("Sequence", "SpecialToken") or type(fields) is not dict or fields.keys() != {"id", "type_id"}:
            raise TokenizerError(
                f'{path} is {short(value)}; it must be {{"Sequence": {{"id": "A" or "B", "type_id": int}}}} or '
                '{"SpecialToken": {"id": str, "type_id": int}}'
            )
        if not isinstance(fields["id"], str) or type(fields["type_id"]) is not int or fields["type_id"] < 0:
            raise TokenizerError(f"{path}.{kind} is {short(fields)}; id must be a string, type_id an integer from 0 on")
        if kind == "Sequence" and fields["id"] not in ("A", "B"):
            raise TokenizerError(f'{path}.Sequence.id is {short(fields["id"])}; it must be "A" or "B"')
        return cls(kind, fields["id"], fields["type_id"])

    def to_json(self) -> dict[str, Any]:
        """As tokenizer.json has it."""
        return {self.kind: {"id": self.id, "type_id": self.type_id}}


@dataclass(frozen=True)
class SpecialToken:
    """A name in a template, and the ids (and their spellings) that it stands for."""

    id: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class TemplateProcessing(PostProcessor):
    """`single`: the pieces around one text, `pair`: those around two. `special_tokens`: the names in them."""

    single: tuple[Piece, ...]
    pair: tuple[Piece, ...]
    special_tokens: Mapping[str, SpecialToken]

    def __post_init__(self) -> None:
        for name, template, wanted in ("single", self.single, ["A"]), ("pair", self.pair, ["A", "B"]):
            found = sorted(piece.id for piece in template if piece.kind == "Sequence")
            if found != wanted:
                raise TokenizerError(f"{name}: the template has the texts {found}; it must have each of {wanted} once")
            for piece in template:
                if piece.kind == "SpecialToken" and piece.id not in self.special_tokens:
                    raise TokenizerError(f"{name}: {piece.id!r} is not among the template's special_tokens")

    @classmethod
    def of(
        cls, single: str, pair: str | None = None, special_tokens: Mapping[str, int] | None = None
    ) -> TemplateProcessing:
        """From templates as text, "[CLS] $A [SEP]"; without `pair`, that is the texts one after another."""
        tokens = {name: SpecialToken(name, (i,), (name,)) for name, i in (special_tokens or {}).items()}
        pieces = [tuple(map(Piece.of, text.split())) for text in (single, pair or "$A:0 $B:1")]
        return cls(pieces[0], pieces[1], tokens)

    def added(self, pair: bool) -> int:
        template = self.pair if pair else self.single
        return sum(len(self.special_tokens[piece.id].ids) for piece in template if piece.kind == "SpecialToken")

    def process(self, parts: list[Encoding], tokens: Seq[bytes], special: bool) -> list[Encoding]:
        done = []
        for piece in self.pair if len(parts) > 1 else self.single:
            if piece.kind == "Sequence":
                i = "AB".index(piece.id)
                done.append(parts[i].numbered(i, piece.type_id))
            elif special:
                done.append(Encoding.special(self.special_tokens[piece.id].ids, piece.type_id))
        return done

    def __hash__(self) -> int:
        return hash((self.single, self.pair, *self.special_tokens))


@dataclass(frozen=True)
class BertProcessing(PostProcessor):
    """[CLS] A [SEP], and B [SEP] of type 1 after it. Each is (name, id)."""

    sep: tuple[str, int]
    cls: tuple[str, int]

    def added(self, pair: bool) -> int:
        return 3 if pair else 2

    def process(self, parts: list[Encoding], tokens: Seq[bytes], special: bool) -> list[Encoding]:
        parts = numbered(parts)
        if not special:
            return parts
        done = [Encoding.special([self.cls[1]], 0)]
        for i, part in enumerate(parts):
            done += part, Encoding.special([self.sep[1]], i)
        return done


@dataclass(frozen=True)
class RobertaProcessing(PostProcessor):
    """<s> A </s>, and </s> B </s> after it, all of type 0. Offsets as in ByteLevel."""

    sep: tuple[str, int]
    cls: tuple[str, int]
    trim_offsets: bool = True
    add_prefix_space: bool = True

    def added(self, pair: bool) -> int:
        return 4 if pair else 2

    def process(self, parts: list[Encoding], tokens: Seq[bytes], special: bool) -> list[Encoding]:
        if self.trim_offsets:
            for part in parts:
                trim_offsets(part, tokens, self.add_prefix_space)
        parts = numbered(parts, (0, 0))
        if not special:
            return parts
        done: list[Encoding] = []
        for part, first in zip(parts, (self.cls, self.sep), strict=False):
            done += Encoding.special([first[1]], 0), part, Encoding.special([self.sep[1]], 0)
        return done


@dataclass(frozen=True)
class ByteLevel(PostProcessor):
    """Adds nothing. `trim_offsets`: the span of a token leaves out the spaces it begins and ends with, but for the one
    that `add_prefix_space` put before the text. `use_regex` is the pre-tokenizer's, and does nothing here.
    """

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def added(self, pair: bool) -> int:
        return 0

    def process(self, parts: list[Encoding], tokens: Seq[bytes], special: bool) -> list[Encoding]:
        if self.trim_offsets:
            for part in parts:
                trim_offsets(part, tokens, self.add_prefix_space)
        return numbered(parts)


@dataclass(frozen=True)
class Sequence(PostProcessor):
    """One post-processor after another."""

    processors: tuple[PostProcessor, ...]

    def added(self, pair: bool) -> int:
        return sum(processor.added(pair) for processor in self.processors)

    def process(self, parts: list[Encoding], tokens: Seq[bytes], special: bool) -> list[Encoding]:
        parts = numbered(parts)
        for processor in self.processors:
            parts = processor.process(parts, tokens, special)
        return parts


def trim_offsets(encoding: Encoding, tokens: Seq[bytes], prefixed: bool) -> None:
    """Leave the spaces at both ends of a token out of its span; if the text was `prefixed`, the first token's first
    space is in no span anyway.
    """
    for i, (token, (start, end)) in enumerate(zip(encoding.ids, encoding.offsets, strict=True)):
        text = tokens[token]
        before = len(text) - len(text.lstrip(b" "))
        after = len(text) - len(text.rstrip(b" "))
        if before and prefixed and (i == 0 or start == 0):
            before -= 1
        start = min(start + before, end)
        if after and end >= after:
            end = max(end - after, start)
        encoding.offsets[i] = start, end
    for other in encoding.overflowing:
        trim_offsets(other, tokens, prefixed)
