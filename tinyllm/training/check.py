"""Is this model what it claims to be? `tinyllm check` asks six questions that a wrong model answers wrongly.

    loss at init        a fresh model knows nothing: its loss is ln V
    causality           a token changes no logits before it, and does change its own
    gradients           of each parameter along a random direction, against differences in float64
    cache               logits with a key/value cache are those without
    one batch           a model that can learn learns a single batch by heart
    resume              k + k steps with a checkpoint between are 2k steps, to the last bit

Where weights are given, causality, gradients and cache are asked of them, the rest of a fresh model of the same
configuration. Ids are random: what the model is trained on does not matter.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

from .. import random
from ..autograd import no_grad
from ..config import Config, load, preset, replace
from ..data import ArrayTokens, WindowSampler
from ..models.gpt import GPT, GPTConfig
from ..optim import AdamW
from ..tokenizers import CharTokenizer
from . import checkpoint
from .loop import Trainer
from .run import build_model
from .store import find
from .verdict import Verdict

GRADIENT_BAR = 1e-8
CACHE_BAR = 1e-12
BATCH = 4
Make = Callable[[], GPT]


def check(config: Config, fresh: Make, weights: GPT | None = None) -> Iterator[Verdict]:
    """Yield the verdicts, in the order above. `fresh` makes a new model of `config` each time, the same one."""
    model = weights or fresh()
    model.to(np.dtype(np.float64)).eval()
    yield loss_at_init(fresh())
    yield causality(model)
    yield gradients(model)
    yield cache(model)
    yield one_batch(fresh())
    yield resume(config, fresh)


def subject(name: str) -> tuple[Config, Make, GPT | None]:
    """What `check` takes, for the name of a preset, the path of a TOML file, or that of a checkpoint or a run."""
    if os.path.isdir(name):
        found = find(name)

        def untrained() -> GPT:
            random.manual_seed(found.config.training.seed)
            settings = {key: value for key, value in found.model_config.items() if key != "type"}
            return GPT(GPTConfig.from_dict(settings))

        return found.config, untrained, checkpoint.build_model(found)
    config = load(name, Config()) if os.path.isfile(name) else preset(name)
    vocab_size = 65 if config.data.tokenizer == "char" else config.data.vocab_size  # 65: those of tiny Shakespeare
    return config, lambda: build_model(config.model, vocab_size, config.training.seed), None


def some_ids(model: GPT, batch: int, length: int, seed: int = 0) -> np.ndarray:
    """Random ids (batch, length), at most as long as the context."""
    length = min(length, model.config.n_positions)
    return np.random.default_rng(seed).integers(0, model.config.vocab_size, (batch, length))


def loss_at_init(model: GPT) -> Verdict:
    """Within a tenth of ln V: weights of 0.02 move it by little."""
    model.eval()
    ids = some_ids(model, 16, 65)
    with no_grad():
        loss = model.loss(ids[:, :-1], ids[:, 1:]).item()
    expected = math.log(model.config.vocab_size)
    good = abs(loss - expected) <= 0.1 * expected
    return Verdict("loss at init is near ln V", good, f"{loss:.4f}, ln V = {expected:.4f} (within 10 %)")


def causality(model: GPT) -> Verdict:
    """Change the token at each of some places: the logits before it stay as they are, those at it do not."""
    ids = some_ids(model, 1, 32)
    vocab, length = model.config.vocab_size, ids.shape[1]
    with no_grad():
        before = model(ids)[0].numpy()
        for place in sorted({0, length // 3, length // 2, length - 1}):
            other = ids.copy()
            other[0, place] = (other[0, place] + 1) % vocab
            gap = np.abs(model(other)[0].numpy() - before)[0].max(axis=-1)
            if gap[:place].any():
                seen = int(np.flatnonzero(gap[:place])[0])
                return Verdict("no token sees what follows", False, f"token {place} changes the logits at {seen}")
            if not gap[place] and vocab > 1:
                return Verdict(
                    "no token sees what follows", False, f"token {place} does not even change its own logits"
                )
    return Verdict("no token sees what follows", True, f"{length} tokens, logits before a change equal to the last bit")


def gradients(model: GPT) -> Verdict:
    """The derivative along a random direction of each parameter, against a five-point difference."""
    ids = some_ids(model, 2, 9)
    worst, where = 0.0, ""
    rows = gradient_table(model, ids[:, :-1], ids[:, 1:])
    for name, _, error in rows:
        if error > worst:
            worst, where = error, name
    found = f"{len(rows)} parameters, largest error {worst:.1e} in {where or 'none'} (bar {GRADIENT_BAR:.0e}, float64)"
    return Verdict("gradients are the derivatives", worst <= GRADIENT_BAR, found)


def gradient_table(model: GPT, inputs: np.ndarray, targets: np.ndarray) -> list[tuple[str, float, float]]:
    """For each parameter its name, the derivative of the loss along a random unit direction, and by how much backward
    is off: the difference over the length of the gradient. The model is float64 and in evaluation mode.
    """
    model.zero_grad()
    model.loss(inputs, targets).backward()
    analytic = {name: p.grad.array.copy() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    rng, rows, h = np.random.default_rng(0), [], 1e-3
    for name, p in model.named_parameters():
        if name not in analytic:
            continue
        direction = rng.standard_normal(p.shape)
        direction /= np.linalg.norm(direction)
        start, values = p.array.copy(), []
        with no_grad():
            for step in (-2, -1, 1, 2):
                p.array[...] = start + step * h * direction
                values.append(model.loss(inputs, targets).item())
        p.array[...] = start
        numeric = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        derivative = float((analytic[name] * direction).sum())
        rows.append((name, derivative, abs(derivative - numeric) / max(float(np.linalg.norm(analytic[name])), 1e-8)))
    return rows


def cache(model: GPT) -> Verdict:
    """Feed the ids in pieces of several lengths."""
    ids, worst = some_ids(model, 2, 24), 0.0
    length = ids.shape[1]
    with no_grad():
        whole = model(ids)[0].numpy()
        for piece in (1, 5, length):
            kept, parts = model.make_cache(len(ids)), []
            for start in range(0, length, piece):
                parts.append(model(ids[:, start : start + piece], cache=kept)[0].numpy())
            worst = max(worst, float(np.abs(np.concatenate(parts, axis=1) - whole).max()))
    good = worst <= CACHE_BAR * max(1.0, float(np.abs(whole).max()))
    return Verdict("the cache changes no logits", good, f"largest gap {worst:.1e} (bar {CACHE_BAR:.0e}, float64)")


def one_batch(model: GPT, steps: int = 300) -> Verdict:
    """Train on one batch until its loss is a twentieth of ln V; targets are random, so the way there is learning."""
    model.eval()  # dropout off: it would keep the loss up
    inputs, targets = some_ids(model, BATCH, 16), some_ids(model, BATCH, 16, seed=1)
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    goal, loss, made = 0.05 * math.log(model.config.vocab_size), math.inf, 0
    while True:
        value = model.loss(inputs, targets)
        loss = value.item()
        if loss <= goal or made == steps:
            break
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        made += 1
    found = f"loss {loss:.4f} after {made} steps (bar {goal:.4f})"
    return Verdict("one batch is learned by heart", loss <= goal, found)


def resume(config: Config, fresh: Make, steps: int = 3) -> Verdict:
    """Compare every weight of 2 `steps` steps with those of a run that goes on from a checkpoint after `steps`."""
    config = replace(
        config, training__batch_size=2, training__accumulation=1, training__steps=2 * steps, training__eval_every=99
    )

    def trainer(model: GPT) -> Trainer:
        model.train()
        length = min(config.model.n_positions, 16)
        tokens = ArrayTokens(some_ids(model, 400, 16).reshape(-1))
        return Trainer(model, WindowSampler(tokens, length, 0), tokens, config.optimizer, config.training)

    models = [fresh() for _ in range(3)]
    first, second, whole = map(trainer, models)
    random.manual_seed(config.training.seed)
    for _ in range(steps):
        first.train_step()
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as folder:
        path = os.path.join(folder, "checkpoint")
        checkpoint.save(
            path, model=models[0], tokenizer=CharTokenizer.train(["ab"]), config=config, step=first.step,
            optimizer=first.optimizer, state=first.state_dict(),
        )  # fmt: skip
        random.manual_seed(1)  # nothing may depend on what this process happened to draw
        saved = checkpoint.load(path)
        checkpoint.load_weights(models[1], saved.tensors, path)
        if saved.optimizer is not None:
            second.optimizer.load_state_dict(saved.optimizer)
        second.load_state_dict(saved.state)
        for _ in range(steps):
            second.train_step()
    random.manual_seed(config.training.seed)
    for _ in range(2 * steps):
        whole.train_step()
    pairs = zip(models[1].named_parameters(), models[2].named_parameters(), strict=True)
    differ = [name for (name, p), (_, q) in pairs if p.array.tobytes() != q.array.tobytes()]
    found = f"{len(differ)} parameters differ, {differ[0]} first" if differ else "every byte of every weight equal"
    return Verdict(f"{steps} + {steps} steps are {2 * steps}", not differ, found)
