"""A tokenizer: normalizer, pre-tokenizer, model, post-processor and decoder, put together.

    tok = Tokenizer(BPE(vocab, merges), pre_tokenizer=ByteLevel(add_prefix_space=False), decoder=decoders.ByteLevel(),
                    added_tokens=[AddedToken("<|endoftext|>", special=True)])
    tok.encode("To be") -> ids;  tok.prepare("one text", "and its pair") -> Encoding;  tok.decode(ids) -> text

- In text, the name of a special token is text like any other. Only names passed as `allowed_special` are recognised;
  otherwise whoever writes a prompt could write control tokens into it. Added tokens that are not special are always
  found. The model never reads a special token out of text, not even one that is allowed but was not recognised there
  (inside a word with `single_word`, or made by the normalizer): there Hugging Face's would, if its vocabulary has it.
- `encode` gives the ids of a text and nothing else. What a model takes beside (template, pairs, truncation, padding)
  is `prepare`; other ways to spell a text are in sampling.py.
- Ids take the fastest way there is, with the same result: one compiled function from bytes to ids where the model has
  it, else the stages, with the ids of each piece remembered (remember.py). Offsets go stage by stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import Any

from tinyllm.tokenizers.added import AddedToken, Finder
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.base import utf8
from tinyllm.tokenizers.decoding import Decoding, Stream
from tinyllm.tokenizers.encoding import Encoding, Padding, Truncation, joined
from tinyllm.tokenizers.postprocess import numbered
from tinyllm.tokenizers.remember import as_bytes, ways
from tinyllm.tokenizers.sampling import Sampling
from tinyllm.tokenizers.spans import Spans
from tinyllm.tokenizers.stage import Decoder, Model, Normalizer, PostProcessor, PreTokenizer, Trainer, as_json
from tinyllm.tokenizers.vocabulary import Added, Vocabulary

Text = str | bytes


class Tokenizer(Sampling):
    """See the top of the file. `tokens[i]` is the spelling of id i as bytes, b"" where a vocabulary has a gap.

    `added_tokens`: AddedToken or names, or a mapping of these to their ids. Those that the model's vocabulary has keep
    its id, others get the next ids after it. `model` is the given one, or where special tokens are in its vocabulary
    one like it that never reads them out of text; `model.seed` begins the random numbers of BPE dropout anew.
    All attributes are to be read, not written, but for `truncation` and `padding`, which `prepare` uses.
    """

    def __init__(
        self,
        model: Model,
        normalizer: Normalizer | None = None,
        pre_tokenizer: PreTokenizer | None = None,
        post_processor: PostProcessor | None = None,
        decoder: Decoder | None = None,
        added_tokens: Added = (),
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        self.model = model
        self.normalizer = normalizer
        self.pre_tokenizer = pre_tokenizer
        self.post_processor = post_processor
        self.decoder = decoder
        self.truncation = truncation
        self.padding = padding
        self._set(Vocabulary(model.tokens, normalizer).extended(added_tokens))

    def _set(self, vocabulary: Vocabulary) -> None:
        """All that follows from the stages and the vocabulary."""
        self.model = model = self.model.reserving(vocabulary.special_ids)
        self._vocabulary = vocabulary
        self.tokens, self.added_tokens = vocabulary.tokens, vocabulary.added
        # Whether a part of a text is cut alike wherever it stands.
        self._anywhere = self.pre_tokenizer is None or not self.pre_tokenizer.heeds_first
        self._ways = ways(model, self.normalizer, self.pre_tokenizer)
        always = any(not token.special for token in vocabulary.added.values())
        self._direct = None if always else self._ways.whole
        self._reads_str = model.reads_str and self._ways.compiled is not None
        self._decoding = Decoding(vocabulary, self.decoder)

    @staticmethod
    def train_from_iterator(
        texts: Text | Iterable[Text],
        trainer: Trainer,
        normalizer: Normalizer | None = None,
        pre_tokenizer: PreTokenizer | None = None,
        post_processor: PostProcessor | None = None,
        decoder: Decoder | None = None,
        *,
        special_tokens: Iterable[str] | None = None,
        threads: int = 1,
        max_memory: int | None = None,
        progress: Callable[[str, int, int | None], object] | None = None,
    ) -> Tokenizer:
        """A tokenizer whose model `trainer` learns from `texts`, read once and never held.

        The trainer's special tokens become added tokens, or only `special_tokens` of them. `threads` and `max_memory`
        (bytes) as in trainers.count. `progress` is called now and then with ("count", bytes of text so far, None) and
        ("train", steps so far, steps in all); trainers.progress has one that writes lines.

        Raises TokenizerError for texts that the trainer cannot use; UserWarning, before the work where that can be
        known, for texts that cannot fill the vocabulary.
        """
        from tinyllm.tokenizers.trainers.count import count_words
        from tinyllm.tokenizers.trainers.progress import heard

        counting, training = heard(progress)
        words = count_words(texts, normalizer, pre_tokenizer, threads=threads, max_memory=max_memory, progress=counting)
        model = trainer.train(words, training)
        names = getattr(trainer, "special_tokens", ()) if special_tokens is None else special_tokens
        added = [AddedToken(name, special=True) for name in names]
        return Tokenizer(model, normalizer, pre_tokenizer, post_processor, decoder, added)

    # ---- Vocabulary ----

    @property
    def vocab_size(self) -> int:
        """The number of ids, added tokens included: ids are 0 ... vocab_size - 1."""
        return len(self.tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The names of the special tokens, and their ids."""
        return dict(self._vocabulary.special)

    def id_of(self, token: str | bytes) -> int | None:
        """The id of a token by its spelling (of several the first), or None."""
        return self._vocabulary.id_of(utf8(token))

    def add_tokens(self, tokens: Iterable[str | AddedToken]) -> int:
        """Add tokens after the vocabulary; ids given before stay. Names that are tokens already become added tokens
        under their id. Returns the new vocab_size: a model's embedding needs as many rows.
        """
        self._set(self._vocabulary.extended(tokens))
        return self.vocab_size

    # ---- Encoding ----

    def encode(self, text: Text, allowed_special: str | Iterable[str] = ()) -> list[int]:
        """The ids of `text`. `allowed_special`: names of special tokens to recognise in it, or "all".

        Raises TokenizerError for a lone surrogate in a str, a name that is no special token, and, in tokenizers that
        have no token for what they don't know, for that.
        """
        if not allowed_special and self._direct is not None:
            return self._direct(text if self._reads_str else utf8(text))
        data = utf8(text)
        found, found_later = self._vocabulary.finders(allowed_special)
        if found is None and found_later is None and self._ways.whole is not None:
            return self._ways.whole(data)
        ids: list[int] = []
        whole, rest = self._ways.whole, self._ways.rest
        source = text if isinstance(text, str) else data.decode("utf-8", "surrogateescape")
        for start, end, token in found.cut(source) if found else _whole(source):
            if token is not None:
                ids.append(token)
            elif found_later is None and whole is not None and (start == 0 or self._anywhere):
                ids += whole(as_bytes(source[start:end]))
            else:
                for piece, known in self._pieces(Aligned.of(source[start:end], start), found_later, rest is not None):
                    if known is not None:
                        ids.append(known)
                    elif rest is not None and (self._anywhere or piece.starts[0] == 0):
                        ids += rest(piece.text)
                    else:
                        ids += self.model.encode(as_bytes(piece.text))
        return ids

    def encode_batch(self, texts: Iterable[Text], allowed_special: str | Iterable[str] = ()) -> list[list[int]]:
        """`encode` of each text."""
        allowed = allowed_special if isinstance(allowed_special, str) else tuple(allowed_special)
        return [self.encode(text, allowed) for text in _several(texts, "encode_batch", "encode")]

    def encode_with_offsets(self, text: Text, allowed_special: str | Iterable[str] = ()) -> Encoding:
        """The ids of `text` and the span of text that each came from."""
        data = utf8(text)
        found, found_later = self._vocabulary.finders(allowed_special)
        spans = Spans(text)
        for start, end, token in found.cut(spans.text) if found else _whole(spans.text):
            if token is not None:
                spans.add_token(token, start, end)
            elif found is None and self._quick(spans, data, found_later):
                break
            else:
                for piece, known in self._pieces(spans.aligned(start, end), found_later, False):
                    if known is not None:
                        spans.add_token(known, *piece.span(0, len(piece.text)), done=True)
                    else:
                        part = as_bytes(piece.text)
                        spans.add_piece(piece, part, self.model.tokenize(part))
        return Encoding.of(spans.ids, spans.spans)

    def _quick(self, spans: Spans, data: bytes, found_later: Finder | None) -> bool:
        """Whether the tokens, joined, are the text: then they are its spans, whatever the stages do."""
        if self.normalizer is not None or found_later is not None or self._ways.compiled is None:
            return False
        ids = self._ways.compiled(data)
        parts = [self.tokens[i] for i in ids]
        if b"".join(parts) != data:
            return False
        spans.add_parts(ids, parts)
        return True

    def _pieces(self, text: Aligned, found: Finder | None, leave: bool) -> Iterator[tuple[Aligned, int | None]]:
        """The pieces of a part of a text, normalized, and the added tokens in it; `leave` it uncut where it can."""
        if self.normalizer is not None:
            text = self.normalizer.normalize(text)
        for start, end, token in found.cut(text.text) if found else _whole(text.text):
            part = text.cut(start, end)
            if token is not None:
                yield part, token
            elif self.pre_tokenizer is None or (leave and (self._anywhere or part.starts[0] == 0)):
                yield part, None
            else:
                for piece in self.pre_tokenizer.pieces(part, part.starts[0] == 0):
                    yield piece, None

    def _parts(self, text: Text, allowed_special: str | Iterable[str] = ()) -> Iterator[tuple[Aligned, int | None]]:
        """What the model is given of a text, piece by piece, and the added tokens between with their ids."""
        found, found_later = self._vocabulary.finders(allowed_special)
        source = utf8(text).decode("utf-8", "surrogateescape")
        for start, end, token in found.cut(source) if found else _whole(source):
            part = Aligned.of(source[start:end], start)
            yield from [(part, token)] if token is not None else self._pieces(part, found_later, False)

    # ---- What a model takes ----

    def prepare(
        self,
        text: Text,
        pair: Text | None = None,
        add_special_tokens: bool = True,
        allowed_special: str | Iterable[str] = (),
    ) -> Encoding:
        """A text, or a pair of texts, through template, truncation and padding, each where this tokenizer has it."""
        whole = self._prepared(text, pair, add_special_tokens, allowed_special)
        return self.padding.apply([whole])[0] if self.padding else whole

    def prepare_batch(
        self,
        texts: Iterable[Text | tuple[Text, Text]],
        add_special_tokens: bool = True,
        allowed_special: str | Iterable[str] = (),
    ) -> list[Encoding]:
        """`prepare` of each text or pair (a tuple), padded to the longest of them where padding names no length."""
        allowed = allowed_special if isinstance(allowed_special, str) else tuple(allowed_special)
        batch = []
        for item in _several(texts, "prepare_batch", "prepare"):
            text, pair = item if isinstance(item, tuple) else (item, None)
            batch.append(self._prepared(text, pair, add_special_tokens, allowed))
        return self.padding.apply(batch) if self.padding else batch

    def _prepared(self, text: Text, pair: Text | None, special: bool, allowed_special: str | Iterable[str]) -> Encoding:
        allowed = allowed_special if isinstance(allowed_special, str) else tuple(allowed_special)
        parts = [self.encode_with_offsets(one, allowed) for one in (text, pair) if one is not None]
        processor = self.post_processor
        if self.truncation:
            added = processor.added(pair is not None) if processor and special else 0
            parts = self.truncation.apply(parts, added)
        return joined(processor.process(parts, self.tokens, special) if processor else numbered(parts))

    # ---- Decoding ----

    def decode_bytes(self, ids: Iterable[int], skip_special_tokens: bool = False) -> bytes:
        """The bytes of the text of the ids. TokenizerError for an id outside 0 ... vocab_size - 1, TypeError for no
        integer.
        """
        return self._decoding.text(ids, skip_special_tokens)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of the ids. Bytes that are no UTF-8 (a character cut in two, say) become U+FFFD, as in
        `bytes.decode`.
        """
        return self.decode_bytes(ids, skip_special_tokens).decode("utf-8", "replace")

    def stream(self, skip_special_tokens: bool = False) -> Stream:
        """A new incremental decoder, for text that is generated token by token."""
        return Stream(self._decoding, skip_special_tokens)

    # ---- Identity and files ----

    def fingerprint(self) -> str:
        """A SHA-256 (hex) over everything that ids and text depend on: with the same one, they are the same."""
        import hashlib  # which loads OpenSSL, 3 MB

        stages = [self.normalizer, self.pre_tokenizer, self.post_processor, self.decoder]
        model = as_json(self.model)
        if isinstance(model.get("vocab"), dict):
            del model["vocab"]  # the tokens say it, and whether the model or the added tokens have a name is no matter
        if "reserved" in model:
            model["reserved"] = sorted(set(model["reserved"]) - self._vocabulary.special_ids)  # these are with `added`
        tokens = [token.hex() for token in self.tokens]
        added = [[i, as_json(token)] for i, token in sorted(self.added_tokens.items())]
        whole = [model, tokens, [as_json(stage) for stage in stages], added]
        return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()

    def save(self, path: str | PathLike[str]) -> None:
        """Write tokenizer.json, whole or not at all; `path` is the file, or a folder that is there to put it in."""
        from tinyllm.tokenizers import formats

        formats.save(self, path)

    def __repr__(self) -> str:
        stages = [self.normalizer, self.pre_tokenizer, self.model, self.post_processor, self.decoder]
        names = " -> ".join(type(stage).__name__ for stage in stages if stage is not None)
        special = list(self._vocabulary.special)
        return f"{type(self).__name__}({names}, vocab_size={self.vocab_size}, special_tokens={special})"


def _whole(text: str) -> list[tuple[int, int, None]]:
    """A text in which nothing was found, as Finder.cut gives it."""
    return [(0, len(text), None)] if text else []


def _several(texts: Iterable[Any], name: str, one: str) -> Iterable[Any]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"{name} takes several texts, not one {type(texts).__name__}; use {one}")
    return texts
