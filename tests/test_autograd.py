"""The tape: how gradients flow, meet, stop and are freed. What each op computes is tests/test_ops.py's business."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm
from tinyllm import Tensor, tape, tensor
from tinyllm.autograd import Node, grad


def leaf(*values):
    return tensor(list(values), dtype=tinyllm.float64, requires_grad=True)


def test_diamond_sums_both_paths():
    a = leaf(1.0)
    b = a + a
    (b + b).sum().backward()
    assert a.grad.tolist() == [4.0]


def test_grad_accumulates_over_backwards():
    a = leaf(2.0, 3.0)
    for times in (1, 2, 3):
        (a * a).sum().backward()
        assert a.grad.tolist() == [4.0 * times, 6.0 * times]


def test_grad_is_a_buffer_of_its_own():
    """y = x + c sends the very gradient that came in; .grad must not be that array."""
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = tensor([1.0, 1.0], dtype=tinyllm.float64)
    (a + b).backward(seed)
    a.grad.array += 1
    assert b.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0]


def test_expanded_leaf_gets_a_writable_gradient():
    a = leaf(1.0, 2.0, 3.0)
    a.sum().backward()
    assert a.grad.array.flags.c_contiguous and a.grad.array.flags.writeable


def test_second_backward_raises_unless_retained():
    a = leaf(1.0)
    y = (a * a).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert a.grad.tolist() == [4.0]
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_backward_frees_what_it_used():
    a = leaf(1.0, 2.0)
    h = a.exp()
    kept = weakref.ref(h)
    y = (h * h).sum()
    del h
    gc.collect()
    assert kept() is None  # the tape keeps arrays, not tensors
    node = y.grad_fn
    y.backward()
    assert node.edges[0][0]._saved is None  # the product that held exp's output


def test_second_backward_through_a_shared_trunk():
    """Raises where the trunk's saved arrays are gone, works where it saved nothing; never loses a gradient silently."""
    a = leaf(1.0, 2.0)
    h = a * a
    (h * 2).sum().backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        (h * 3).sum().backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        grad((h * 3).sum(), a, allow_unused=True)
    assert a.grad.tolist() == [4.0, 8.0]  # nothing was added before the error
    b = leaf(1.0, 2.0)
    view = b.reshape(2, 1)
    (view * 2).sum().backward()
    (view * 3).sum().backward()
    assert b.grad.tolist() == [5.0, 5.0]


def test_grad_of_an_intermediate_leaves_its_own_node_alone():
    """What a pipeline stage does: the gradient of its input first, then from there on."""
    a = leaf(3.0)
    h = a * a
    (g,) = grad((h * 2).sum(), h)
    h.backward(g)
    assert a.grad.tolist() == [12.0]


def test_deep_graph_needs_no_recursion():
    a = leaf(1.0)
    y = a
    for _ in range(20_000):
        y = y + 1.0
    y.sum().backward()
    assert a.grad.tolist() == [1.0]


def test_no_grad_and_nesting():
    a = leaf(1.0)
    with tinyllm.no_grad():
        b = a * 2
        with tinyllm.enable_grad():
            c = a * 2
        assert not tinyllm.is_grad_enabled()
    assert not b.requires_grad and b.grad_fn is None and c.requires_grad
    assert tinyllm.is_grad_enabled()

    @tinyllm.no_grad()
    def f():
        return a * 3

    assert not f().requires_grad


def test_set_grad_enabled_as_a_statement_and_generators():
    a = leaf(1.0)
    tinyllm.set_grad_enabled(False)
    assert not (a * 2).requires_grad
    tinyllm.set_grad_enabled(True)
    with tinyllm.set_grad_enabled(False):
        assert not (a * 2).requires_grad
    assert (a * 2).requires_grad

    @tinyllm.no_grad()
    def items():
        yield a * 2
        yield a * 3
        return "end"

    seen = [x.requires_grad for x in items()]
    assert seen == [False, False] and tinyllm.is_grad_enabled()
    assert tinyllm.set_grad_enabled(False)(lambda: a * 2)().requires_grad is False and tinyllm.is_grad_enabled()


