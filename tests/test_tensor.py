"""The interface of Tensor against NumPy: promotion, indexing, shapes, conversions. Gradients are in test_ops and
test_autograd.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm
from tinyllm import DtypeError, ShapeError, Tensor, tensor
from tinyllm.functions import result_type

quick = settings(max_examples=120, deadline=None, derandomize=True, database=None)


def same(t, a):
    a = np.asarray(a)
    assert t.shape == a.shape, (t.shape, a.shape)
    np.testing.assert_allclose(t.detach().numpy(), a, rtol=1e-5, atol=1e-6)


def test_dtypes_of_new_tensors():
    assert (
        tensor(1.5).dtype == tinyllm.float32 and tensor(1).dtype == tinyllm.int64 and tensor(True).dtype == tinyllm.bool
    )
    assert tensor(np.ones(2)).dtype == tinyllm.float64
    assert tensor([1, 2], dtype=tinyllm.float64).tolist() == [1.0, 2.0]
    with pytest.raises(DtypeError, match="float16"):
        tensor([1.0], dtype=np.float16)
    with pytest.raises(DtypeError, match="floating"):
        tensor([1], requires_grad=True)


def test_tensor_copies_and_from_numpy_shares():
    a = np.zeros(3, np.float32)
    t, view = tensor(a), tinyllm.from_numpy(a)
    a[0] = 1
    assert t.tolist() == [0, 0, 0] and view.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (tensor([1]), tensor([1.0]), "float32"),
        (tensor([1]), 1.5, "float32"),
        (tensor([1.0], dtype=np.float64), 2, "float64"),
        (tensor([1.0]), tensor(1.0, dtype=np.float64), "float32"),  # a tensor without axes does not widen
        (tensor([1.0]), tensor([1.0], dtype=np.float64), "float64"),
        (tensor([True]), 2, "int64"),
        (tensor([1], dtype=np.int32), 2, "int32"),
        (tensor([1], dtype=np.int32), tensor([1]), "int64"),
        (tensor([True]), tensor([True]), "bool"),
    ],
)
def test_promotion(a, b, expected):
    assert result_type(a, b).name == expected
    if expected != "bool":
        assert (a + b).dtype.name == expected and (b + a).dtype.name == expected


def test_operators_and_reflections():
    a = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    t = tensor(a)
    for got, want in [
        (t + 1, a + 1),
        (1 + t, 1 + a),
        (t - 1, a - 1),
        (1 - t, 1 - a),
        (t * 2, a * 2),
        (2 * t, 2 * a),
        (t / 2, a / 2),
        (2 / t, 2 / a),
        (t**2, a**2),
        (2**t, 2**a),
        (t**0.5, np.sqrt(np.where(a < 0, np.nan, a))),
        (t // 2, a // 2),
        (7 // t, 7 // a),
        (t % 2, a % 2),
        (-t, -a),
        (abs(t), abs(a)),
        (t @ t, a @ a),
        (a + t, a + a),
        (a @ t, a @ a),
        (np.float32(2) * t, 2 * a),
    ]:
        same(got, want)
    assert (
        (t > 0).tolist() == (a > 0).tolist()
        and (t == 3).tolist() == (a == 3).tolist()
        and (~(t > 0)).tolist() == (a <= 0).tolist()
    )
    assert ((t > 0) & (t < 2)).tolist() == ((a > 0) & (a < 2)).tolist()
    assert (tensor([3]) / tensor([2])).tolist() == [1.5]


def draw_key(data, shape):
    key, axis = [], 0
    for size in shape[: data.draw(st.integers(0, len(shape)))]:
        kind = data.draw(st.integers(0, 5))
        if kind == 0:
            key.append(data.draw(st.integers(-size, size - 1)))
        elif kind == 1:
            key.append(
                slice(
                    *data.draw(
                        st.tuples(
                            st.none() | st.integers(-6, 6),
                            st.none() | st.integers(-6, 6),
                            st.none() | st.integers(1, 3),
                        )
                    )
                )
            )
        elif kind == 2:
            key.append(None)
            key.append(slice(None))
        elif kind == 3:
            key.append(np.array(data.draw(st.lists(st.integers(-size, size - 1), min_size=2, max_size=2))))
        elif kind == 4:
            key.append(np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size))))
        else:
            key.append(slice(None))
        axis += 1
    if data.draw(st.booleans()):
        key.append(Ellipsis)
    return tuple(key)


@quick
@given(data=st.data())
def test_indexing_equals_numpy(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    a = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    key = draw_key(data, shape)
    arrays = [k for k in key if isinstance(k, np.ndarray)]
    if arrays and any(isinstance(k, int) for k in key):
        return  # PyTorch's order of axes differs from NumPy's here: the oracle test covers it
    if len({int(k.sum()) if k.dtype == bool else len(k) for k in arrays} - {1}) > 1:
        return  # index lists that do not broadcast
    try:
        want = a[key]
    except IndexError:
        with pytest.raises(IndexError):
            tensor(a)[key]
        return
    t = Tensor(a, True)
    got = t[tuple(tensor(k) if isinstance(k, np.ndarray) else k for k in key)]
    np.testing.assert_array_equal(got.detach().numpy(), want)
    got.sum().backward()
    count = np.zeros_like(a)
    np.add.at(count, key, 1)
    np.testing.assert_array_equal(t.grad.numpy(), count)


def test_indexing_errors():
    t = tinyllm.zeros(2, 3)
    for key in (2, (0, 3), (0, 0, 0), (..., ...), tensor([5]), tensor([[True]])):
        with pytest.raises(IndexError):
            t[key]
    with pytest.raises(IndexError, match="integer or bool"):
        t[tensor([0.5])]
    with pytest.raises(ValueError, match="flip"):
        t[::-1]
    with pytest.raises(TypeError, match="str"):
        t["a"]


def test_assignment():
    t, a = tinyllm.zeros(3, 4), np.zeros((3, 4), np.float32)
    for key, value in [
        (0, 1.0),
        ((slice(None), 2), 5.0),
        ((slice(1, 3), slice(0, 2)), np.ones((2, 2))),
        ((..., -1), 7),
    ]:
        t[key] = value
        a[key] = value
    t[tensor([0, 2])] = tensor([9.0, 9.0, 9.0, 9.0])
    a[[0, 2]] = 9
    t[t > 8] = -1
    a[a > 8] = -1
    same(t, a)


@quick
@given(data=st.data())
def test_shape_functions_equal_numpy(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    a = np.random.default_rng(0).standard_normal(shape)
    t = tensor(a)
    n = len(shape)
    i, j = data.draw(st.integers(-n, n - 1)), data.draw(st.integers(-n, n - 1))
    same(t.transpose(i, j), a.swapaxes(i, j))
    same(t.movedim(i, j), np.moveaxis(a, i, j))
    same(t.unsqueeze(i).squeeze(i) if shape[i] != 1 else t, a)
    same(t.flip(i), np.flip(a, i))
    same(t.flatten(), a.ravel())
    same(t.roll(2, i), np.roll(a, 2, i))
    same(tinyllm.cat([t, t], i), np.concatenate([a, a], i))
    same(tinyllm.stack([t, t], i), np.stack([a, a], i if i >= 0 else i))
    same(t.repeat(*[2] * n), np.tile(a, [2] * n))
    same(t.repeat_interleave(2, i), np.repeat(a, 2, i))
    same(tinyllm.cat(t.split(2, i), i), a)
    same(tinyllm.cat(t.chunk(3, i), i), a)
    same(t.T, a.T)
    if shape[i]:
        same(tinyllm.stack(t.unbind(i), i), a)
        same(t.max(i).values, a.max(i))
        same(t.max(i).indices, a.argmax(i))
        same(t.topk(1, i).values, np.sort(a, i).take([-1], i))
    if n >= 2:
        same(t.tril(), np.tril(a))
        same(t.triu(1), np.triu(a, 1))
        same(t.diagonal(0, 0, 1), np.diagonal(a, 0, 0, 1))
    same(t.var(i) if shape[i] > 1 else t, a.var(i, ddof=1) if shape[i] > 1 else a)


def test_reductions_over_several_axes():
    a = np.random.default_rng(1).standard_normal((2, 3, 4))
    t = tensor(a)
    same(t.sum((0, 2)), a.sum((0, 2)))
    same(t.mean((1, -1), keepdim=True), a.mean((1, 2), keepdims=True))
    same(t.sum(()), a.sum())  # as in PyTorch: an empty tuple reduces everything
    same(t.norm(), np.sqrt((a**2).sum()))
    same(t.norm(math.inf, 1), abs(a).max(1))
    same(t.norm(3, 0), (abs(a) ** 3).sum(0) ** (1 / 3))
    same(t.std(1), a.std(1, ddof=1))
    same(t.logsumexp(1, keepdim=True), np.log(np.exp(a).sum(1, keepdims=True)))
    assert tensor([True, True]).sum().item() == 2 and tensor([1, 2], dtype=np.int32).sum().dtype == tinyllm.int64
    assert math.isnan(tensor([1.0]).var().item())
    with pytest.raises(DtypeError):
        tensor([1, 2]).mean()


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
        ("ij->ji", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("i,j->ij", [(2,), (3,)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...ij,jk->...ik", [(2, 5, 2, 3), (3, 4)]),
        ("ij,ij->", [(2, 3)] * 2),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("ij->j", [(2, 3)]),
        ("ijk,ik->ij", [(2, 3, 4), (2, 4)]),
        ("ba,ac", [(2, 3), (3, 4)]),
        ("iij,jk->ik", [(3, 3, 2), (2, 4)]),
    ],
)
def test_einsum_equals_numpy(equation, shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in shapes]
    same(tinyllm.einsum(equation, *map(tensor, arrays)), np.einsum(equation, *arrays))


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("ij,jk", [(2, 3)]),
        ("ij->ik", [(2, 3)]),
        ("ij,jk->ik", [(2, 3), (4, 5)]),
        ("i->i", [(2, 3)]),
        ("i!->i", [(2,)]),
        ("ij->ii", [(2, 2)]),
    ],
)
def test_einsum_errors(equation, shapes):
    with pytest.raises(ShapeError, match="einsum"):
        tinyllm.einsum(equation, *[tinyllm.ones(*s) for s in shapes])


def test_shape_error_says_what_it_should():
    with pytest.raises(ShapeError) as caught:
        tinyllm.ones(2, 3) @ tinyllm.ones(4, 3)
    text = str(caught.value)
    for part in ("Matmul", "a: (M=2, K=3)", "b: (K=4, N=3)", "must equal", "transpose"):
        assert part in text
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, RuntimeError)
    for call in (
        lambda t: t.reshape(5),
        lambda t: t.view(7),
        lambda t: t.expand(3, 3),
        lambda t: t.split([1, 3]),
        lambda t: t.unflatten(1, (2, 2)),
        lambda t: t.T.view(6),
        lambda t: t.topk(4),
        lambda t: t.flatten(1, 0),
        lambda t: tinyllm.stack([t, t.T]),
        lambda t: tinyllm.mm(t, t[0]),
        lambda t: t.repeat(2),
    ):
        with pytest.raises(ShapeError):
            call(tinyllm.ones(2, 3))
    for call in (lambda t: t.sum(2), lambda t: t.transpose(0, 2), lambda t: t.max(5), lambda t: t.unsqueeze(4)):
        with pytest.raises(IndexError):
            call(tinyllm.ones(2, 3))
    with pytest.raises(ValueError):
        tinyllm.cat([])
    with pytest.raises(ValueError):
        tinyllm.ones(2).div(2, rounding_mode="up")
    with pytest.raises(ValueError):
        tinyllm.ones(2).split(0)


def test_conversions():
    t = tensor([[1.5, 2.0]])
    assert t.numpy() is t.array and np.asarray(t).base is None or np.shares_memory(np.asarray(t), t.array)
    assert np.from_dlpack(t).tolist() == [[1.5, 2.0]]
    assert t.tolist() == [[1.5, 2.0]] and len(t) == 1 and [row.tolist() for row in t] == [[1.5, 2.0]]
    assert (
        t.long().tolist() == [[1, 2]]
        and t.double().dtype == tinyllm.float64
        and t.bool().dtype == tinyllm.bool
        and t.int().dtype == tinyllm.int32
    )
    assert (
        t.to(tinyllm.float32) is t
        and t.to("cpu") is t
        and t.long().to(t).dtype == t.dtype
        and t.type_as(t.long()).dtype == tinyllm.int64
    )
    assert float(tensor(2.5)) == 2.5 and int(tensor(2)) == 2 and bool(tensor(1)) and [10, 20][tensor(1)] == 20
    assert f"{tensor(1.25):.1f}" == "1.2" and 2.0 in t and 9 not in t
    assert t.size() == (1, 2) and t.size(1) == 2 and t.numel() == 2 and t.dim() == 2 and t.is_leaf and t.is_contiguous()
    for call in (t.item, lambda: bool(t), lambda: float(t)):
        with pytest.raises(RuntimeError, match="one element"):
            call()
    for call in (lambda: len(tensor(1)), lambda: list(tensor(1)), lambda: [1][tensor(0.0)]):
        with pytest.raises(TypeError):
            call()


def test_what_requires_grad_does_not_leak():
    t = tinyllm.ones(2, requires_grad=True)
    for call in (t.numpy, lambda: np.asarray(t), lambda: np.from_dlpack(t)):
        with pytest.raises(RuntimeError, match="detach"):
            call()
    assert not t.detach().requires_grad and np.shares_memory(t.detach().array, t.array)
    with pytest.raises(RuntimeError, match="detach"):
        (t * 2).requires_grad_(False)
    with pytest.raises(RuntimeError, match="leaf"):
        copy.deepcopy(t * 2)
    with pytest.raises(RuntimeError):
        tinyllm.ones(2).register_hook(print)
    with pytest.raises(RuntimeError):
        (t * 2).register_post_accumulate_grad_hook(print)


def test_deepcopy_is_independent():
    t = tinyllm.ones(2, requires_grad=True)
    t.sum().backward()
    c = copy.deepcopy(t)
    with tinyllm.no_grad():
        c.zero_()
    assert t.tolist() == [1, 1] and c.requires_grad and c.grad.tolist() == [1, 1] and c.grad is not t.grad


def test_repr():
    t = tinyllm.ones(2, requires_grad=True)
    assert (
        repr(t) == "tensor([1., 1.], requires_grad=True)"
        and "grad_fn=<Mul>" in repr(t * 2)
        and "dtype=float64" in repr(t.detach().double())
    )


def test_creation():
    assert tinyllm.arange(3).tolist() == [0, 1, 2] and tinyllm.arange(1, 2, 0.5).dtype == tinyllm.float32
    assert tinyllm.zeros((2, 3)).shape == tinyllm.zeros(2, 3).shape == (2, 3)
    assert tinyllm.full((2,), 7).dtype == tinyllm.int64 and tinyllm.full_like(tinyllm.ones(2), 3).tolist() == [3, 3]
    assert tinyllm.eye(2).tolist() == [[1, 0], [0, 1]] and tinyllm.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    assert tinyllm.zeros_like(tinyllm.arange(2)).dtype == tinyllm.int64 and tinyllm.empty(2, 3).shape == (2, 3)


def test_random_streams():
    tinyllm.manual_seed(7)
    first = [tinyllm.rand(5).tolist(), tinyllm.randn(5).tolist(), tinyllm.rand(5).tolist()]
    tinyllm.manual_seed(7)
    assert [tinyllm.rand(5).tolist(), tinyllm.randn(5).tolist(), tinyllm.rand(5).tolist()] == first
    assert first[0] != first[2]
    a, b = tinyllm.Generator(1), tinyllm.Generator(1)
    a.next("x")
    state = a.state_dict()
    b.load_state_dict(state)
    assert a.next("x") == b.next("x") != b.next("x")
    assert a.next("x") != tinyllm.Generator(1, step=1).next("x")
    many = tinyllm.randint(2, 5, (1000,), generator=a)
    assert set(many.tolist()) == {2, 3, 4}
    normal = tinyllm.randn(20000, generator=a).numpy()
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03
    for bad in (-1, 2**32):
        with pytest.raises(ValueError, match="seed"):
            tinyllm.manual_seed(bad)
        with pytest.raises(ValueError, match="step"):
            tinyllm.Generator(0, bad)
    with pytest.raises(ValueError, match="low < high"):
        tinyllm.randint(3, 3, (1,))


def test_selection_functions():
    a = np.random.default_rng(0).standard_normal((3, 4))
    t, mask = tensor(a), tensor(a > 0)
    same(tinyllm.where(mask, t, 0.0), np.where(a > 0, a, 0))
    same(t.masked_fill(mask, -1), np.where(a > 0, -1, a))
    same(t.masked_select(mask), a[a > 0])
    same(mask.nonzero(), np.argwhere(a > 0))
    same(t.clamp(-0.5, 0.5), np.clip(a, -0.5, 0.5))
    same(t.clamp(min=0), np.maximum(a, 0))
    same(t.index_select(1, tensor([2, 0])), a[:, [2, 0]])
    same(t.gather(1, t.argsort(1)), np.sort(a, 1))
    same(t.take_along_dim(tensor([[0], [1], [2]]), 1), np.take_along_axis(a, np.array([[0], [1], [2]]), 1))
    same(t.sort(0, descending=True).values, -np.sort(-a, 0))
    same(
        tinyllm.zeros(3, dtype=np.float64).scatter_add(0, tensor([0, 0, 2]), tensor([1.0, 2.0, 3.0], dtype=np.float64)),
        [3, 0, 3],
    )
    same(tinyllm.zeros(3).scatter(0, tensor([2]), 5.0), [0, 0, 5])
    same(tinyllm.zeros(3, 2).index_add(0, tensor([1, 1]), tinyllm.ones(2, 2)), [[0, 0], [2, 2], [0, 0]])
    with pytest.raises(ValueError, match="twice"):
        tinyllm.zeros(3).scatter(0, tensor([1, 1]), 5.0)
    same(t.cumsum(1), a.cumsum(1))
    same(tensor(a[0]).outer(tensor(a[1])), np.outer(a[0], a[1]))
    same(tensor([1]).atan2(tensor([1])), [math.pi / 4])
    same(tensor([5.0, -5.0]).div(2, rounding_mode="trunc"), [2, -2])
    same(t.add(t, alpha=2), 3 * a)
    same(t.sub(t, alpha=2), -a)
    assert (
        t.argmax().item() == a.argmax()
        and t.argmin().item() == a.argmin()
        and t.max().item() == a.max()
        and t.min().item() == a.min()
    )
    same(t.max(tensor(0.0, dtype=np.float64)), np.maximum(a, 0))
    assert tensor(3.0).max(0).indices.item() == 0 and tensor([0, 1]).any().item() and not tensor([0, 1]).all().item()


def test_in_place_operators():
    """The hand-written SGD step: p -= lr * p.grad under no_grad writes into the parameter."""
    p = tinyllm.ones(3, requires_grad=True)
    (p * p).sum().backward()
    before, alias = p, p.detach()
    with tinyllm.no_grad():
        p -= 0.25 * p.grad
        p *= 2
    assert p is before and alias.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(RuntimeError, match="no_grad"):
        p += 1
    h = p * 3
    h += 1  # not a leaf: a new tensor under the old name, with the values and gradients of writing in place
    h.sum().backward()
    assert h.tolist() == [4.0, 4.0, 4.0] and p.grad.tolist() == [5.0, 5.0, 5.0]
    for wrong in (lambda: h.mul_(2), lambda: tinyllm.zeros(3).add_(p), lambda: h.clamp_(0), lambda: p.add_(1)):
        with pytest.raises(RuntimeError, match="not recorded"):
            wrong()
    x = tensor([1.0, -2.0, 3.0])
    y = x
    x.add_(1).mul_(2).sub_(1, alpha=2).div_(2).clamp_(0, 2).masked_fill_(tensor([True, False, False]), 9)
    x += tensor([1.0, 1.0, 1.0], dtype=np.float64)  # stored as float32: the kind does not rise
    assert y is x and y.tolist() == [10.0, 1.0, 3.0]
    for wrong in (lambda: tensor([1]).add_(0.5), lambda: tensor(1.0).add_(tensor([1.0, 2.0]))):
        with pytest.raises(DtypeError, match="in place"):
            wrong()


def test_writing_where_memory_overlaps_or_is_shared():
    x = tinyllm.arange(100_000, dtype=tinyllm.float32)
    want = x.numpy().copy()
    want[1:] = want[:-1].copy()
    x[1:] = x[:-1]
    same(x, want)
    z = tensor(np.arange(9.0).reshape(3, 3))
    want = z.numpy().T.copy()
    z[...] = z.T
    same(z, want)
    with pytest.raises(ValueError, match="read-only"):
        tinyllm.zeros(3).expand(4, 3)[...] = 1
    v = tinyllm.zeros(2, 3)
    v[0] = tinyllm.ones(1, 3)
    v[True] = v + 1
    assert v.tolist() == [[2, 2, 2], [1, 1, 1]]


def test_bitwise_operators_are_for_bools():
    a, b = tensor([True, False]), tensor([True, True])
    assert (~a).tolist() == [False, True] and (a & b).tolist() == [True, False] and (True ^ a).tolist() == [False, True]
    for wrong in (lambda: ~tensor([5]), lambda: tensor([6]) & tensor([3]), lambda: a | 1):
        with pytest.raises(DtypeError, match="bool"):
            wrong()


def test_integers():
    assert tinyllm.zeros(3, dtype=np.int64).scatter_add(0, tensor([1, 1]), tensor([2, 3])).tolist() == [0, 5, 0]
    assert tinyllm.zeros(3, dtype=np.int64).scatter(0, tensor([1]), 5).tolist() == [0, 5, 0]
    assert (
        tensor([7, -7]).div(2, rounding_mode="trunc").tolist() == [3, -3]
        and tensor([2**40 + 1]).div(1, rounding_mode="trunc").item() == 2**40 + 1
    )
    assert (tensor([3]) ** 2.0).dtype == tinyllm.float32 and (tensor([3]) ** 2).tolist() == [9]
    for wrong in (lambda: tensor([3]) % 0, lambda: tensor([3]) // tensor([0])):
        with pytest.raises(ZeroDivisionError):
            wrong()


def test_index_add_checks_its_shapes():
    for index, source in (
        (tensor([1]), tinyllm.ones(3, 2)),
        (tensor([1]), tinyllm.ones(1, 1)),
        (tensor([[1]]), tinyllm.ones(1, 2)),
    ):
        with pytest.raises(ShapeError, match="index_add"):
            tinyllm.zeros(3, 2).index_add(0, index, source)


def test_roots_have_a_gradient_of_zero_at_zero():
    x = tinyllm.zeros(3, requires_grad=True)
    (x.norm() + x.std()).backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_variants_of_reductions():
    a = np.random.default_rng(0).standard_normal((2, 3, 4))
    t = tensor(a)
    same(t.var(-1, unbiased=False, keepdim=True), a.var(-1, keepdims=True))
    same(t.std((0, 1), correction=2), a.std((0, 1), ddof=2))
    same(t.logsumexp((0, 2), keepdim=True), np.log(np.exp(a).sum((0, 2), keepdims=True)))
    assert t.argmax(keepdim=True).shape == (1, 1, 1) and t.sum(dtype=np.float32).dtype == tinyllm.float32
    assert tensor([1, 2]).mean(dtype=np.float64).item() == 1.5


def test_shape_functions_without_a_dim_and_with_several():
    a = np.arange(6.0).reshape(2, 3)
    t = tensor(a)
    same(t.roll(2), np.roll(a, 2))
    same(t.roll((1, 2), (0, 1)), np.roll(a, (1, 2), (0, 1)))
    same(t.repeat_interleave(2), np.repeat(a, 2))
    assert tensor([3, -3]).floor().tolist() == [3, -3] and tensor([3]).round().dtype == tinyllm.int64


def test_comparing_tensors():
    a = tensor([1.0, math.nan])
    assert a.isclose(a + 1e-7, equal_nan=True).tolist() == [True, True] and not a.allclose(a) and not a.equal(a)
    assert tinyllm.ones(2).equal(tinyllm.ones(2)) and not tinyllm.ones(2).equal(tinyllm.ones(3))
    assert tinyllm.allclose(tinyllm.ones(2), 1 + 1e-7 * tinyllm.ones(2))


def test_small_conveniences():
    t = tinyllm.zeros(2, 3)
    assert (
        t.t().shape == (3, 2)
        and t.swapaxes(0, 1).shape == (3, 2)
        and t.stride() == (3, 1)
        and t.cpu() is t
        and t.is_floating_point()
    )
    assert tinyllm.empty_like(t).shape == tinyllm.rand_like(t).shape == tinyllm.randn_like(t).shape == (2, 3)
    with pytest.raises(ShapeError):
        tinyllm.zeros(1, 2, 3).t()
    fields = np.zeros(4, np.dtype([("a", np.float32), ("b", np.int8)]))
    with pytest.raises(ValueError, match="strides"):
        tinyllm.from_numpy(fields["a"])


def test_from_numpy_refuses_what_cannot_be_written():
    for readonly in np.broadcast_to(np.float32(1), 3), np.frombuffer(bytes(8), np.float32):
        with pytest.raises(ValueError, match="read-only; copy it first"):
            tinyllm.from_numpy(readonly)
        assert tinyllm.tensor(readonly).add_(1).tolist() == (readonly + 1).tolist()


def test_a_row_offset_gives_the_part_of_the_whole_mask():
    from tinyllm.nn import functional as F

    x, q = tinyllm.ones(4, 5), tinyllm.randn(4, 2, 3, 8)
    tinyllm.random.set_step(1)
    whole = F.dropout(x, 0.5), F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    for i in range(4):
        tinyllm.random.set_step(1, first_row=i)
        part = q[i : i + 1]
        assert F.dropout(x[i : i + 1], 0.5).equal(whole[0][i : i + 1])
        assert F.scaled_dot_product_attention(part, part, part, dropout_p=0.5).equal(whole[1][i : i + 1])


def test_a_tensor_wraps_arrays_only():
    for wrong in ([1.0, 2.0], np.zeros(2, np.float16)):
        with pytest.raises(TypeError, match="tinyllm.tensor"):
            Tensor(wrong)
    assert (
        tinyllm.is_tensor(tensor(1))
        and not tinyllm.is_tensor(1)
        and tinyllm.float == np.float32
        and tinyllm.long == np.int64
    )
    assert {"zeros", "tensor", "ShapeError", "nn", "einsum", "manual_seed"} <= set(dir(tinyllm))
    with pytest.raises(AttributeError, match="no attribute"):
        tinyllm.nothing  # noqa: B018
    assert tinyllm.tensor([1.0]).var(False).item() == 0
