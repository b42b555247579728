"""Build the C kernels (cffi, API mode) and the tokenizers' cores (Cython) as one cp311-abi3 wheel.

All extensions are optional: without a working C compiler the package still installs and runs on NumPy and pure
Python, and says so at first use and in `tinyllm doctor`. All other metadata is in pyproject.toml.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LIMITED_API = "0x030B0000"  # Python 3.11
CORES = sorted(Path("tinyllm/tokenizers").glob("_*.pyx"))  # an extension each, so that a change builds one alone


class BuildParallel(build_ext):
    """Compile the sources of one extension side by side: the kernels are one source per instruction set and dtype."""

    def build_extension(self, ext: Extension) -> None:
        from concurrent.futures import ThreadPoolExecutor

        compile_serially = self.compiler.compile

        def compile(sources, *args, **kwargs):
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                parts = pool.map(lambda source: compile_serially([source], *args, **kwargs), sources)
                return [obj for part in parts for obj in part]

        self.compiler.compile = compile
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_serially


def tokenizer_cores() -> list[Extension]:
    if not CORES:
        return []
    from Cython.Build import cythonize

    included = [str(path) for path in CORES[0].parent.glob("*.px[di]")]
    extensions = [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            depends=included,
            define_macros=[("Py_LIMITED_API", LIMITED_API)],
            # a * b + c rounded once (fused) where a machine can would give other bits than reference/ there
            extra_compile_args=["-O3", "-ffp-contract=off"],
            py_limited_api=True,
        )
        for path in CORES
    ]
    built = cythonize(extensions, language_level=3)
    for extension in built:
        extension.optional = True  # cythonize drops what the Extension was given
    return built


setup(
    cffi_modules=["tinyllm/backend/_build.py:ffi"],
    ext_modules=tokenizer_cores(),
    cmdclass={"build_ext": BuildParallel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
