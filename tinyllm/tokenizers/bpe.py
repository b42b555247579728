"""Byte-level byte-pair encoding: GPT-2's tokenizer, and that of most language models since.

Text is cut into pieces by a split pattern (pretokenizers/), a piece is spelled in bytes, and learned merges join
neighbours inside it. Every byte is a token, so any text and any bytes have ids, and decode_bytes(encode(b))
== b always. This file is the tokenizer around the algorithm; the algorithm is reference/bpe.py in plain
Python and _bpe.pyx, _bpe_train.pyx compiled, with the same results.

Ids after training, as Hugging Face's ByteLevel BpeTrainer lays them out: special tokens in the order given,
then the 256 bytes in the order of GPT-2's printable alphabet (! to ~, then the rest of Latin-1 and the bytes
that have no printable character), then one token a merge. Ties go to the smaller pair of ids, so training is
a function of the word counts alone: neither the order of the texts nor hash seeds nor the engine matter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.base import Tokenizer, as_texts, number_specials, utf8
from tinyllm.tokenizers.engine import choose, core
from tinyllm.tokenizers.models.bpe import BPE
from tinyllm.tokenizers.pretokenizers.patterns import split
from tinyllm.tokenizers.reference import bpe as reference

CACHED_PIECES = 1 << 15  # of the "python" engine; the compiled one holds as many in a fixed table


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte: Latin-1's if it has one, else the next from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)}


# BYTE_ORDER[i]: the byte of the i-th token after the special ones
BYTE_ORDER = sorted(range(256), key=byte_alphabet().__getitem__)


class BPETokenizer(Tokenizer):
    """`tokens[i]` is the bytes of token i; `merges` are pairs of ids, lowest rank first.

    The joined bytes of a merge are a token too. `engine` is "c", "python", or None for the faster one that is
    there; the attribute of that name says which one runs.
    """

    kind = "bpe"

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[int, int]],
        special_tokens: Mapping[str, int] | None = None,
        pattern: str = "gpt2",
        engine: str | None = None,
    ) -> None:
        super().__init__(tokens, special_tokens or {})
        if pattern != "gpt2":
            raise TokenizerError(f"pattern is {pattern!r}; it must be gpt2")
        self.merges = [(a, b) for a, b in merges]
        self.pattern = pattern
        self.engine = choose(engine)
        ids: dict[bytes, int] = {}  # ordinary tokens
        for i, token in enumerate(self.tokens):
            if i not in self._special_ids and ids.setdefault(token, i) != i:
                raise TokenizerError(f"tokens {ids[token]} and {i} are both {token!r}")
        missing = [byte for byte in range(256) if bytes([byte]) not in ids]
        if missing:
            raise TokenizerError(
                f"byte 0x{missing[0]:02X} is no token, nor are {len(missing) - 1} others; all 256 must be"
            )
        self._byte_ids = [ids[bytes([byte])] for byte in range(256)]
        self._ranks: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, (a, b) in enumerate(self.merges):
            for part in a, b:
                if not 0 <= part < len(self.tokens) or part in self._special_ids:
                    raise TokenizerError(f"merge {rank} joins id {part}, which is no ordinary token")
            new = ids.get(self.tokens[a] + self.tokens[b])
            if new is None:
                raise TokenizerError(
                    f"merge {rank} makes {self.tokens[a] + self.tokens[b]!r}, which is no ordinary token"
                )
            if self._ranks.setdefault((a, b), (rank, new))[0] != rank:
                raise TokenizerError(f"merges {self._ranks[a, b][0]} and {rank} are the same")
        if self.engine == "c":
            model = BPE.from_ids([b"" if i in self._special_ids else t for i, t in enumerate(self.tokens)], self.merges)
            self._encode = core("bpe").Encoder(model.rules, "gpt2").encode
        else:
            self._cache: dict[bytes, list[int]] = {}

    @classmethod
    def train(
        cls,
        texts: str | bytes | Iterable[str | bytes],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        min_frequency: int = 2,
        progress: Callable[[int, int], object] | None = None,
        engine: str | None = None,
    ) -> BPETokenizer:
        """Learn merges until there are `vocab_size` tokens or no pair is left that occurs often enough.

        `texts` is read once, text by text (no merge crosses the end of one). `progress(merges so far, merges
        wanted)` is called now and then. Where the text can't fill the vocabulary, the tokenizer is smaller
        and a UserWarning gives both sizes. A pair must occur `min_frequency` times to be merged. Raises
        TokenizerError for a vocab_size below 256 + special tokens, and for a special token that is spelled
        like a word.
        """
        engine = choose(engine)
        specials = number_specials(special_tokens)
        first_id = len(specials) + 256
        if vocab_size < first_id:
            raise TokenizerError(
                f"vocab_size is {vocab_size}; 256 bytes and {len(specials)} special tokens need {first_id}"
            )
        for name in specials:
            if len(split(utf8(name), engine=engine)) < 2:
                raise TokenizerError(
                    f"special token {name!r} is spelled like an ordinary word, so merges could make the same "
                    f"token; use something like '<|{name}|>'"
                )
        byte_ids = [len(specials) + BYTE_ORDER.index(byte) for byte in range(256)]
        data = (utf8(text) for text in as_texts(texts))
        n_merges = vocab_size - first_id
        if engine == "c":
            counter = core("bpe_train").WordCounter()
            for text in data:
                counter.add(text)
            merges = counter.train(byte_ids, first_id, n_merges, min_frequency, progress)
        else:
            words = reference.count_words(data)
            merges = reference.train(words, byte_ids, first_id, n_merges, min_frequency, progress)
        if len(merges) < n_merges:
            warnings.warn(
                f"the text has no further pair that occurs {max(min_frequency, 1)} times: "
                f"the vocabulary has {first_id + len(merges)} tokens, not {vocab_size}",
                stacklevel=2,
            )
        tokens = [utf8(name) for name in specials] + [bytes([byte]) for byte in BYTE_ORDER]
        for a, b in merges:
            tokens.append(tokens[a] + tokens[b])
        return cls(tokens, merges, specials, engine=engine)

    def _encode_ordinary(self, text: str | bytes) -> list[int]:
        data = utf8(text)
        if self.engine == "c":
            return self._encode(data)
        ids: list[int] = []
        for piece in split(data, self.pattern, "python"):
            if (known := self._cache.get(piece)) is None:
                if len(self._cache) >= CACHED_PIECES:
                    self._cache.clear()
                known = reference.encode_piece([self._byte_ids[byte] for byte in piece], self._ranks)
                if len(piece) <= reference.SHORT:
                    self._cache[piece] = known
            ids += known
        return ids

    def _widths(self, text: str | bytes, ids: list[int]) -> Iterator[int]:
        return (len(self.tokens[i]) for i in ids)

    def _identity(self) -> Any:
        return {"pattern": self.pattern, "merges": self.merges}
