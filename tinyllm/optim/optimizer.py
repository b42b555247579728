"""Optimizer: parameter groups, state, and its saving (torch.optim.Optimizer).

A group is a dict with "params" and the options of the optimizer; an option that a group lacks is the
optimizer's default. State is saved by index, as in PyTorch, or by parameter name, which is what survives a
change of layout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..autograd import enable_grad
from ..errors import CheckpointError

Group = dict[str, Any]


class Optimizer:
    """Base of the optimizers. A subclass defines `_update(params, group, grad_scale)`, which changes the parameters in
    place by their gradients, and keeps what it must in `self.state`.

    `params`: tensors, (name, tensor) pairs, or groups. A parameter's name is the one given, else its `.name`.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError("params should be an iterable of tensors or dicts, got one Tensor; put it in a list")
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        given = list(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own; missing options are the defaults."""
        if not isinstance(param_group, Mapping):
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}")
        group = {**self.defaults, **param_group}
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        pairs = [p if isinstance(p, tuple) else (getattr(p, "name", ""), p) for p in params]
        taken = {id(p) for g in self.param_groups for p in g["params"]}
        for name, p in pairs:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in taken:
                raise ValueError(f"some parameters appear more than once (shape {p.shape}, name {name!r})")
            taken.add(id(p))
        group["params"], group["param_names"] = [p for _, p in pairs], [n for n, _ in pairs]
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: Group) -> None:
        """Raise ValueError for an option out of its range."""

    def _update(self, params: list[Tensor], group: Group, grad_scale: float) -> None:
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every gradient, or fill it with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else Tensor(backend.full(p.shape, 0, p.dtype))

    def step(self, closure: Callable[[], Any] | None = None, *, grad_scale: float = 1.0) -> Any:
        """Update every parameter that has a gradient; returns what `closure` returned.

        `grad_scale` multiplies the gradients on the way in, so that clipping by norm (`clip.clip_scale`)
        costs no pass over memory.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            self._update(params, group, grad_scale)
            for p in params:
                p.written()
        return loss

    # -- saving -------------------------------------------------------------------------------------------

    def _ids(self, by_name: bool) -> list[list[Any]]:
        """An id for each parameter of each group: its name, or its index over all groups."""
        if not by_name:
            ids = iter(range(sum(len(g["params"]) for g in self.param_groups)))
            return [[next(ids) for _ in g["params"]] for g in self.param_groups]
        # names are read late: a parameter may have moved into a bigger model since
        names = [
            [given or getattr(p, "name", "") for given, p in zip(g["param_names"], g["params"], strict=True)]
            for g in self.param_groups
        ]
        flat = [n for group in names for n in group]
        if "" in flat or len(set(flat)) != len(flat):
            bad = "one has no name" if "" in flat else f"{next(n for n in flat if flat.count(n) > 1)!r} is not unique"
            raise ValueError(f"saving by name needs a name for every parameter: {bad}; pass (name, parameter) pairs")
        return names

    def state_dict(self, by_name: bool = False) -> dict[str, Any]:
        """{"state": {id: {...}}, "param_groups": [...]}, ids being indices or, `by_name`, names. Tensors
        are shared, not copied.
        """
        ids = self._ids(by_name)
        state = {
            i: dict(self.state[p])
            for group, row in zip(self.param_groups, ids, strict=True)
            for p, i in zip(group["params"], row, strict=True)
            if self.state.get(p)
        }
        groups = [
            {k: v for k, v in g.items() if k not in ("params", "param_names")} | {"params": row}
            for g, row in zip(self.param_groups, ids, strict=True)
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the options and a copy of the state of `state_dict()`, saved by index or by name.

        By index the groups must have the same sizes (ValueError). By name only the names must agree
        (CheckpointError lists those that do not), and options are taken group by group where the number of
        groups agrees.
        """
        saved = [list(g["params"]) for g in state_dict["param_groups"]]
        by_name = any(isinstance(i, str) for row in saved for i in row)
        ids = self._ids(by_name)
        if len(saved) != len(ids):
            raise ValueError(f"loaded state dict has {len(saved)} parameter groups, the optimizer {len(ids)}")
        if by_name:
            want, have = {i for row in ids for i in row}, {i for row in saved for i in row}
            if want != have:
                raise CheckpointError(
                    "optimizer state does not fit the parameters: "
                    f"missing {sorted(want - have)}, unexpected {sorted(have - want)}"
                )
        elif [len(row) for row in saved] != [len(row) for row in ids]:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                f"{[len(row) for row in saved]} and {[len(row) for row in ids]}"
            )
        owner: dict[Any, Tensor] = {}
        for group, own, row in zip(self.param_groups, ids, saved, strict=True):
            owner.update(zip(own if by_name else row, group["params"], strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for i, values in state_dict["state"].items():
            state[owner[i]] = {k: self._restored(i, k, v, owner[i]) for k, v in values.items()}
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({k: v for k, v in loaded.items() if k not in ("params", "param_names")})
        self.state = state

    @staticmethod
    def _restored(i: Any, key: str, value: Any, p: Tensor) -> Any:
        array = value.array if isinstance(value, Tensor) else value
        if not isinstance(array, np.ndarray):
            return value
        if key == "step":  # a tensor in PyTorch, a number here
            return array.item()
        if array.shape != p.shape:
            raise CheckpointError(
                f"optimizer state {key!r} of {i!r}: file has {array.shape}, parameter wants {p.shape}"
            )
        with backend.memory.kind("optimizer"):
            return Tensor(backend.copy(array, p.dtype))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}: {len(group['params'])} tensors")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def zeros_like(p: Tensor) -> Tensor:
    """A state tensor of zeros for `p`."""
    with backend.memory.kind("optimizer"):
        return Tensor(backend.full(p.shape, 0, p.dtype))


def weight_decay_groups(named_parameters: Iterable[tuple[str, Tensor]], weight_decay: float) -> list[Group]:
    """Two groups: matrices and embeddings, which decay, and vectors (biases, norms), which do not (GPT-2,
    nanoGPT).
    """
    pairs = [(n, p) for n, p in named_parameters if p.requires_grad]
    groups = [
        {"params": [(n, p) for n, p in pairs if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [(n, p) for n, p in pairs if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]
