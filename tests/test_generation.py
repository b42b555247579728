"""Sampling: the distribution is the one asked for, equal seeds give equal text, and the cache changes
nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyllm import config
from tinyllm.autograd import no_grad
from tinyllm.errors import ConfigError
from tinyllm.generation import Sampling, candidates, generate, next_token, stream_text
from tinyllm.tokenizers import BPETokenizer
from tinyllm.training.run import build_model

logits_arrays = hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-30, 30, width=32) | st.just(-np.inf))
samplings = st.builds(
    Sampling,
    temperature=st.just(0.0) | st.floats(0.05, 5),
    top_k=st.integers(0, 35),
    top_p=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**32 - 1),
)


def model(n_positions: int = 8, vocab_size: int = 13):
    shape = config.ModelConfig(n_layer=2, n_head=2, n_embd=16, n_positions=n_positions)
    built = build_model(shape, vocab_size, seed=2)
    for p in built.parameters():
        p.array[...] *= 8  # far from uniform, so that a wrong context changes the text
    return built


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(np.asarray(x, np.float64) - np.max(x))
    return e / e.sum()


@given(logits_arrays, samplings)
@settings(max_examples=300)
def test_candidates_are_the_most_probable_and_no_other(logits, sampling):
    if np.isneginf(logits).all():
        with pytest.raises(ValueError, match="exclude every token"):
            candidates(logits, sampling)
        return
    ids, p = candidates(logits, sampling)
    assert len(ids) == len(p) >= 1 and len(set(ids.tolist())) == len(ids)
    assert p.sum() == pytest.approx(1) and (p > 0).all() and (np.diff(p) <= 1e-12).all()
    assert np.isfinite(logits[ids]).all()
    assert logits[ids].min() >= np.delete(logits, ids).max(initial=-np.inf)
    if sampling.top_k:
        assert len(ids) <= sampling.top_k
    if sampling.temperature == 0:
        assert ids.tolist() == [int(np.argmax(logits))]
        return
    kept = np.sort(logits.astype(np.float64))[::-1][: sampling.top_k or None]
    full = softmax(kept / sampling.temperature)
    mass = full[: len(ids)].sum()
    assert mass >= min(sampling.top_p, full[full > 0].sum()) - 1e-9  # enough
    assert mass - full[len(ids) - 1] < sampling.top_p + 1e-9  # and no more than needed
    np.testing.assert_allclose(p, full[: len(ids)] / mass, rtol=1e-6)


@given(logits_arrays.filter(lambda x: not np.isneginf(x).all()), samplings, st.integers(0, 10**6))
@settings(max_examples=300)
def test_a_drawn_token_is_always_possible_and_the_same_again(logits, sampling, number):
    token = next_token(logits, sampling, number)
    assert token in candidates(logits, sampling)[0]
    assert np.isfinite(logits[token])
    assert next_token(logits, sampling, number) == token


def test_tokens_are_drawn_with_their_probabilities():
    logits = np.log(np.array([0.5, 0.0, 0.3, 0.15, 0.05]), where=[1, 0, 1, 1, 1], out=np.full(5, -np.inf))
    n = 1500
    for sampling, want in (
        (Sampling(seed=1), [0.5, 0, 0.3, 0.15, 0.05]),
        (Sampling(seed=2, top_k=2), [0.625, 0, 0.375, 0, 0]),
        (Sampling(seed=3, top_p=0.9), [0.5 / 0.95, 0, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Sampling(seed=4, temperature=0.5), np.array([0.25, 0, 0.09, 0.0225, 0.0025]) / 0.365),
    ):
        counts = np.bincount([next_token(logits, sampling, i) for i in range(n)], minlength=5)
        assert counts[np.array(want) == 0].sum() == 0
        np.testing.assert_allclose(counts / n, want, atol=4 * np.sqrt(0.25 / n))


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf], [], [[1.0, 2.0]]])
def test_logits_that_say_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="logits"):
        candidates(np.array(bad), Sampling())


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Sampling(**bad)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(0, 12), samplings)
@settings(max_examples=25)
def test_generation_equals_the_uncached_loop(prompt, count, sampling):
    """Prompt and text may pass the end of the context: the model then sees its last n_positions tokens."""
    gpt = model()
    ids = list(prompt)
    for number in range(count):
        with no_grad():
            logits = gpt(np.array([ids[-8:]]))[0].numpy()[0, -1]
        ids.append(int(next_token(logits, sampling, number)))
    assert list(generate(gpt, prompt, count, sampling)) == ids[len(prompt) :]


def test_dropout_is_off_for_the_pass_and_the_mode_is_the_callers_in_between():
    gpt = build_model(config.ModelConfig(n_layer=1, n_head=2, n_embd=16, n_positions=8, dropout=0.5), 13, seed=2)
    gpt.eval()
    want = list(generate(gpt, [1], 5))
    gpt.train()
    before = [p.array.copy() for p in gpt.parameters()]
    tokens = generate(gpt, [1], 5)
    got = [next(tokens)]
    assert gpt.training
    gpt.eval()
    got += tokens
    assert got == want and not gpt.training
    assert all(p.grad is None for p in gpt.parameters())
    assert all(np.array_equal(p.array, x) for p, x in zip(gpt.parameters(), before, strict=True))


def test_prompts_that_cannot_be_continued_are_refused():
    with pytest.raises(ConfigError, match="at least one token"):
        generate(model(), [], 1)
    for bad in ([13], [-1]):
        with pytest.raises(ConfigError, match="from 0 to 12"):
            generate(model(), bad, 1)
    with pytest.raises(ConfigError, match="not negative, got -1"):
        generate(model(), [1], -1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_streamed_text_is_the_decoded_text(seed):
    """Random bytes: most tokens are halves of characters."""
    tokenizer = BPETokenizer.train(["\u4e2d\u6587 \U0001f600 text"], 256)
    gpt, sampling = model(vocab_size=256), Sampling(seed=seed, temperature=3.0)
    pieces = list(stream_text(gpt, tokenizer, "\u4e2d", 20, sampling))
    ids = list(generate(gpt, tokenizer.encode("\u4e2d"), 20, sampling))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert all(pieces)
    with pytest.raises(ConfigError, match="prompt is empty"):
        stream_text(gpt, tokenizer, "", 1)
