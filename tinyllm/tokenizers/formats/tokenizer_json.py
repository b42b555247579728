"""Tokenizers to files and back: tokenizer.json in the layout of Hugging Face's `tokenizers`, which opens
what is written here.

Reading accepts what tinyllm can reproduce id for id and refuses the rest: an option that would change ids is
an error, never ignored. Every error is a TokenizerError that names the place in the file, like
$.model.merges[12]. Sizes are limited, so that a hostile file costs a bounded amount of memory. One difference
is by design: Hugging Face's library finds the names of special tokens in every text, tinyllm only where
`allowed_special` says so.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.presets import BPETokenizer, CharTokenizer, byte_alphabet

MAX_FILE = 64 << 20  # bytes
MAX_VOCAB = 1 << 22
MAX_TOKEN = 4096  # bytes

BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
EACH_CHARACTER = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}


def save(tokenizer: Tokenizer, path: str | PathLike[str]) -> None:
    """Write `tokenizer` to the file `path`, or to tokenizer.json in the folder `path`."""
    text = json.dumps(to_json(tokenizer), ensure_ascii=False, indent=2)
    _io.write_atomic(_file(path), (text + "\n").encode("utf-8"))


def load(path: str | PathLike[str], engine: str | None = None) -> Tokenizer:
    """The tokenizer saved in the file `path`, or in tokenizer.json in the folder `path`. `engine` as in
    BPETokenizer.

    Raises TokenizerError for a file that is damaged, or that describes a tokenizer tinyllm doesn't have.
    """
    file = _file(path)
    if not file.exists():
        raise FileNotFoundError(f"no tokenizer at {file}")
    if not file.is_file():
        raise TokenizerError(f"{file}: not a regular file")
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE + 1)
    try:
        return parse(data, engine)
    except TokenizerError as error:
        raise TokenizerError(f"{file}: {error}") from None


def parse(data: bytes, engine: str | None = None) -> Tokenizer:
    """The tokenizer that the bytes of a tokenizer.json describe."""
    if len(data) > MAX_FILE:
        raise TokenizerError(f"the file has more than {MAX_FILE} bytes")
    try:
        return from_json(json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys), engine)
    except TokenizerError:
        raise
    except UnicodeDecodeError as error:
        raise TokenizerError(f"byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise TokenizerError("the JSON is nested too deeply") from None
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise TokenizerError(f"no JSON: {error}") from None


def to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of tokenizer.json."""
    if isinstance(tokenizer, BPETokenizer):
        names = {i: name for name, i in tokenizer.special_tokens.items()}
        texts = [
            names.get(i) or "".join(map(BYTE_TO_CHAR.__getitem__, token)) for i, token in enumerate(tokenizer.tokens)
        ]
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": _vocab(texts),
            "merges": [[texts[a], texts[b]] for a, b in tokenizer.merges],
        }
        return _document(tokenizer, BYTE_LEVEL, BYTE_LEVEL, model)
    if isinstance(tokenizer, CharTokenizer):
        texts = [token.decode("utf-8") for token in tokenizer.tokens]
        model = {"type": "WordLevel", "vocab": _vocab(texts), "unk_token": tokenizer.model.unk_token}  # type: ignore[attr-defined]
        return _document(tokenizer, EACH_CHARACTER, {"type": "Fuse"}, model)
    raise TypeError(f"tokenizer.json can't hold a {type(tokenizer).__name__}")


def from_json(document: Any, engine: str | None = None) -> Tokenizer:
    """The tokenizer that the content of a tokenizer.json describes."""
    top = _Node(document, "$")
    top.check({"version": ["1.0"], "truncation": [None], "padding": [None], "normalizer": [None]}, also=STAGES)
    top["version"]
    kind = top["model"]["type"].string()
    if kind == "BPE":
        return _read_bpe(top, engine)
    if kind == "WordLevel":
        return _read_char(top)
    raise TokenizerError(f"$.model.type is {kind!r}; tinyllm reads 'BPE' (byte-level) and 'WordLevel' (characters)")


STAGES = ("added_tokens", "pre_tokenizer", "post_processor", "decoder", "model")
YES_NO = [False, True]


def _read_bpe(top: _Node, engine: str | None) -> BPETokenizer:
    top["pre_tokenizer"].check(
        {"type": ["ByteLevel"], "add_prefix_space": [False], "use_regex": [True]}, also=("trim_offsets",)
    )
    # neither changes ids: the post-processor trims offsets (ours never are), the decoder is ByteLevel anyway
    for name in "post_processor", "decoder":
        if top.has(name):
            any_value = {"add_prefix_space": YES_NO, "use_regex": YES_NO, "trim_offsets": YES_NO}
            top[name].check({"type": ["ByteLevel"], **any_value})
    model = top["model"]
    model.check(
        {
            "type": ["BPE"],
            "dropout": [None, 0, 0.0],
            "unk_token": [None],
            "continuing_subword_prefix": [None, ""],
            "end_of_word_suffix": [None, ""],
            "fuse_unk": YES_NO,
            "byte_fallback": [False],
            "ignore_merges": [False],
        },
        also=("vocab", "merges"),
    )
    texts, specials = _read_vocab(top)
    special_ids = set(specials.values())
    ids = {text: i for i, text in enumerate(texts)}
    tokens = []
    for i, text in enumerate(texts):
        try:
            tokens.append(text.encode("utf-8") if i in special_ids else bytes(map(CHAR_TO_BYTE.__getitem__, text)))
        except KeyError as error:
            raise TokenizerError(f"$.model.vocab[{text!r}]: {error.args[0]!r} stands for no byte") from None
    merges = []
    for n, entry in enumerate(model["merges"].list()):
        pair = entry.split(" ") if isinstance(entry, str) else entry  # "a b" until 2024, ["a", "b"] since
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise TokenizerError(f"$.model.merges[{n}] is {_short(entry)}; it must be a pair of tokens")
        for part in (*pair, pair[0] + pair[1]):
            if part not in ids or ids[part] in special_ids:
                raise TokenizerError(f"$.model.merges[{n}]: {_short(part)} is no ordinary token of $.model.vocab")
        merges.append((ids[pair[0]], ids[pair[1]]))
    return _built("$.model", lambda: BPETokenizer(tokens, merges, specials, engine=engine))


