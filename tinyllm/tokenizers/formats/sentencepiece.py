"""SentencePiece's .model: the message ModelProto, read into a whole tokenizer and written from one.

What changes ids or text is read: the pieces with their scores and types, the kind of model, byte fallback, how text is
normalized and what an unknown piece looks like. What only tells how the model was trained (corpus, sizes, the name of
the normalization) is skipped, and not written. A field that the layout of SentencePiece 0.2.3 does not have is refused,
but for those that it leaves to others (200 and up) and those of TrainerSpec. So is what tinyllm cannot reproduce: a
denormalizer, models of type WORD and CHAR.

Control symbols become special tokens, never read out of text unless allowed. Source: src/sentencepiece_model.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import models
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats.files import MAX_TOKEN, MAX_VOCAB, short
from tinyllm.tokenizers.formats.protobuf import Field, Schema, decode, encode
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.sentencepiece import BYTE_PIECE, SentencePieceDecoder, SentencePieceNormalizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2
TYPES = {UNIGRAM: "UNIGRAM", BPE: "BPE", 3: "WORD", 4: "CHAR"}

SYMBOLS = {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"}
TRAINER = Schema(
    {
        3: Field("model_type", "int32"),
        4: Field("vocab_size", "int32"),
        24: Field("treat_whitespace_as_suffix", "bool"),
        35: Field("byte_fallback", "bool"),
        40: Field("unk_id", "int32"),
        41: Field("bos_id", "int32"),
        42: Field("eos_id", "int32"),
        43: Field("pad_id", "int32"),
        44: Field("unk_surface", "string"),
        45: Field("unk_piece", "string"),
        46: Field("bos_piece", "string"),
        47: Field("eos_piece", "string"),
        48: Field("pad_piece", "string"),
    },
    closed=False,
)
NORMALIZER = Schema(
    {
        1: Field("name", "string"),
        2: Field("precompiled_charsmap", "bytes"),
        3: Field("add_dummy_prefix", "bool"),
        4: Field("remove_extra_whitespaces", "bool"),
        5: Field("escape_whitespaces", "bool"),
        6: Field("normalization_rule_tsv", "string"),
    }
)


class Piece(NamedTuple):
    """`kind` is one of NORMAL ... BYTE."""

    text: str
    score: float
    kind: int = NORMAL


def _piece(message: dict[str, Any]) -> Piece:
    return Piece(message.get("piece", ""), message.get("score", 0.0), message.get("type", NORMAL))


PIECE = Schema({1: Field("piece", "string"), 2: Field("score", "float"), 3: Field("type", "int32")}, build=_piece)
MODEL = Schema(
    {
        1: Field("pieces", PIECE, repeated=True),
        2: Field("trainer_spec", TRAINER),
        3: Field("normalizer_spec", NORMALIZER),
        4: Field("self_test_data", "bytes"),  # reserved since; old models have it
        5: Field("denormalizer_spec", NORMALIZER),
    }
)


@dataclass(frozen=True)
class ModelProto:
    """What is read of a file. The defaults are the layout's own, for what a file leaves out."""

    pieces: list[Piece]
    model_type: int = UNIGRAM
    byte_fallback: bool = False
    treat_whitespace_as_suffix: bool = False
    unk_surface: str = " \u2047 "
    symbols: Mapping[str, str] = field(default_factory=SYMBOLS.copy)  # the piece that is "unk", "bos", "eos", "pad"
    precompiled_charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def read_proto(data: bytes) -> ModelProto:
    """The content of a .model file, checked: all that `ModelProto` says is as SentencePiece itself would take it."""
    message = decode(data, MODEL, "$", MAX_VOCAB)
    trainer, normalizer = message.get("trainer_spec", {}), message.get("normalizer_spec", {})
    kind = trainer.get("model_type", UNIGRAM)
    if kind not in TYPES:
        raise TokenizerError(f"$.trainer_spec.model_type is {kind}; it must be 1 (UNIGRAM) to 4 (CHAR)")
    if kind not in (UNIGRAM, BPE):
        raise TokenizerError(f"$.trainer_spec.model_type is {kind} ({TYPES[kind]}); tinyllm reads 1 (UNIGRAM), 2 (BPE)")
    if message.get("denormalizer_spec", {}).get("precompiled_charsmap"):
        raise TokenizerError("$.denormalizer_spec.precompiled_charsmap: tinyllm does not change text that is decoded")
    copied = ("precompiled_charsmap", "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
    proto = ModelProto(
        pieces=message.get("pieces", []),
        model_type=kind,
        symbols={name: trainer.get(f"{name}_piece") or default for name, default in SYMBOLS.items()},
        **{
            name: trainer[name]
            for name in ("byte_fallback", "treat_whitespace_as_suffix", "unk_surface")
            if name in trainer
        },
        **{name: normalizer[name] for name in copied if name in normalizer},
    )
    check(proto)
    return proto


def write_proto(proto: ModelProto) -> bytes:
    """The bytes of the .model file."""
    check(proto)
    ids = {piece.text: i for i, piece in enumerate(proto.pieces)}
    trainer = {
        "model_type": proto.model_type,
        "vocab_size": len(proto.pieces),
        "treat_whitespace_as_suffix": proto.treat_whitespace_as_suffix,
        "byte_fallback": proto.byte_fallback,
        "unk_surface": proto.unk_surface,
        **{f"{name}_id": ids.get(piece, -1) for name, piece in proto.symbols.items()},
        **{f"{name}_piece": piece for name, piece in proto.symbols.items()},
    }
    normalizer = {
        "name": "user_defined" if proto.precompiled_charsmap else "identity",
        "precompiled_charsmap": proto.precompiled_charsmap,
        "add_dummy_prefix": proto.add_dummy_prefix,
        "remove_extra_whitespaces": proto.remove_extra_whitespaces,
        "escape_whitespaces": proto.escape_whitespaces,
    }
    pieces = [{"piece": text, "score": score, "type": kind} for text, score, kind in proto.pieces]
    return encode({"pieces": pieces, "trainer_spec": trainer, "normalizer_spec": normalizer}, MODEL)


def read(data: bytes, engine: str | None = None) -> Tokenizer:
    """The tokenizer that the bytes of a .model file describe."""
    proto = read_proto(data)
    normalizer, decoder = stages(proto)
    kinds = [piece.kind for piece in proto.pieces]
    make = models.Unigram if proto.model_type == UNIGRAM else models.SentencePieceBPE
    unk = kinds.index(UNKNOWN) if UNKNOWN in kinds else None
    vocab = [(piece.text, piece.score) for piece in proto.pieces]
    model = make(vocab, unk_id=unk, byte_fallback=proto.byte_fallback, kinds=kinds, engine=engine)
    special = [AddedToken(piece.text, special=True) for piece in proto.pieces if piece.kind == CONTROL]
    return Tokenizer(model, normalizer, decoder=decoder, added_tokens=special)


def write(tokenizer: Tokenizer) -> bytes:
    """The bytes of the .model file. TokenizerError for a tokenizer that is not SentencePiece's in all its stages."""
    model: Any = tokenizer.model
    normalizer, decoder = tokenizer.normalizer, tokenizer.decoder
    kind = {"Unigram": UNIGRAM, "SentencePieceBPE": BPE}.get(type(model).__name__)
    if kind is None or model.kinds is None:
        raise TokenizerError(f"a .model can't hold a {type(model).__name__} without SentencePiece's types of pieces")
    if not isinstance(normalizer, SentencePieceNormalizer) or not isinstance(decoder, SentencePieceDecoder):
        raise TokenizerError("a .model needs SentencePiece's normalizer and decoder; this tokenizer has others")
    for name in "pre_tokenizer", "post_processor":
        if getattr(tokenizer, name) is not None:
            raise TokenizerError(f"a .model has no {name}; this tokenizer has one")
    pieces = [Piece(text, score, kind) for (text, score), kind in zip(model.vocab, model.kinds, strict=True)]
    for i, token in tokenizer.added_tokens.items():
        if i >= len(pieces) or pieces[i].kind != CONTROL:
            raise TokenizerError(
                f"added token {token.content!r} is no control symbol of the model; a .model can't hold it"
            )
    proto = ModelProto(
        pieces,
        kind,
        model.byte_fallback,
        normalizer.treat_whitespace_as_suffix,
        decoder.unk_surface,
        {**SYMBOLS, "unk": decoder.unk_piece or SYMBOLS["unk"]},
        normalizer.precompiled_charsmap,
        normalizer.add_dummy_prefix,
        normalizer.remove_extra_whitespaces,
        normalizer.escape_whitespaces,
    )
    if stages(proto) != (normalizer, decoder):
        raise TokenizerError("normalizer, decoder and pieces of this tokenizer don't agree; a .model can't hold that")
    return write_proto(proto)


def stages(proto: ModelProto) -> tuple[SentencePieceNormalizer, SentencePieceDecoder]:
    """What goes around the model."""
    of_kind = {kind: tuple(piece.text for piece in proto.pieces if piece.kind == kind) for kind in range(1, 7)}
    normalizer = SentencePieceNormalizer(
        proto.precompiled_charsmap,
        proto.add_dummy_prefix,
        proto.remove_extra_whitespaces,
        proto.escape_whitespaces,
        proto.treat_whitespace_as_suffix,
        of_kind[USER_DEFINED],
    )
    decoder = SentencePieceDecoder(
        proto.add_dummy_prefix,
        proto.remove_extra_whitespaces,
        proto.byte_fallback,
        next(iter(of_kind[UNKNOWN]), None),
        proto.unk_surface,
        of_kind[CONTROL],
    )
    return normalizer, decoder


def check(proto: ModelProto) -> None:
    """Raises TokenizerError for pieces that SentencePiece would not load, or for which it has no defined meaning."""
    seen: dict[str, int] = {}
    bytes_seen = set[str]()
    unknown = None
    for i, (text, score, kind) in enumerate(proto.pieces):
        here = f"$.pieces[{i}]"
        if not text or (size := len(text.encode())) > MAX_TOKEN:
            raise TokenizerError(f"{here}.piece has {size if text else 0} bytes; it must have 1 to {MAX_TOKEN}")
        if seen.setdefault(text, i) != i:
            raise TokenizerError(f"{here}.piece: {short(text)} is also piece {seen[text]}")
        if "\0" in text and not (text == "\0" and kind == UNUSED):
            raise TokenizerError(f"{here}.piece: {short(text)} has a zero character")
        if not math.isfinite(score):
            raise TokenizerError(f"{here}.score is {score}; it must be a finite number")
        if kind == UNKNOWN:
            if unknown is not None:
                raise TokenizerError(f"{here}.type is UNKNOWN, which piece {unknown} is; there is one such piece")
            unknown = i
        elif kind == BYTE:
            if not proto.byte_fallback:
                raise TokenizerError(f"{here}.type is BYTE, but $.trainer_spec.byte_fallback is false")
            if not BYTE_PIECE.fullmatch(text.encode()):
                raise TokenizerError(f"{here}.piece is {short(text)}; a piece of type BYTE is like <0x0A>")
            bytes_seen.add(text)
        elif kind not in (NORMAL, CONTROL, USER_DEFINED, UNUSED):
            raise TokenizerError(f"{here}.type is {kind}; it must be 1 (NORMAL) to 6 (BYTE)")
    if unknown is None and not proto.byte_fallback:
        raise TokenizerError("$.pieces: none is of type UNKNOWN; there must be one, or byte_fallback")
    if proto.byte_fallback and len(bytes_seen) < 256:
        raise TokenizerError(f"$.pieces: {len(bytes_seen)} are of type BYTE; byte_fallback needs all 256")
