"""The backend interface in plain NumPy: the specification of every kernel, and what runs where none is
compiled.

It is written to be obviously right, not fast. Each docstring states shapes and formula; `cpu.py` implements
the same names and signatures in C, and tests/test_backend.py holds the two together.

What holds for every function:

- Arrays are `numpy.ndarray` of float32, float64, int64, int32 or bool, with any strides. Inputs are never
  modified and never aliased by results, except through `out=` and in the functions whose name ends in an
  underscore, which work in place.
- Results have the dtype of the inputs and are C-contiguous (attention's o is the one exception, see there).
  float32 input is computed in float64 and rounded once, so a float32 result is the best float32 can give.
- Zero-size arrays work everywhere, NaN propagates, and no floating-point warning escapes.
- Shapes, dtypes and index ranges have been checked by the op that calls; nothing is checked again here.
"""

from tinyllm.backend.reference.attention import attention, attention_grad
from tinyllm.backend.reference.elementwise import (
    GRAD_NEEDS,
    add_,
    assign,
    binary,
    copy,
    empty,
    full,
    gated,
    gated_grad,
    unary,
    unary_grad,
    where,
)
from tinyllm.backend.reference.loss import cross_entropy, cross_entropy_grad
from tinyllm.backend.reference.optim import adam_, sgd_, sum_squares
from tinyllm.backend.reference.random import dropout, normal, uniform
from tinyllm.backend.reference.reduce import (
    cumsum,
    gather,
    gather_grad,
    matmul,
    reduce,
    sort,
    take,
    take_grad,
)
from tinyllm.backend.reference.rows import (
    layer_norm,
    layer_norm_grad,
    log_softmax,
    log_softmax_grad,
    logsumexp,
    rms_norm,
    rms_norm_grad,
    softmax,
    softmax_grad,
)

__all__ = [
    "GRAD_NEEDS",
    "adam_",
    "add_",
    "assign",
    "attention",
    "attention_grad",
    "binary",
    "copy",
    "cross_entropy",
    "cross_entropy_grad",
    "cumsum",
    "dropout",
    "empty",
    "full",
    "gated",
    "gated_grad",
    "gather",
    "gather_grad",
    "layer_norm",
    "layer_norm_grad",
    "log_softmax",
    "log_softmax_grad",
    "logsumexp",
    "matmul",
    "normal",
    "reduce",
    "rms_norm",
    "rms_norm_grad",
    "sgd_",
    "softmax",
    "softmax_grad",
    "sort",
    "sum_squares",
    "take",
    "take_grad",
    "unary",
    "unary_grad",
    "uniform",
    "where",
]
