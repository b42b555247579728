"""Cutting text into pieces: against `regex`, Hugging Face's `tokenizers` and tiktoken."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tinyllm.tokenizers import _unicode, _unicode_generate, compiled
from tinyllm.tokenizers.pretokenizers import patterns

regex = pytest.importorskip("regex")
pytestmark = pytest.mark.oracle

POOL = [
    *"aAzZ'sStTrReEvVmMlLdD  \t\n\r\x0b\x85\u3000\u2028\xa0 019²٣Ⅷ!?/_-.ſ中日ªʰǅéÀ\u0301\u0903\u20dd🙂\u200d\ud7a3",
    *("'s", "'ll", "'ſ", "\r\n", "  "),
]
EVERY = "".join(chr(point) + "a" for point in range(0x110000) if not 0xD800 <= point < 0xE000)


def fuzz(count: int, seed: int) -> Iterator[str]:
    """Short texts, dense in what the patterns tell apart; three in ten with any assigned or unassigned characters."""
    rng = random.Random(seed)
    for _ in range(count):
        text = "".join(rng.choices(POOL, k=rng.randrange(1, 24)))
        if rng.random() < 0.3:
            text += "".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(3))
        yield text


@pytest.mark.parametrize("engine", ["c", "python"] if compiled() else ["python"])
@pytest.mark.parametrize(("spelling", "name"), patterns.SPELLINGS.items(), ids=range(len(patterns.SPELLINGS)))
def test_pieces_are_those_of_the_regex_package(spelling, name, engine):
    pattern = regex.compile(spelling)
    for text in [EVERY, EVERY.replace("a", ""), *fuzz(100_000 if engine == "c" else 5_000, seed=3)]:
        assert patterns.split(text.encode(), name, engine) == [piece.encode() for piece in pattern.findall(text)]


def test_the_patterns_are_those_of_tiktoken(monkeypatch):
    public = pytest.importorskip("tiktoken_ext.openai_public")
    monkeypatch.setattr(public, "load_tiktoken_bpe", lambda *_, **__: {})  # it downloads vocabularies
    assert patterns.SPELLINGS[public.r50k_base()["pat_str"]] == "gpt2"
    assert patterns.PATTERNS["cl100k"] == public.cl100k_base()["pat_str"]
    assert patterns.PATTERNS["o200k"] == public.o200k_base()["pat_str"]


def test_the_committed_table_is_that_of_the_regex_package():
    """Fails where the installed regex has another Unicode version, whose pieces of new characters differ too."""
    with open(_unicode.__file__, encoding="ascii") as committed:
        assert committed.read() == _unicode_generate.render()
