"""`tinyllm doctor`: what this installation runs on, and a self-test of two seconds that fails loudly.

Each check is a function that raises AssertionError or returns what it measured. They cover what a wrong
compiler, a broken wheel or a strange machine would break: kernels of every instruction set, gradients, random
numbers, the tokenizer core, files, and a model that learns.
"""

from __future__ import annotations

import os
import platform
import shutil
import sysconfig
import tempfile
import time
import warnings

import numpy as np

from . import __version__, backend, config, random
from .backend import reference
from .data import ArrayTokens, WindowSampler
from .errors import CheckpointError
from .formats import safetensors
from .tokenizers import BPETokenizer, CharTokenizer
from .tokenizers import compiled as tokenizer_compiled
from .training.loop import Trainer, summed_loss
from .training.run import build_model

TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"


def report() -> bool:
    """Print facts and checks; whether all checks passed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that kernels are missing is said below, in place
        return _report()


def _report() -> bool:
    kernels = backend.compiled()
    facts = {
        "tinyllm": f"{__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "backend": backend.current(),
        "C kernels": "yes" if kernels else "no: running on NumPy, which is many times slower",
        "instruction set": f"{backend.isa()} (this machine runs {', '.join(backend.available_isas()) or 'none'})",
        "threads": str(backend.num_threads()),
        "tokenizer core": "yes" if tokenizer_compiled() else "no: running in Python, which is many times slower",
        "compiler": _compiler() or "none found (needed only to install from source)",
        "CUDA": "no: this version has kernels for CPUs only",
    }
    for name, value in facts.items():
        print(f"{name:<16} {value}")
    print()
    passed = True
    for check in CHECKS:
        began = time.perf_counter()
        try:
            outcome = f"ok    {check()}"
        except Exception as error:  # a doctor reports whatever is wrong and goes on
            passed, outcome = False, f"FAIL  {type(error).__name__}: {error}"
        print(f"{check.__name__.replace('_', ' '):<26} {outcome}  ({time.perf_counter() - began:.2f} s)")
    print("\nall checks passed" if passed else "\nsome checks FAILED: please report this, with the lines above")
    return passed


def kernels_equal_reference() -> str:
    """The kernels of every instruction set against the NumPy backend, on shapes that leave tails."""
    if not backend.compiled():
        return "no C kernels: the reference is what runs"
    from .backend import cpu

    rng = np.random.default_rng(0)
    a, b, w = (rng.standard_normal(s).astype(np.float32) for s in ((37, 65), (65, 51), (65,)))
    q, k, v = (rng.standard_normal((2, 3, 19, 24)).astype(np.float32) for _ in range(3))
    hi = np.arange(1, 20)[None]
    targets = rng.integers(0, 65, 37)
    calls = [
        ("matmul", (a, b), {}),
        ("unary", ("gelu_tanh", a), {}),
        ("softmax", (a,), {}),
        ("layer_norm", (a, w, w, 1e-5), {}),
        ("cross_entropy", (a, targets, None, -100, 0.0), {}),
        ("attention", (q, k, v), {"scale": 0.2, "hi": hi}),
    ]
    before, worst = backend.isa(), 0.0
    try:
        for isa in backend.available_isas():
            backend.use_isa(isa)
            for name, args, keywords in calls:
                got, want = (getattr(module, name)(*args, **keywords) for module in (cpu, reference))
                for x, y in zip(_tuple(got), _tuple(want), strict=True):
                    error = float(np.abs(x - y).max() / max(1.0, float(np.abs(y).max())))
                    assert error < 1e-5, f"{name} on {isa} differs from the reference by {error:.1e}"
                    worst = max(worst, error)
    finally:
        backend.use_isa(before)
    return f"{len(calls)} kernels on {', '.join(backend.available_isas())}: largest difference {worst:.1e}"


def random_numbers() -> str:
    """Philox4x32-10 gives the words that Random123 publishes for key 0, counter 0."""
    words = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])
    got = backend.uniform((4,), np.dtype(np.float64), (0, 0), 0)
    assert np.array_equal(got, (words >> 8) * 2.0**-24), f"got {got}"
    return "Philox gives Random123's known answer"


def gradients() -> str:
    """The gradient of a small GPT in float64 against a difference quotient along a random direction."""
    model = build_model(config.ModelConfig(n_layer=1, n_head=2, n_embd=8, n_positions=8), 11, seed=1).to(
        np.dtype(np.float64)
    )
    ids = np.arange(16).reshape(2, 8) % 11
    parameters = list(model.parameters())
    summed_loss(model, ids, (ids * 3 + 1) % 11).backward()
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(p.shape) for p in parameters]
    slope = sum(float((p.grad.numpy() * d).sum()) for p, d in zip(parameters, directions, strict=True))

    def loss_at(t: float) -> float:
        for p, d in zip(parameters, directions, strict=True):
            p.array[...] += t * d
        value = summed_loss(model, ids, (ids * 3 + 1) % 11).item()
        for p, d in zip(parameters, directions, strict=True):
            p.array[...] -= t * d
        return value

    h = 1e-4
    quotient = (8 * (loss_at(h) - loss_at(-h)) - (loss_at(2 * h) - loss_at(-2 * h))) / (12 * h)
    error = abs(slope - quotient) / max(1.0, abs(quotient))
    assert error < 1e-7, f"slope {slope}, difference quotient {quotient}"
    return f"a GPT's gradient equals the difference quotient to {error:.0e}"


def tokenizers() -> str:
    """A tokenizer is trained; text and arbitrary bytes come back."""
    trained = BPETokenizer.train([TEXT * 3], 280)
    for data in (TEXT.encode(), bytes(range(256)), "na\u00efve \U0001f600\u4e2d".encode()):
        assert trained.decode_bytes(trained.encode(data)) == data, f"{data!r} does not come back"
    return f"BPE of {trained.vocab_size} tokens gives text and bytes back"


def files() -> str:
    """Tensors come back from a file, and a changed file is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.safetensors")
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        safetensors.write(path, {"x": x})
        assert np.array_equal(safetensors.read(path)[0]["x"], x)
        with open(path, "rb") as file:
            data = file.read()
        try:
            safetensors.parse(data[:-1])
        except CheckpointError:
            return "safetensors come back, a truncated file is refused"
    raise AssertionError("a truncated file was read")


