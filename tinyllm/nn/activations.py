"""Activations as modules (torch.nn's names), each a call of its function in nn.functional.

`inplace` is accepted where PyTorch has it and changes nothing: results are always new tensors.
"""

from __future__ import annotations

from collections.abc import Callable

from .._tensor import Tensor
from . import functional as F
from .module import Module


def _module(name: str, function: Callable[..., Tensor], **settings: object) -> type[Module]:
    """A module class whose constructor takes `settings` with these defaults, positionally or by name."""
    names = tuple(settings)

    class Activation(Module):
        def __init__(self, *args: object, **kwargs: object):
            super().__init__()
            unknown = [k for k in kwargs if k not in names or k in names[: len(args)]]
            if len(args) > len(names) or unknown:
                given = f"{args} {kwargs}" if kwargs else f"{args}"
                raise TypeError(f"{name} takes the settings ({', '.join(names)}), got {given}")
            self.settings = {**settings, **dict(zip(names, args, strict=False)), **kwargs}
            self.settings.pop("inplace", None)

        def forward(self, input: Tensor) -> Tensor:
            return function(input, **self.settings)

        def extra_repr(self) -> str:
            return ", ".join(f"{k}={v!r}" for k, v in self.settings.items())

    Activation.__name__ = Activation.__qualname__ = name
    Activation.__doc__ = function.__doc__
    return Activation


ReLU = _module("ReLU", F.relu, inplace=False)
ReLU6 = _module("ReLU6", F.relu6, inplace=False)
LeakyReLU = _module("LeakyReLU", F.leaky_relu, negative_slope=0.01, inplace=False)
ELU = _module("ELU", F.elu, alpha=1.0, inplace=False)
SELU = _module("SELU", F.selu, inplace=False)
GELU = _module("GELU", F.gelu, approximate="none")
SiLU = _module("SiLU", F.silu, inplace=False)
Mish = _module("Mish", F.mish, inplace=False)
Softplus = _module("Softplus", F.softplus, beta=1.0, threshold=20.0)
Sigmoid = _module("Sigmoid", F.sigmoid)
LogSigmoid = _module("LogSigmoid", F.logsigmoid)
Tanh = _module("Tanh", F.tanh)
Softsign = _module("Softsign", F.softsign)
Hardtanh = _module("Hardtanh", F.hardtanh, min_val=-1.0, max_val=1.0, inplace=False)
Hardswish = _module("Hardswish", F.hardswish, inplace=False)
Hardsigmoid = _module("Hardsigmoid", F.hardsigmoid, inplace=False)
GLU = _module("GLU", F.glu, dim=-1)
SwiGLU = _module("SwiGLU", F.swiglu, dim=-1)
Softmax = _module("Softmax", F.softmax, dim=-1)
LogSoftmax = _module("LogSoftmax", F.log_softmax, dim=-1)


def gelu_tanh(input: Tensor) -> Tensor:
    """GELU's tanh form."""
    return F.gelu(input, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}
"""Hugging Face's names for activations in a config.json. "gelu_new" is the tanh form that GPT-2 was trained
with.
"""


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of a name in ACTIVATIONS; ValueError lists them."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