def _read_char(top: _Node) -> CharTokenizer:
    top["pre_tokenizer"].check({name: [value] for name, value in EACH_CHARACTER.items()})
    top["decoder"].check({"type": ["Fuse"]})
    top.check({"post_processor": [None]}, also=None)
    model = top["model"]
    model.check({"type": ["WordLevel"]}, also=("vocab", "unk_token"))
    texts, specials = _read_vocab(top)
    unk = model["unk_token"].string() or None
    return _built("$.model", lambda: CharTokenizer(texts, specials, unk))


def _read_vocab(top: _Node) -> tuple[list[str], dict[str, int]]:
    """The texts of the tokens by id, and the special tokens among them."""
    vocab = top["model"]["vocab"].object()
    specials: dict[str, int] = {}
    by_id: dict[int, str] = {}

    def put(path: str, text: str, i: Any) -> None:
        if type(i) is not int or not 0 <= i < MAX_VOCAB:
            raise TokenizerError(f"{path} is {_short(i)}; an id is an integer from 0 to {MAX_VOCAB - 1}")
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError:
            raise TokenizerError(f"{path}: the token has a lone surrogate, which is no text") from None
        if not 1 <= size <= MAX_TOKEN:
            raise TokenizerError(f"{path}: the token has {size} bytes; it must have 1 to {MAX_TOKEN}")
        if by_id.setdefault(i, text) != text:
            raise TokenizerError(f"{path}: id {i} is also the id of {_short(by_id[i])}")

    for text, i in vocab.items():
        put(f"$.model.vocab[{_short(text)}]", text, i)
    for n, value in enumerate(top["added_tokens"].list()):
        added = _Node(value, f"$.added_tokens[{n}]")
        never = {name: [False] for name in ("single_word", "lstrip", "rstrip")}
        added.check({**never, "normalized": YES_NO, "special": [True]}, also=("id", "content"))
        text, i = added["content"].string(), added["id"].value
        put(f"$.added_tokens[{n}].id", text, i)
        if text in specials or vocab.get(text, i) != i:
            raise TokenizerError(f"$.added_tokens[{n}].content: {_short(text)} has two ids or two entries")
        specials[text] = i
    missing = next((i for i in range(len(by_id)) if i not in by_id), None)
    if missing is not None:
        raise TokenizerError(f"$.model.vocab: {len(by_id)} tokens but none with id {missing}; ids have no gaps")
    return [by_id[i] for i in range(len(by_id))], specials


class _Node:
    """A value of the document that knows its path; every method raises TokenizerError if the value is
    something else.
    """

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def object(self) -> dict[str, Any]:
        return self._typed(dict, "an object")

    def list(self) -> list[Any]:
        return self._typed(list, "a list")

    def string(self) -> str:
        return self._typed(str, "a string")

    def _typed(self, kind: type, name: str) -> Any:
        if type(self.value) is not kind:
            raise TokenizerError(f"{self.path} is {_short(self.value)}; it must be {name}")
        return self.value

    def has(self, name: str) -> bool:
        return self.object().get(name) is not None

    def __getitem__(self, name: str) -> _Node:
        if name not in self.object():
            raise TokenizerError(f"{self.path}.{name} is missing")
        return _Node(self.value[name], f"{self.path}.{name}")

    def check(self, allowed: dict[str, Any], also: tuple[str, ...] | None = ()) -> None:
        """Fields that are there have one of the allowed values, and none is there beside these and `also`
        (None: any).

        A missing field has its default in the layout, which is the first of its allowed values; "type" is
        never missing.
        """
        for name, value in self.object().items():
            path = f"{self.path}.{name}"
            if name in allowed:
                if not any(value == one and type(value) is type(one) for one in allowed[name]):
                    known = " or ".join(json.dumps(one) for one in allowed[name])
                    raise TokenizerError(f"{path} is {_short(value)}; tinyllm can reproduce {known} only")
            elif also is not None and name not in also:
                raise TokenizerError(f"{path} is a field that tinyllm doesn't know")
        if "type" in allowed:
            self["type"]


def _built(path: str, build: Callable[[], Any]) -> Any:
    """What `build` returns; an error of the tokenizer's own checks gets the path in front."""
    try:
        return build()
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def _document(
    tokenizer: Tokenizer, pre_tokenizer: dict[str, Any], decoder: dict[str, Any], model: dict[str, Any]
) -> dict[str, Any]:
    added = [
        {
            "id": i,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for name, i in sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": deepcopy(pre_tokenizer),
        "post_processor": None,
        "decoder": deepcopy(decoder),
        "model": model,
    }


def _vocab(texts: list[str]) -> dict[str, int]:
    vocab = {text: i for i, text in enumerate(texts)}
    if len(vocab) != len(texts):
        raise TokenizerError(
            "a special token and an ordinary one look the same in tokenizer.json; rename the special one"
        )
    return vocab


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise TokenizerError(f"the key {_short(twice)} stands twice in one object")
    return found


def _short(value: Any) -> str:
    text = reprlib.repr(value) if isinstance(value, (str, list, dict)) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _file(path: str | PathLike[str]) -> Path:
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() else path
