"""GPT-2's pair of files: vocab.json, token to id, and merges.txt, a merge a line, lowest rank first.

Tokens are spelled in GPT-2's alphabet, a printable character for each byte. The files say neither how text is cut nor
which tokens are special: the caller does; by default it is cut as GPT-2 does, and "<|endoftext|>" is special if it is
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import decoders, models, pretokenizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats.json_models import read_merges as read_pairs
from tinyllm.tokenizers.formats.json_models import read_vocab, spelled
from tinyllm.tokenizers.formats.nodes import Node, parse
from tinyllm.tokenizers.formats.tokenizer_json import to_document
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.stage import short

END = "<|endoftext|>"
HEADER = "#version: 0.2"


def read(
    vocab: bytes, merges: bytes, special_tokens: Iterable[str] | None = None, engine: str | None = None
) -> Tokenizer:
    """The tokenizer of vocab.json and merges.txt. `special_tokens`: names of tokens of the vocabulary."""
    numbers = Node(parse(vocab), "vocab.json: $")
    if special_tokens is None:
        special_tokens = [END] if END in numbers.object() else []
    special = {}
    for name in special_tokens:
        if name not in numbers.object():
            raise TokenizerError(f"special token {name!r} is not in vocab.json")
        special[AddedToken(name, special=True)] = numbers[name].integer()
    added = {token.content: (i, True) for token, i in special.items()}
    ordinary = {text: i for text, i in read_vocab(numbers, added).items() if text not in added}
    ids = {spelled(text, numbers.path): i for text, i in ordinary.items()}
    pairs = Node([list(pair) for pair in read_merges(merges)], "merges.txt: merge ")
    model = models.BPE(ids, list(read_pairs(pairs, ids, True, "")), engine=engine)
    return Tokenizer(model, None, pretokenizers.ByteLevel(add_prefix_space=False), None, decoders.ByteLevel(), special)


def write(tokenizer: Tokenizer) -> tuple[bytes, bytes]:
    """The bytes of vocab.json and of merges.txt. TokenizerError for a tokenizer that is none of GPT-2's kind."""
    model: Any = tokenizer.model
    if not isinstance(model, models.BPE) or model.characters or tokenizer.normalizer is not None:
        raise TokenizerError("vocab.json and merges.txt hold a BPE of bytes without a normalizer, and this is none")
    if tokenizer.pre_tokenizer is None or tokenizer.pre_tokenizer.scanner != "gpt2":
        raise TokenizerError("vocab.json and merges.txt mean GPT-2's pattern; this tokenizer cuts text in another way")
    if any((model.dropout, model.unk_token, model.continuing_subword_prefix, model.end_of_word_suffix)):
        raise TokenizerError(
            "vocab.json and merges.txt have no dropout, unknown token, prefix or suffix; this model has"
        )
    if any(not token.special for token in tokenizer.added_tokens.values()):
        raise TokenizerError("vocab.json and merges.txt have no added tokens that are not special; this tokenizer has")
    if model.ignore_merges:
        made = {left + right for left, right in model.merges}
        alone = next((token for token in model.vocab if len(token) > 1 and token not in made), None)
        if alone is not None:
            raise TokenizerError(f"no merge makes the token {alone!r}; vocab.json and merges.txt could not give it")
    document = to_document(tokenizer)
    vocab = {**document["model"]["vocab"], **{one["content"]: one["id"] for one in document["added_tokens"]}}
    return json.dumps(vocab, ensure_ascii=False).encode("utf-8"), write_merges(document["model"]["merges"])


def read_merges(data: bytes) -> list[tuple[str, str]]:
    """The merges of a merges.txt. TokenizerError with the number of the line, from 1, for a line that is none."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"byte {error.start} is no UTF-8") from None
    merges = []
    for n, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (n == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise TokenizerError(f"line {n} is {short(line)}; a merge is two tokens with a space between them")
        merges.append((parts[0], parts[1]))
    return merges


def write_merges(merges: list[tuple[str, str]]) -> bytes:
    """The bytes of merges.txt."""
    return "".join(f"{line}\n" for line in [HEADER, *map(" ".join, merges)]).encode("utf-8")