def test_no_grad_is_per_thread():
    seen = []
    with tinyllm.no_grad():
        t = threading.Thread(target=lambda: seen.append(tinyllm.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_grad_of_leaf_and_intermediate():
    a = leaf(2.0)
    b = a * a
    c = (b * a).sum()
    db, da = grad(c, [b, a])
    assert db.tolist() == [2.0] and da.tolist() == [12.0]
    assert a.grad is None


def test_grad_computes_only_what_is_asked(monkeypatch):
    """Input and weight gradients in two calls: each runs only its own product (pipeline schedules rely on it)."""
    x, w = tinyllm.randn(3, 4, requires_grad=True), tinyllm.randn(4, 5, requires_grad=True)
    y = (x @ w).sum()
    asked = []
    original = tinyllm.ops.Matmul.backward
    monkeypatch.setattr(
        tinyllm.ops.Matmul,
        "backward",
        staticmethod(lambda ctx, dy: asked.append(tuple(ctx.needs)) or original(ctx, dy)),
    )
    (dx,) = grad(y, x, retain_graph=True)
    (dw,) = grad(y, w)
    assert asked == [(True, False), (False, True)]
    np.testing.assert_allclose(dx.numpy(), np.broadcast_to(w.detach().numpy().sum(1), (3, 4)), rtol=1e-5)
    np.testing.assert_allclose(dw.numpy(), np.broadcast_to(x.detach().numpy().sum(0)[:, None], (4, 5)), rtol=1e-5)


def test_unused_input():
    a, b = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        grad(a.sum(), b)
    assert grad(a.sum(), b, allow_unused=True) == (None,)


def test_output_nobody_used_counts_as_zero():
    a = leaf(3.0, 1.0, 2.0)
    first, _ = a.split(2)
    first.sum().backward()
    assert a.grad.tolist() == [1.0, 1.0, 0.0]


def test_errors_of_backward():
    a = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="scalar"):
        (a * 2).backward()
    with pytest.raises(RuntimeError, match=r"shape of its output, \(2,\), got \(3,\)"):
        (a * 2).backward(tensor([1.0, 1.0, 1.0]))
    with pytest.raises(RuntimeError, match="requires grad"):
        tensor([1.0]).backward()
    with pytest.raises(NotImplementedError, match="first-order"):
        grad(a.sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad(a.sum(), tensor([1.0]))


def test_backward_on_a_leaf_itself():
    a = leaf(5.0)
    a.backward()
    assert a.grad.tolist() == [1.0]


def test_writing_to_what_was_saved_is_noticed():
    a = leaf(1.0, 2.0)
    y = (a * a).sum()
    with tinyllm.no_grad():
        a[0] = 5.0
    with pytest.raises(RuntimeError, match="Mul saved for backward was modified in place"):
        y.backward()


def test_writing_through_a_view_is_noticed():
    a = leaf(1.0, 2.0)
    h = a * 1.0
    y = (h * h).sum()
    with tinyllm.no_grad():
        h.detach().reshape(2, 1).zero_()
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


def test_writing_to_a_saved_output_is_noticed():
    a = leaf(1.0, 2.0)
    h = a.exp()
    with tinyllm.no_grad():
        h.zero_()
    with pytest.raises(RuntimeError, match="Exp saved for backward was modified in place"):
        h.sum().backward()


def test_in_place_writes_are_refused_while_recording():
    a = leaf(1.0, 2.0)
    for write in (lambda: a.zero_(), lambda: a.__setitem__(0, 1.0), lambda: a.copy_(tensor([1.0, 2.0]))):
        with pytest.raises(RuntimeError, match="no_grad"):
            write()


def test_storage_of_a_leaf_may_be_swapped_between_forward_and_backward():
    """FSDP frees and regathers parameters: the tape holds the variable, not its array."""
    w = leaf(3.0)
    y = (w * 2.0).sum()
    (w * w).sum()
    z = (w * w).sum()
    values, w.array = w.array, None
    w.array = values.copy()
    (y + z).backward()
    assert w.grad.tolist() == [8.0]


def test_hooks():
    a = leaf(1.0, 2.0)
    calls = []
    a.register_hook(lambda g: calls.append(g.tolist()))
    a.register_post_accumulate_grad_hook(lambda v: calls.append(("done", v.grad.tolist())))
    h = a * 3
    h.register_hook(lambda g: g * 10)
    h.retain_grad()
    (h + h).sum().backward()
    assert h.grad.tolist() == [20.0, 20.0]
    assert calls == [[60.0, 60.0], ("done", [60.0, 60.0])]  # once, with the complete gradient
    handle = a.register_hook(lambda g: g * 100)
    handle.remove()
    a.grad = None
    a.sum().backward()
    assert a.grad.tolist() == [1.0, 1.0]


def test_backward_into_chosen_leaves():
    a, b = leaf(1.0), leaf(2.0)
    (a * b).sum().backward(inputs=[a])
    (a * b).sum().backward(inputs=a)
    assert a.grad.tolist() == [4.0] and b.grad is None
    with pytest.raises(RuntimeError, match="leaves"):
        (a * b).sum().backward(inputs=[a * 2])


def test_negation_saves_nothing_and_lets_a_second_pass_through():
    a = leaf(1.0)
    h = -a
    (h * 2).sum().backward()
    (h * 3).sum().backward()
    assert a.grad.tolist() == [-5.0]


def test_a_decorated_function_keeps_threads_apart():
    inside, leave = threading.Event(), threading.Event()

    @tinyllm.no_grad()
    def wait():
        inside.set()
        leave.wait(5)

    with tinyllm.enable_grad():
        t = threading.Thread(target=wait)
        t.start()
        inside.wait(5)
        assert not tinyllm.no_grad()(tinyllm.is_grad_enabled)() and tinyllm.is_grad_enabled()
        leave.set()
        t.join()


@pytest.fixture
def remaking(monkeypatch):
    """Outputs of any size are made again in backward where their op can, and counted by the name of the op."""
    monkeypatch.setattr(tape, "REMAKE_FROM", 0)
    made = []
    for op in (tinyllm.ops.Gelu, tinyllm.ops.LayerNorm):
        original = op.remake
        counted = staticmethod(lambda ctx, *saved, f=original, name=op.__name__: made.append(name) or f(ctx, *saved))
        monkeypatch.setattr(op, "remake", counted)
    return made


def hidden_layer(seed=0):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(s), True) for s in ((5, 4), (4,), (4,), (6, 4), (3, 6))]


