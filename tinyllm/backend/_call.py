"""What every call into the compiled kernels needs: the functions by dtype, and arrays as C pointers.

A call through cffi costs about a quarter of a microsecond and releases the GIL; a pointer of a contiguous array as much
again. Importing this module loads the library and settles the instruction set (`TINYLLM_ISA`, or the widest that runs).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tinyllm.backend._kernels import ffi, lib
from tinyllm.errors import ConfigError

Array = np.ndarray

ISAS = tuple(name for name in ("generic", "neon", "avx2", "avx512") if lib.tl_has_isa(name.encode()))
NULL = ffi.NULL
WORD, LONG_WORD = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF  # bits of a key's numbers and of a stream's

_SUFFIX: dict[np.dtype, str] = {np.dtype(np.float32): "_f32", np.dtype(np.float64): "_f64"}
_CTYPES = {"f4": "float", "f8": "double", "i8": "int64_t", "i4": "int32_t", "u4": "uint32_t", "b1": "uint8_t"}
_ARRAY: dict[np.dtype, Any] = {np.dtype(code): ffi.typeof(f"{ctype}[]") for code, ctype in _CTYPES.items()}
_POINTERS: dict[np.dtype, Any] = {np.dtype(code): ffi.typeof(f"{ctype} *[]") for code, ctype in _CTYPES.items()}
_FIRST: list[Any] = [(*[0] * axes, ...) for axes in range(65)]  # the first element, as an array without axes
_INT64S = ffi.typeof("int64_t[]")
_from_buffer = ffi.from_buffer


def use_isa(name: str) -> None:
    """Run the kernels compiled for the instruction set `name` from now on."""
    if name not in ISAS:
        raise ConfigError(f"instruction set {name!r} does not run here: this machine has {', '.join(ISAS)}")
    lib.tl_use_isa(name.encode())


def kernel(name: str, dtype: np.dtype) -> Any:
    """The kernel tl_<name> for float32 or float64."""
    return getattr(lib, f"tl_{name}{_SUFFIX[dtype]}")


def kernels(name: str) -> dict[np.dtype, Any]:
    """Both versions of a kernel by dtype: looked up once, when a module is imported."""
    return {dtype: kernel(name, dtype) for dtype in _SUFFIX}


def numbers(prefix: str) -> dict[str, int]:
    """The C enum whose constants start with `prefix`, by lower-case name."""
    return {name[len(prefix) :].lower(): getattr(lib, name) for name in dir(lib) if name.startswith(prefix)}


def ptr(x: Array | None) -> Any:
    """A pointer to the first element of x, whatever its strides; NULL for None.

    The pointer keeps x alive.
    """
    if x is None:
        return NULL
    if not (flags := x.flags).c_contiguous:  # it has elements then: an array of none is contiguous
        if not flags.aligned:
            raise ValueError(f"strides {x.strides} are no multiples of {x.itemsize} bytes; copy the array first")
        x = x[_FIRST[x.ndim]]
    return _from_buffer(_ARRAY[x.dtype], x)


def pointers(arrays: list[Array]) -> Any:
    """A C array of pointers to contiguous arrays of one dtype, which the caller holds during the call."""
    dtype = arrays[0].dtype
    kind = _ARRAY[dtype]
    return ffi.new(_POINTERS[dtype], [_from_buffer(kind, x) for x in arrays])


def dense(x: Array) -> Array:
    """x itself if C-contiguous, else a copy that is."""
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def dense_or_none(x: Array | None) -> Array | None:
    """`dense` of an array that may be absent."""
    return None if x is None else dense(x)


def writable(x: Array) -> Array:
    """x itself. Raises ValueError if it is read-only, as mapped files and expanded views are: C would write anyway."""
    if not x.flags.writeable:
        raise ValueError(f"the array of shape {x.shape} to write to is read-only; clone it first")
    return x


def destination(out: Array, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """`out`, which a result of that shape and dtype is to be written to. Raises ValueError unless it can be: C writes
    what it is told to.
    """
    if out.shape != shape or out.dtype != dtype or not out.flags.aligned:
        raise ValueError(f"expected an aligned {dtype} array of shape {shape} to write to, got {out.dtype} {out.shape}")
    return writable(out)


def overlaps(out: Array, *inputs: Array) -> bool:
    """Whether `out` shares memory with an input that is not the very same array: written elements would be read."""
    for x in inputs:
        if np.may_share_memory(out, x) and (
            out.shape != x.shape or out.strides != x.strides or out.ctypes.data != x.ctypes.data
        ):
            return True
    return False


def strides(x: Array) -> tuple[int, ...]:
    """Strides in elements."""
    size = x.itemsize
    return tuple([step // size for step in x.strides])


def int64s(values: list[int]) -> Any:
    """A C array of int64_t."""
    return ffi.new(_INT64S, values)


def check(status: int) -> None:
    """Raise for a kernel that could not get its workspace."""
    if status != 0:
        raise MemoryError("a kernel could not allocate its workspace: use smaller batches or free arrays")


ACT = numbers("TL_ACT_")

if _chosen := os.environ.get("TINYLLM_ISA"):
    use_isa(_chosen)
if (_count := os.environ.get("TINYLLM_NUM_THREADS")) and not (_count.isdecimal() and int(_count) > 0):
    raise ConfigError(f"TINYLLM_NUM_THREADS: expected a positive number, got {_count!r}")
