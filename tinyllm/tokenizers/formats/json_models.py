"""The "model" of a tokenizer.json: each kind of model from its object, and back.

A vocabulary gives each token an id, from 0 on. It may have gaps only before ids of special tokens, which then are no
part of the model (OpenAI's vocabularies leave some ids out before them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import models
from tinyllm.tokenizers.formats.files import MAX_GAP, MAX_VOCAB, check_size
from tinyllm.tokenizers.formats.nodes import Node
from tinyllm.tokenizers.presets import byte_alphabet
from tinyllm.tokenizers.stage import Model, short

BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}
Added = Mapping[str, tuple[int, bool]]  # content: its id, and whether the token is special


def read_vocab(node: Node, added: Added) -> dict[str, int]:
    """Token to id, dense: without the special tokens around and behind a gap."""

    def special(text: str) -> bool:
        return added.get(text, (0, False))[1]

    vocab = node.object()
    by_id: dict[int, str] = {}
    for text, i in vocab.items():
        if type(i) is not int or not 0 <= i < MAX_VOCAB:
            here = f"{node.path}[{short(text)}]"
            raise TokenizerError(f"{here} is {short(i)}; an id is an integer from 0 to {MAX_VOCAB - 1}")
        if by_id.setdefault(i, text) is not text:
            raise TokenizerError(f"{node.path}[{short(text)}]: id {i} is also the id of {short(by_id[i])}")
        if not text.isascii() or not 1 <= len(text) <= 1024:
            check_size(f"{node.path}[{short(text)}]", text)
    n = next(i for i in range(len(by_id) + 1) if i not in by_id)
    if n == len(vocab):
        return vocab
    for i, text in by_id.items():
        if i > n and not special(text):
            raise TokenizerError(f"{node.path}[{short(text)}] is {i}, but no token has id {n}; ids have no gaps")
    if max(by_id) >= len(by_id) + MAX_GAP:
        raise TokenizerError(f"{node.path}: id {max(by_id)} among {len(by_id)} tokens; {MAX_GAP} ids may be left out")
    while n and special(by_id[n - 1]):
        n -= 1
    return {text: i for i, text in by_id.items() if i < n}


def read_bpe(node: Node, added: Added, byte_level: bool, engine: str | None) -> Model:
    node.only("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
              "byte_fallback", "ignore_merges", "vocab", "merges")  # fmt: skip
    unk = node["unk_token"].string() if node.has("unk_token") else None
    texts: dict[str, int] = read_vocab(node["vocab"], added)
    texts = {text: i for text, i in texts.items() if text == unk or not added.get(text, (0, False))[1]}
    vocab: dict[Any, int] = {spelled(text, node["vocab"].path): i for text, i in texts.items()} if byte_level else texts
    prefix = node["continuing_subword_prefix"].string() or None if node.has("continuing_subword_prefix") else None
    suffix = node["end_of_word_suffix"].string() or None if node.has("end_of_word_suffix") else None
    flags = {name: node.has(name) and node[name].boolean() for name in ("fuse_unk", "byte_fallback", "ignore_merges")}
    return models.BPE(
        vocab,
        list(read_merges(node["merges"], vocab, byte_level, prefix or "")),
        float(node["dropout"].number()) or None if node.has("dropout") else None,
        unk,
        prefix,
        suffix,
        **flags,
        engine=engine,
    )


def read_merges(node: Node, vocab: Mapping[Any, int], byte_level: bool, prefix: str) -> Iterator[tuple[Any, Any]]:
    """The merges, as tokens of the vocabulary."""
    entries = node.list()
    left: Any
    right: Any
    seen: dict[tuple[Any, Any], int] = {}
    skipped = len(prefix.encode()) if byte_level else len(prefix)
    for n, entry in enumerate(entries):
        pair: Any = entry.split(" ") if type(entry) is str else entry  # "a b" until 2024, ["a", "b"] since
        if not (type(pair) is list and len(pair) == 2 and type(pair[0]) is type(pair[1]) is str):
            raise TokenizerError(f"{node.path}[{n}] is {short(entry)}; it must be a pair of tokens")
        try:
            left, right = (to_bytes(pair[0]), to_bytes(pair[1])) if byte_level else pair
            for part in left, right, left + right[skipped:]:
                if part not in vocab:
                    raise KeyError(part)
        except KeyError as error:
            missing = error.args[0]
            raise TokenizerError(f"{node.path}[{n}]: {short(missing)} is no token of $.model.vocab") from None
        if seen.setdefault((left, right), n) != n:
            raise TokenizerError(f"{node.path}[{n}] is also {node.path}[{seen[left, right]}]")
        yield left, right


def spelled(text: str, path: str) -> bytes:
    """The bytes of a token in GPT-2's alphabet."""
    try:
        return to_bytes(text)
    except KeyError as error:
        raise TokenizerError(f"{path}[{short(text)}]: {short(error.args[0])} stands for no byte") from None


def to_bytes(text: str) -> bytes:
    """What is spelled in GPT-2's alphabet."""
    return bytes(map(CHAR_TO_BYTE.__getitem__, text))


