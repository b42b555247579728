"""Ids back to text: all at once, and as they are generated."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from operator import index
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.decoders import Spaced
from tinyllm.tokenizers.engine import compiled, core
from tinyllm.tokenizers.stage import Decoder, DecodeStep
from tinyllm.tokenizers.vocabulary import Vocabulary


class Decoding:
    """The ids of `vocabulary` through `decoder`; without one, tokens have a space between them."""

    def __init__(self, vocabulary: Vocabulary, decoder: Decoder | None) -> None:
        self._vocabulary = vocabulary
        self._decoder = decoder or Spaced()
        self._joiner: Any = None  # of what tokens become after others, compiled; False if that depends on more

    def begin(self) -> DecodeStep:
        """A new decoder at work."""
        return self._decoder.begin()

    def known(self, ids: Iterable[int], skip: bool) -> list[bytes]:
        """The spellings of the ids, without those of special tokens if these are to be skipped. TokenizerError for an
        id outside 0 ... vocab_size - 1, TypeError for no integer.
        """
        tokens, gaps, special, out = self._vocabulary.tokens, self._vocabulary.gaps, self._vocabulary.special_ids, []
        for position, token in enumerate(ids):
            if not 0 <= (i := index(token)) < len(tokens) or i in gaps:
                raise TokenizerError(f"ids[{position}] is {i}; this tokenizer has the ids 0 to {len(tokens) - 1}")
            if not (skip and i in special):
                out.append(tokens[i])
        return out

    def text(self, ids: Iterable[int], skip: bool) -> bytes:
        """The bytes of the text of the ids; errors as in `known`."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids if type(ids) is list else list(ids)
        if compiled() and (text := self._joined(ids, skip)) is not None:
            return text
        step = self.begin()
        parts = [step.push(token) for token in self.known(ids, skip)]
        return b"".join(parts) + step.finish()

    def _joined(self, ids: list[int], skip: bool) -> bytes | None:
        """The text by joining what each token becomes, or None: where that depends on more, or an id is none."""
        tokens, special = self._vocabulary.tokens, self._vocabulary.special_ids
        if self._joiner is None:
            later = self._decoder.later(tokens)
            self._joiner = core("decode").Joiner(later, special, self._vocabulary.gaps) if later else False
        text = self._joiner.join(ids, skip) if self._joiner else None
        if text is None:
            return None
        return self._decoder.joined(text, (tokens[i] for i in ids if not (skip and i in special)))


class Stream:
    """Ids in, one at a time; text out as soon as it is certain.

    Joined, it is what `decode` gives for all ids. A token may end inside a character: its bytes are held back until
    the rest comes or `finish` is called.
    """

    def __init__(self, decoding: Decoding, skip_special_tokens: bool = False) -> None:
        self._decoding = decoding
        self._skip = skip_special_tokens
        self._step = decoding.begin()
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that `token` completes, often several characters, sometimes none."""
        known = self._decoding.known([token], self._skip)
        return self._characters.decode(b"".join([self._step.push(spelled) for spelled in known]))

    def finish(self) -> str:
        """What was held back: an unfinished character comes out as U+FFFD. The stream is then as new."""
        text = self._characters.decode(self._step.finish(), final=True)
        self._step = self._decoding.begin()
        return text
