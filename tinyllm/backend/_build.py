"""Describe the kernel library to cffi, from csrc/tinyllm.h alone.

The header declares each kernel once, as `TL_KERNEL(int, name, arguments...)` with T for the element type. From that
line come, for float (`_f32`) and double (`_f64`): the declaration that Python sees, and the C function that forwards to
the instruction set in use (`tl_active`, see dispatch.c). Run by setup.py; the package never imports it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).resolve().parents[2] / "csrc"
DTYPES = {"f32": "float", "f64": "double"}
# Same bits on every machine that has the instruction set: no contraction that the source doesn't ask for, no
# -march=native, no -ffast-math. errno is never read.
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-pthread"]
FLAGS += ["-fvisibility=hidden", "-g0", "-Wall", "-Wno-unknown-pragmas", "-Wno-psabi"]

_KERNEL = re.compile(r"TL_KERNEL\((\w+),\s*(\w+),([^;]*?)\)\s*;", re.S)


def declarations() -> tuple[str, str]:
    """The text for `ffi.cdef`, and C definitions of the kernels that forward to the active instruction set."""
    text = (CSRC / "tinyllm.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"^#.*(?:\\\n.*)*$", "", text, flags=re.M)
    plain = _KERNEL.sub("", text)
    kernels, forwards = [], []
    for result, name, arguments in _KERNEL.findall(text):
        arguments = " ".join(arguments.split())
        names = ", ".join(re.findall(r"(\w+)\s*(?:\[\w*\])?\s*(?:,|$)", arguments))
        for suffix, ctype in DTYPES.items():
            typed = re.sub(r"\bT\b", ctype, arguments)
            prototype = f"{result} tl_{name}_{suffix}({typed})"
            kernels.append(prototype + ";")
            give = "" if result == "void" else "return "
            forwards.append(f"static {prototype} {{ {give}tl_active->{name}_{suffix}({names}); }}")
    return plain + "\n".join(kernels), "\n".join(forwards)


def sources() -> list[str]:
    """Translation units, relative to the root of the project; the isa_*.c files include the families of kernels."""
    units = [CSRC / "dispatch.c", CSRC / "memory.c", CSRC / "pool.c", *sorted(CSRC.glob("isa_*.c"))]
    return [os.path.relpath(path, CSRC.parent) for path in units]


ffi = FFI()
_cdef, _forwards = declarations()
ffi.cdef(_cdef)
ffi.set_source(
    "tinyllm.backend._kernels",
    f'#include "dispatch.h"\n{_forwards}\n',
    sources=sources(),
    include_dirs=["csrc"],
    depends=[os.path.relpath(path, CSRC.parent) for path in sorted(CSRC.rglob("*.[ch]"))],
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
    optional=True,
)