def run_hidden_layer(x, gain, bias, up, down):
    n = tinyllm.nn.functional.layer_norm(x, (4,), gain, bias)
    return tinyllm.nn.functional.linear(tinyllm.nn.functional.gelu(tinyllm.nn.functional.linear(n, up)), down)


def test_a_remade_output_gives_the_same_bits(remaking, monkeypatch):
    leaves = hidden_layer()
    grads, saved = [], []
    for least in (0, 1 << 40):
        monkeypatch.setattr(tape, "REMAKE_FROM", least)
        with tinyllm.profile() as p:
            y = run_hidden_layer(*leaves)
        grads.append(grad((y * y).sum(), leaves))
        saved.append(p.saved_bytes)
    assert remaking == ["Gelu", "LayerNorm"]  # once a reader, and only where asked
    assert saved[1] - saved[0] == 8 * 5 * (4 + 6)
    for a, b in zip(*grads, strict=True):
        assert a.array.tobytes() == b.array.tobytes()


def test_nobody_stores_what_is_remade(remaking):
    x, *_, down = hidden_layer()
    h = tinyllm.nn.functional.gelu(x @ tinyllm.ones(4, 6, dtype=tinyllm.float64))
    kept = weakref.ref(h.array)
    y = tinyllm.nn.functional.linear(h, down)
    del h
    assert kept() is None
    for _ in range(2):
        y.sum().backward(retain_graph=True)
    assert remaking == ["Gelu"] * 2 and x.grad is not None


def test_a_remade_output_outlives_the_backward_of_its_maker(remaking):
    """The maker has run and freed its own needs; a reader that only its weight is asked of can still have it."""
    x, w = leaf(1.0, -2.0), leaf(3.0, 4.0)
    h = tinyllm.nn.functional.gelu(x)
    first, second = (h + 2.0).sum(), (h * w).sum()
    expected = h.tolist()
    first.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        second.backward()
    (dw,) = grad(second, w)
    assert dw.tolist() == expected and remaking == ["Gelu"]
    assert h.grad_fn._saved is None  # nobody reads it any more


def test_writing_to_what_is_remade_or_remade_from_is_noticed(remaking):
    w = leaf(3.0, 4.0)
    for written in ("input", "output"):
        x = leaf(1.0, -2.0)
        inner = x * 1.0
        h = tinyllm.nn.functional.gelu(inner)
        y = (h * w).sum()
        with tinyllm.no_grad():
            (inner if written == "input" else h).zero_()
        with pytest.raises(RuntimeError, match="modified in place"):
            grad(y, w)
    h = tinyllm.nn.functional.gelu(leaf(1.0, -2.0))
    with tinyllm.no_grad():
        h.fill_(7.0)  # before anybody saved it: what is saved is what it holds now
    assert grad((h * w).sum(), w)[0].tolist() == [7.0, 7.0] and not remaking


def test_a_chain_of_remakes_is_one_link_long(remaking):
    x = leaf(1.0, -2.0)
    h = x
    for _ in range(4):
        h = tinyllm.nn.functional.gelu(h)
    h.sum().backward()
    assert len(remaking) == 2


