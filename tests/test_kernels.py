"""What the kernels promise beyond their formulas: the same bits for any number of threads, life after a fork,
concurrent callers, counters of memory, the choice of an instruction set.

tests/test_backend.py compares every kernel with the reference, tests/test_accuracy.py measures errors in ulp.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm import backend
from tinyllm.backend import memory, reference
from tinyllm.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not backend.compiled(), reason="the C kernels are not built")


@pytest.fixture(autouse=True)
def settings_restored():
    isa, threads = backend.isa(), backend.num_threads()
    with backend.use("cpu"):
        yield
    backend.use_isa(isa)
    backend.set_num_threads(threads)


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("TINYLLM_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**keep, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


# ---- threads ----


def families(dtype: str) -> dict:
    """One call of each family, large enough to be cut."""
    rng = np.random.default_rng(7)

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    wide, long, ids = array(70, 1030), array(300_000), rng.integers(0, 50, 3000)
    index = rng.integers(0, 40, (30, 35, 41))
    rows, slab = array(3000, 70), array(30, 35, 41)
    a, b, bias = array(150, 1100), array(1100, 90), array(90)
    return {
        "unary": lambda: backend.unary("gelu", long),
        "unary_grad": lambda: backend.unary_grad("gelu", long, long, None),
        "binary": lambda: backend.binary("mul", wide, wide[0]),
        "binary strided": lambda: backend.binary("sub", wide.T, wide[0][:, None]),
        "compare": lambda: backend.binary("lt", wide.T, wide[0][:, None]),
        "where": lambda: backend.where(wide.T > 0, wide.T, wide[0][:, None]),
        "gated": lambda: backend.gated("silu", wide, wide),
        "gated_grad": lambda: backend.gated_grad("gelu", wide, wide, wide)[0],
        "copy": lambda: backend.copy(wide.T),
        "sum of all": lambda: backend.reduce("sum", long, (0,)),
        "sum of columns": lambda: backend.reduce("sum", long[:27000].reshape(9000, 3), (0,)),
        "mean of rows": lambda: backend.reduce("mean", wide, (1,)),
        "argmax": lambda: backend.reduce("argmax", wide, (0,)),
        "cumsum": lambda: backend.cumsum(wide, 0),
        "take": lambda: backend.take(wide, ids),
        "take_grad": lambda: backend.take_grad(rows, ids, 50),
        "gather": lambda: backend.gather(slab.repeat(2, 1), 1, index),
        "gather_grad": lambda: backend.gather_grad(slab, 1, index, 40),
        "matmul": lambda: backend.matmul(a, b, bias),
        "matmul, few rows": lambda: backend.matmul(a[:5], b, bias),
        "matmul, transposed": lambda: backend.matmul(a.T, b.T[:, :150].T),
        "matmul, column": lambda: backend.matmul(a, b[:, :1]),
        "matmul, batch": lambda: backend.matmul(slab, slab.swapaxes(1, 2)),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", backend.available_isas())
def test_bits_do_not_depend_on_the_number_of_threads(isa, dtype):
    backend.use_isa(isa)
    backend.set_num_threads(1)
    calls = families(dtype)
    alone = {name: call() for name, call in calls.items()}
    for threads in (2, 3, 4):
        backend.set_num_threads(threads)
        for name, call in calls.items():
            np.testing.assert_array_equal(call(), alone[name], err_msg=f"{name} with {threads} threads", strict=True)


@settings(max_examples=30)
@given(m=st.integers(1, 40), k=st.integers(1, 1200), n=st.integers(1, 70), row=st.integers(0, 39), data=st.data())
def test_a_row_has_the_same_bits_alone_and_in_any_batch(m, k, n, row, data):
    rng = np.random.default_rng(m * k + n)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    whole = backend.matmul(a, b)
    row %= m
    assert np.array_equal(backend.matmul(a[row : row + 1], b)[0], whole[row])
    # The layout of the operands is no part of the result either.
    assert np.array_equal(backend.matmul(np.asfortranarray(a), np.asfortranarray(b)), whole)


def test_threads_after_a_fork():
    done = python(
        """
        import os, sys
        import numpy as np
        from tinyllm import backend
        backend.set_num_threads(3)
        a = np.arange(90000, dtype=np.float32).reshape(300, 300) % 7
        expected = backend.matmul(a, a)
        for generation in range(2):
            child = os.fork()
            if child:
                _, status = os.waitpid(child, 0)
                sys.exit(os.waitstatus_to_exitcode(status) or not np.array_equal(backend.matmul(a, a), expected))
            if not np.array_equal(backend.matmul(a, a), expected):
                os._exit(3)
        """,
        PYTHONWARNINGS="ignore::DeprecationWarning",  # Python 3.12 warns of a fork beside threads: they are the point
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_concurrent_callers_get_the_right_answers():
    backend.set_num_threads(2)
    rng = np.random.default_rng(3)
    squares = [rng.standard_normal((200, 200), np.float32) for _ in range(4)]
    expected = [backend.matmul(a, a) for a in squares]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for got, want in zip(pool.map(lambda a: backend.matmul(a, a), squares), expected, strict=True):
                np.testing.assert_array_equal(got, want)


def test_number_of_threads():
    backend.set_num_threads(3)
    assert backend.num_threads() == 3
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        backend.set_num_threads(0)
    count = "from tinyllm import backend; print(backend.num_threads())"
    assert python(count, TINYLLM_NUM_THREADS="5").stdout == "5\n"
    assert "expected a positive number, got 'two'" in python(count, TINYLLM_NUM_THREADS="two").stderr
    assert 1 <= int(python(count).stdout) <= len(os.sched_getaffinity(0))


# ---- memory ----


def test_counters_follow_arrays():
    before = memory.live_bytes()
    memory.reset_peak()
    x = memory.empty((1000, 100), np.float32)
    view = x[5:, ::2]
    assert memory.live_bytes() - before == 400_000
    del x
    assert memory.live_bytes() - before == 400_000, "a view keeps its base"
    del view
    assert memory.live_bytes() == before
    assert memory.peak_bytes() - before == 400_000
    memory.reset_peak()
    assert memory.peak_bytes() == before


def test_blocks_are_aligned_and_reused():
    x = memory.empty((300, 300), np.float64)
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned
    address = x.ctypes.data
    assert address % 64 == 0
    del x
    assert memory.empty((90_001,), np.float64).ctypes.data == address
    assert memory.cached_bytes() > 0
    memory.trim()
    assert memory.cached_bytes() == 0


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=30))
@settings(max_examples=20)
def test_blocks_do_not_overlap(sizes):
    blocks = [memory.empty((size,), np.uint8) for size in sizes]
    for number, block in enumerate(blocks):
        block.fill(number)
    for number, block in enumerate(blocks):
        assert (block == number).all()


def test_a_request_that_cannot_be_met():
    for shape in (2**44,), (2**32, 2**32), (3, 2**100):
        with pytest.raises(MemoryError, match=r"no memory for an array of shape \(.*\) .* [\d,]+ bytes"):
            memory.empty(shape, np.float64)
    for shape in (-1,), (-9000, 9), (-9000, -9), (3, 2**40, -(2**40)):
        with pytest.raises(ValueError, match="negative"):
            memory.empty(shape, np.float64)


def test_workspace_is_returned():
    a = np.ones((1000, 2000), np.float32)
    out = np.empty((1000, 1000), np.float32)
    before = memory.live_bytes()
    memory.reset_peak()
    backend.matmul(a, a.T, out=out)
    assert memory.live_bytes() == before
    assert memory.peak_bytes() > before


def test_bytes_are_counted_by_kind():
    before = memory.live_by_kind()
    memory.reset_peak()

    def grown(counts=memory.live_by_kind):
        return {name: n - before[name] for name, n in counts().items() if n != before[name]}

    x = memory.empty((100, 1000), np.float32)
    with memory.kind("optimizer"):
        y = memory.empty((100, 1000), np.float64)
        with memory.kind("communication"):
            z = memory.empty((100, 100), np.float64)
        backend.matmul(y, y.T, out=z)
    assert grown() == {"workspace": 400_000, "optimizer": 800_000, "communication": 80_000}
    assert memory.retag(x[3:, 1:], "activation", of="workspace").base is x
    memory.retag(y, "activation", of="workspace")  # is none
    assert grown() == {"activation": 400_000, "optimizer": 800_000, "communication": 80_000}
    memory.retag(x, "gradient")
    del x, y, z
    assert not grown()
    most = grown(memory.peak_by_kind)
    assert most.pop("workspace") >= 400_000  # the product's scratch too
    assert most == {"activation": 400_000, "gradient": 400_000, "optimizer": 800_000, "communication": 80_000}


def test_memory_of_others_is_not_counted():
    before = memory.live_by_kind()
    theirs = np.frombuffer(memory.ffi.buffer(memory.ffi.new("char[]", 1 << 20)), np.float32)
    for x in (theirs, np.zeros((500, 500)), np.broadcast_to(np.float32(0), (500, 500)), np.zeros(3)):
        memory.retag(x, "gradient")
    assert memory.live_by_kind() == before


def test_freed_neighbours_become_one():
    """In a process of its own: what other tests freed may fit as well."""
    done = python("""if True:
        import numpy as np
        from tinyllm.backend import memory

        blocks = [memory.empty((1 << 20,), np.uint8) for _ in range(3)]
        first, *_ = addresses = [x.ctypes.data for x in blocks]
        assert addresses == sorted(addresses)
        cached = memory.cached_bytes()
        del blocks[1], blocks[0], blocks[0]
        assert memory.cached_bytes() > cached + 3 * (1 << 20)
        whole = memory.empty((3 << 20,), np.uint8)
        assert whole.ctypes.data <= first and memory.cached_bytes() <= cached + 1024
    """)
    assert done.returncode == 0, done.stderr


def test_a_thread_keeps_its_workspace_until_memory_is_trimmed():
    a, b = np.ones((4096, 128), np.float32), np.ones((128, 128), np.float32)
    out = np.empty_like(a)
    backend.set_num_threads(2)
    memory.trim()
    backend.matmul(a, b, out=out)
    small = [memory.lib.tl_malloc(1 << 10) for _ in range(1000)]  # they take all that waits for anybody
    kept = memory.cached_bytes()
    assert kept >= 2 * b.nbytes, "each thread packs b for itself"
    backend.matmul(a, b, out=out)
    assert memory.cached_bytes() == kept
    for pointer in small:
        memory.lib.tl_free(pointer)
    memory.trim()
    assert memory.cached_bytes() == 0
    assert (out == 128).all()


@given(st.lists(st.tuples(st.integers(1, 3_000_000), st.integers(0, 11)), max_size=60))
@settings(max_examples=30, deadline=None)
def test_any_order_of_taking_and_giving_back(moves):
    """Every block keeps what was written to it, and nothing is lost or counted twice."""
    before, ffi, lib = memory.live_bytes(), memory.ffi, memory.lib
    held = {}
    for number, (size, place) in enumerate(moves):
        if place in held:
            pointer, size, byte = held.pop(place)
            buffer = ffi.buffer(pointer, size)
            assert buffer[0] == buffer[size // 2] == buffer[size - 1] == byte
            lib.tl_free(pointer)
        else:
            pointer = ffi.cast("char *", lib.tl_malloc(size))
            byte = bytes([number % 251])
            ffi.memmove(pointer, byte * size, size)
            held[place] = pointer, size, byte
        assert memory.live_bytes() - before == sum(size for _, size, _ in held.values())
    for pointer, *_ in held.values():
        lib.tl_free(pointer)
    assert memory.live_bytes() == before


RESIDENT = """
    import numpy as np
    from tinyllm.backend import memory

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
"""


def fresh_memory(lines):
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("the system does not say how much memory is resident")
    done = python(textwrap.dedent(RESIDENT) + textwrap.dedent(lines))
    assert done.returncode == 0, done.stderr


def test_what_waits_is_bounded():
    """Batches of ever new shapes, kept and dropped in turns: what a process holds stays near what it needs."""
    fresh_memory("""
        rng, start = np.random.default_rng(0), resident()
        for _ in range(300):
            held = []
            while memory.live_bytes() < 150 << 20:
                held.append(memory.empty((int(rng.integers(1, 8 << 20)),), np.uint8))
                held[-1].fill(1)
                if rng.random() < 0.4:
                    del held[int(rng.integers(len(held)))]
            assert memory.live_bytes() + memory.cached_bytes() < 250 << 20, memory.cached_bytes() >> 20
            assert resident() - start < 260 << 20
    """)


def test_trim_gives_pages_back():
    fresh_memory("""
        x, kept = [memory.empty((64 << 20,), np.uint8) for _ in range(2)]
        x.fill(1), kept.fill(7)
        del x
        held = resident()
        memory.trim()
        assert memory.cached_bytes() == 0 and held - resident() > 60 << 20
        again = memory.empty((64 << 20,), np.uint8)
        again.fill(2)
        assert (kept == 7).all() and resident() < held + (8 << 20)
    """)


def test_threads_take_and_give_back_at_once():
    before = memory.live_bytes()

    def work(seed):
        rng, held = np.random.default_rng(seed), []
        with memory.kind("communication"):
            for _ in range(400):
                if held and rng.random() < 0.5:
                    x, byte = held.pop(int(rng.integers(len(held))))
                    assert x[0] == x[-1] == byte
                else:
                    x = memory.empty((int(rng.integers(memory.SMALL, 200_000)),), np.uint8)
                    x[:] = byte = int(rng.integers(256))
                    held.append((x, byte))
        return sum(x.nbytes for x, _ in held)

    with ThreadPoolExecutor(4) as pool:
        assert all(n > 0 for n in pool.map(work, range(8)))
    assert memory.live_bytes() == before and memory.live_by_kind()["communication"] == 0


def test_allocations_fail_where_a_test_asks():
    a = np.ones((200, 2000), np.float32)
    before = memory.live_bytes()
    with memory.failing(0) as faults:
        with pytest.raises(MemoryError):
            memory.empty((9000,), np.float32)
        memory.empty((9000,), np.float32)
    assert faults.count == 1
    with memory.failing(1, forever=True) as faults:
        out = memory.empty((200, 200), np.float32)
        for _ in range(2):
            with pytest.raises(MemoryError):
                backend.matmul(a, a.T, out=out)
    assert faults.count >= 2
    with memory.failing(10**6) as faults:
        backend.matmul(a, a.T, out=out)
    assert faults.count == 0
    del out
    assert memory.live_bytes() == before


def test_without_new_threads_the_caller_does_the_work():
    lines = """
        import numpy as np
        from tinyllm import backend
        from tinyllm.backend._kernels import lib
        x = np.random.default_rng(0).standard_normal((500, 500)).astype(np.float32)
        backend.set_num_threads(4)
        lib.tl_fail_threads(1)
        alone = backend.matmul(x, x)
        lib.tl_fail_threads(0)
        assert np.array_equal(backend.matmul(x, x), alone)
    """
    done = python(lines)
    assert done.returncode == 0, done.stderr


# ---- which kernels run ----


def test_backends_have_the_same_names():
    from tinyllm.backend import cpu

    assert sorted(cpu.__all__) == sorted(reference.__all__)


def test_use_is_a_call_and_a_context():
    with backend.use("reference"):
        assert backend.current() == "reference"
        assert backend.matmul is reference.matmul
    assert backend.current() == "cpu"
    assert backend.matmul is not reference.matmul
    backend.use("reference")
    assert backend.current() == "reference"
    with pytest.raises(ConfigError, match="expected one of cpu, reference, got 'gpu'"):
        backend.use("gpu")
    with pytest.raises(AttributeError, match="no attribute 'matmull'"):
        backend.matmull  # noqa: B018


@pytest.mark.parametrize("isa", backend.available_isas())
def test_every_instruction_set_can_be_forced(isa):
    backend.use_isa(isa)
    assert backend.isa() == isa
    done = python("from tinyllm import backend; backend.current(); print(backend.isa())", TINYLLM_ISA=isa)
    assert done.stdout == f"{isa}\n"


def test_an_instruction_set_that_this_machine_lacks():
    assert backend.available_isas()[0] == "generic"
    with pytest.raises(ConfigError, match="'mmx' does not run here: this machine has generic"):
        backend.use_isa("mmx")


def test_backend_from_the_environment():
    show = "from tinyllm import backend; print(backend.current())"
    assert python(show, TINYLLM_BACKEND="reference").stdout == "reference\n"
    assert python(show).stdout == "cpu\n"
    assert (
        "ConfigError: backend: expected one of cpu, reference, got 'gpu'" in python(show, TINYLLM_BACKEND="gpu").stderr
    )


def test_without_kernels_numpy_runs_and_says_so_once():
    done = python(
        """
        import sys, warnings
        sys.modules["tinyllm.backend._kernels"] = None
        import numpy as np
        from tinyllm import backend
        from tinyllm.errors import ConfigError
        assert not backend.compiled() and backend.isa() == "none" and backend.available_isas() == ()
        assert backend.num_threads() == 1
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(3):
                backend.matmul(np.ones((2, 2)), np.ones((2, 2)))
        assert [w.category for w in seen] == [RuntimeWarning] and "not built" in str(seen[0].message)
        assert backend.current() == "reference"
        backend.memory.reset_peak()
        assert backend.memory.empty((9000, 9), np.float32).shape == (9000, 9) and backend.memory.peak_bytes() == 0
        assert backend.memory.live_bytes() == backend.memory.cached_bytes() == 0 and backend.memory.trim() is None
        for refused in (lambda: backend.use("cpu"), lambda: backend.use_isa("generic")):
            try:
                refused()
            except ConfigError as error:
                assert "install a C compiler" in str(error)
            else:
                raise AssertionError("accepted")
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc says what it would compile")
@pytest.mark.parametrize("unit", ["isa_generic_f32.c", "isa_generic_f64.c"])
def test_sources_need_no_builtin_newer_than_gcc_11(unit):
    """A later gcc that is told to be 11 and does not know __builtin_shufflevector."""
    older = ["-U__GNUC__", "-D__GNUC__=11", "-D__builtin_shufflevector=unknown"]
    command = ["gcc", "-std=gnu11", "-fsyntax-only", "-Werror=implicit-function-declaration", *older]
    done = subprocess.run([*command, str(ROOT / "csrc" / unit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_kernels_that_cannot_be_loaded_say_why():
    done = python(
        """
        import importlib.abc, sys
        class Broken(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "tinyllm.backend._kernels":
                    raise ImportError("libc.so.9: cannot open shared object file", name=name)
        sys.meta_path.insert(0, Broken())
        from tinyllm import backend
        assert not backend.compiled() and backend.current() == "reference"
        """
    )
    assert done.returncode == 0, done.stderr
    assert "built but cannot be loaded (libc.so.9: cannot open shared object file)" in done.stderr


@pytest.mark.slow
def test_installing_without_a_compiler(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    built = shutil.ignore_patterns(".*", "build", "*.so", "_*.c", "*.egg-info", "runs")
    shutil.copytree(ROOT, source, ignore=built)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", target]
    environment = {**os.environ, "CC": "/bin/false"}
    done = subprocess.run([*pip, source], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import warnings; warnings.simplefilter('ignore'); from tinyllm import backend; print(backend.current())"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(target)}, capture_output=True, text=True
    )
    assert ran.stdout == "reference\n", ran.stderr


def test_a_gradient_of_gather_without_memory_is_an_error_and_no_numbers():
    dy, index = np.ones((64, 64), np.float32), np.zeros((64, 64), np.int64)
    expected = backend.gather_grad(dy, 1, index, 64)
    with memory.failing(1) as faults, pytest.raises(MemoryError):  # the result is got, the workspace is not
        backend.gather_grad(dy, 1, index, 64)
    assert faults.count == 1
    np.testing.assert_array_equal(backend.gather_grad(dy, 1, index, 64), expected)
