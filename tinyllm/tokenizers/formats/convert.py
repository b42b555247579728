"""From one format to another, where it is possible, and what differs then on a given text.

    other, names, notes = convert(load("tokenizer.model"), "tokenizer.json");  print(compare(one, other, text).report())

Ids stay as they are. What a format cannot hold is refused; what it can hold only nearly is done, and noted. Between
SentencePiece's files and Hugging Face's stages:

- a model that merges by scores becomes one that merges by rank, and back: the same ids, since a token is put together
  in one way only (models/sentencepiece_bpe.py); not with user-defined or unused pieces;
- Hugging Face applies a table of character rules to what a reader sees as one letter, not to the longest match, and
  has no text for an unknown piece: noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from tinyllm import _io
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import decoders, models, normalizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats import bert, gpt2, sentencepiece, tiktoken, tokenizer_json
from tinyllm.tokenizers.formats.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.sentencepiece import SPACE, SentencePieceDecoder, SentencePieceNormalizer

FORMATS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer.tiktoken")
SQUEEZE = [normalizers.Strip(), normalizers.Replace({"Regex": " {2,}"}, " ")]  # as SentencePiece does it


def convert(tokenizer: Tokenizer, path: str | PathLike[str]) -> tuple[Tokenizer, list[str], list[str]]:
    """Write the file `path` in the format that its name says; the tokenizer read from it, the files, and the notes.

    Raises TokenizerError where the format can't hold the tokenizer; then nothing is written.
    """
    file = Path(path)
    kind = next((one for one in FORMATS if file.name.endswith(one)), None)
    kind = kind or next((one for one in FORMATS if one.endswith(file.suffix) and file.suffix not in ("", ".txt")), None)
    if kind is None:
        raise TokenizerError(f"{file}: which format? The name must end like one of {', '.join(FORMATS)}")
    files, notes = converted(tokenizer, kind)
    other = read_back(tokenizer, kind, [*files.values()])
    names = [file if name == kind else file.with_name(name) for name in files]
    for name, data in zip(names, files.values(), strict=True):
        _io.write_atomic(name, data)
    return other, list(map(str, names)), notes + lost(tokenizer, other)


def read_back(tokenizer: Tokenizer, kind: str, files: list[bytes]) -> Tokenizer:
    """The tokenizer that files say that were written from this one; what their format leaves open is as in it."""
    if kind == "tokenizer.model":
        return sentencepiece.read(files[0])
    if kind == "vocab.json":
        return gpt2.read(files[0], files[1], tokenizer.special_tokens)
    if kind == "tokenizer.tiktoken":
        return tiktoken.read(files[0], tiktoken.pattern_of(tokenizer), tokenizer.special_tokens)
    if kind == "vocab.txt":
        return bert.read(files[0], bert.lowercases(tokenizer))
    return tokenizer_json.read(files[0], allow_regex=True)


def lost(one: Tokenizer, other: Tokenizer) -> list[str]:
    """Notes on what goes around a model and is gone."""
    around = [name for name in ("post_processor", "truncation", "padding") if getattr(one, name) is not None]
    notes = [f"the file has no {name.replace('_', '-')}" for name in around if getattr(other, name) is None]
    for i, token in one.added_tokens.items():
        if i not in other.added_tokens:
            notes.append(f"{token.content!r} is no special token there")
        elif other.added_tokens[i] != token:
            notes.append(f"the file doesn't say in which way the added token {token.content!r} is looked for")
    return notes


def converted(tokenizer: Tokenizer, target: str) -> tuple[dict[str, bytes], list[str]]:
    """The files of a format (one of FORMATS), by name, and what may differ. TokenizerError where it is not possible."""
    notes: list[str] = []
    if target == "tokenizer.json":
        if isinstance(tokenizer.normalizer, SentencePieceNormalizer):
            tokenizer, notes = to_huggingface(tokenizer)
        return {target: tokenizer_json.write(tokenizer)}, notes
    if target == "tokenizer.model":
        if not isinstance(tokenizer.normalizer, SentencePieceNormalizer):
            tokenizer, notes = to_sentencepiece(tokenizer)
        return {target: sentencepiece.write(tokenizer)}, notes
    if target == "vocab.json":
        vocab, merges = gpt2.write(tokenizer)
        return {target: vocab, "merges.txt": merges}, ["the files don't say which tokens are special"]
    if target == "tokenizer.tiktoken":
        return {target: tiktoken.write(tokenizer)}, ["the file has neither pattern nor special tokens"]
    if target == "vocab.txt":
        note = f"the file doesn't say how text is normalized: read it with lowercase={bert.lowercases(tokenizer)}"
        return {target: bert.write(tokenizer)}, [note]
    raise TokenizerError(f"format is {target!r}; it must be one of {', '.join(FORMATS)}")


def to_huggingface(tokenizer: Tokenizer) -> tuple[Tokenizer, list[str]]:
    """SentencePiece's tokenizer in stages that Hugging Face has, as it does it itself (Llama's, T5's files)."""
    normalizer: Any = tokenizer.normalizer
    model: Any = tokenizer.model
    notes = []
    if normalizer.treat_whitespace_as_suffix or not normalizer.escape_whitespaces:
        raise TokenizerError("Hugging Face's stages don't put the space at the end, nor leave it as it is")
    if normalizer.user_defined_symbols:
        symbol = normalizer.user_defined_symbols[0]
        raise TokenizerError(
            f"Hugging Face's stages have no user-defined pieces like {symbol!r}, found before all else"
        )
    stages: list[Any] = []
    if normalizer.precompiled_charsmap:
        stages.append(normalizers.Precompiled(normalizer.precompiled_charsmap))
        notes.append("character rules are applied letter by letter, not by the longest match")
    if normalizer.remove_extra_whitespaces:
        stages += SQUEEZE
        notes.append("at both ends of a text all white space is removed, not only spaces")
    if normalizer.add_dummy_prefix:
        stages.append(normalizers.Prepend(SPACE))
    stages.append(normalizers.Replace({"String": " "}, SPACE))
    if type(model).__name__ == "SentencePieceBPE":
        plain = model.plain()
    else:
        if UNUSED in model.kinds:
            raise TokenizerError("Hugging Face's Unigram has no unused pieces")
        plain = models.Unigram(model.vocab, model.unk_id, model.byte_fallback)
        notes.append("sums of scores are float64, not float32: ways that are equally probable may change places")
    steps: list[Any] = [decoders.Replace({"String": SPACE}, " ")]
    steps += [decoders.ByteFallback()] if model.byte_fallback else []
    steps.append(decoders.Fuse())
    if normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces:
        steps.append(decoders.Strip(" ", 1, 0))
    notes.append("an unknown piece is decoded by its name, control symbols too unless they are skipped")
    names = [AddedToken(piece, special=True) for (piece, _), kind in zip(model.vocab, model.kinds, strict=True)
             if kind in (CONTROL, UNKNOWN)]  # fmt: skip
    sequence = normalizers.Sequence(tuple(stages))
    return Tokenizer(plain, sequence, decoder=decoders.Sequence(tuple(steps)), added_tokens=names), notes


