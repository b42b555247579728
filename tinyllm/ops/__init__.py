"""Every op, one family a file. Importing this package fills `tinyllm.op.registry`."""

# ruff: noqa: F401  (the names are the package's interface)

from .attention import Attention
from .binary import (
    Add,
    Atan2,
    Div,
    Eq,
    FloorDivide,
    Fmod,
    Ge,
    Gt,
    Le,
    LogicalAnd,
    LogicalOr,
    LogicalXor,
    Lt,
    Maximum,
    Minimum,
    Mul,
    Ne,
    Pow,
    Remainder,
    Sub,
)
from .feed_forward import FeedForward
from .heads import SplitHeads
from .index import Embedding, Gather, Scatter, ScatterAdd, Slice
from .linalg import Linear, Matmul
from .loss import BinaryCrossEntropy, CrossEntropy, LinearCrossEntropy
from .reduce import All, Amax, Amin, Any, Argmax, Argmin, Cumsum, Mean, Prod, Sort, Sum
from .rows import LayerNorm, LogSoftmax, Logsumexp, RmsNorm, Softmax
from .select import Cast, Clamp, Dropout, Gated, Where
from .shape import Cat, Diagonal, Expand, Flip, Pad, Permute, Reshape, Split
from .unary import (
    Abs,
    Acos,
    Asin,
    Atan,
    Ceil,
    Cos,
    Cosh,
    Elu,
    Erf,
    Exp,
    Expm1,
    Floor,
    Gelu,
    GeluTanh,
    Hardsigmoid,
    Hardswish,
    Isfinite,
    Isinf,
    Isnan,
    LeakyRelu,
    Log,
    Log1p,
    Log2,
    LogicalNot,
    Mish,
    Neg,
    Reciprocal,
    Relu,
    Relu6,
    Round,
    Rsqrt,
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Sinh,
    Softplus,
    Sqrt,
    Square,
    Tan,
    Tanh,
    Trunc,
)
