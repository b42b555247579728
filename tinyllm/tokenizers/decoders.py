"""Decoders: tokens back to text, as they come.

    step = WordPiece().begin();  [step.push(token) for token in (b"un", b"##able", b"to")] == [b"un", b"able", b" to"]

Names, fields and effects are those of Hugging Face's `tokenizers`. Each class says what it does in a Flow (flow.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.flow import END, Flow, FlowDecoder, Item, Joining, Whole
from tinyllm.tokenizers.sentencepiece import SentencePieceDecoder as SentencePieceDecoder
from tinyllm.tokenizers.stage import Decoder


@dataclass(frozen=True)
class Fuse(FlowDecoder):
    """All tokens as one."""

    def flows(self) -> list[Flow]:
        return [Joining()]


@dataclass(frozen=True)
class ByteLevel(FlowDecoder):
    """The bytes of all tokens as one; the fields are those of the pre-tokenizer, and do nothing here."""

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def flows(self) -> list[Flow]:
        return [Joining()]


@dataclass(frozen=True)
class Spaced(FlowDecoder):
    """Tokens with a space between: what a tokenizer without a decoder does."""

    def flows(self) -> list[Flow]:
        return [SpacedFlow()]


class SpacedFlow(Whole):
    local = True

    def tokens(self, token: bytes) -> Iterable[bytes]:
        return (b" " + token if self.number else token,)


@dataclass(frozen=True)
class WordPiece(FlowDecoder):
    """Words apart by spaces, their parts (that begin with `prefix`) joined. `cleanup`: no space before punctuation,
    and " do not" is " don't": off, where Hugging Face's library has it on, for it changes what the tokens say.
    """

    prefix: str = "##"
    cleanup: bool = False

    def flows(self) -> list[Flow]:
        return [WordPieceFlow(self.prefix.encode(), self.cleanup)]


class WordPieceFlow(Whole):
    local = True

    def __init__(self, prefix: bytes, cleanup: bool) -> None:
        super().__init__()
        self.prefix, self.cleanup = prefix, cleanup

    def tokens(self, token: bytes) -> Iterable[bytes]:
        if self.number:
            token = token[len(self.prefix) :] if token.startswith(self.prefix) else b" " + token
        return (clean_up(token) if self.cleanup else token,)


CLEAN = {f" {mark}": mark for mark in ".?!,"} | {" ' ": "'", " n't": "n't", " 'm": "'m", " do not": " don't"}
CLEAN |= {f" '{end}": f"'{end}" for end in ("s", "ve", "re")}


def clean_up(text: bytes) -> bytes:
    """English text without the spaces that a split into words put before punctuation and contractions."""
    for old, new in CLEAN.items():
        text = text.replace(old.encode(), new.encode())
    return text


@dataclass(frozen=True)
class Metaspace(FlowDecoder):
    """`replacement` becomes a space; in the first token it goes, unless `prepend_scheme` is "never"."""

    replacement: str = "▁"
    prepend_scheme: str = "always"
    split: bool = True

    def flows(self) -> list[Flow]:
        return [MetaspaceFlow(self.replacement.encode(), b" " if self.prepend_scheme == "never" else b"")]


class MetaspaceFlow(Whole):
    local = True

    def __init__(self, symbol: bytes, first: bytes) -> None:
        super().__init__()
        self.symbol, self.first = symbol, first

    def tokens(self, token: bytes) -> Iterable[bytes]:
        return (token.replace(self.symbol, b" " if self.number else self.first),)


@dataclass(frozen=True)
class Replace(FlowDecoder):
    """`content` for `pattern` in each token: a str or {"String": str}. What regular expressions replace is refused."""

    pattern: str | Mapping[str, str]
    content: str

    def __post_init__(self) -> None:
        pattern = {"String": self.pattern} if isinstance(self.pattern, str) else dict(self.pattern)
        if pattern.keys() != {"String"} or not pattern["String"]:
            raise TokenizerError(f'the pattern of Replace is {self.pattern!r}; it must be {{"String": str}}, not empty')
        object.__setattr__(self, "pattern", pattern)

    def __hash__(self) -> int:
        return hash((self.pattern["String"], self.content))  # type: ignore[index]

    def flows(self) -> list[Flow]:
        return [ReplaceFlow(self.pattern["String"].encode(), self.content.encode())]  # type: ignore[index]


class ReplaceFlow(Whole):
    local = True

    def __init__(self, old: bytes, new: bytes) -> None:
        super().__init__()
        self.old, self.new = old, new

    def tokens(self, token: bytes) -> Iterable[bytes]:
        return (token.replace(self.old, self.new),)


@dataclass(frozen=True)
class ByteFallback(FlowDecoder):
    """Tokens <0x00> ... <0xFF> are bytes. A run of them that is no UTF-8 becomes one U+FFFD for each."""

    def flows(self) -> list[Flow]:
        return [BytesFlow()]


class BytesFlow(Whole):
    def __init__(self) -> None:
        super().__init__()
        self.run = bytearray()

    def tokens(self, token: bytes) -> Iterable[bytes]:
        byte = byte_of(token)
        if byte is None:
            return (*self._run(), token)
        self.run.append(byte)
        return ()

    def alone(self) -> Flow:
        return ByteFlow()

    def finish(self) -> Iterable[Item]:
        return [part for text in self._run() for part in (text, END)]

    def _run(self) -> list[bytes]:
        run = bytes(self.run)
        self.run.clear()
        try:
            run.decode("utf-8")
        except UnicodeDecodeError:
            return ["\ufffd".encode()] * len(run)
        return [run] if run else []


class ByteFlow(Whole):
    """The bytes of a run one by one, where it is known that they are UTF-8."""

    local = True

    def tokens(self, token: bytes) -> Iterable[bytes]:
        byte = byte_of(token)
        return (token if byte is None else bytes([byte]),)


def byte_of(token: bytes) -> int | None:
    """The byte that the token <0x..> stands for."""
    if len(token) == 6 and token.startswith(b"<0x") and token.endswith(b">"):
        try:
            return bytes.fromhex(token[3:5].decode("ascii"))[0]
        except (ValueError, IndexError):
            pass
    return None


@dataclass(frozen=True)
class Strip(FlowDecoder):
    """Takes up to `start` characters `content` from the beginning of each token, and up to `stop` from its end."""

    content: str = " "
    start: int = 0
    stop: int = 0

    def __post_init__(self) -> None:
        if len(self.content) != 1 or self.start < 0 or self.stop < 0:
            raise TokenizerError(
                f"Strip takes one character and two counts from 0 on, not {self.content!r}, {self.start}, {self.stop}"
            )

    def flows(self) -> list[Flow]:
        return [StripFlow(self.content.encode(), self.start, self.stop)]


class StripFlow(Flow):
    def __init__(self, content: bytes, start: int, stop: int) -> None:
        self.content, self.start, self.stop = content, start, stop
        self.left, self.held = start, b""  # how many may still go; what may be the end

    def push(self, item: Item) -> Iterable[Item]:
        size = len(self.content)
        if item is END:
            end = self.held
            for _ in range(self.stop):
                end = end[:-size] if end.endswith(self.content) else end
            self.left, self.held = self.start, b""
            return (end, END)
        while self.left and item:
            if not item.startswith(self.content):
                self.left = 0
                break
            item = item[size:]
            self.left -= 1
        item = self.held + item
        at = len(item)
        for _ in range(self.stop):
            at -= size if item[:at].endswith(self.content) else 0
        self.held = item[at:]
        return (item[:at],)


@dataclass(frozen=True)
class BPEDecoder(FlowDecoder):
    """`suffix` ends a word: a space instead, none after the last token."""

    suffix: str = "</w>"

    def flows(self) -> list[Flow]:
        return [SuffixFlow(self.suffix.encode())]


class SuffixFlow(Whole):
    def __init__(self, suffix: bytes) -> None:
        super().__init__()
        self.suffix = suffix
        self.last: bytes | None = None

    def tokens(self, token: bytes) -> Iterable[bytes]:
        before, self.last = self.last, token
        return () if before is None else (before.replace(self.suffix, b" "),)

    def finish(self) -> Iterable[Item]:
        last, self.last = self.last, None
        return () if last is None else (last.replace(self.suffix, b""), END)


@dataclass(frozen=True)
class CTC(FlowDecoder):
    """For acoustic models: repeated tokens count once, `pad_token` goes, `word_delimiter_token` becomes a space."""

    pad_token: str = "<pad>"
    word_delimiter_token: str = "|"
    cleanup: bool = True

    def flows(self) -> list[Flow]:
        return [CTCFlow(self.pad_token.encode(), self.word_delimiter_token.encode(), self.cleanup)]


class CTCFlow(Whole):
    def __init__(self, pad: bytes, delimiter: bytes, cleanup: bool) -> None:
        super().__init__()
        self.pad, self.delimiter, self.cleanup = pad, delimiter, cleanup
        self.before: bytes | None = None

    def tokens(self, token: bytes) -> Iterable[bytes]:
        if token == self.before:
            return ()
        self.before = token
        token = token.replace(self.pad, b"")
        if self.cleanup:
            token = clean_up(token).replace(self.delimiter, b" ")
        return (token,) if token else ()


@dataclass(frozen=True)
class Sequence(FlowDecoder):
    """One decoder after another."""

    decoders: tuple[Decoder, ...] = field(default=())

    def __post_init__(self) -> None:
        for decoder in self.decoders:
            if not isinstance(decoder, FlowDecoder):
                raise TokenizerError(f"a Sequence of decoders can't have {type(decoder).__name__}, which works alone")

    def flows(self) -> list[Flow]:
        return [flow for decoder in self.decoders if isinstance(decoder, FlowDecoder) for flow in decoder.flows()]