def learning() -> str:
    """A tiny model learns a line of text by heart."""
    tokenizer = CharTokenizer.train([TEXT])
    settings = config.replace(
        config.Config(), model__n_layer=1, model__n_head=2, model__n_embd=32, model__n_positions=8,
        training__steps=50, training__batch_size=8, optimizer__learning_rate=2e-2, optimizer__warmup_steps=5,
    )  # fmt: skip
    model = build_model(settings.model, tokenizer.vocab_size, seed=1)
    tokens = ArrayTokens(tokenizer.encode(TEXT))
    trainer = Trainer(model, WindowSampler(tokens, 8, seed=1), tokens, settings.optimizer, settings.training)
    state = random.default_generator.state_dict()
    try:
        first = trainer.train_step()["loss"]
        last = trainer.run()
    finally:
        random.default_generator.load_state_dict(state)
    assert last < 0.6 * first, f"the loss went from {first:.3f} to {last:.3f} only"
    return f"the loss of a tiny GPT went from {first:.2f} to {last:.2f}"


CHECKS = (kernels_equal_reference, random_numbers, gradients, tokenizers, files, learning)


def _tuple(x: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return x if isinstance(x, tuple) else (x,)


def _compiler() -> str | None:
    named = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "").split(" ")[0]
    return next((found for name in (named, "cc", "gcc", "clang") if name and (found := shutil.which(name))), None)
