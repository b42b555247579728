"""OpenAI's .tiktoken: a line a token, its bytes in base64 and its rank, which is its id and when it is merged.

    IQ== 0
    Ig== 1

The file says neither how text is cut nor which special tokens there are: the caller does. tiktoken takes a piece that
is a token whole; else it joins the neighbours whose joined bytes have the lowest rank. The merges that give the same
ids are recovered when it is read, so that it can be written as tokenizer.json.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import decoders, models, pretokenizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats.files import MAX_GAP, MAX_VOCAB, check_size
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.pretokenizers.patterns import PATTERNS, PORTABLE
from tinyllm.tokenizers.stage import PreTokenizer, short


def read(
    data: bytes, pattern: str = "cl100k", special_tokens: Mapping[str, int] | None = None, engine: str | None = None
) -> Tokenizer:
    """The tokenizer of a file. `pattern`: a name of pretokenizers.patterns.PATTERNS;
    `special_tokens`: names and ids, which the file doesn't have.
    """
    ranks = read_ranks(data)
    special = {AddedToken(name, special=True): i for name, i in (special_tokens or {}).items()}
    return Tokenizer(
        models.BPE.from_ranks(ranks, engine=engine),
        pre_tokenizer=cutting(pattern),
        decoder=decoders.ByteLevel(),
        added_tokens=special,
    )


def write(tokenizer: Tokenizer) -> bytes:
    """The bytes of the file, which says nothing of pattern and special tokens. TokenizerError for a tokenizer that is
    none of tiktoken's kind: where the lowest rank alone does not give the same merges.
    """
    model: Any = tokenizer.model
    if not isinstance(model, models.BPE) or model.characters or tokenizer.normalizer is not None:
        raise TokenizerError("a .tiktoken file holds a BPE of bytes without a normalizer, and this is none")
    pattern_of(tokenizer)
    special = {i for i, token in tokenizer.added_tokens.items() if token.special}
    if len(special) < len(tokenizer.added_tokens):
        raise TokenizerError("a .tiktoken file has no added tokens that are not special; this tokenizer has")
    ranks = {token: i for token, i in model.vocab.items() if i not in special}
    if any((model.dropout, model.unk_token, model.continuing_subword_prefix, model.end_of_word_suffix)):
        raise TokenizerError("a .tiktoken file has no dropout, unknown token, prefix or suffix; this model has")
    again = models.BPE.from_ranks(ranks)
    if list(again.merges) != list(model.merges):
        first = next(n for n, (a, b) in enumerate(zip_longest(again.merges, model.merges)) if a != b)
        raise TokenizerError(
            f"the order of ids is not that of the merges: by ranks, merge {first} would be another one"
        )
    if not model.ignore_merges and len(again.merges) + 256 != len(ranks):
        raise TokenizerError(
            "tiktoken takes a piece that is a token whole; this model has tokens that merges don't make"
        )
    return write_ranks(sorted(ranks.items(), key=lambda item: item[1]))


def pattern_of(tokenizer: Tokenizer) -> str:
    """The name of the pattern that it cuts text by. TokenizerError if that is none of PATTERNS."""
    scanner = tokenizer.pre_tokenizer.scanner if tokenizer.pre_tokenizer is not None else None
    if scanner is None:
        raise TokenizerError(
            f"a .tiktoken file is read with one of the patterns {', '.join(PATTERNS)}; this tokenizer cuts text in "
            "another way"
        )
    return scanner


def cutting(pattern: str) -> PreTokenizer:
    """The pre-tokenizer that cuts by a pattern, as tokenizer.json has it."""
    if pattern == "gpt2":
        return pretokenizers.ByteLevel(add_prefix_space=False)
    if pattern not in PATTERNS:
        raise TokenizerError(f"pattern is {pattern!r}; it must be one of {', '.join(PATTERNS)}")
    split = pretokenizers.Split({"Regex": PORTABLE.get(pattern) or PATTERNS[pattern]}, "Isolated")
    return pretokenizers.Sequence((split, pretokenizers.ByteLevel(add_prefix_space=False, use_regex=False)))


def read_ranks(data: bytes) -> dict[bytes, int]:
    """Token to rank. TokenizerError with the number of the line, from 1, for what is no such file."""
    ranks: dict[bytes, int] = {}
    seen = set[int]()
    for n, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        parts = line.split()
        try:
            token, rank = base64.b64decode(parts[0], validate=True), parts[1]
            if len(parts) != 2 or not rank.isdigit() or len(rank) > 9:
                raise ValueError
        except (ValueError, IndexError, binascii.Error):
            raise TokenizerError(
                f"line {n} is {short(line)}; it must be a token in base64, a space and its rank"
            ) from None
        check_size(f"line {n}", token)
        if int(rank) >= MAX_VOCAB:
            raise TokenizerError(f"line {n}: rank {int(rank)} is too large; there may be {MAX_VOCAB} tokens")
        if token in ranks or int(rank) in seen:
            raise TokenizerError(f"line {n}: the token {short(token)} or the rank {int(rank)} has been there before")
        ranks[token] = int(rank)
        seen.add(int(rank))
    if seen and max(seen) >= len(seen) + MAX_GAP:
        raise TokenizerError(f"there is a rank {max(seen)}, but only {len(seen)} tokens; {MAX_GAP} may be left out")
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise TokenizerError(f"byte 0x{missing[0]:02X} has no line, nor have {len(missing) - 1} others; all must")
    return ranks


def write_ranks(ranks: Iterable[tuple[bytes, int]]) -> bytes:
    """The bytes of the file."""
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks)
