"""Module: a tree of layers with parameters and buffers (torch.nn.Module).

Assigning a Parameter or a Module to an attribute registers it; a parameter that occurs twice (tied weights)
is listed once, under its first name. A module also learns its own path in the tree (`self.path`), which
names its random streams, so that a mask depends on where a layer stands and not on what ran before it.

Hooks, in the order they run: before forward, after forward, before the first gradient enters, after the
last one has left. Not here: devices (there is one), and anything that saves to files (formats, training).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..autograd import no_grad
from ..errors import CheckpointError
from ..recording import Observer, recorder
from ..tape import RemovableHandle
from .hooks import BackwardWatch
from .parameter import Parameter


class StateDictError(CheckpointError, RuntimeError):
    """A state dict that does not fit the model. Also a RuntimeError, which is what PyTorch raises."""


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns: names the model wants that the state lacks, and names of the state
    that the model has no place for.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of every layer and model. Subclasses call ``super().__init__()`` first and define ``forward``."""

    training: bool
    path: str

    def __init__(self) -> None:
        own = self.__dict__
        own["training"], own["path"] = True, ""
        own["_parameters"], own["_buffers"], own["_modules"] = {}, {}, {}
        own["_transient"] = set()  # names of buffers that stay out of state_dict
        own["_forward_pre_hooks"], own["_forward_hooks"] = {}, {}
        own["_backward_pre_hooks"], own["_backward_hooks"] = {}, {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module does; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # -- attributes: what is registered is an attribute too --

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, (Parameter, Module)):
            if "_parameters" not in own:
                raise AttributeError(
                    f"{type(self).__name__}: call super().__init__() before assigning parameters or modules"
                )
            for place in (own, own["_parameters"], own["_buffers"], own["_modules"]):
                place.pop(name, None)
            if isinstance(value, Parameter):
                self.register_parameter(name, value)
            else:
                self.add_module(name, value)
        elif "_parameters" in own and (name in own["_parameters"] or name in own["_modules"]):
            if value is not None:
                kind = "nn.Parameter" if name in own["_parameters"] else "Module"
                raise TypeError(f"cannot assign '{type(value).__name__}' as '{name}' ({kind} or None expected)")
            own["_parameters" if name in own["_parameters"] else "_modules"][name] = own[name] = None
        elif "_buffers" in own and name in own["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"cannot assign '{type(value).__name__}' as buffer '{name}' (Tensor or None expected)")
            own["_buffers"][name] = own[name] = value
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for place in (self._parameters, self._buffers, self._modules):
            if name in place:
                del place[name]
                self._transient.discard(name)
        object.__delattr__(self, name)

    def _check_name(self, name: str, place: Mapping) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before registering")
        if not isinstance(name, str):
            raise TypeError(f"a name must be a str, got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"a name must not be empty or contain '.', got {name!r}")
        if name not in place and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name for a parameter that is absent (no bias)."""
        self._check_name(name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot register a {type(param).__name__} as parameter '{name}' (nn.Parameter or None required)"
            )
        self._parameters[name] = self.__dict__[name] = param
        if param is not None and not param.name:
            param.name = name

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module and is not trained; it is part of `state_dict` if
        `persistent`.
        """
        self._check_name(name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot register a {type(tensor).__name__} as buffer '{name}' (Tensor or None required)")
        self._buffers[name] = self.__dict__[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under `name`, and tell it and everything in it where it stands."""
        self._check_name(name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        known = module is None or any(m is module for m in self._modules.values())
        self._modules[name] = self.__dict__[name] = module
        if module is not None and not known:
            before, root = module.path, _join(self.path, name)
            for path, p in module.named_parameters():
                if p.name == _join(before, path):  # not one that is tied to a parameter elsewhere
                    p.name = _join(root, path)
            for path, m in module.named_modules(prefix=root):
                m.__dict__["path"] = path

    register_module = add_module

    # -- walking the tree --

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, depth first, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, each once, with their names."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        return (m for _, m in self.named_children())

    def _named(self, place: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        pairs = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in pairs:
            for name, value in getattr(module, place).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield _join(path, name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name; a shared one once, under its first name."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, a shared one once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its dotted name."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; "" is this one."""
        module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}` (looking for '{target}')")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"there is no parameter '{target}'")
        return found

    def num_parameters(self, trainable_only: bool = False) -> int:
        """How many numbers the parameters hold; shared ones count once."""
        return sum(p.array.size for p in self.parameters() if p.requires_grad or not trainable_only)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module, children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- state --

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Tensor]:
        """Parameters and persistent buffers by dotted name. The tensors share memory with the module."""
        out: OrderedDict[str, Tensor] = OrderedDict()
        for path, m in self.named_modules(prefix=prefix.removesuffix("."), remove_duplicate=False):
            for name, value in (*m._parameters.items(), *m._buffers.items()):
                if value is not None and name not in m._transient:
                    out[_join(path, name)] = value if keep_vars else value.detach()
        return out

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy tensors (or NumPy arrays) by name into parameters and buffers, converting to their dtypes.

        Nothing is written unless everything fits. Raises StateDictError (a CheckpointError and a
        RuntimeError) that lists every shape that differs and, if `strict`, every missing and unexpected
        name. A tied parameter needs only one of its names.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"expected state_dict to be a mapping of names to tensors, got {type(state_dict).__name__}")
        own = self.state_dict(keep_vars=True)
        given = {id(own[k]) for k in own if k in state_dict}
        missing = [k for k, v in own.items() if k not in state_dict and id(v) not in given]
        unexpected = [k for k in state_dict if k not in own]
        values = {k: v if isinstance(v, Tensor) else Tensor(np.asarray(v)) for k, v in state_dict.items() if k in own}
        problems = []
        if strict and missing:
            problems.append("Missing key(s) in state_dict: " + ", ".join(f'"{k}"' for k in missing) + ".")
        if strict and unexpected:
            problems.append("Unexpected key(s) in state_dict: " + ", ".join(f'"{k}"' for k in unexpected) + ".")
        problems += [
            f"size mismatch for {k}: file has {tuple(v.array.shape)}, model wants {tuple(own[k].array.shape)}"
            for k, v in values.items()
            if v.array.shape != own[k].array.shape
        ]
        if problems:
            raise StateDictError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(problems)
            )
        with no_grad():
            for k, v in values.items():
                target = own[k]
                if isinstance(target, Parameter):
                    target.assign(v.detach())
                else:
                    target[...] = v.detach()
        return IncompatibleKeys(missing, unexpected)

    def to(self, dtype: Any) -> Self:
        """Convert floating point parameters, their gradients and buffers to `dtype` (float32 or float64),
        in place. "cpu" changes nothing: there is one device.
        """
        if isinstance(dtype, str) and dtype == "cpu":
            return self
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise TypeError(f"a module can be converted to a floating point dtype only, got {dtype}")

        def convert(t: Tensor) -> None:
            if t.array.dtype.kind != "f" or t.array.dtype == dtype:
                return
            if isinstance(t, Parameter) and t.deferred:
                t.array = np.broadcast_to(np.full((), np.nan, dtype), t.array.shape)
            else:
                t.array = backend.copy(t.array, dtype)

        for p in self.parameters():
            with backend.memory.kind("parameter"):
                convert(p)
            if p.grad is not None:
                with backend.memory.kind("gradient"):
                    convert(p.grad)
        for b in self.buffers():
            convert(b)
        return self

    def float(self) -> Self:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Convert to float64."""
        return self.to(np.float64)

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout on) for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for m in self.modules():
            m.__dict__["training"] = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode (dropout off)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze every parameter."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every gradient, or fill it with zeros."""
        for p in self.parameters():
            if p.grad is not None:
                p.grad = None if set_to_none else Tensor(backend.full(p.array.shape, 0, p.array.dtype))

    # -- calling and hooks --

    @property
    def has_hooks(self) -> bool:
        """Whether a hook watches or changes what calling this module does."""
        return bool(self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorder.observer is not None:
            return self._observed(recorder.observer, args, kwargs)
        return self.forward(*args, **kwargs) if not self.has_hooks else self._hooked(args, kwargs)

    def _observed(self, observer: Observer, args: tuple, kwargs: dict[str, Any]) -> Any:
        observer.enter(self)
        try:
            return self._hooked(args, kwargs)
        finally:
            observer.leave(self)

    def _hooked(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = BackwardWatch(self) if self._backward_pre_hooks or self._backward_hooks else None
        if watch is not None:
            args = watch.inputs(args)
        out = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, out)
            out = out if changed is None else changed
        return out if watch is None else watch.outputs(out)

    def register_forward_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, args)`` runs before forward; what it returns, if not None, replaces the arguments."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, args, output)`` runs after forward; what it returns, if not None, replaces the
        output.
        """
        return RemovableHandle(self._forward_hooks, hook)

    def register_full_backward_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, grad_output)`` runs before the first gradient enters the module."""
        return RemovableHandle(self._backward_pre_hooks, hook)

    def register_full_backward_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` runs when the gradients of all positional inputs are
        complete.

        If no input requires grad it runs when the output's gradient is, as PyTorch's does, with None for
        each input.
        """
        return RemovableHandle(self._backward_hooks, hook)

    # -- text --

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
