"""GPT: parameter counts, initialisation, causality bit for bit, cache, masks, loss, learning, and names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm as tl
from tinyllm import nn, optim
from tinyllm.errors import ConfigError, ShapeError
from tinyllm.models import GPT, GPTConfig, preset
from tinyllm.models.gpt import PRESETS, hf_name

TINY = {"vocab_size": 17, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2}
CALM = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def cases(n):
    return settings(max_examples=n)


def model(**changes):
    tl.manual_seed(0)
    return GPT(GPTConfig(**{**TINY, **CALM, **changes}))


def tokens(*shape, seed=0, n=17):
    return np.random.default_rng([seed, *shape]).integers(0, n, shape)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("nanogpt-cpu", 804_096),
        ("nanogpt-baby", 10_745_088),
    ],
)
def test_parameter_counts_are_the_published_ones(name, count):
    with nn.init.deferred():
        m = GPT(preset(name))
    assert m.num_parameters() == count
    assert all(p.deferred and p.rule is not None for p in m.parameters())
    if name.startswith("nanogpt"):  # nanoGPT prints 0.80M and 10.65M, without the positions
        without = count - m.transformer.wpe.weight.numel()
        assert f"{without / 1e6:.2f}" == {"nanogpt-cpu": "0.80", "nanogpt-baby": "10.65"}[name]


def test_untied_embeddings_and_other_positions_change_the_count():
    base = model().num_parameters()
    assert model(tie_word_embeddings=False).num_parameters() == base + 17 * 16
    for kind in ("sinusoidal", "none"):
        assert model(position_embedding_type=kind).num_parameters() == base - 12 * 16
    assert model(bias=False).num_parameters() == base - 2 * (16 + 48 + 16 + 16 + 64 + 16) - 16
    assert model(n_inner=8).num_parameters() == base - 2 * (2 * 16 + 1) * (64 - 8)


def test_initialisation_is_gpt2s():
    tl.manual_seed(1)
    m = GPT(GPTConfig(vocab_size=300, n_positions=100, n_embd=128, n_layer=8, n_head=4))
    for name, p in m.named_parameters():
        x = p.detach().numpy()
        if p.ndim == 2:
            std = 0.02 / 4 if name.endswith(("attn.out.weight", "mlp.down.weight")) else 0.02
            assert abs(x.std() / std - 1) < 0.03 and abs(x.mean()) < 0.05 * std, name
        else:
            assert (x == (0.0 if name.endswith("bias") else 1.0)).all(), name
    ids = tokens(4, 64, n=300)
    _, loss = m.eval()(ids[:, :-1], ids[:, 1:])
    assert abs(loss.item() - math.log(300)) < 0.1  # nothing is known yet


def test_one_seed_one_model():
    a, b = model(), model()
    assert all(np.array_equal(p.detach(), q.detach()) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    tl.manual_seed(1)
    c = GPT(a.config)
    assert not np.array_equal(a.lm_head.weight.detach(), c.lm_head.weight.detach())
    assert a.lm_head.weight is a.transformer.wte.weight
    assert [p.name for p in a.parameters()] == [n for n, _ in a.named_parameters()]


HF_GPT2_BLOCK = [
    f"{module}.{kind}"
    for module in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for kind in ("weight", "bias")
]


def test_parameter_names_are_a_renaming_of_hugging_faces():
    names = ["transformer.wte.weight", "transformer.wpe.weight"]
    names += [f"transformer.h.{i}.{n}" for i in range(2) for n in HF_GPT2_BLOCK]
    names += ["transformer.ln_f.weight", "transformer.ln_f.bias", "lm_head.weight"]
    m = model()
    assert sorted(hf_name(n)[0] for n in m.state_dict()) == sorted(names)
    transposed = [n for n in m.state_dict() if hf_name(n)[1]]
    assert len(transposed) == 8 and all(".bias" not in n for n in transposed)
    shapes = {hf_name(n)[0]: v.shape[::-1] if hf_name(n)[1] else v.shape for n, v in m.state_dict().items()}
    assert shapes["transformer.h.0.attn.c_attn.weight"] == (16, 48)  # Conv1D: (in, out)
    assert shapes["transformer.h.1.mlp.c_proj.weight"] == (64, 16)


@cases(25)
@given(
    t=st.integers(2, 12),
    data=st.data(),
    kind=st.sampled_from(["learned", "sinusoidal", "none"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_token_never_changes_the_logits_before_it(t, data, kind, dtype):
    """Bit for bit: the future is not read at all."""
    m = model(position_embedding_type=kind).to(dtype).eval()
    j = data.draw(st.integers(0, t - 1))
    a = tokens(2, t, seed=data.draw(st.integers(0, 9)))
    b = a.copy()
    b[:, j] = (b[:, j] + 1 + data.draw(st.integers(0, 15))) % 17
    x, y = (m(ids)[0].detach().numpy() for ids in (a, b))
    assert x[:, :j].tobytes() == y[:, :j].tobytes()
    assert not np.array_equal(x[:, j], y[:, j])


@cases(15)
@given(
    pieces=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    kind=st.sampled_from(["learned", "sinusoidal"]),
)
def test_cache_equals_no_cache(pieces, kind):
    m, total = model(position_embedding_type=kind).double().eval(), sum(pieces)
    ids, cache, parts, at = tokens(2, total), m.make_cache(2), [], 0
    with tl.no_grad():
        for n in pieces:
            parts.append(m(ids[:, at : at + n], cache=cache)[0])
            at += n
        np.testing.assert_allclose(tl.cat(parts, 1), m(ids)[0], rtol=1e-10, atol=1e-12)
        last = m.lm_head(m.features(ids)[:, -1:])
        np.testing.assert_allclose(last, m(ids)[0][:, -1:], rtol=1e-12)
    assert cache.length == total


def test_left_padded_prompts_continue_as_alone():
    m = model().double().eval()
    prompts = [tokens(1, 3), tokens(1, 5, seed=1)]
    keep = np.array([[False, False, True, True, True], [True] * 5])
    batch = np.zeros((2, 5), int)
    batch[0, 2:], batch[1] = prompts[0], prompts[1]
    mask = nn.Padding.from_mask(keep)
    positions = np.maximum(np.cumsum(keep, 1) - 1, 0)
    cache = m.make_cache(2)
    with tl.no_grad():
        first = m(batch, mask=mask, positions=positions, cache=cache)[0][:, -1]
        second = m(np.array([[3], [4]]), mask=mask, positions=positions[:, -1:] + 1, cache=cache)[0][:, -1]
        for i, (prompt, following) in enumerate(zip(prompts, (3, 4), strict=True)):
            np.testing.assert_allclose(first[i], m(prompt)[0][0, -1], rtol=1e-10)
            alone = m(np.concatenate([prompt, [[following]]], 1))[0][0, -1]
            np.testing.assert_allclose(second[i], alone, rtol=1e-10)


def test_packed_documents_equal_separate_ones():
    m = model().double().eval()
    a, b = tokens(1, 4), tokens(1, 6, seed=1)
    segments = nn.Segments(np.array([[0] * 4 + [1] * 6]))
    packed, _ = m(np.concatenate([a, b], 1), mask=segments, positions=segments.offsets)
    apart = tl.cat([m(a)[0], m(b)[0]], 1)
    np.testing.assert_allclose(packed.detach(), apart.detach(), rtol=1e-10, atol=1e-12)


def test_summed_losses_of_parts_make_the_loss_of_the_whole():
    """Unequal numbers of counted targets: only sums divided by the global count add up."""
    m = model().double()
    ids, targets = tokens(4, 6), tokens(4, 6, seed=1)
    targets[0, 2:] = -100
    n = (targets != -100).sum()
    _, whole = m(ids, targets)
    whole.backward()
    expected = {k: np.array(p.grad) for k, p in m.named_parameters()}
    m.zero_grad()
    total = 0.0
    for part in (slice(0, 1), slice(1, 4)):
        _, loss = m(ids[part], targets[part], reduction="sum")
        (loss / int(n)).backward()
        total += loss.item()
    assert total / n == pytest.approx(whole.item(), rel=1e-12)
    for k, p in m.named_parameters():
        np.testing.assert_allclose(p.grad, expected[k], rtol=1e-9, atol=1e-12, err_msg=k)
    assert m(ids, targets, reduction="none")[1].shape == (4, 6)
    assert m(ids)[1] is None


def test_the_loss_alone_is_the_loss_beside_the_logits():
    m = model().double()
    ids, targets = tokens(2, 6), tokens(2, 6, seed=1)
    targets[0, 2:] = -100
    for reduction in ("mean", "sum"):
        results = []
        for loss in (m(ids, targets, reduction=reduction)[1], m.loss(ids, targets, reduction=reduction)):
            m.zero_grad()
            loss.backward()
            results.append([loss.item(), *(np.array(p.grad) for p in m.parameters())])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)
    calls = []
    m.lm_head.register_forward_hook(lambda *_: calls.append(1))  # a head that is more than its weight is called
    assert m.loss(ids, targets).item() == pytest.approx(m(ids, targets)[1].item(), rel=1e-12) and len(calls) == 2
    with pytest.raises(ShapeError, match="targets"):
        m.loss(ids, targets[:, 1:])


def test_gradients_of_a_whole_model_in_random_directions():
    m = model(activation_function="gelu").double()
    ids, targets = tokens(2, 5), tokens(2, 5, seed=1)
    m(ids, targets)[1].backward()
    rng = np.random.default_rng(0)
    for name, p in m.named_parameters():
        direction = rng.normal(size=p.shape)
        slope = float((p.grad.array * direction).sum())
        start, losses = p.array.copy(), []
        for step in (-2, -1, 1, 2):
            p.array[...] = start + step * 2e-5 * direction
            with tl.no_grad():
                losses.append(m(ids, targets)[1].item())
        p.array[...] = start
        difference = (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / 24e-5
        assert difference == pytest.approx(slope, rel=1e-7, abs=1e-8), name


def test_overfits_one_batch():
    m = model()
    ids = tokens(2, 9)
    o = optim.AdamW(m.parameters(), lr=1e-2)
    for _ in range(60):
        o.zero_grad()
        _, loss = m(ids[:, :-1], ids[:, 1:])
        loss.backward()
        o.step()
    assert loss.item() < 0.1


def test_dropout_is_on_in_training_only_and_follows_the_step():
    m = model(resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3)
    ids = tokens(1, 6)

    def run(step):
        tl.random.set_step(step)
        return m(ids)[0].detach().numpy()

    a, b, c = run(1), run(2), run(1)
    assert np.array_equal(a, c) and not np.array_equal(a, b)
    m.eval()
    assert np.array_equal(run(1), run(2))
    tl.random.set_step(0)


def test_clear_errors():
    m = model()
    with pytest.raises(ShapeError, match=r"\(B, T\)"):
        m(tokens(5))
    with pytest.raises(ShapeError, match="targets"):
        m(tokens(1, 5), tokens(1, 4))
    with pytest.raises(IndexError, match="position 12 is beyond the 12"):
        m(tokens(1, 13))
    with pytest.raises(IndexError):
        m(np.array([[17]]))
    for changes in (
        {"n_head": 3},
        {"n_layer": 0},
        {"resid_pdrop": 1.0},
        {"activation_function": "swoosh"},
        {"position_embedding_type": "rotary"},
    ):
        with pytest.raises(ConfigError):
            GPTConfig(**{**TINY, **changes})
    with pytest.raises(ConfigError, match="did you mean 'n_layer'"):
        GPTConfig.from_dict({"n_layers": 3})
    with pytest.raises(ConfigError, match="unknown preset"):
        preset("gpt3")


def test_config_round_trip():
    for name in PRESETS:
        c = preset(name, vocab_size=99)
        assert c.vocab_size == 99 and GPTConfig.from_dict(c.to_dict()) == c
