"""tinyllm: a complete engine for training and running language models in NumPy and C.

Importing it does nothing: names are looked up when they are first used, so `import tinyllm` loads neither NumPy nor
the kernels.
"""

from importlib import import_module
from typing import Any

from ._version import __version__ as __version__

_HOMES = {
    "_tensor": "Tensor tensor float32 float64 int32 int64",
    "creation": (
        "from_numpy full zeros ones empty full_like zeros_like ones_like arange linspace eye rand randn randint"
    ),
    "functions": (
        "neg abs sign square exp expm1 log log1p log2 sqrt rsqrt reciprocal erf sin cos tan asin acos atan "
        "sinh cosh tanh sigmoid relu floor ceil round trunc isnan isinf isfinite logical_not add sub mul div "
        "pow maximum minimum remainder fmod floor_divide atan2 eq ne lt le gt ge logical_and logical_or "
        "logical_xor where masked_fill clamp sum mean prod amax amin max min argmax argmin any all var std "
        "norm logsumexp softmax log_softmax cumsum sort argsort topk reshape flatten unflatten squeeze "
        "unsqueeze permute transpose movedim broadcast_to repeat_interleave cat stack split chunk unbind flip "
        "roll diagonal tril triu index_select gather take_along_dim scatter scatter_add index_add "
        "masked_select nonzero matmul mm mv bmm dot outer einsum result_type"
    ),
    "autograd": "no_grad enable_grad set_grad_enabled is_grad_enabled profile",
    "random": "manual_seed Generator",
    "errors": "ShapeError DtypeError CheckpointError TokenizerError ConfigError RankFailure",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}
_HOME_OF["bool"] = "_tensor"
_PACKAGES = (
    "autograd",
    "backend",
    "config",
    "data",
    "formats",
    "generation",
    "models",
    "nn",
    "op",
    "ops",
    "optim",
    "tokenizers",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        module = import_module(f".{_HOME_OF[name]}", __name__)
        value = getattr(module, "bool_" if name == "bool" else name)
    elif name in _PACKAGES:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module 'tinyllm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME_OF, *_PACKAGES, "__version__"])
