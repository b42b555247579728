"""OpenAI's vocabularies in three libraries, for oracle tests and benchmarks: tiktoken, Hugging Face's, and ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import packages

from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.decoders import ByteLevel
from tinyllm.tokenizers.models import BPE
from tinyllm.tokenizers.pipeline import Tokenizer
from tinyllm.tokenizers.stage import PreTokenizer

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
# As https://github.com/openai/tiktoken, tiktoken_ext/openai_public.py, has them.
PATTERNS = {
    "r50k": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": "|".join(
        [
            rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}",
            rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
    ),
}


@cache
def tiktoken(name: str) -> Any:
    """tiktoken's Encoding, with <|endoftext|> as the id after the ranks."""
    import tiktoken as library

    ranks = packages.ranks(name)
    specials = {"<|endoftext|>": max(ranks.values()) + 1}
    return library.Encoding(name, pat_str=PATTERNS[name], mergeable_ranks=dict(ranks), special_tokens=specials)


def alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte, as Hugging Face's ByteLevel has it."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)}


def all_merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every way to put a token together of two others, lowest rank first, as transformers' converter lists them."""
    merges: list[tuple[bytes, bytes]] = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        local = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += sorted(local, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


@cache
def hugging_face(name: str) -> Any:
    """Hugging Face's Tokenizer: the pattern, bytes, and merges made of the ranks."""
    import tokenizers as hf

    ranks = packages.ranks(name)
    letters = alphabet()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    vocab = {spelled(token): rank for token, rank in ranks.items()}
    merges = [(spelled(a), spelled(b)) for a, b in all_merges(ranks)]
    # In Oniguruma {1,3}+ is one or more times {1,3}, and $ the end of a line.
    pattern = PATTERNS[name].replace("{1,3}+", "{1,3}").replace("$", r"\z")
    tokenizer = hf.Tokenizer(hf.models.BPE(vocab, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Sequence(
        [
            hf.pre_tokenizers.Split(hf.Regex(pattern), "isolated"),
            hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = hf.decoders.ByteLevel()
    return tokenizer


class Scanned(PreTokenizer):
    """OpenAI's patterns by the compiled scanners."""

    def __init__(self, name: str) -> None:
        self.name = {"r50k": "gpt2"}.get(name, name)

    @property
    def scanner(self) -> str:
        return self.name

    def pieces(self, text: Aligned, first: bool = True) -> list[Aligned]:
        raise NotImplementedError


@cache
def model(name: str) -> BPE:
    """tinyllm's model of the ranks."""
    return BPE.from_ranks(packages.ranks(name))


@cache
def ours(name: str) -> Any:
    """str to ids, as tinyllm does it."""
    return model(name).fused(None, Scanned(name))


@cache
def tokenizer(name: str) -> Tokenizer:
    """tinyllm's tokenizer, with <|endoftext|> as tiktoken's."""
    end = {AddedToken("<|endoftext|>", special=True): max(packages.ranks(name).values()) + 1}
    return Tokenizer(model(name), pre_tokenizer=Scanned(name), decoder=ByteLevel(), added_tokens=end)


@cache
def our_decoder(name: str) -> Callable[[list[int]], str]:
    """ids to str, as tinyllm does it."""
    return tokenizer(name).decode
