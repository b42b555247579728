"""Einstein summation as permutes, reshapes and one batched matrix product per operand after the first (torch.einsum's
semantics).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import ShapeError
from .linalg import matmul
from .reduce import sum
from .shape import diagonal, expand, permute, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor

__all__ = ["einsum"]


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sum products of `operands` as `equation` says: "bij,bjk->bik". Letters name axes; "..." stands for any others;
    without "->" the letters that occur once are kept, in alphabetical order. Raises ShapeError if letters and axes do
    not fit.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    terms, output = _parse(equation, operands)
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for letter, size in zip(term, x.array.shape, strict=True):
            if sizes.get(letter, 1) not in (1, size) and size != 1:
                raise ShapeError(f"einsum {equation!r}: axis {letter!r} has size {sizes[letter]} and {size}")
            sizes[letter] = max(size, sizes.get(letter, size)) if size else 0
    missing = [letter for letter in output if letter not in sizes]
    if missing or len(set(output)) != len(output):
        raise ShapeError(f"einsum {equation!r}: the output must name axes of the inputs, each once")
    result, labels = _diagonals(operands[0], terms[0])
    for i, x in enumerate(operands[1:], 1):
        later = set(output).union(*terms[i + 1 :])
        result, labels = _contract(result, labels, *_diagonals(x, terms[i]), keep=later, sizes=sizes)
    drop = [j for j, letter in enumerate(labels) if letter not in output]
    if drop:
        result = sum(result, drop)
    labels = [letter for letter in labels if letter in output]
    return permute(result, [labels.index(letter) for letter in output])


def _parse(equation: str, operands: tuple) -> tuple[list[list[str]], list[str]]:
    """Letters of each operand and of the output; the axes of "..." get digits, aligned at the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise ShapeError(f"einsum {equation!r}: {len(parts)} terms for {len(operands)} operands")
    most = max(
        (x.array.ndim - len(p.replace("...", "")) for p, x in zip(parts, operands, strict=True) if "..." in p),
        default=0,
    )
    dots = [str(i) for i in range(most)]

    def letters(part: str, ndim: int | None) -> list[str]:
        named = part.replace("...", "")
        if not (named.isalpha() and named.isascii() or not named):
            raise ShapeError(f"einsum {equation!r}: axes are named by letters, got {part!r}")
        extra = most if ndim is None else ndim - len(named)
        if ndim is not None and (extra < 0 or (extra and "..." not in part)):
            raise ShapeError(f"einsum {equation!r}: {part!r} names {len(named)} axes, the operand has {ndim}")
        at = part.find("...")
        return list(named) if at < 0 else [*part[:at], *dots[most - extra :], *part[at + 3 :]]

    terms = [letters(p, x.array.ndim) for p, x in zip(parts, operands, strict=True)]
    if arrow:
        return terms, letters(right, None)
    flat = [letter for term in terms for letter in term]
    return terms, dots + sorted(letter for letter in set(flat) if letter.isalpha() and flat.count(letter) == 1)


def _diagonals(x: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """Axes named twice become one, their diagonal."""
    labels = list(labels)
    for letter in sorted(set(labels)):
        while labels.count(letter) > 1:
            i = labels.index(letter)
            j = labels.index(letter, i + 1)
            if x.array.shape[i] != x.array.shape[j]:
                raise ShapeError(
                    f"einsum: axis {letter!r} of one operand has sizes {x.array.shape[i]} and {x.array.shape[j]}"
                )
            x = diagonal(x, 0, i, j)
            labels = [k for n, k in enumerate(labels) if n not in (i, j)] + [letter]
    return x, labels


def _contract(
    a: Tensor, la: list[str], b: Tensor, lb: list[str], keep: set[str], sizes: dict[str, int]
) -> tuple[Tensor, list[str]]:
    """a and b as one product: letters in both and kept are batch axes, in both and not kept are summed, in one and not
    kept summed first.
    """
    for own, other, which in ((la, lb, 0), (lb, la, 1)):
        drop = [i for i, letter in enumerate(own) if letter not in other and letter not in keep]
        if drop:
            if which == 0:
                a = sum(a, drop)
            else:
                b = sum(b, drop)
        own[:] = [letter for i, letter in enumerate(own) if i not in drop]
    batch = [letter for letter in la if letter in lb and letter in keep]
    summed = [letter for letter in la if letter in lb and letter not in keep]
    rows, columns = [x for x in la if x not in lb], [x for x in lb if x not in la]

    def matrix(x: Tensor, labels: list[str], first: list[str], second: list[str]) -> Tensor:
        order = batch + first + second
        x = expand(permute(x, [labels.index(k) for k in order]), [sizes[k] for k in order])
        return reshape(
            x, [*[sizes[k] for k in batch], math.prod(sizes[k] for k in first), math.prod(sizes[k] for k in second)]
        )

    product = matmul(matrix(a, la, rows, summed), matrix(b, lb, summed, columns))
    labels = batch + rows + columns
    return reshape(product, [sizes[k] for k in labels]), labels
