"""Modules that hold modules: Sequential, ModuleList, ModuleDict (torch.nn's)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from .module import Module


class _Indexed(Module):
    """Children under "0", "1", ...: indexing, slicing and iteration."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def _key(self, index: int) -> str:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range for {type(self).__name__} of length {n}")
        return list(self._modules)[index]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = type(self).__new__(type(self))
            Module.__init__(part)
            chosen = dict(list(self._modules.items())[index])
            part._modules.update(chosen)  # a view for reading: paths stay those of the whole
            part.__dict__.update(chosen)
            return part
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), module)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for m in modules:
            self.append(m)
        return self


class Sequential(_Indexed):
    """Calls its modules one after the other. Takes modules, or one OrderedDict of named modules."""

    def __init__(self, *modules: Module | OrderedDict[str, Module]):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            for name, m in modules[0].items():
                self.add_module(name, m)
        else:
            self.extend(modules)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Any:
        """The last module's output."""
        for m in self:
            x = m(x)
        return x


class ModuleList(_Indexed):
    """A list of modules, registered; it has no forward."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)


class ModuleDict(Module):
    """A dict of modules, registered; it has no forward."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key], self.__dict__[key]

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def items(self) -> Iterable[tuple[str, Module]]:
        """The names with their modules."""
        return self._modules.items()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add or replace modules by name."""
        for name, m in modules.items():
            self.add_module(name, m)
