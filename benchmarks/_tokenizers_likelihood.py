"""How likely a text is under the tokens of each trainer, at equal vocabulary: tokenizers.py likelihood.

The unigram log-likelihood of the tokens of the plays, sum of c log(c / N), in nats a character: under the merges as
trained, and under the longest match that WordPiece encodes with. Each row's trainer has the same words, characters and
kind of tokens ("##" before what continues a word); "BPE" merges the most frequent pair, which is what Hugging Face's
WordPieceTrainer does. Greedy merging guarantees nothing: what is printed is what was measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import packages

from tinyllm.tokenizers.models.bpe import BPE
from tinyllm.tokenizers.models.wordpiece import WordPiece
from tinyllm.tokenizers.normalizers import BertNormalizer
from tinyllm.tokenizers.pretokenizers import BertPreTokenizer
from tinyllm.tokenizers.trainers.bpe import BPETrainer
from tinyllm.tokenizers.trainers.count import count_words
from tinyllm.tokenizers.trainers.wordpiece import WordPieceTrainer

Learned = tuple[list[str], list[tuple[str, str]]]  # the tokens by id, and the merges
UNKNOWN = ("[UNK]",)


def rows(smoke: bool) -> list[dict[str, Any]]:
    """One row a trainer and vocabulary size."""
    text = packages.english()[: 200_000 if smoke else None]
    words = dict(count_words(text.splitlines(), BertNormalizer(), BertPreTokenizer()).items())
    characters = sum(len(word.decode()) * n for word, n in words.items())
    table = []
    for size in (1000,) if smoke else (1000, 4000, 8000):
        for name, learn in TRAINERS.items():
            vocab, merges = learn(words, size)
            if len(vocab) != size:
                raise AssertionError(f"{name} made {len(vocab)} tokens instead of {size}")
            ids = {token: i for i, token in enumerate(vocab)}
            merged = BPE(ids, merges, unk_token=UNKNOWN[0], continuing_subword_prefix="##")
            row: dict[str, Any] = {"vocabulary": size, "trainer": name}
            for how, model in {"merges": merged, "longest match": WordPiece(ids)}.items():
                counts = counted(words, model.encode)
                row[f"{how}: nats/char"] = f"{log_likelihood(counts.values()) / characters:.4f}"
                row[f"{how}: tokens/word"] = f"{sum(counts.values()) / sum(words.values()):.3f}"
            table.append(row)
    return table


def by_likelihood(words: Mapping[bytes, int], size: int, score: str = "loglik") -> Learned:
    """WordPiece."""
    return WordPieceTrainer(size, special_tokens=UNKNOWN, score=score).learn(words)


def by_frequency(words: Mapping[bytes, int], size: int) -> Learned:
    """BPE."""
    trainer = BPETrainer(size, 2, UNKNOWN, byte_level=False, unk_token=UNKNOWN[0], continuing_subword_prefix="##")
    model = trainer.train(words)
    return sorted(model.vocab, key=model.vocab.__getitem__), list(model.merges)


TRAINERS: dict[str, Callable[[Mapping[bytes, int], int], Learned]] = {
    "WordPiece, loglik": by_likelihood,
    "WordPiece, pmi": partial(by_likelihood, score="pmi"),
    "BPE": by_frequency,
}


def counted(words: Mapping[bytes, int], encode: Callable[[bytes], Iterable[int]]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for word, n in words.items():
        for token in encode(word):
            counts[token] += n
    return counts


def log_likelihood(counts: Iterable[int]) -> float:
    counts = [c for c in counts if c]
    return sum(c * math.log(c) for c in counts) - sum(counts) * math.log(sum(counts))