def to_text(token: bytes) -> str:
    """In GPT-2's alphabet."""
    return "".join(map(BYTE_TO_CHAR.__getitem__, token))


def read_wordpiece(node: Node, added: Added, byte_level: bool, engine: str | None) -> Model:
    node.only("type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab")
    return models.WordPiece(
        read_vocab(node["vocab"], added),
        node["unk_token"].string(),
        node["continuing_subword_prefix"].string(),
        node["max_input_chars_per_word"].integer(),
        engine=engine,
    )


def read_wordlevel(node: Node, added: Added, byte_level: bool, engine: str | None) -> Model:
    node.only("type", "vocab", "unk_token")
    return models.WordLevel(read_vocab(node["vocab"], added), node["unk_token"].string())


def read_unigram(node: Node, added: Added, byte_level: bool, engine: str | None) -> Model:
    node.only("type", "unk_id", "vocab", "byte_fallback", "kinds")
    vocab: list[tuple[str, float]] = []
    entries = node["vocab"]
    if len(entries.list()) > MAX_VOCAB:
        raise TokenizerError(f"{entries.path} has {len(entries.list())} pieces; there may be {MAX_VOCAB}")
    for n, entry in enumerate(entries.list()):
        here = f"{entries.path}[{n}]"
        if type(entry) is not list or len(entry) != 2 or type(entry[0]) is not str:
            raise TokenizerError(f"{here} is {short(entry)}; it must be a piece and its score")
        check_size(here, entry[0])
        vocab.append((entry[0], float(Node(entry[1], f"{here}[1]").number())))
    kinds = node["kinds"] if node.has("kinds") else None  # our own field: SentencePiece's types of the pieces
    return models.Unigram(
        vocab,
        node["unk_id"].integer() if node.has("unk_id") else None,
        node.has("byte_fallback") and node["byte_fallback"].boolean(),
        kinds and [Node(kind, f"{kinds.path}[{i}]").integer(1, 6) for i, kind in enumerate(kinds.list())],
        engine=engine,
    )


READERS: dict[str, Callable[[Node, Added, bool, str | None], Model]] = {
    "BPE": read_bpe,
    "WordPiece": read_wordpiece,
    "Unigram": read_unigram,
    "WordLevel": read_wordlevel,
}


def write_model(model: Any, byte_level: bool, unnumbered: Mapping[str, int]) -> dict[str, Any]:
    """The object of a model. `unnumbered`: tokens that its vocabulary must name beside its own, so that they keep
    their ids.
    """
    kind = type(model).__name__
    if kind == "WordPiece":
        return {
            "type": kind,
            "unk_token": model.unk_token,
            "continuing_subword_prefix": model.continuing_subword_prefix,
            "max_input_chars_per_word": model.max_input_chars_per_word,
            "vocab": _vocab(model.vocab, unnumbered),
        }
    if kind == "WordLevel":
        return {"type": kind, "vocab": _vocab(model.vocab, unnumbered), "unk_token": model.unk_token}
    if kind == "Unigram":
        if unnumbered:
            raise TokenizerError(f"tokenizer.json can't give {next(iter(unnumbered))!r} its id: it leaves out some ids")
        pieces = [[piece, score] for piece, score in model.vocab]
        written = {"type": kind, "unk_id": model.unk_id, "vocab": pieces, "byte_fallback": model.byte_fallback}
        return written if model.kinds is None else {**written, "kinds": list(model.kinds)}
    if kind == "BPE":
        return _write_bpe(model, byte_level, unnumbered)
    raise TokenizerError(
        f"tokenizer.json can't hold a {kind}"
        + ("; convert it to Hugging Face's stages, or save it as .model" if kind == "SentencePieceBPE" else "")
    )


def _write_bpe(model: Any, byte_level: bool, unnumbered: Mapping[str, int]) -> dict[str, Any]:
    if byte_level == model.characters:
        raise TokenizerError(
            "a BPE of bytes needs the pre-tokenizer ByteLevel in tokenizer.json, and one of characters must not have it"
        )
    texts: dict[Any, str] = {}
    for token in sorted(model.vocab, key=model.vocab.__getitem__):
        texts[token] = token if model.characters else to_text(token)
    return {
        "type": "BPE",
        "dropout": model.dropout,
        "unk_token": model.unk_token,
        "continuing_subword_prefix": model.continuing_subword_prefix,
        "end_of_word_suffix": model.end_of_word_suffix,
        "fuse_unk": model.fuse_unk,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": model.ignore_merges,
        "vocab": _vocab({text: model.vocab[token] for token, text in texts.items()}, unnumbered),
        "merges": [[texts[left], texts[right]] for left, right in model.merges],
    }


def _vocab(vocab: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    whole = {**dict(sorted(vocab.items(), key=lambda item: item[1])), **more}
    if len(whole) != len(vocab) + len(more):
        raise TokenizerError("two tokens look the same in tokenizer.json; rename the special one")
    return whole