def to_sentencepiece(tokenizer: Tokenizer) -> tuple[Tokenizer, list[str]]:
    """A tokenizer of Hugging Face's stages that do what SentencePiece does, in SentencePiece's own."""
    model: Any = tokenizer.model
    charsmap, prefix, squeeze = _spaces(tokenizer)
    notes = ["character rules are applied by the longest match, not letter by letter"] if charsmap else []
    if squeeze:
        notes.append("at both ends of a text only spaces are removed, not all white space")
    if prefix and tokenizer.pre_tokenizer is not None:
        notes.append("a text that begins with a space gets one more before it")
    special = {i for i, token in tokenizer.added_tokens.items() if token.special}
    if set(tokenizer.added_tokens) - special or not all(tokenizer.tokens):
        raise TokenizerError("a .model has no added tokens that are not special, and no gaps; this tokenizer has")
    texts = [token.decode("utf-8", "replace") for token in tokenizer.tokens]
    unk: int | None
    if isinstance(model, models.Unigram):
        make, unk = models.Unigram, model.unk_id
        vocab = [*model.vocab, *((text, 0.0) for text in texts[len(model.vocab) :])]
        notes.append("sums of scores are float32, not float64: ways that are equally probable may change places")
    elif isinstance(model, models.BPE) and model.characters and (model.fuse_unk or model.unk_token is None):
        if model.continuing_subword_prefix or model.end_of_word_suffix or model.ignore_merges:
            raise TokenizerError("a .model has no prefix, suffix or ignore_merges; this model has")
        rank: dict[str, int] = {}
        for n, (left, right) in enumerate(model.merges):
            rank.setdefault(left + right, n)
        vocab = [(text, -float(rank.get(text, len(model.merges)))) for text in texts]
        make, unk = models.SentencePieceBPE, model.vocab.get(model.unk_token)
    else:
        raise TokenizerError(
            f"a .model can't hold this {type(model).__name__}; it holds a Unigram or a BPE of characters"
        )
    kinds = [NORMAL] * len(vocab)
    for i, (text, _) in enumerate(vocab):
        if i == unk:
            kinds[i] = UNKNOWN
        elif model.byte_fallback and sentencepiece.BYTE_PIECE.fullmatch(text.encode()):
            kinds[i] = BYTE
        elif i in special:
            kinds[i] = CONTROL
        elif SPACE in text[1:] and tokenizer.pre_tokenizer is not None:
            raise TokenizerError(
                f"piece {text!r} has a space inside, which a .model would find and this tokenizer does not"
            )
    new = make(vocab, unk_id=unk, byte_fallback=model.byte_fallback, kinds=kinds)
    for i, (text, _) in enumerate(vocab):
        if kinds[i] in (NORMAL, USER_DEFINED) and new.encode(text.encode()) != model.encode(text.encode()):
            raise TokenizerError(f"the merges are not those that the scores of a .model give: see the token {text!r}")
    stage = SentencePieceNormalizer(charsmap, prefix, squeeze)
    control = tuple(vocab[i][0] for i in sorted(special) if kinds[i] == CONTROL)
    name = None if unk is None else vocab[unk][0]
    decoder = SentencePieceDecoder(prefix, squeeze, model.byte_fallback, name, control_symbols=control)
    names = [AddedToken(name, special=True) for name in control]
    return Tokenizer(new, stage, decoder=decoder, added_tokens=names), notes


