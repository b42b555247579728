"""Random ids of whole tokenizers: dropout and its seed."""

from __future__ import annotations

import pytest

from tinyllm.tokenizers import BPETokenizer, Tokenizer, compiled, decoders, load, normalizers, pretokenizers
from tinyllm.tokenizers.added import AddedToken
from tinyllm.tokenizers.formats.sentencepiece import CONTROL, NORMAL, UNKNOWN
from tinyllm.tokenizers.models import BPE, SentencePieceBPE, Unigram, WordLevel

ENGINES = ["python", "c"] if compiled() else ["python"]
TEXT = "The quick brown fox, jumps over the lazy dog. It's 1234 o'clock! " * 3
TRAINED = BPETokenizer.train(TEXT, 290, engine="python")
END = AddedToken("<|end|>", special=True)


def dropping(engine: str, end: int, pre_tokenizer=None, normalizer=None) -> Tokenizer:
    """BPE with dropout; the special token <|end|> has the id `end`, which its vocabulary has too."""
    vocab = {token: i + (i >= end) for i, token in enumerate(TRAINED.tokens)}
    model = BPE({**vocab, b"<|end|>": end}, TRAINED.model.merges, dropout=0.4, engine=engine)
    return Tokenizer(model, normalizer, pre_tokenizer, None, decoders.ByteLevel(), [END])


def runs(tokenizer: Tokenizer, seed: int) -> list[list[int]]:
    tokenizer.model.seed(seed)
    return [tokenizer.encode(TEXT), tokenizer.encode_with_offsets(TEXT).ids, tokenizer.encode(TEXT + "<|end|>.", "all")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("end", [0, 290])
def test_the_seed_of_the_model_is_that_of_the_tokenizer(engine, end, tmp_path):
    gpt2 = pretokenizers.ByteLevel(add_prefix_space=False)
    made = [dropping(engine, end, gpt2), dropping(engine, end), dropping(engine, end, gpt2, normalizers.NFC())]
    made[0].save(tmp_path / "tokenizer.json")
    made.append(load(tmp_path / "tokenizer.json", engine))
    for tokenizer in made:
        first = runs(tokenizer, 1)
        assert runs(tokenizer, 1) == first != runs(tokenizer, 2)
        assert first[0] != first[1]  # the numbers go on
        assert runs(tokenizer, -1) == runs(tokenizer, 2**64 - 1)
        tokenizer.add_tokens(["<new>", AddedToken("<other>", special=True)])
        assert runs(tokenizer, 1) == first
    assert runs(made[0], 1) == runs(made[3], 1) == runs(dropping(ENGINES[0], end, gpt2), 1)


def test_a_seed_given_before_the_model_is_used_counts():
    for engine in ENGINES:
        gpt2 = pretokenizers.ByteLevel(add_prefix_space=False)
        found = []
        for seed in 5, 6:
            before, after = dropping(engine, 0).model, dropping(engine, 0).model
            before.seed(seed)
            one, other = (Tokenizer(model, None, gpt2, added_tokens=[END]) for model in (before, after))
            other.model.seed(seed)
            found.append(one.encode(TEXT))
            assert other.encode(TEXT) == found[-1]
        assert found[0] != found[1]


def test_the_model_of_a_tokenizer_reads_no_special_token_and_is_the_same_in_files():
    vocab = [("<unk>", 0.0), ("<s>", -1.0), *((c, -2.0) for c in "<>sab")]
    kinds = [UNKNOWN, CONTROL, *[NORMAL] * 5]
    characters = {piece: i for i, (piece, _) in enumerate(vocab)}
    for model in (
        Unigram(vocab, 0),
        SentencePieceBPE(vocab, 0, kinds=kinds),
        WordLevel(characters, "<unk>"),
        BPE(characters, unk_token="<unk>"),
    ):
        plain = Tokenizer(model, added_tokens=[AddedToken("<s>", special=True)])
        assert 1 not in plain.model.encode(b"<s>") == plain.encode("<s>")
        again = Tokenizer(plain.model, added_tokens=[AddedToken("<s>", special=True)])
        assert again.fingerprint() == plain.fingerprint()
        assert again.model.encode(b"<s>a") == plain.encode("<s>a")
    own = Tokenizer(Unigram(vocab, 0, reserved=frozenset([5])), added_tokens=[AddedToken("<s>", special=True)])
    assert own.fingerprint() != Tokenizer(Unigram(vocab, 0), added_tokens=["<s>"]).fingerprint()
