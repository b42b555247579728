"""What SentencePiece does around its model, as two stages: raw text to what the model cuts, and pieces to text.

    SentencePieceNormalizer().normalize(Aligned.of("two  words")).text == "▁two▁words"

There is no pre-tokenizer: spaces become the symbol U+2581 (▁), a character like any other, which pieces may begin
with. By default one is put before the text, so that "two" has the same piece at the beginning and after a space, and
runs of spaces become one. Characters are changed by a table of rules, a `Charsmap`, applied at each place by the
longest rule that matches there; the result is not read again. Symbols that the user defined are found first and left
as they are. A byte that is no UTF-8 becomes U+FFFD.

Exactly as google/sentencepiece 0.2.3, src/normalizer.cc (Normalizer::Normalize) and sentencepiece_processor.cc
(Decode), without their code. Not here: the models, and the file (formats/sentencepiece.py).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.charsmap import Charsmap, charsmap
from tinyllm.tokenizers.engine import compiled, core
from tinyllm.tokenizers.stage import Decoder, DecodeStep, Normalizer

SPACE = "▁"
SYMBOL = SPACE.encode()
BYTE_PIECE = re.compile(rb"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class SentencePieceNormalizer(Normalizer):
    """Raw text to the text that the model cuts. The fields are NormalizerSpec's, and
    two more that its effect depends on: TrainerSpec's `treat_whitespace_as_suffix` (the added space comes last), and
    the pieces of type USER_DEFINED.
    """

    precompiled_charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    treat_whitespace_as_suffix: bool = False
    user_defined_symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.charsmap  # noqa: B018  (a table that is none is an error now)

    @cached_property
    def charsmap(self) -> Charsmap | None:
        """The rules, read once."""
        return charsmap(self.precompiled_charsmap) if self.precompiled_charsmap else None

    @cached_property
    def _symbols(self) -> dict[str, list[str]]:
        """The user's symbols by their first character, longest first."""
        found: dict[str, list[str]] = {}
        for symbol in sorted(self.user_defined_symbols, key=lambda symbol: len(symbol.encode()), reverse=True):
            found.setdefault(symbol[0], []).append(symbol)
        return found

    def units(self, text: str, start: int = 0) -> Iterator[tuple[int, int, str]]:
        """(start, end, what it becomes) of each part of `text` that one rule changes; a partition."""
        symbols, rules = self._symbols, self.charsmap
        while start < len(text):
            c = text[start]
            end, new = start + 1, c
            symbol = next((s for s in symbols.get(c, ()) if text.startswith(s, start)), None)
            if symbol is not None:
                end, new = start + len(symbol), symbol
            elif "\udc80" <= c <= "\udcff":
                new = "\ufffd"
            elif rules is not None:
                end, new = rules.match(text, start)
            yield start, end, new
            start = end

    def normalize(self, text: Aligned) -> Aligned:
        out: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        space = SPACE if self.escape_whitespaces else " "
        squeeze = self.remove_extra_whitespaces
        units = self.units(text.text)
        first = next((unit for unit in units if not (squeeze and unit[2] == " ")), None)
        if first is None:  # no text, or nothing but spaces
            return Aligned("", [], [])

        def add_space(at: int) -> None:
            out.append(space)
            starts.append(at)
            ends.append(at)

        if self.add_dummy_prefix and not self.treat_whitespace_as_suffix:
            add_space(text.starts[first[0]])
        after_space = squeeze
        for start, end, new in chain((first,), units):
            if after_space:
                new = new.lstrip(" ")
            if new:
                out += new.replace(" ", space) if " " in new else new
                starts += [text.starts[start]] * len(new)
                ends += [text.ends[end - 1]] * len(new)
                after_space = squeeze and new[-1] == " "
        if squeeze:
            while out and out[-1] == space:
                del out[-1], starts[-1], ends[-1]
        if self.add_dummy_prefix and self.treat_whitespace_as_suffix:
            add_space(ends[-1] if ends else text.ends[-1])
        return Aligned("".join(out), starts, ends)

    @cached_property
    def quick(self) -> Callable[[bytes], bytes] | None:
        """The same from bytes to bytes, without alignment and many times faster; None where rules and symbols meet."""
        rules = self.charsmap
        if any(" " in symbol for symbol in self.user_defined_symbols):
            return None
        if rules is not None and (self.user_defined_symbols or b"  " in rules.results or not compiled()):
            return None
        apply = core("normalize").CharacterRules(self.precompiled_charsmap).apply if rules else _well_formed
        space = SYMBOL if self.escape_whitespaces else b" "
        before, after = (b" ", b"") if self.add_dummy_prefix else (b"", b"")
        if self.treat_whitespace_as_suffix:
            before, after = after, before

        def normalize(text: bytes) -> bytes:
            data = apply(text)
            if self.remove_extra_whitespaces:
                while b"  " in data:  # every time a run is half as long, so that memory is the text's
                    data = data.replace(b"  ", b" ")
                data = data.lstrip(b" ")
                if not data and after and rules:  # the space comes if a rule gave nothing
                    units = self.units(text.decode("utf-8", "surrogateescape"))
                    return space if any(new != " " for _, _, new in units) else b""
                end = len(data)
                while data.endswith((b" ", space), 0, end):
                    end -= 1 if data[end - 1] == 0x20 else len(space)
                if not end:
                    return after and data and space
                data = data[:end]
            if not text:
                return b""
            if before or after:
                data = b"".join((before, data, after))
            return data.replace(b" ", space)

        return normalize


