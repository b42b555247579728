"""tokenizer.json, the file of Hugging Face's `tokenizers`, which opens what is written here: a whole tokenizer.

Reading accepts what tinyllm can reproduce id for id and refuses the rest: an option that would change ids is an error,
never ignored; so are a version, a type or a field that tinyllm doesn't know. Every error is a TokenizerError that
names the place in the file, like $.model.merges[12]. Three things are by design:

- Hugging Face's library finds the names of special tokens in every text, tinyllm only where `allowed_special` says so.
- The id that a file gives an added token is the one it gets. Hugging Face's library numbers those that the model's
  vocabulary lacks anew, from the end of it, without a word; where that gives another id the file is refused.
- Stages that only tinyllm has (SentencePieceNormalizer, Words ...) make a file that only tinyllm opens.

Stages are read and written field by field (stage.py), models in json_models.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.encoding import Padding, Truncation
from tinyllm.tokenizers.formats.files import MAX_FILE, MAX_VOCAB, check_size
from tinyllm.tokenizers.formats.json_models import READERS, Added, write_model
from tinyllm.tokenizers.formats.nodes import Node, parse
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.stage import Decoder, Normalizer, PostProcessor, PreTokenizer, as_json, from_json, short

STAGES: dict[str, Any] = {
    "normalizer": Normalizer,
    "pre_tokenizer": PreTokenizer,
    "post_processor": PostProcessor,
    "decoder": Decoder,
}
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def read(data: bytes, engine: str | None = None, allow_regex: bool = False) -> Tokenizer:
    """The tokenizer that the bytes of a tokenizer.json describe. `engine` as the models have it; `allow_regex`: run
    regular expressions of the file that tinyllm doesn't know (stage Split), which can take forever on some text.
    """
    if len(data) > MAX_FILE:
        raise TokenizerError(f"the file has more than {MAX_FILE} bytes")
    return from_document(parse(data), engine, allow_regex)


def write(tokenizer: Tokenizer) -> bytes:
    """The bytes of the file."""
    return (json.dumps(to_document(tokenizer), ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def from_document(document: Any, engine: str | None = None, allow_regex: bool = False) -> Tokenizer:
    """The tokenizer that the content of a tokenizer.json describes."""
    top = Node(document)
    top.only("version", "truncation", "padding", "added_tokens", *STAGES, "model")
    top["version"].one_of("1.0")
    added = _read_added(top["added_tokens"]) if top.has("added_tokens") else {}
    stages = {name: _read_stage(name, top[name], allow_regex) for name in STAGES if top.has(name)}
    byte_level = is_byte_level(stages.get("pre_tokenizer"))
    node = top["model"]
    kind = node["type"].string() if "type" in node.object() else "BPE"  # that of GPT-2's first files
    if kind not in READERS:
        raise TokenizerError(f"$.model.type is {short(kind)}; tinyllm reads {', '.join(READERS)}")
    if byte_level and kind != "BPE":
        raise TokenizerError(f"$.pre_tokenizer: ByteLevel goes with BPE only in tinyllm, not with {kind}")
    known: Added = {token.content: (i, token.special) for token, i in added.items()}
    model = _named("$.model", lambda: READERS[kind](node, known, byte_level, engine))
    _check_numbers(added, node["vocab"].value, len(model.tokens))
    truncation = _read_truncation(top["truncation"]) if top.has("truncation") else None
    padding = _read_padding(top["padding"]) if top.has("padding") else None
    build = lambda: Tokenizer(model, **stages, added_tokens=added, truncation=truncation, padding=padding)  # noqa: E731
    return _named("$.added_tokens", build)


def to_document(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of tokenizer.json."""
    tokens = dict(sorted(tokenizer.added_tokens.items()))
    stages = {name: getattr(tokenizer, name) for name in STAGES}
    byte_level = is_byte_level(tokenizer.pre_tokenizer)
    unnumbered = _unnumbered(tokenizer)
    if byte_level and type(tokenizer.model).__name__ != "BPE":
        raise TokenizerError(
            "in tokenizer.json ByteLevel gives a model the alphabet of bytes; tinyllm has that for BPE only"
        )
    model = write_model(tokenizer.model, byte_level, unnumbered)
    vocab = (
        model["vocab"] if type(model["vocab"]) is dict else {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    )
    for i, token in tokens.items():
        if vocab.get(token.content, i) != i:
            raise TokenizerError(f"{token.content!r} and another token look the same in tokenizer.json; rename it")
    gap = next((i for i, token in enumerate(tokenizer.tokens) if not token), len(tokenizer.tokens))
    if any(token and not (i in tokens and tokens[i].special) for i, token in enumerate(tokenizer.tokens) if i > gap):
        raise TokenizerError(f"no token has id {gap}; tokenizer.json leaves out ids before special tokens only")
    return {
        "version": "1.0",
        "truncation": None if tokenizer.truncation is None else as_json(tokenizer.truncation),
        "padding": None if tokenizer.padding is None else _write_padding(tokenizer.padding),
        "added_tokens": [{"id": i, **as_json(token)} for i, token in tokens.items()],
        **{name: None if stage is None else as_json(stage) for name, stage in stages.items()},
        "model": model,
    }


def _unnumbered(tokenizer: Tokenizer) -> dict[str, int]:
    """The added tokens that the model's vocabulary must name, so that they keep their ids: those that it left room for,
    and if the others don't follow it without gap, these too.
    """
    size = len(tokenizer.model.tokens)
    holes = {
        token.content: i for i, token in tokenizer.added_tokens.items() if i < size and not tokenizer.model.tokens[i]
    }
    after = {token.content: i for i, token in sorted(tokenizer.added_tokens.items()) if i >= size}
    if list(after.values()) == list(range(size, size + len(after))):
        return holes
    for i, token in tokenizer.added_tokens.items():
        if i >= size and not token.special:
            raise TokenizerError(f"added token {token.content!r} has id {i}; the layout has no gap before such tokens")
    return holes | after


def is_byte_level(pre_tokenizer: PreTokenizer | None) -> bool:
    """Whether the model sees GPT-2's alphabet of bytes, which its vocabulary then is spelled in."""
    parts = getattr(pre_tokenizer, "pretokenizers", (pre_tokenizer,))
    at = [i for i, part in enumerate(parts) if type(part).__name__ == "ByteLevel"]
    if at and at != [len(parts) - 1]:
        raise TokenizerError("$.pre_tokenizer: ByteLevel must come last; tinyllm has no stage that cuts its alphabet")
    return bool(at)


def _read_stage(name: str, node: Node, allow_regex: bool) -> Any:
    """The stage, which does its work on a first text: one that may not, because of its regular expression, says so."""
    value, path = _modern(name, node)
    stage: Any = _trusted(from_json(STAGES[name], value, path), allow_regex)
    if name == "normalizer":
        _named(path, lambda: stage.normalize(Aligned.of("a b")))
    elif name == "pre_tokenizer":
        _named(path, lambda: stage.pieces(Aligned.of("a b")))
    return stage


def _trusted(stage: Any, allow_regex: bool) -> Any:
    """The stage with `allow_regex` in all its parts that have it."""
    if not allow_regex:
        return stage
    if type(stage).__name__ == "Sequence":
        [field] = (field.name for field in dataclasses.fields(stage) if field.init)
        return type(stage)(tuple(_trusted(part, True) for part in getattr(stage, field)))
    return dataclasses.replace(stage, allow_regex=True) if hasattr(stage, "allow_regex") else stage


def _read_added(node: Node) -> dict[AddedToken, int]:
    """The added tokens and their ids, in order."""
    added: dict[AddedToken, int] = {}
    seen = set[str]()
    for n, value in enumerate(node.list()):
        one = Node(value, f"{node.path}[{n}]")
        one.only("id", "content", *FLAGS)
        content = one["content"].string()
        check_size(f"{one.path}.content", content)
        if content in seen:
            raise TokenizerError(f"{one.path}.content: {short(content)} has two entries")
        seen.add(content)
        token = AddedToken(content, **{name: one[name].boolean() for name in FLAGS})
        added[token] = one["id"].integer(0, MAX_VOCAB - 1)
    return added


def _check_numbers(added: Mapping[AddedToken, int], vocab: Any, size: int) -> None:
    """Each added token has the id that Hugging Face's library would give it."""
    numbers = vocab if type(vocab) is dict else {piece[0]: i for i, piece in enumerate(vocab)}
    expected = size = max(len(numbers), size)
    for n, (token, i) in enumerate(added.items()):
        wanted = numbers.get(token.content, expected)
        if i != wanted:
            raise TokenizerError(
                f"$.added_tokens[{n}].id is {i}; {short(token.content)} must have {wanted}, "
                + ("its id in $.model.vocab" if token.content in numbers else "the next one after the vocabulary")
            )
        expected = max(expected, i + 1) if i >= size else expected


def _modern(name: str, node: Node) -> tuple[Any, str]:
    """A stage as the layout has it now, and its path: Metaspace had other fields once."""
    value = node.object()
    for key in "normalizers", "pretokenizers", "processors", "decoders":
        if value.get("type") == "Sequence" and type(value.get(key)) is list:
            inner = [_modern(name, Node(item, f"{node.path}.{key}[{i}]"))[0] for i, item in enumerate(value[key])]
            return {**value, key: inner}, node.path
    if value.get("type") == "Metaspace":
        value = {"prepend_scheme": "always", **value}
        value.pop("str_rep", None)
        if value.pop("add_prefix_space", True) is False and value["prepend_scheme"] != "never":
            raise TokenizerError(f'{node.path}.add_prefix_space is false; then prepend_scheme must be "never"')
    return value, node.path


def _read_truncation(node: Node) -> Truncation:
    node.only("direction", "max_length", "strategy", "stride")
    strategy = node["strategy"].one_of("LongestFirst", "OnlyFirst", "OnlySecond")
    direction: Any = node["direction"].one_of("Left", "Right") if node.has("direction") else "Right"
    return Truncation(node["max_length"].integer(), strategy, node["stride"].integer(), direction)


def _read_padding(node: Node) -> Padding:
    node.only("strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token")
    strategy = node["strategy"]
    fixed = type(strategy.value) is dict
    if fixed:
        strategy.only("Fixed")
    else:
        strategy.one_of("BatchLongest")
    return Padding(
        strategy["Fixed"].integer() if fixed else None,
        node["pad_to_multiple_of"].integer() if node.has("pad_to_multiple_of") else None,
        node["direction"].one_of("Left", "Right"),
        node["pad_id"].integer(),
        node["pad_type_id"].integer(),
        node["pad_token"].string(),
    )


def _write_padding(padding: Padding) -> dict[str, Any]:
    fields = as_json(padding)
    length = fields.pop("length")
    return {"strategy": "BatchLongest" if length is None else {"Fixed": length}, **fields}


def _named(path: str, build: Callable[[], Any]) -> Any:
    """What `build` returns; an error that names no place gets this one."""
    try:
        return build()
    except TokenizerError as error:
        if str(error).startswith("$"):
            raise
        raise TokenizerError(f"{path}: {error}") from None