def _spaces(tokenizer: Tokenizer) -> tuple[bytes, bool, bool]:
    """The table of character rules, whether a space is put before the text, and whether spaces at its ends and all but
    one of several are removed; for stages that do nothing else.
    """
    normalizer: Any = tokenizer.normalizer
    pre_tokenizer: Any = tokenizer.pre_tokenizer
    parts = list(getattr(normalizer, "normalizers", [normalizer] if normalizer else []))
    charsmap = b""
    if parts and type(parts[0]).__name__ == "Precompiled":
        charsmap = parts.pop(0).precompiled_charsmap
    squeeze = parts[:2] == SQUEEZE
    parts = parts[2:] if squeeze else parts
    marked = normalizers.Replace({"String": " "}, SPACE)
    if pre_tokenizer is None and parts in ([marked], [normalizers.Prepend(SPACE), marked]):
        return charsmap, len(parts) == 2, squeeze
    if not parts and type(pre_tokenizer).__name__ == "Metaspace" and pre_tokenizer.replacement == SPACE:
        return charsmap, pre_tokenizer.prepend_scheme != "never", squeeze
    raise TokenizerError(
        "a .model only makes spaces ▁, puts one before the text and removes those that are too many; the stages of "
        "this tokenizer do more"
    )


@dataclass(frozen=True)
class Comparison:
    """How two tokenizers differ on a text. `differences`: (start, end, ids of one, ids of the other), spans in
    characters, as short as both have a border there.
    """

    one: Tokenizer
    other: Tokenizer
    text: str
    tokens: tuple[int, int]
    differences: list[tuple[int, int, list[int], list[int]]]
    same_text: bool  # decoding gives the same

    def report(self, most: int = 20) -> str:
        """Lines to print: counts, then the first differences with both ids and both pieces."""
        n = len(self.differences)
        lines = [
            f"{len(self.text)} characters: {self.tokens[0]} and {self.tokens[1]} tokens, {n} spans differ"
            + ("" if self.same_text else "; decoded they are not the same")
        ]
        for start, end, ids, others in self.differences[:most]:
            lines.append(f"  {start}-{end} {self.text[start:end]!r}")
            lines += [f"    {ids} {_pieces(self.one, ids)}", f"    {others} {_pieces(self.other, others)}"]
        return "\n".join(lines + ([f"  and {n - most} more"] if n > most else []))


def compare(one: Tokenizer, other: Tokenizer, text: str) -> Comparison:
    """Encode and decode `text` with both."""
    ids, others = one.encode(text), other.encode(text)
    same_text = one.decode(ids, True) == other.decode(others, True)
    differences = []
    if ids != others:
        mine, theirs = one.encode_with_offsets(text), other.encode_with_offsets(text)
        differences = list(_differences(len(text), mine, theirs))
    return Comparison(one, other, text, (len(ids), len(others)), differences, same_text)


def _differences(length: int, one: Any, other: Any) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """Go through both, from one common border to the next."""
    i = j = start = 0
    for border in sorted(_borders(one.offsets, length) & _borders(other.offsets, length)):
        left, right = i, j
        while i < len(one.ids) and (one.offsets[i][1] <= border):
            i += 1
        while j < len(other.ids) and (other.offsets[j][1] <= border):
            j += 1
        if one.ids[left:i] != other.ids[right:j]:
            yield start, border, one.ids[left:i], other.ids[right:j]
        start = border


def _borders(offsets: Sequence[tuple[int, int]], length: int) -> set[int]:
    """Where a token ends and none goes on."""
    ends = {end for _, end in offsets}
    return {length, *ends} - {
        at for (a, end), (b, _) in zip(offsets, offsets[1:], strict=False) for at in (end,) if b < end
    }


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    return [tokenizer.tokens[i].decode("utf-8", "backslashreplace") for i in ids]
