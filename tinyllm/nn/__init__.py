"""Neural network modules: PyTorch's names where PyTorch has the thing, and a small vocabulary of our own to
compose models from.

PyTorch's: Module, Parameter, the containers, layers, activations, losses, MultiheadAttention, Transformer*.
Our own: Attention with masks (Causal, Window, Padding, Segments, PrefixLM, Dense), positions, a key/value
cache, MLP, GatedMLP, Block.
"""

from . import functional, init, utils
from .activations import (
    ELU,
    GELU,
    GLU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    SwiGLU,
    Tanh,
    activation,
)
from .attention import Attention
from .blocks import MLP, Block, GatedMLP
from .cache import KVCache, LayerCache
from .containers import ModuleDict, ModuleList, Sequential
from .layers import Dropout, Embedding, Flatten, Identity, LayerNorm, Linear, RMSNorm
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from .masks import Causal, Dense, Mask, Padding, PrefixLM, Segments, Window
from .module import IncompatibleKeys, Module, StateDictError
from .multihead import MultiheadAttention
from .parameter import Parameter
from .positions import LearnedPositions, NoPositions, Positions, SinusoidalPositions, Where
from .transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "ELU",
    "GELU",
    "GLU",
    "MLP",
    "SELU",
    "Attention",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Block",
    "Causal",
    "CrossEntropyLoss",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GatedMLP",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "IncompatibleKeys",
    "KLDivLoss",
    "KVCache",
    "L1Loss",
    "LayerCache",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositions",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mask",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "NoPositions",
    "Padding",
    "Parameter",
    "Positions",
    "PrefixLM",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Segments",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SinusoidalPositions",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Softsign",
    "StateDictError",
    "SwiGLU",
    "Tanh",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Where",
    "Window",
    "activation",
    "functional",
    "init",
    "utils",
]
