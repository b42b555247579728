"""Modules, initialisers, masks, attention, positions and the cache: properties that hold whatever the numbers are."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm as tl
from tinyllm import nn
from tinyllm.errors import CheckpointError, ShapeError
from tinyllm.nn import functional as F
from tinyllm.random import Generator
from tinyllm.recording import Observer


def cases(n):
    return settings(max_examples=n)


def rand(*shape, seed=0, dtype=np.float64):
    return tl.tensor(np.random.default_rng([seed, *shape]).uniform(-2, 2, shape).astype(dtype))


def same(a, b):
    return np.array(a.detach()).tobytes() == np.array(b.detach()).tobytes()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 3))
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.body[0].weight
        self.register_buffer("scale", tl.ones(1))
        self.register_buffer("scratch", tl.ones(2), persistent=False)

    def forward(self, x):
        return self.head(self.body(x)) * self.scale


# -- Module ----------------------------------------------------------------------------------------------


def test_registration_and_walking():
    m = Net()
    names = ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]
    assert [n for n, _ in m.named_parameters()] == names
    assert [p.name for p in m.parameters()] == names
    assert [n for n, _ in m.named_parameters(remove_duplicate=False)] == [*names, "head.weight"]
    assert [n for n, _ in m.named_buffers()] == ["scale", "scratch"]
    assert [n for n, _ in m.named_modules()] == ["", "body", "body.0", "body.1", "body.2", "head"]
    assert [n for n, _ in m.named_children()] == ["body", "head"]
    assert list(m.state_dict()) == ["scale", *names, "head.weight"]
    assert m.num_parameters() == 12 + 4 + 12 + 3
    assert m.get_parameter("body.2.bias") is m.body[2].bias and m.get_submodule("body.1") is m.body[1]
    assert m.body[2].path == "body.2"
    outer = nn.ModuleList([Net(), Net()])
    assert outer[1].body[2].bias.name == "1.body.2.bias" and outer[1].head.path == "1.head"
    assert outer[1].head.weight.name == "1.body.0.weight"
    shared = nn.Linear(2, 2)
    both = nn.ModuleList([shared, shared])
    assert shared.path == "0" and [p.name for p in both.parameters()] == ["0.weight", "0.bias"]
    late = nn.ModuleDict({"first": shared})
    head = nn.Linear(2, 2)
    head.weight = shared.weight
    late["head"] = head  # tied before it was added
    assert shared.weight.name == "first.weight" and head.bias.name == "head.bias"
    assert "Linear(in_features=3, out_features=4, bias=True)" in repr(m) and "(body): Sequential(" in repr(m)
    assert {"weight", "bias"} <= set(dir(m.head))


def test_assignment_rules():
    m = Net()
    with pytest.raises(TypeError, match="Parameter or None"):
        m.head.weight = tl.ones(4, 3)
    with pytest.raises(TypeError, match="buffer"):
        m.scale = 3.0
    with pytest.raises(TypeError):
        m.head = 3
    m.scale = tl.zeros(1)
    assert m.state_dict()["scale"].item() == 0
    m.head.weight = None
    assert "head.weight" not in m.state_dict()
    del m.scratch
    with pytest.raises(AttributeError, match="no attribute 'scratch'"):
        _ = m.scratch
    with pytest.raises(KeyError):
        m.register_buffer("a.b", tl.ones(1))
    with pytest.raises(KeyError):
        m.register_parameter("forward", nn.Parameter(tl.ones(1)))
    with pytest.raises(TypeError):
        m.register_parameter("p", tl.ones(1))
    with pytest.raises(TypeError):
        m.add_module("q", 3)

    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match="super"):
        Early()
    with pytest.raises(NotImplementedError):
        nn.Module()(1)
    with pytest.raises(RuntimeError):
        nn.Parameter(tl.tensor([1, 2]))


def test_state_dict_round_trip_and_errors():
    a, b = Net(), Net()
    result = b.load_state_dict(a.state_dict())
    assert result == ([], [])
    x = rand(2, 3, dtype=np.float32)
    assert same(a(x), b(x))
    state = {k: np.array(v) for k, v in a.state_dict().items()}
    del state["head.weight"]  # tied: one name is enough
    assert b.load_state_dict(state).missing_keys == []
    before = {k: np.array(v) for k, v in b.state_dict().items()}
    broken = dict(state) | {"body.0.bias": np.ones(5, np.float32), "extra": np.ones(1)}
    del broken["body.2.bias"]
    with pytest.raises(CheckpointError) as error:
        b.load_state_dict(broken)
    for part in ('Missing key(s) in state_dict: "body.2.bias"', 'Unexpected key(s) in state_dict: "extra"'):
        assert part in str(error.value)
    assert "size mismatch for body.0.bias: file has (5,), model wants (4,)" in str(error.value)
    with pytest.raises(RuntimeError, match="size mismatch"):  # shapes are checked even when not strict
        b.load_state_dict(broken, strict=False)
    assert all(np.array_equal(before[k], v) for k, v in b.state_dict().items())  # nothing was written
    broken["body.0.bias"] = state["body.0.bias"]
    assert b.load_state_dict(broken, strict=False) == (["body.2.bias"], ["extra"])
    with pytest.raises(TypeError):
        b.load_state_dict([1])
    b.load_state_dict({k: np.asarray(v, np.float64) for k, v in state.items()})
    assert b.head.weight.dtype == np.float32  # converted to the model's dtype


def test_modes_dtypes_and_gradients():
    m = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    assert m.train() is m and m[1].training and not m.eval()[1].training
    with pytest.raises(ValueError):
        m.train(1)
    m.double()
    assert m[0].weight.dtype == np.float64
    m(rand(2, 3)).sum().backward()
    m.float()
    assert m[0].weight.dtype == m[0].weight.grad.dtype == np.float32
    m.zero_grad(set_to_none=False)
    assert not np.array(m[0].weight.grad).any()
    m.zero_grad()
    assert m[0].weight.grad is None
    m.requires_grad_(False)
    assert not m[0].bias.requires_grad and m.num_parameters(trainable_only=True) == 0
    with pytest.raises(TypeError):
        m.to(np.int64)
    seen = []
    m.apply(lambda x: seen.append(type(x).__name__))
    assert seen == ["Linear", "Dropout", "Sequential"]


def test_containers():
    layers = [nn.Linear(2, 2) for _ in range(4)]
    m = nn.ModuleList(layers[:2])
    m.append(layers[2]).extend([layers[3]])
    assert len(m) == 4 and m[-1] is layers[3] and list(m[1:3]) == layers[1:3] and layers[3].weight.name == "3.weight"
    m[0] = layers[3]
    assert m[0] is layers[3]
    with pytest.raises(IndexError):
        _ = m[4]
    s = nn.Sequential(OrderedDict([("a", layers[0]), ("b", layers[1])]))
    x = rand(1, 2, dtype=np.float32)
    assert same(s(x), layers[1](layers[0](x))) and same(s[:1](x), layers[0](x))
    d = nn.ModuleDict({"x": layers[0]})
    d["y"] = layers[1]
    assert list(d) == list(d.keys()) == ["x", "y"] and "x" in d and len(d) == 2
    assert list(d.values()) == [m for _, m in d.items()]
    del d["x"]
    assert "x" not in d and list(d.state_dict()) == ["y.weight", "y.bias"]


def test_deepcopy_shares_nothing_but_keeps_ties():
    a = Net()
    b = copy.deepcopy(a)
    assert b.head.weight is b.body[0].weight and b.head.weight is not a.head.weight
    assert same(a.head.weight, b.head.weight) and b.head.weight.name == "body.0.weight"
    with tl.no_grad():
        b.head.weight[0] = 7.0
    assert not same(a.head.weight, b.head.weight)


def test_hooks_run_in_order_and_see_the_gradients_of_the_module_alone():
    log = []
    m = nn.Linear(3, 2).double()
    handles = [
        m.register_forward_pre_hook(lambda mod, args: log.append(("pre", args[0].shape))),
        m.register_forward_hook(lambda mod, args, out: log.append(("post", out.shape))),
        m.register_full_backward_pre_hook(lambda mod, go: log.append(("first", np.array(go[0])))),
        m.register_full_backward_hook(lambda mod, gi, go: log.append(("last", np.array(gi[0]), np.array(go[0])))),
    ]
    x = rand(4, 3).requires_grad_()
    out = m(x)
    (out.sum() + (x * 5).sum()).backward()  # the second path must not show in grad_input
    assert [entry[0] for entry in log] == ["pre", "post", "first", "last"]
    assert np.array_equal(log[2][1], np.ones((4, 2)))
    assert np.allclose(log[3][1], np.ones((4, 2)) @ np.array(m.weight.detach()))
    for h in handles:
        h.remove()
        h.remove()
    with tl.no_grad():
        m(x)
    assert len(log) == 4
    handle = m.register_forward_hook(lambda mod, args, out: out * 0)
    assert not np.array(m(x).detach()).any()
    handle.remove()
    m.register_forward_pre_hook(lambda mod, args: args[0] * 0)
    assert np.array_equal(m(x).detach(), np.tile(np.array(m.bias.detach()), (4, 1)))


def test_backward_hook_of_a_module_without_differentiable_inputs():
    m, log = nn.Embedding(5, 2), []
    m.register_full_backward_hook(lambda mod, gi, go: log.append((gi, np.array(go[0]).shape)))
    m(tl.tensor([1, 2])).sum().backward()
    assert log == [((None,), (2, 2))]
    with tl.no_grad():
        m(tl.tensor([1]))


# -- parameters and initialisers -------------------------------------------------------------------------

RULES = [
    lambda p, g: nn.init.uniform_(p, -1.0, 2.0, g),
    lambda p, g: nn.init.normal_(p, 0.5, 2.0, g),
    lambda p, g: nn.init.normal_(p, 0.5, 2.0, g, zero_row=1),
    lambda p, g: nn.init.trunc_normal_(p, std=0.7, a=-0.5, b=1.0, generator=g),
    lambda p, g: nn.init.constant_(p, 3.0),
]


@cases(60)
@given(
    rule=st.sampled_from(RULES),
    shape=st.lists(st.integers(0, 7), min_size=0, max_size=3),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_any_slice_of_a_parameter_can_be_made_again(rule, shape, seed, data):
    shape = shape if shape or rule is not RULES[2] else [3]  # a row of a number is no row
    p = nn.Parameter.empty(*shape, dtype=np.float64)
    rule(p, Generator(seed))
    assert not p.deferred and p.rule.shape == tuple(shape)
    index = []
    for n in shape:
        start = data.draw(st.integers(0, n))
        index.append(slice(start, data.draw(st.integers(start, n))))
    index = index[: data.draw(st.integers(0, len(index)))]
    part = p.rule.make(index, np.float64)
    assert part.tobytes() == p.array[tuple(index)].tobytes() if index else part.tobytes() == p.array.tobytes()


def test_slices_of_large_parameters_come_in_pieces(monkeypatch):
    monkeypatch.setattr(nn.init, "_ELEMENTS_AT_ONCE", 10)
    p = nn.Parameter.empty(9, 4)
    nn.init.normal_(p)
    assert np.array_equal(p.rule.make((slice(2, 8), slice(1, 3))), p.array[2:8, 1:3])
    with pytest.raises(ValueError, match="step 1"):
        p.rule.make((slice(0, 4, 2),))


def test_deferred_parameters_take_no_memory_and_come_out_the_same():
    tl.manual_seed(3)
    a = nn.Linear(4, 3)
    tl.manual_seed(3)
    with nn.init.deferred():
        b = nn.Linear(4, 3)
        huge = nn.Linear(1 << 20, 1 << 20)
    assert huge.num_parameters() == (1 << 40) + (1 << 20) and huge.weight.deferred
    assert np.isnan(b.weight.array).all() and "no values yet" in repr(b.weight)
    assert copy.deepcopy(b).weight.deferred and b.double().weight.deferred
    b.float()
    nn.init.materialize(b)
    assert same(a.weight, b.weight) and same(a.bias, b.bias)
    with nn.init.deferred():
        c = nn.Linear(4, 3)
    c.load_state_dict(a.state_dict())
    assert same(a.weight, c.weight) and a.weight.array is not c.weight.array
    with pytest.raises(ValueError):
        nn.Parameter.empty(-1)


def test_initialisers_write_into_existing_storage_and_follow_the_seed():
    t = tl.zeros(3, 4)
    memory = t.array
    assert nn.init.ones_(t) is t and t.array is memory and (memory == 1).all()
    tl.manual_seed(1)
    a = np.array(nn.init.normal_(t))
    b = np.array(nn.init.normal_(t))
    tl.manual_seed(1)
    assert np.array_equal(a, np.array(nn.init.normal_(t))) and not np.array_equal(a, b)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: nn.init.xavier_uniform_(tl.zeros(3)),
        lambda t: nn.init.kaiming_normal_(t, mode="fan"),
        lambda t: nn.init.kaiming_normal_(t, nonlinearity="sine"),
        lambda t: nn.init.trunc_normal_(t, a=1.0, b=0.0),
    ],
)
def test_initialiser_errors(call):
    with pytest.raises(ValueError):
        call(tl.zeros(2, 3))


def test_layers_start_in_pytorchs_ranges():
    tl.manual_seed(0)
    layer = nn.Linear(50, 400)
    for p in (layer.weight, layer.bias):
        top = np.abs(p.detach().numpy()).max() * math.sqrt(50)
        assert 0.98 < top <= 1.0  # U(-1/sqrt(in), 1/sqrt(in)) for both
    assert abs(nn.Embedding(100, 100).weight.detach().numpy().std() - 1) < 0.03
    w = nn.Parameter.empty(60, 40, 3)
    for fill, bound in [
        (nn.init.xavier_uniform_, math.sqrt(6 / (40 * 3 + 60 * 3))),
        (nn.init.kaiming_uniform_, math.sqrt(2) * math.sqrt(3 / (40 * 3))),
        (lambda p: nn.init.kaiming_uniform_(p, mode="fan_out", nonlinearity="linear"), math.sqrt(3 / (60 * 3))),
    ]:
        assert 0.99 < np.abs(fill(w).detach().numpy()).max() / bound <= 1.0
    for fill, std in [
        (lambda p: nn.init.xavier_normal_(p, gain=2.0), 2 * math.sqrt(2 / (40 * 3 + 60 * 3))),
        (lambda p: nn.init.kaiming_normal_(p, nonlinearity="relu"), math.sqrt(2 / (40 * 3))),
        (lambda p: nn.init.normal_(p, 1.0, 0.5), 0.5),
    ]:
        assert abs(fill(w).detach().numpy().std() / std - 1) < 0.03
    cut = nn.init.trunc_normal_(w, 0.5, 2.0, -1.0, 1.0).detach().numpy()
    assert -1 <= cut.min() < -0.99 and 0.99 < cut.max() <= 1


def test_gains():
    assert [nn.init.calculate_gain(n) for n in ("linear", "tanh", "relu", "selu")] == [1, 5 / 3, math.sqrt(2), 0.75]
    assert nn.init.calculate_gain("leaky_relu", 1.0) == 1.0


# -- dropout and streams ---------------------------------------------------------------------------------


def test_dropout_masks_depend_on_the_module_and_the_step_only():
    m = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    x = tl.ones(1000)

    def draw(order):
        tl.manual_seed(5)
        return {i: np.array(m[i](x)) for i in order}

    a, b = draw([0, 1]), draw([1, 0])
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) and not np.array_equal(a[0], a[1])
    assert set(np.unique(a[0])) == {0.0, 2.0} and abs(a[0].mean() - 1) < 0.15
    assert m.eval()[0](x) is x and F.dropout(x, 0.0) is x
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError):
            nn.Dropout(p)
        with pytest.raises(ValueError):
            F.dropout(x, p)


# -- functional errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: F.layer_norm(tl.zeros(2, 3), (4,))),
        (ShapeError, lambda: F.layer_norm(tl.zeros(2, 3), ())),
        (ShapeError, lambda: F.layer_norm(tl.zeros(2, 3), 3, tl.zeros(2))),
        (ShapeError, lambda: F.rms_norm(tl.zeros(3), (2, 3))),
        (ShapeError, lambda: F.glu(tl.zeros(2, 3))),
        (ShapeError, lambda: F.glu(tl.zeros(()))),
        (RuntimeError, lambda: F.gelu(tl.zeros(2), approximate="fast")),
        (NotImplementedError, lambda: F.pad(tl.zeros(2), (1, 1), mode="reflect")),
        (NotImplementedError, lambda: F.normalize(tl.zeros(2, 2), p=3.0)),
        (RuntimeError, lambda: F.one_hot(tl.zeros(2))),
        (RuntimeError, lambda: F.one_hot(tl.tensor([-1]), 3)),
        (RuntimeError, lambda: F.one_hot(tl.tensor([3]), 3)),
        (RuntimeError, lambda: F.one_hot(tl.tensor(np.zeros(0, np.int64)))),
        (ValueError, lambda: F.embedding(tl.tensor([0]), tl.zeros(2, 2), padding_idx=2)),
        (IndexError, lambda: F.embedding(tl.tensor([2]), tl.zeros(2, 2))),
        (ValueError, lambda: F.mse_loss(tl.zeros(2), tl.zeros(2), reduction="avg")),
        (ValueError, lambda: F.cross_entropy(tl.zeros(2, 3), tl.tensor([0, 1]), reduction="avg")),
        (ShapeError, lambda: F.cross_entropy(tl.zeros(2, 3), tl.tensor([0, 1, 2]))),
        (ShapeError, lambda: F.cross_entropy(tl.zeros(2, 3, 4), tl.tensor([[0], [1]]))),
        (ShapeError, lambda: F.cross_entropy(tl.zeros(()), tl.tensor(0))),
        (ShapeError, lambda: F.cross_entropy(tl.zeros(2, 3), tl.tensor([0, 1]), tl.zeros(2))),
        (IndexError, lambda: F.cross_entropy(tl.zeros(2, 3), tl.tensor([0, 3]))),
        (RuntimeError, lambda: F.cross_entropy(tl.zeros(2, 3), tl.zeros(2))),
        (RuntimeError, lambda: F.cross_entropy(tl.zeros(2, 3), tl.tensor([0, 1]), label_smoothing=1.5)),
        (IndexError, lambda: F.nll_loss(tl.zeros(2, 3), tl.tensor([0, 3]))),
        (RuntimeError, lambda: F.huber_loss(tl.zeros(2), tl.zeros(2), delta=0.0)),
        (RuntimeError, lambda: F.smooth_l1_loss(tl.zeros(2), tl.zeros(2), beta=-1.0)),
        (ValueError, lambda: F.binary_cross_entropy(tl.zeros(2), tl.zeros(3))),
        (RuntimeError, lambda: F.binary_cross_entropy(tl.ones(2) * 2, tl.zeros(2))),
        (ValueError, lambda: F.binary_cross_entropy_with_logits(tl.zeros(2), tl.zeros(2, 1))),
        (ShapeError, lambda: F.kl_div(tl.zeros(2), tl.zeros(2, 1))),
        (UserWarning, lambda: F.mse_loss(tl.zeros(2), tl.zeros(2, 1))),
        (ValueError, lambda: nn.Embedding(3, 2, padding_idx=3)),
        (ValueError, lambda: nn.activation("swoosh")),
        (TypeError, lambda: nn.GELU("tanh", approximate="none")),
        (TypeError, lambda: nn.GELU(exact=True)),
    ],
)
def test_errors(error, call):
    with pytest.raises(error):
        call()


def test_embedding_padding_row_starts_and_stays_zero():
    m = nn.Embedding(4, 3, padding_idx=-1)
    assert m.padding_idx == 3 and not np.array(m.weight.detach())[3].any()
    m(tl.tensor([3, 1, 3])).sum().backward()
    assert np.array_equal(m.weight.grad.array[:, 0], [0, 1, 0, 0])
    table = rand(3, 2)
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad and np.array_equal(frozen(tl.tensor([2, 0])), np.array(table)[[2, 0]])
    with pytest.raises(ValueError):
        nn.Embedding.from_pretrained(rand(3))


# -- masks -----------------------------------------------------------------------------------------------


def visible(mask, batch, n_query, n_key):
    """The mask as a bool array (batch, n_query, n_key), from its intervals."""
    lo, hi = nn.masks.bounds(mask, batch, n_query, n_key)
    j = np.arange(n_key)
    keep = np.ones((batch, n_query, n_key), bool)
    if lo is not None:
        keep &= j >= lo[..., None]
    if hi is not None:
        keep &= j < hi[..., None]
    return keep


@cases(60)
@given(n_query=st.integers(0, 6), n_key=st.integers(0, 6), data=st.data())
def test_masks_are_what_they_say(n_query, n_key, data):
    batch = 3
    i, j = np.arange(n_query)[:, None], np.arange(n_key)[None]
    at = i + n_key - n_query
    whole = np.ones((batch, n_query, n_key), bool)
    limits = st.none() | st.integers(0, 3)
    left, right = data.draw(limits), data.draw(limits)
    prefix = np.array(data.draw(st.lists(st.integers(0, 6), min_size=batch, max_size=batch)))
    start = np.array(data.draw(st.lists(st.integers(0, 6), min_size=batch, max_size=batch)))
    stop = np.array(data.draw(st.lists(st.integers(0, 6), min_size=batch, max_size=batch)))
    expected = [
        (nn.Mask(), whole),
        (nn.Causal(), whole & (j <= at)),
        (nn.Causal("top-left"), whole & (j <= i)),
        (
            nn.Window(left, right),
            whole & (True if left is None else j >= at - left) & (True if right is None else j <= at + right),
        ),
        (nn.PrefixLM(prefix), (j < prefix[:, None, None]) | (j <= at)),
        (nn.Padding(start, stop), whole & (j >= start[:, None, None]) & (j < stop[:, None, None])),
        (nn.Padding(stop=tl.tensor(stop)), whole & (j < stop[:, None, None])),
    ]
    (a, keep_a), (b, keep_b) = data.draw(st.sampled_from(expected)), data.draw(st.sampled_from(expected))
    assert np.array_equal(visible(a, batch, n_query, n_key), keep_a)
    assert np.array_equal(visible(a & b, batch, n_query, n_key), keep_a & keep_b)


def test_flash_attentions_causal_examples():
    """The two pictures of the FlashAttention README: 2 queries and 5 keys, 5 queries and 2 keys."""
    assert visible(nn.Causal(), 1, 2, 5)[0].astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert visible(nn.Causal(), 1, 5, 2)[0].astype(int).tolist() == [[0, 0], [0, 0], [0, 0], [1, 0], [1, 1]]


def test_padding_from_a_mask():
    keep = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]], bool)
    mask = nn.Padding.from_mask(tl.tensor(keep))
    assert np.array_equal(visible(mask, 4, 2, 4), np.repeat(keep[:, None], 2, 1))
    grown = visible(mask, 4, 1, 6)[:, 0]  # tokens that a cache appends follow rows that were open to the right
    assert grown[:, 4:].tolist() == [[False, False], [True, True], [False, False], [True, True]]
    with pytest.raises(ValueError, match="together"):
        nn.Padding.from_mask(np.array([[True, False, True]]))
    with pytest.raises(ShapeError):
        nn.Padding.from_mask(np.ones((2, 3)))


@cases(30)
@given(
    lengths=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3),
    tail=st.integers(0, 5),
)
def test_segments(lengths, tail):
    n = max(map(sum, lengths))
    rows = []
    for row in lengths:
        ids = [i for i, k in enumerate(row) for _ in range(k)]
        rows.append(ids + [len(row)] * (n - len(ids)))
    ids = np.array(rows)
    mask = nn.Segments(ids)
    tail = min(tail, n)
    keep = ids[:, :, None] == ids[:, None, :]
    assert np.array_equal(visible(mask, len(ids), tail, n), keep[:, n - tail :])
    for row, offsets in zip(ids, mask.offsets, strict=True):
        expected = [k - np.flatnonzero(row == s)[0] for k, s in enumerate(row)]
        assert offsets.tolist() == expected


def test_mask_errors():
    with pytest.raises(ValueError, match="together"):
        nn.Segments(np.array([[0, 1, 0]]))
    with pytest.raises(ShapeError):
        nn.Segments(np.zeros((1, 2, 3), int))
    with pytest.raises(ShapeError):
        nn.Segments(np.zeros((1, 3), int)).intervals(2, 4)
    with pytest.raises(TypeError):
        nn.Padding(stop=np.array([1.0]))
    with pytest.raises(ValueError):
        nn.Window(-1)
    with pytest.raises(ValueError):
        nn.Causal("left")
    with pytest.raises(RuntimeError):
        nn.Dense(tl.tensor([1]))
    with pytest.raises(ShapeError, match="batch of 3"):
        nn.masks.bounds(nn.Padding(stop=np.array([1, 2])), 3, 2, 2)
    dense = nn.Dense(tl.tensor([True]))
    with pytest.raises(ValueError, match="at most one"):
        _ = dense & dense
    with pytest.raises(TypeError):
        _ = dense & 3


# -- attention -------------------------------------------------------------------------------------------


def naive(module, x, keep, memory=None):
    """nn.Attention written out with NumPy, from its documented weight layout."""
    h, hk, d = module.n_head, module.n_kv_head, module.head_dim
    x = np.array(x)
    b, t, _ = x.shape

    def project(layer, y):
        return y @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    if memory is None:
        rows = project(module.qkv, x).reshape(b, t, h + 2 * hk, d)
        q, k, v = rows[:, :, :h], rows[:, :, h : h + hk], rows[:, :, h + hk :]
    else:
        q = project(module.q, x).reshape(b, t, h, d)
        rows = project(module.kv, np.array(memory)).reshape(b, memory.shape[1], 2 * hk, d)
        k, v = rows[:, :, :hk], rows[:, :, hk:]
    out = np.zeros((b, t, h, d))
    for n in range(b):
        for head in range(h):
            s = q[n, :, head] @ k[n, :, head // (h // hk)].T / math.sqrt(d)
            for i in range(t):
                js = np.flatnonzero(keep[n, i])
                if len(js):
                    w = np.exp(s[i, js] - s[i, js].max())
                    out[n, i, head] = w / w.sum() @ v[n, js, head // (h // hk)]
    return project(module.out, out.reshape(b, t, h * d))


@cases(25)
@given(
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (4, 1)]),
    head_dim=st.sampled_from([None, 3]),
    cross=st.booleans(),
    t=st.integers(1, 6),
    data=st.data(),
)
def test_attention_is_its_definition(heads, head_dim, cross, t, data):
    b, s = 2, data.draw(st.integers(1, 6)) if cross else t
    module = nn.Attention(8, *heads, head_dim=head_dim, d_memory=5 if cross else None).double()
    x, memory = rand(b, t, 8), rand(b, s, 5, seed=1) if cross else None
    masks = [nn.Causal(), nn.Padding(stop=np.array([s, s - 1])), nn.Window(1, 1), nn.PrefixLM(2), None]
    mask = data.draw(st.sampled_from(masks))
    out = module(x, memory, mask=mask)
    np.testing.assert_allclose(out.detach(), naive(module, x, visible(mask, b, t, s), memory), rtol=1e-9, atol=1e-11)


def test_dense_masks_compose_with_intervals():
    module, x = nn.Attention(8, 2).double(), rand(2, 5, 8)
    holes = np.random.default_rng(0).random((2, 1, 5, 5)) < 0.6
    out = module(x, mask=nn.Causal() & nn.Dense(tl.tensor(holes)))
    keep = visible(nn.Causal(), 2, 5, 5) & holes[:, 0]
    np.testing.assert_allclose(out.detach(), naive(module, x, keep), rtol=1e-9, atol=1e-11)


def test_permuting_heads_permutes_nothing():
    """A head is a set of rows of qkv and columns of out: exchanging two changes nothing (up to the order of a sum)."""
    a, b = nn.Attention(8, 4).double(), nn.Attention(8, 4).double()
    order = [2, 0, 3, 1]
    rows = np.concatenate([np.arange(8).reshape(4, 2)[order].ravel() + 8 * i for i in range(3)])
    state = {k: np.array(v) for k, v in a.state_dict().items()}
    state["qkv.weight"], state["qkv.bias"] = state["qkv.weight"][rows], state["qkv.bias"][rows]
    state["out.weight"] = state["out.weight"][:, rows[:8]]
    b.load_state_dict(state)
    x = rand(2, 5, 8)
    np.testing.assert_allclose(a(x, mask=nn.Causal()).detach(), b(x, mask=nn.Causal()).detach(), rtol=1e-11, atol=1e-13)


def test_packed_documents_equal_separate_ones():
    module = nn.Attention(8, 2).double()
    a, b = rand(1, 3, 8), rand(1, 4, 8, seed=1)
    segments = nn.Segments(np.array([[0] * 3 + [1] * 4]))
    packed = module(tl.cat([a, b], 1), mask=nn.Causal() & segments)
    apart = tl.cat([module(x, mask=nn.Causal()) for x in (a, b)], 1)
    np.testing.assert_allclose(packed.detach(), apart.detach(), rtol=1e-12, atol=1e-14)


def test_padded_batch_equals_unpadded_sequences_whatever_the_padding_holds():
    module = nn.Attention(8, 2).double()
    x = rand(2, 5, 8)
    garbage = np.array(x)
    garbage[0, 3:] = 1e6
    garbage[1, :2] = -1e6
    mask = nn.Causal() & nn.Padding(np.array([0, 2]), np.array([3, 5]))
    out = module(tl.tensor(garbage), mask=mask)
    np.testing.assert_allclose(out.detach()[0, :3], module(x[:1, :3], mask=nn.Causal()).detach()[0], rtol=1e-12)
    np.testing.assert_allclose(out.detach()[1, 2:], module(x[1:, 2:], mask=nn.Causal()).detach()[0], rtol=1e-12)


@cases(20)
@given(n_kv_head=st.sampled_from([1, 2, 4]), pieces=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_cache_equals_the_whole_sequence(n_kv_head, pieces):
    module, total = nn.Attention(8, 4, n_kv_head).double(), sum(pieces)
    x = rand(2, total, 8)
    cache = nn.LayerCache(2, n_kv_head, total + 1, 2, np.float64)
    with tl.no_grad():
        whole = module(x, mask=nn.Causal())
        parts, at = [], 0
        for n in pieces:
            parts.append(module(x[:, at : at + n], mask=nn.Causal(), cache=cache))
            at += n
        np.testing.assert_allclose(tl.cat(parts, 1), whole, rtol=1e-12, atol=1e-14)
    assert cache.length == total


def test_cache_errors_and_housekeeping():
    cache = nn.KVCache(2, 1, 2, 4, 3)
    k = tl.zeros(1, 2, 3, 3)
    keys, values = cache[0].update(k, k)
    cache[1].update(k, k)
    assert keys.shape == values.shape == (1, 2, 3, 3) and cache.length == 3 and len(cache) == 2
    assert cache.nbytes == 2 * 2 * 1 * 2 * 4 * 3 * 4
    assert np.shares_memory(keys.array, cache[0].k.array)
    with pytest.raises(ShapeError, match="holds 4 tokens: 3 are filled and 3 more came"):
        cache[0].update(k, k)
    with pytest.raises(ShapeError, match="2 heads"):
        cache[0].update(tl.zeros(1, 1, 1, 3), tl.zeros(1, 1, 1, 3))
    with pytest.raises(RuntimeError, match="no_grad"):
        cache[0].update(tl.zeros(1, 2, 1, 3, requires_grad=True), tl.zeros(1, 2, 1, 3))
    cache.truncate(1)
    assert cache.length == 1
    with pytest.raises(ValueError):
        cache.truncate(2)
    cache.reset()
    assert cache.length == 0


def test_attention_errors():
    with pytest.raises(ValueError, match="multiple"):
        nn.Attention(8, 4, 3)
    with pytest.raises(ValueError, match="divisible"):
        nn.Attention(7, 2)
    with pytest.raises(ShapeError):
        nn.Attention(8, 2)(rand(2, 8, dtype=np.float32))
    with pytest.raises(ValueError, match="no memory"):
        nn.Attention(8, 2)(rand(1, 2, 8, dtype=np.float32), rand(1, 2, 8, dtype=np.float32))
    with pytest.raises(ValueError, match="needs a memory"):
        nn.Attention(8, 2, d_memory=8)(rand(1, 2, 8, dtype=np.float32))
    for call in (
        lambda: nn.MultiheadAttention(7, 2),
        lambda: nn.MultiheadAttention(0, 1),
    ):
        with pytest.raises(ValueError):
            call()


def test_multihead_errors_and_masked_rows():
    m = nn.MultiheadAttention(8, 2, batch_first=True).double()
    x = rand(2, 3, 8)
    for kwargs in (
        {"attn_mask": tl.tensor(np.zeros((3, 4), bool))},
        {"key_padding_mask": tl.tensor(np.zeros((3, 3), bool))},
        {"is_causal": True},
    ):
        with pytest.raises(RuntimeError):
            m(x, x, x, **kwargs)
    for arrays in ((x, x[0], x), (x[..., :4], x, x), (x, x[:1], x[:1])):
        with pytest.raises(ShapeError):
            m(*arrays)
    drop = np.zeros((3, 3), bool)
    drop[1] = True
    out, weights = m(x, x, x, attn_mask=tl.tensor(drop))
    lean, none = m(x, x, x, attn_mask=tl.tensor(drop), need_weights=False)
    assert none is None and not np.array(weights.detach())[:, 1].any()
    np.testing.assert_allclose(out.detach(), lean.detach(), rtol=1e-12, atol=1e-14)
    out.sum().backward()
    assert np.isfinite(m.in_proj_weight.grad.array).all()


def test_sdpa_dropout_is_reproducible_and_unbiased():
    q = rand(1, 2, 4, 3)
    v = tl.ones(1, 2, 4, 3, dtype=tl.float64)
    tl.manual_seed(0)
    a = F.scaled_dot_product_attention(q, q, v, dropout_p=0.5)
    tl.manual_seed(0)
    assert same(a, F.scaled_dot_product_attention(q, q, v, dropout_p=0.5))
    many = np.mean([F.scaled_dot_product_attention(q, q, v, dropout_p=0.5).array for _ in range(300)])
    assert abs(many - 1) < 0.05


def test_sdpa_extras_are_checked():
    q = rand(1, 2, 4, 3)
    with pytest.raises(ShapeError):
        F.scaled_dot_product_attention(q, q, q, alibi_slopes=np.ones(3))
    with pytest.raises(TypeError):
        F.scaled_dot_product_attention(q.array, q, q)
    with pytest.raises(ShapeError):
        F.scaled_dot_product_attention(q, q[0], q[0])
    with pytest.raises(ShapeError):
        F.scaled_dot_product_attention(q, rand(3, 2, 4, 3), rand(2, 2, 4, 3))


# -- positions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_sinusoids_follow_the_paper(d):
    table = nn.SinusoidalPositions(d).table(np.arange(50)).numpy()
    assert table.shape == (50, d) and table.dtype == np.float64
    for p in (0, 1, 49):
        for i in range(d):
            angle = p / 10000 ** (2 * (i // 2) / d)
            assert table[p, i] == pytest.approx(math.sin(angle) if i % 2 == 0 else math.cos(angle), abs=1e-12)


def test_sinusoids_shift_by_a_rotation():
    """PE(p + k) = R_k PE(p) with R_k independent of p: what the paper chose them for."""
    table = nn.SinusoidalPositions(8).table(np.arange(60)).numpy()
    before, after = table[:50], table[7:57]
    shift, *_ = np.linalg.lstsq(before, after, rcond=None)
    np.testing.assert_allclose(before @ shift, after, atol=1e-9)
    np.testing.assert_allclose(shift @ shift.T, np.eye(8), atol=1e-6)


def test_positions_protocol():
    x = rand(2, 3, 4, dtype=np.float32)
    learned = nn.LearnedPositions(5, 4)
    np.testing.assert_array_equal(
        learned.at(np.array([[0, 1, 2], [4, 4, 0]])).embed(x).detach(),
        np.array(x) + learned.weight.detach().numpy()[[[0, 1, 2], [4, 4, 0]]],
    )
    with pytest.raises(IndexError, match="position 5 is beyond the 5 learned positions"):
        learned.at(np.array([3, 4, 5])).embed(x)
    none = nn.NoPositions().at(tl.tensor([0, 1, 2]))
    assert none.embed(x) is x and none.rotate(x, x) == (x, x) and none.scores(3, 3, 2) == {}
    waves = nn.SinusoidalPositions(4)
    for at in (np.arange(3), np.arange(3), np.arange(1, 4)):
        for y in (x, x.double()):
            out = waves.at(at).embed(y)
            assert out.dtype == y.dtype and np.allclose(out, np.array(y) + waves.table(at).numpy(), atol=1e-6)
    with pytest.raises(TypeError):
        learned.at(np.array([0.5]))
    with pytest.raises(ShapeError):
        learned.at(np.array(3))
    with pytest.raises(ValueError):
        learned.at(np.array([-1]))


def test_rotation_and_score_hooks_reach_attention():
    class Probe(nn.Positions):
        def rotate(self, q, k, positions):
            factor = tl.tensor(positions[:, None] + 1.0, dtype=tl.float64)
            return q * factor, k

        def scores(self, n_query, n_key, n_head):
            return {"slopes": np.arange(n_head) * 0.5}

    module, x, where = nn.Attention(8, 2).double(), rand(1, 3, 8), Probe().at(np.arange(3))
    q, k, v = module._project(x, None)
    expected = F.scaled_dot_product_attention(
        q * tl.tensor(np.arange(1.0, 4)[:, None]), k, v, is_causal=True, alibi_slopes=np.arange(2) * 0.5
    )
    out = module(x, mask=nn.Causal(), where=where)
    np.testing.assert_allclose(out.detach(), module.out(expected.transpose(1, 2).reshape(1, 3, 8)).detach(), rtol=1e-12)


# -- blocks ----------------------------------------------------------------------------------------------


def test_blocks():
    x = rand(2, 3, 8)
    mlp = nn.MLP(8, activation=F.relu).double()
    expected = np.maximum(np.array(x) @ mlp.up.weight.detach().numpy().T + mlp.up.bias.detach().numpy(), 0)
    expected = expected @ mlp.down.weight.detach().numpy().T + mlp.down.bias.detach().numpy()
    np.testing.assert_allclose(mlp(x).detach(), expected, rtol=1e-12)
    assert mlp.up.out_features == 32
    gated = nn.GatedMLP(8, 6).double()
    w = gated.gate_up.weight.detach()
    hidden = F.silu(F.linear(x, w[:6])) * F.linear(x, w[6:])
    np.testing.assert_allclose(gated(x).detach(), gated.down(hidden).detach(), rtol=1e-12)
    assert gated.num_parameters() == 8 * 12 + 6 * 8
    block = nn.Block(nn.LayerNorm(8), nn.Attention(8, 2), nn.RMSNorm(8), nn.GatedMLP(8, 6)).double()
    y = x + block.attn(block.ln_1(x), mask=nn.Causal())
    np.testing.assert_allclose(block(x, mask=nn.Causal()).detach(), (y + block.mlp(block.ln_2(y))).detach(), rtol=1e-12)


def test_an_encoder_without_positions_is_equivariant_and_with_them_is_not():
    block = nn.Block(nn.LayerNorm(8), nn.Attention(8, 2), nn.LayerNorm(8), nn.MLP(8)).double()
    x, order = rand(1, 5, 8), [3, 0, 4, 1, 2]
    np.testing.assert_allclose(block(x[:, order]).detach(), block(x).detach().numpy()[:, order], rtol=1e-9, atol=1e-12)
    placed = nn.SinusoidalPositions(8).at(np.arange(5))
    a, b = block(placed.embed(x[:, order])), block(placed.embed(x))
    assert not np.allclose(a.detach(), b.detach().numpy()[:, order])


@pytest.mark.parametrize("act", ["relu", "gelu", "gelu_new", "silu", "tanh"])
def test_the_fused_mlp_is_the_composed_one_bit_for_bit(act):
    """In float32, forward and every gradient; tanh is not fused."""

    def run(mlp):
        x = rand(3, 5, 8, dtype=np.float32).requires_grad_()
        y = mlp(x)
        (y * y).sum().backward()
        return y, x.grad, *(p.grad for p in mlp.parameters())

    mlp = nn.MLP(8, 13, nn.activation(act))
    fused = run(mlp)
    calls = []
    mlp.up.register_forward_hook(lambda *_: calls.append(1))  # a hook must be called, so nothing is fused
    mlp.zero_grad()
    assert all(same(a, b) for a, b in zip(fused, run(mlp), strict=True)) and calls


def test_what_replaces_a_part_of_the_mlp_is_called():
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    mlp, x = nn.MLP(4, 6), rand(2, 4, dtype=np.float32)
    before = mlp(x)
    down = Doubled(6, 4)
    down.weight, down.bias = mlp.down.weight, mlp.down.bias
    mlp.down = down
    np.testing.assert_allclose(mlp(x).detach(), 2 * before.detach().numpy(), rtol=1e-6)


def test_a_block_adds_its_residual_in_the_last_product_unless_something_stands_between():
    def block(dropout: float = 0.0) -> nn.Block:
        tl.manual_seed(0)
        return nn.Block(nn.LayerNorm(8), nn.Attention(8, 2), nn.LayerNorm(8), nn.MLP(8), dropout).to(np.float64)

    class Ops(Observer):
        def __init__(self):
            self.names: list[str] = []

        def forward(self, node, arrays, results):
            self.names.append(node.op.__name__)

    def run(b: nn.Block) -> tuple[list[str], np.ndarray, np.ndarray]:
        x = tl.tensor(np.random.default_rng(1).standard_normal((2, 3, 8)), requires_grad=True)
        with Ops() as seen:
            y = b(x)
        (y * y).sum().backward()
        return seen.names, y.detach().numpy(), x.grad.numpy()

    names, y, dx = run(block())
    assert "Add" not in names and names.count("Linear") == 2 and names.count("FeedForward") == 1
    hooked = block()
    shapes = []
    hooked.attn.register_forward_hook(lambda module, args, out: shapes.append(out.detach().numpy()))
    hooked.mlp.activation = lambda h: F.gelu(h)  # not a known one: the parts run one by one
    dropped = block(0.5)
    dropped.eval()
    odd = block()
    odd.attn.out = nn.Sequential(odd.attn.out)
    for other, adds in ((hooked, 2), (dropped, 0), (odd, 1)):
        seen, y2, dx2 = run(other)
        assert seen.count("Add") == adds
        np.testing.assert_allclose(y2, y, rtol=1e-12)
        np.testing.assert_allclose(dx2, dx, rtol=1e-10)
    assert not np.allclose(shapes[0], y)  # the hook saw attention's output, without x
    assert run(block(0.5))[0].count("Add") == 2