def test_profile_counts_flops_and_saved_bytes():
    x, w = tinyllm.randn(8, 16, requires_grad=True), tinyllm.randn(16, 4, requires_grad=True)
    with tinyllm.profile() as p:
        y = x @ w
        assert p.flops == 2 * 8 * 16 * 4
        assert p.saved_bytes == 0  # leaves are kept by reference
        y.backward(tinyllm.ones(8, 4))
    assert p.flops == 3 * 2 * 8 * 16 * 4
    with tinyllm.profile() as p:
        (x @ w).exp()
    assert p.saved_bytes == 8 * 4 * 4


def test_profile_peak_sees_large_arrays():
    if not tinyllm.backend.compiled():
        pytest.skip("the counters belong to the compiled allocator")
    with tinyllm.backend.use("cpu"), tinyllm.profile() as p:
        tinyllm.zeros(1 << 20)
    assert p.peak >= 4 << 20


def test_profile_tells_the_kinds_of_bytes():
    if not tinyllm.backend.compiled():
        pytest.skip("the counters belong to the compiled allocator")
    n = 100 * 100 * 8
    with tinyllm.backend.use("cpu"), tinyllm.profile() as outside:
        w = tinyllm.nn.Parameter(tinyllm.ones(100, 100, dtype=tinyllm.float64))
        optimizer = tinyllm.optim.Adam([w])
        with tinyllm.profile() as p:
            h = (w * 2.0).exp()
            assert p.bytes == {}
            with tinyllm.profile():
                pass
            h.sum().backward()
            assert tinyllm.backend.memory.live_by_kind()["activation"] >= n  # exp's output, which h holds
            del h
            optimizer.step()
    assert p.live["gradient"] == p.live["parameter"] == n and p.live["optimizer"] == 2 * n and p.peak >= 3 * n
    assert p.bytes["activation"] == n and p.live["activation"] == p.live["workspace"] == 0
    assert p.bytes["workspace"] >= 2 * n and outside.bytes["workspace"] >= p.bytes["workspace"]
    assert outside.peak >= p.peak and set(p.bytes) == set(tinyllm.backend.memory.KINDS)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_random_graphs_equal_forward_differences(data):
    """Graphs of random wiring: every leaf's gradient equals a directional difference of the whole."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    steps = data.draw(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12)
    )
    rng = np.random.default_rng(seed)
    values = [rng.uniform(0.5, 1.5, s) for s in ((3,), (2, 3), (2, 1))]
    direction = [rng.uniform(-1, 1, v.shape) for v in values]

    combine = [
        lambda a, b: a + b,
        lambda a, b: a * b * 0.5,
        lambda a, b: a.tanh(),
        lambda a, b: a.sum() * 0.1,
        lambda a, b: a - b,
    ]

    def run(t, track=False):
        pool = [Tensor(v + t * d, track) for v, d in zip(values, direction, strict=True)]
        leaves = list(pool)
        for kind, i, j in steps:
            pool.append(combine[kind](pool[i % len(pool)], pool[j % len(pool)]))
        total = pool[-1].sum()
        for v in pool[3:-1]:
            total = total + v.mean() * 0.3
        return total, leaves

    y, leaves = run(0.0, track=True)
    grads = grad(y, leaves, allow_unused=True)
    analytic = sum(float((g.array * d).sum()) for g, d in zip(grads, direction, strict=True) if g is not None)
    h = 1e-3
    f = lambda t: run(t)[0].item()  # noqa: E731
    numeric = (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
    assert abs(numeric - analytic) <= 1e-9 * (1 + abs(numeric) + abs(y.item()))


def test_one_micro_batch_per_rank_summed_in_order_is_one_process():
    """A pass's gradient is completed in a buffer and added once: summing the passes by hand gives the same bits."""
    rng = np.random.default_rng(0)
    w = Tensor(rng.standard_normal((5, 7)).astype(np.float32), True)
    batches = [Tensor(rng.standard_normal((3, 5)).astype(np.float32)) for _ in range(4)]

    def loss(x):
        h = x @ w
        return (h * h).sum() + (x @ w).tanh().sum()  # two uses of w in one pass

    alone = [grad(loss(x), w)[0].array for x in batches]
    total = alone[0].copy()
    for g in alone[1:]:
        total += g
    for x in batches:
        loss(x).backward()
    assert w.grad.array.tobytes() == total.tobytes()


def test_node_saves_nothing_without_need():
    node = Node(tinyllm.ops.Mul, [False, False], {}, [])
    node.save(np.ones(3))
    assert node.saved == []