def _well_formed(data: bytes) -> bytes:
    """Each byte that is no UTF-8 as U+FFFD."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return _shown(data.decode("utf-8", "surrogateescape"))
    return data


@dataclass(frozen=True)
class SentencePieceDecoder(Decoder):
    """Pieces to text: symbols become spaces, but the one that the normalizer put before the text goes.

    Pieces of type CONTROL give nothing, the one of type UNKNOWN gives `unk_surface`. Pieces like <0xE3>, with
    `byte_fallback`, are bytes; joined, those that are no UTF-8 give one U+FFFD each.
    """

    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    byte_fallback: bool = False
    unk_piece: str | None = "<unk>"
    unk_surface: str = " \u2047 "
    control_symbols: tuple[str, ...] = ()

    def begin(self) -> DecodeStep:
        return _DecodeStep(self)

    def later(self, tokens: Sequence[bytes]) -> list[bytes] | None:
        if any(_shown(token.decode("utf-8", "surrogateescape")) != token for token in tokens):
            return None
        step, out = _DecodeStep(self), []
        step.push(b"a")
        for token in tokens:
            byte = step.byte_of(token)
            out.append(step.push(token) if byte is None else byte)
        return out

    def joined(self, text: bytes, tokens: Iterable[bytes]) -> bytes | None:
        gone, step = 0, _DecodeStep(self)
        for token in tokens:  # the spaces that the first ones lose
            if step.byte_of(token) is not None:
                break
            gone += step.takes(token)
            if step.push(token) or not step.at_start:
                break
        return _well_formed(text[gone:])


class _DecodeStep(DecodeStep):
    def __init__(self, stage: SentencePieceDecoder) -> None:
        self._stage = stage
        self._silent = {symbol.encode() for symbol in stage.control_symbols}
        self._unk = None if stage.unk_piece is None else stage.unk_piece.encode()
        self._bytes = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.at_start = True  # no text came out yet, and no space was taken

    def byte_of(self, token: bytes) -> bytes | None:
        """The byte that a piece like <0xE3> stands for."""
        found = BYTE_PIECE.fullmatch(token) if self._stage.byte_fallback else None
        return bytes.fromhex(found[1].decode()) if found else None

    def takes(self, token: bytes) -> bool:
        """Whether the space that the token begins with goes."""
        symbol = token.startswith(SYMBOL) and token not in self._silent and token != self._unk
        return self.at_start and symbol and (self._stage.add_dummy_prefix or self._stage.remove_extra_whitespaces)

    def push(self, token: bytes) -> bytes:
        byte = self.byte_of(token)
        if byte is not None:
            return self._said(_shown(self._bytes.decode(byte)))
        before = self.finish()
        if token in self._silent:
            return before
        if token == self._unk:
            return before + self._said(self._stage.unk_surface.encode())
        if self.takes(token):
            token = token[len(SYMBOL) :]
            self.at_start = self._stage.remove_extra_whitespaces  # then all that come before text go
        return before + self._said(token.replace(SYMBOL, b" "))

    def finish(self) -> bytes:
        return self._said(_shown(self._bytes.decode(b"", final=True)))

    def _said(self, text: bytes) -> bytes:
        self.at_start = self.at_start and not text
        return text


def _shown(text: str) -> bytes:
    """As UTF-8, a byte that was none as U+FFFD."""
    return re.sub("[\udc80-\udcff]", "\ufffd", text).encode()
