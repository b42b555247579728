"""Generation: the distribution is the one asked for, equal seeds give equal text, and neither the cache, nor the
batch, nor what was interrupted changes anything.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyllm import backend, cat, config, nn
from tinyllm.autograd import no_grad
from tinyllm.errors import ConfigError, DtypeError
from tinyllm.generation import (
    Decoder,
    Sampling,
    TextStream,
    beam_search,
    candidates,
    complete,
    generate,
    generate_batch,
    next_token,
    stream_text,
)
from tinyllm.generation.chat import converse
from tinyllm.generation.decode import window_start
from tinyllm.tokenizers import BPETokenizer, CharTokenizer
from tinyllm.training.run import build_model

logits_arrays = hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-30, 30, width=32) | st.just(-np.inf))
samplings = st.builds(
    Sampling,
    temperature=st.just(0.0) | st.floats(0.05, 5),
    top_k=st.integers(0, 35),
    top_p=st.floats(0.01, 1.0),
    min_p=st.just(0.0) | st.floats(0, 1),
    repetition_penalty=st.just(1.0) | st.floats(0.5, 2),
    seed=st.integers(0, 2**32 - 1),
)
dtypes = st.sampled_from([np.float32, np.float64])
V = 13


def model(n_positions: int = 8, vocab_size: int = V, dtype: type = np.float32):
    return _model(n_positions, vocab_size, dtype).eval()


@functools.cache
def _model(n_positions, vocab_size, dtype):
    shape = config.ModelConfig(n_layer=2, n_head=2, n_embd=16, n_positions=n_positions)
    built = build_model(shape, vocab_size, seed=2).to(dtype)
    for p in built.parameters():
        p.array[...] *= 8  # far from uniform, so that a wrong context changes the text
    return built


def alone(gpt, ids) -> np.ndarray:
    """Logits (T, V) of one sequence, without a cache."""
    with no_grad():
        return gpt(np.array([ids]))[0].numpy()[0]


def seen(ids, n_positions: int = 8) -> list[int]:
    """What a model sees of a context: all, but for its older half whenever it is full."""
    window: list[int] = []
    for token in ids:
        if len(window) == n_positions:
            window = window[max(1, n_positions // 2) :]
        window.append(token)
    return window


def same(got, want) -> None:
    """Equal to the last bit where the C kernels compute, within the tolerance on NumPy."""
    if backend.current() == "cpu":
        np.testing.assert_array_equal(got, want)
    tolerance = 1e-12 if want.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max(initial=0))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(np.asarray(x, np.float64) - np.max(x))
    return e / e.sum()


def kept(logits, sampling, context):
    """What `candidates` should keep, {id: probability}, one filter after the other, each as its definition says."""
    r = sampling.repetition_penalty
    x = [
        float(v) / r if i in context and v > 0 else float(v) * r if i in context else float(v)
        for i, v in enumerate(logits)
    ]
    ranked = sorted((i for i in range(len(x)) if x[i] > -np.inf), key=lambda i: (-x[i], i))
    if sampling.temperature == 0:
        return {ranked[0]: 1.0}
    ranked = ranked[: sampling.top_k or None]
    p = dict(zip(ranked, softmax(np.array([x[i] for i in ranked]) / sampling.temperature), strict=True))
    mass = list(itertools.accumulate(p[i] for i in ranked))
    if sampling.top_p < 1:
        ranked = ranked[: next((n for n, m in enumerate(mass, 1) if m >= sampling.top_p), len(mass))]
    ranked = [i for i in ranked if p[i] > 0 and p[i] >= sampling.min_p * p[ranked[0]]]
    total = sum(p[i] for i in ranked)
    return {i: p[i] / total for i in sorted(ranked)}


@given(logits_arrays, samplings, st.sets(st.integers(0, 29)))
@settings(max_examples=300)
def test_candidates_are_those_of_the_definitions(logits, sampling, context):
    context = sorted(i for i in context if i < len(logits))
    if np.isneginf(logits).all():
        with pytest.raises(ValueError, match="exclude every token"):
            candidates(logits, sampling, context)
        return
    before = logits.copy()
    ids, p = candidates(logits, sampling, context)
    want = kept(logits, sampling, context)
    assert ids.tolist() == list(want) and (p > 0).all()
    np.testing.assert_allclose(p, list(want.values()), rtol=1e-6)
    assert np.array_equal(logits, before)


@given(logits_arrays.filter(lambda x: not np.isneginf(x).all()), samplings, st.integers(0, 10**6), st.integers(0, 9))
@settings(max_examples=300)
def test_a_drawn_token_is_always_possible_and_the_same_again(logits, sampling, number, row):
    token = next_token(logits, sampling, number, row)
    assert token in candidates(logits, sampling)[0]
    assert np.isfinite(logits[token])
    assert next_token(logits, sampling, number, row) == token


def test_a_nucleus_of_a_large_vocabulary_is_the_sorted_one():
    rng = np.random.default_rng(0)
    for scale, top_p in itertools.product((0.01, 1, 8), (0.1, 0.9, 0.999)):
        logits = np.round(rng.normal(size=5000) * scale, 2)  # many equal ones
        ids, _ = candidates(logits, Sampling(top_p=top_p))
        assert ids.tolist() == list(kept(logits, Sampling(top_p=top_p), ()))


def test_tokens_are_drawn_with_their_probabilities():
    logits = np.log(np.array([0.5, 0.0, 0.3, 0.15, 0.05]), where=[1, 0, 1, 1, 1], out=np.full(5, -np.inf))
    n = 1500
    for sampling, want in (
        (Sampling(seed=1), [0.5, 0, 0.3, 0.15, 0.05]),
        (Sampling(seed=2, top_k=2), [0.625, 0, 0.375, 0, 0]),
        (Sampling(seed=3, top_p=0.9), [0.5 / 0.95, 0, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Sampling(seed=5, min_p=0.2), [0.5 / 0.95, 0, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Sampling(seed=4, temperature=0.5), np.array([0.25, 0, 0.09, 0.0225, 0.0025]) / 0.365),
    ):
        for drawn in (
            [next_token(logits, sampling, i) for i in range(n)],
            [next_token(logits, sampling, 0, row) for row in range(n)],
        ):
            counts = np.bincount(drawn, minlength=5)
            assert counts[np.array(want) == 0].sum() == 0
            np.testing.assert_allclose(counts / n, want, atol=4 * np.sqrt(0.25 / n))


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf], [], [[1.0, 2.0]]])
def test_logits_that_say_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="logits"):
        candidates(np.array(bad), Sampling())


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Sampling(**bad)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(0, 12), samplings)
@settings(max_examples=25)
def test_generation_equals_the_uncached_loop(prompt, count, sampling):
    """Prompt and text may pass the end of the context."""
    gpt = model()
    ids = list(prompt)
    for number in range(count):
        with no_grad():
            logits = gpt(np.array([seen(ids)]))[0].numpy()[0, -1]
        ids.append(int(next_token(logits, sampling, number, context=ids)))
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


pieces_of_rows = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), pieces_of_rows, dtypes, st.data())
@settings(max_examples=40)
def test_cached_logits_equal_a_full_forward(prompts, later, dtype, data):
    """Rows of any lengths, padded on the right, then pieces of any size: each row as alone, without a cache."""
    gpt, n = model(40, dtype=dtype), sum(later)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows = [rng.integers(0, V, length + n) for length in prompts]
    batch = rng.integers(0, V, (len(rows), max(prompts)))  # the padding is any token
    for line, row, length in zip(batch, rows, prompts, strict=True):
        line[:length] = row[:length]
    cache, done = gpt.make_cache(len(rows)), 0
    with no_grad():
        first = gpt(batch, cache=cache)[0].numpy()
        cache.truncate(prompts)
        got = [[line[:length]] for line, length in zip(first, prompts, strict=True)]
        for size in later:
            new = np.array([row[n_ + done : n_ + done + size] for row, n_ in zip(rows, prompts, strict=True)])
            for parts, logits in zip(got, gpt(new, cache=cache)[0].numpy(), strict=True):
                parts.append(logits)
            done += size
    assert cache.lengths.tolist() == [length + n for length in prompts] and cache.length == max(prompts) + n
    for parts, row in zip(got, rows, strict=True):
        same(np.concatenate(parts), alone(gpt, row))


@given(st.integers(1, 3), pieces_of_rows, dtypes, st.data())
@settings(max_examples=40)
def test_masks_hide_the_same_with_and_without_a_cache(batch, pieces, dtype, data):
    gpt, total = model(40, dtype=dtype), sum(pieces)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = rng.integers(0, V, (batch, total))
    starts = rng.integers(0, pieces[0], batch)
    mask = data.draw(st.sampled_from([nn.Padding(starts), nn.Window(3), nn.Padding(starts) & nn.Window(2), nn.Mask()]))
    with no_grad():
        want = gpt(ids, mask=mask)[0].numpy()
        cache, at, got = gpt.make_cache(batch, total), 0, []
        for size in pieces:
            got.append(gpt(ids[:, at : at + size], mask=mask, cache=cache)[0])
            at += size
    same(cat(got, 1).numpy(), want)


class Stop(Exception):
    pass


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=11), min_size=1, max_size=4), dtypes, st.data())
@settings(max_examples=40)
def test_a_decoder_says_what_its_contexts_say(prompts, dtype, data):
    """Growing, dropped, repeated and reordered rows, some past the end of the context (8), and passes that break
    off in any layer: each row's logits are those of what it sees, alone.
    """
    gpt = model(dtype=dtype)
    decoder, contexts = Decoder(gpt, prompts), [list(prompt) for prompt in prompts]
    for what in data.draw(st.lists(st.sampled_from(["look", "extend", "select", "break"]), max_size=8)) + ["look"]:
        if what == "look":
            logits = decoder.logits()
            assert decoder.contexts == contexts and logits.shape == (len(contexts), V) and logits.dtype == dtype
            for row, context in zip(logits, contexts, strict=True):
                same(row, alone(gpt, seen(context))[-1])
        elif what == "extend":
            size = data.draw(st.integers(1, 3))
            new = data.draw(
                st.lists(
                    st.lists(st.integers(0, 12), min_size=size, max_size=size),
                    min_size=len(contexts),
                    max_size=len(contexts),
                )
            )
            decoder.extend(new)
            contexts = [context + more for context, more in zip(contexts, new, strict=True)]
        elif what == "select":
            rows = data.draw(st.lists(st.integers(0, len(contexts) - 1), min_size=1, max_size=4))
            decoder.select(rows)
            contexts = [list(contexts[row]) for row in rows]
        else:

            def stop(*_):
                raise Stop

            hook = gpt.transformer.h[data.draw(st.integers(0, 1))].register_forward_hook(stop)
            with pytest.raises(Stop):
                decoder.logits()
            hook.remove()


def test_the_window_follows_from_the_length():
    for n_positions, length in itertools.product(range(1, 10), range(1, 40)):
        ids = list(range(length))
        assert ids[window_start(length, n_positions) :] == seen(ids, n_positions)
        assert n_positions // 2 < len(seen(ids, n_positions)) or length <= n_positions // 2


def test_a_pass_computes_the_new_tokens_only():
    def widths(gpt, start):
        hook = gpt.transformer.wte.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[:2])))
        shapes.clear()
        list(start())
        hook.remove()
        return shapes

    gpt, shapes = model(64), []
    assert widths(gpt, lambda: generate(gpt, [1, 2, 3], 20)) == [(1, 3)] + [(1, 1)] * 19
    # Equal prompts are computed once, but for their last token.
    assert widths(gpt, lambda: generate_batch(gpt, [[1, 2, 3]] * 5 + [[4]], 10)) == [(2, 3)] + [(6, 1)] * 10
    gpt = model(8)
    assert widths(gpt, lambda: generate(gpt, [1, 2, 3], 14)) == (
        [(1, 3)] + [(1, 1)] * 5 + ([(1, 5)] + [(1, 1)] * 3) * 2
    )


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=11), min_size=1, max_size=4),
    st.integers(0, 8),
    samplings,
    dtypes,
)
@settings(max_examples=30)
def test_rows_of_a_ragged_batch_are_the_prompts_alone(prompts, count, sampling, dtype):
    gpt = model(dtype=dtype)
    steps = list(generate_batch(gpt, prompts, count, sampling))
    assert len(steps) == count
    for row, prompt in enumerate(prompts):
        assert [tokens[row] for tokens in steps] == list(generate(gpt, prompt, count, sampling, row))


def test_samples_of_one_prompt_differ_and_those_of_one_row_do_not():
    steps = list(generate_batch(model(), [[1, 2]] * 6, 8, Sampling(temperature=2.0)))
    assert len(set(zip(*steps, strict=True))) == 6
    assert not list(generate_batch(model(), [], 0))


def test_contexts_that_do_not_fit_are_refused():
    decoder = Decoder(model(), [[1], [2, 3]])
    for bad in ([[1]], [[1], [2, 3]]):
        with pytest.raises(ConfigError, match="same number of tokens"):
            decoder.extend(bad)
    with pytest.raises(ConfigError, match="from 0 to 12, got 13"):
        decoder.extend([[1], [13]])
    with pytest.raises(ValueError, match="rows 0 to 1"):
        decoder.select([2])
    with pytest.raises(ValueError, match="rows 0 to 1"):
        model().make_cache(2).select([-1])
    with pytest.raises(ConfigError, match="at least one token"):
        Decoder(model(), [[1], []])
    cache = model(dtype=np.float64).make_cache(1)
    with pytest.raises(DtypeError, match="holds float64, got keys of float32"), no_grad():
        model()(np.array([[1]]), cache=cache)
    assert cache.length == 0


def every_hypothesis(gpt, ids, count, end, length_penalty):
    """{new ids: (log probability, score)} of all texts of `count` tokens, or fewer that end with `end`."""
    found = {}

    def grow(new, total):
        if new and (len(new) == count or new[-1] == end):
            found[tuple(new)] = total, total / len(new) ** length_penalty
            return
        step = np.log(softmax(alone(gpt, seen([*ids, *new]))[-1]))
        for token in range(gpt.config.vocab_size):
            grow([*new, token], total + step[token])

    grow([], 0.0)
    return found


def plain_beam_search(gpt, ids, count, n_beam, end, length_penalty):
    """Without cache and early end: the new ids of each hypothesis, best first."""
    going, done = [((), 0.0)], []
    for _ in range(count):
        longer = []
        for new, total in going:
            step = np.log(softmax(alone(gpt, seen([*ids, *new]))[-1]))
            longer += [((*new, token), total + step[token]) for token in range(gpt.config.vocab_size)]
        longer = sorted(longer, key=lambda hypothesis: -hypothesis[1])[: 2 * n_beam]
        done += [hypothesis for hypothesis in longer[:n_beam] if hypothesis[0][-1] == end]
        going = [hypothesis for hypothesis in longer if hypothesis[0][-1] != end][:n_beam]
    ranked = sorted(done + going, key=lambda hypothesis: -hypothesis[1] / len(hypothesis[0]) ** length_penalty)
    return [new for new, _ in ranked[:n_beam]]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=9),
    st.integers(1, 3),
    st.none() | st.integers(0, 3),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
@settings(max_examples=15)
def test_wide_beam_search_is_a_search_of_everything(ids, count, end, length_penalty):
    gpt = model(vocab_size=4, dtype=np.float64)
    want = every_hypothesis(gpt, ids, count, end, length_penalty)
    best = sorted((score for _, score in want.values()), reverse=True)
    for n_beam in (1, 2, 64):
        beams = beam_search(gpt, ids, count, n_beam, end=end, length_penalty=length_penalty)
        assert 1 <= len(beams) <= n_beam and len({tuple(beam.ids) for beam in beams}) == len(beams)
        for beam in beams:
            np.testing.assert_allclose((beam.log_prob, beam.score), want[tuple(beam.ids)], rtol=1e-9, atol=1e-12)
        scores = [beam.score for beam in beams]
        assert scores == sorted(scores, reverse=True)
        if n_beam == 64:
            np.testing.assert_allclose(scores, best, rtol=1e-9, atol=1e-12)
        if n_beam == 1 and end is None:
            assert beams[0].ids == list(generate(gpt, ids, count, Sampling(temperature=0)))


@given(st.integers(0, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 4), st.sampled_from([0.0, 1.0, 3.0]))
@settings(max_examples=50)
def test_beam_search_ends_early_only_when_nothing_can_change(first, count, n_beam, end, length_penalty):
    gpt = model(vocab_size=5, dtype=np.float64)
    beams = beam_search(gpt, [first], count, n_beam, end=end, length_penalty=length_penalty)
    assert [tuple(b.ids) for b in beams] == plain_beam_search(gpt, [first], count, n_beam, end, length_penalty)


def test_beam_search_finds_what_greed_misses():
    gpt = model(vocab_size=5, n_positions=16, dtype=np.float64)
    better = 0
    for first in range(5):
        greedy, wide = (beam_search(gpt, [first], 12, n)[0].log_prob for n in (1, 8))
        better += wide > greedy + 1e-6
    assert better
    for bad in ({"count": 0}, {"n_beam": 0}, {"length_penalty": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            beam_search(gpt, [1], **({"count": 2, "n_beam": 2} | bad))


BYTES = BPETokenizer.train(["\u4e2d\u6587 \U0001f600 text"], 256)
WORDS = BPETokenizer.train(["aabb\n", "ab\n", "bba\n", "abb\u4e2d\n", "bb\n"] * 9, 262)
words = st.sampled_from(["a", "b", "bb", "ab", "abb", "aabb", "ba\u4e2d", "\ufffd"])
stops = st.lists(words | st.text("ab\u4e2d\ufffd", min_size=1, max_size=4), max_size=3)
raw_bytes = st.lists(st.sampled_from(sorted(b"aaab" + "\u4e2d".encode())), max_size=12).map(bytes)


def before_stop(text: str, stop: list[str]) -> str:
    """`text` up to the stop string that is complete first."""
    for end in range(len(text) + 1):
        for start in range(end):
            if text[start:end] in stop:
                return text[:start]
    return text


@given(raw_bytes | st.text("ab\u4e2d", max_size=9).map(str.encode), stops, st.sampled_from([BYTES, WORDS]))
@example(b"abb", ["abb", "b"], WORDS)
@settings(max_examples=300)
def test_stop_strings_end_a_stream_wherever_tokens_cut_them(data, stop, tokenizer):
    stream, out, said = TextStream(tokenizer, stop), "", b""
    want = before_stop(data.decode("utf-8", "replace"), stop)
    for token in tokenizer.encode(data):
        out += stream.push(token)
        said += tokenizer.tokens[token]
        assert want.startswith(out)  # never half a character, never the beginning of a stop string
        held = said.decode("utf-8", "ignore")[len(out) :] if "\ufffd" not in said.decode("utf-8", "replace") else ""
        if not stream.stopped:  # and no later than it is sure
            assert not held or any(word.startswith(held) for word in stop)
    out += stream.finish()
    assert out == want and stream.stopped == (want != data.decode("utf-8", "replace"))
    assert stream.finish() == ""


def test_stop_strings_that_say_nothing_are_refused():
    for bad in ("ab", ["a", ""]):
        with pytest.raises(ConfigError, match="stop takes"):
            TextStream(BYTES, bad)


@given(st.lists(st.text("abc", min_size=1, max_size=10), min_size=1, max_size=4), stops, st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_texts_that_are_completed_together_are_the_texts_alone(prompts, stop, seed):
    tokenizer = CharTokenizer.train(["abcdefghijkl\n"])
    gpt, sampling = model(), Sampling(seed=seed, temperature=2.0)
    together = complete(gpt, tokenizer, prompts, 12, sampling, stop)
    for row, (prompt, text) in enumerate(zip(prompts, together, strict=True)):
        ids = list(generate(gpt, tokenizer.encode(prompt), 12, sampling, row))
        assert text == before_stop(tokenizer.decode(ids), stop)
    assert "".join(stream_text(gpt, tokenizer, prompts[0], 12, sampling, stop)) == together[0]


def talk(lines, count=5, stop=(), interrupt_at=None):
    """What a conversation writes; the interrupt comes while piece `interrupt_at` is written."""
    tokenizer, out, lines = CharTokenizer.train(["abcdefghijkl\n"]), [], iter(lines)

    def read():
        line = next(lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    def write(text):
        out.append(text)
        if len(out) - 1 == interrupt_at:
            raise KeyboardInterrupt

    converse(model(), tokenizer, read, write, count, Sampling(seed=3), stop)
    return out


def test_a_conversation_is_one_growing_text():
    tokenizer, gpt = CharTokenizer.train(["abcdefghijkl\n"]), model()
    said, want = "", []
    for line in ("abc", "de", ""):
        if line:
            said += "\n" * bool(said and not said.endswith("\n")) + line + "\n"
        ids = tokenizer.encode(said)
        for _ in range(5):
            ids.append(next_token(alone(gpt, seen(ids))[-1], Sampling(seed=3), len(ids)))
            want.append(tokenizer.decode(ids[-1:]))
        said = tokenizer.decode(ids)
        want += [] if said.endswith("\n") else ["\n"]
    assert talk(["abc", "de", ""]) == want
    assert talk(["abc", "/reset", "abc", "/quit", "abc"]) == talk(["abc"]) * 2
    assert "".join(talk(["abc"], stop=["\n", "a"])).strip("\n").count("a") == 0


def test_an_interrupt_ends_the_text_and_not_the_conversation():
    whole = talk(["abc", "de"])
    broken = talk(["abc", "de"], interrupt_at=2)
    assert broken[:4] == [*whole[:3], "\n"] and len(broken) > 4
    assert broken[4:] != whole[len(talk(["abc"])) :]  # what was cut off isn't part of it
    assert talk([KeyboardInterrupt(), "abc"])[1:] == talk(["abc"])
    assert talk(["/help"]) == ["/reset forgets all that was said, /quit leaves\n"]
    (refused, *rest) = talk(["xyz", "abc"])
    assert "'x'" in refused and rest == talk(["abc"])
    with pytest.raises(ConfigError, match="stop takes"):
        talk(["abc"], stop="a")
