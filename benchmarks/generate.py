"""What a generated token costs, by the number of tokens before it: tinyllm and PyTorch with a cache, and without one.

    python benchmarks/generate.py                   nanoGPT's baby model with 1,024 positions: half a minute
    python benchmarks/generate.py --model gpt2      124M parameters, 256 tokens: a minute
    python benchmarks/generate.py --smoke           a few tokens of small models, not judged

Both engines have the same random weights and extend a prompt of 16 tokens greedily, taking turns bucket by bucket.
PyTorch decodes as one writes it by hand: eager modules, keys and values written into preallocated tensors,
scaled_dot_product_attention over the filled part. "attention" is the part of tinyllm's time that its attention
kernel takes, "rest" all else, sampling included: the rest must not grow with the position, or the status is 1.
"without cache" is one forward pass over the whole context. The last table is a batch of 8 rows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _shared import machine, show, use_threads, write_json

import tinyllm
from tinyllm import backend
from tinyllm.generation import Decoder, Sampling
from tinyllm.generation.sample import draw
from tinyllm.models import GPT, preset

import gpt_torch  # isort: skip  (_shared says where it lies)

GREEDY = Sampling(temperature=0)
PROMPT, ROWS = 16, 8


class Tinyllm:
    """A decoder, and the seconds that its attention kernel took in each step."""

    def __init__(self, model: GPT, prompts: np.ndarray, room: int):
        self.decoder, self.rows, self.number = Decoder(model, prompts.tolist(), room), len(prompts), 0
        self.attention: list[float] = []
        self._kernel = backend.attention

    def step(self) -> None:
        self.attention.append(0.0)
        backend.attention = self._timed  # type: ignore[assignment]
        draw(self.decoder, GREEDY, self.number, range(self.rows))
        backend.attention = self._kernel  # type: ignore[assignment]
        self.number += 1

    def _timed(self, *args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        out = self._kernel(*args, **named)
        self.attention[-1] += time.perf_counter() - began
        return out


class Torch:
    """Eager decoding with a preallocated cache."""

    def __init__(self, model: gpt_torch.TorchGPT, config: Any, prompts: np.ndarray, room: int):
        shape = (
            config.n_layer,
            2,
            len(prompts),
            config.n_head,
            prompts.shape[1] + room,
            config.n_embd // config.n_head,
        )
        self.parts: Any = model.transformer
        self.model, self.cache, self.filled, self.new = model, torch.zeros(shape), 0, torch.from_numpy(prompts)

    @torch.inference_mode()
    def logits(self) -> torch.Tensor:
        start, end = self.filled, self.filled + self.new.shape[1]
        x = self.parts["wte"](self.new) + self.parts["wpe"](torch.arange(start, end))
        for block, kept in zip(self.parts["h"], self.cache, strict=True):
            b, t, width = x.shape
            parts = block.attn.qkv(block.ln_1(x)).split(width, 2)
            q, k, v = (part.view(b, t, block.attn.n_head, -1).transpose(1, 2) for part in parts)
            kept[0, :, :, start:end], kept[1, :, :, start:end] = k, v
            seen = kept[:, :, :, :end]
            y = torch.nn.functional.scaled_dot_product_attention(q, seen[0], seen[1], is_causal=t > 1)
            x = x + block.attn.out(y.transpose(1, 2).reshape(b, t, width))
            x = x + block.mlp(block.ln_2(x))
        self.filled = end
        return self.model.lm_head(self.parts["ln_f"](x[:, -1]))

    def step(self) -> None:
        self.new = self.logits().argmax(1, keepdim=True)


def seconds(step: Callable[[], None], count: int) -> list[float]:
    """Of each of `count` steps."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times


def milliseconds(times: list[float]) -> float:
    """The median of times in seconds."""
    return 1e3 * statistics.median(times)


def without_cache(model: GPT, length: int) -> float:
    """One pass over a context of `length` tokens, in ms."""

    def step() -> None:
        Decoder(model, [[1] * length], 0).logits()

    return milliseconds(seconds(step, 2))


def curve(model: GPT, peer: gpt_torch.TorchGPT, tokens: int, buckets: int) -> list[dict[str, Any]]:
    """ms a token of both engines, bucket by bucket."""
    prompts = np.random.default_rng(0).integers(0, model.config.vocab_size, (1, PROMPT))
    ours, theirs = Tinyllm(model, prompts, tokens), Torch(peer, model.config, prompts, tokens)
    np.testing.assert_allclose(ours.decoder.logits()[0], theirs.logits()[0], rtol=1e-3, atol=1e-3)
    theirs.filled = 0
    ours.step(), theirs.step()  # the prompt
    rows, size = [], (tokens - 1) // buckets
    for bucket in range(buckets):
        took = seconds(ours.step, size)
        attention = ours.attention[-size:]
        middle = PROMPT + bucket * size + size // 2
        rows.append(
            {
                "tokens before": middle,
                "ms": milliseconds(took),
                "attention": milliseconds(attention),
                "rest": milliseconds([whole - part for whole, part in zip(took, attention, strict=True)]),
                "PyTorch ms": milliseconds(seconds(theirs.step, size)),
                "without cache ms": without_cache(model, middle),
            }
        )
    return rows


def beyond(model: GPT) -> tuple[float, int]:
    """The mean ms of a token where the context is full, and over how many: once the older half is forgotten."""
    n = model.config.n_positions
    engine = Tinyllm(model, np.ones((1, n), np.int64), n)
    engine.step()
    times = seconds(engine.step, n // 2)
    return 1e3 * statistics.fmean(times), len(times)


def batch(model: GPT, peer: gpt_torch.TorchGPT, count: int) -> list[dict[str, Any]]:
    """Tokens a second: of a prompt, and of decoding one row and several, from a context of 128 tokens."""
    length = min(128, model.config.n_positions // 2)
    rows = []
    for b in (1, ROWS):
        prompts = np.random.default_rng(1).integers(0, model.config.vocab_size, (b, length))
        engines = {
            "tinyllm": Tinyllm(model, prompts, count + 1),
            "PyTorch": Torch(peer, model.config, prompts, count + 1),
        }
        for name, engine in engines.items():
            prefill = milliseconds(seconds(engine.step, 1))
            took = milliseconds(seconds(engine.step, count))
            rows.append(
                {
                    "rows": b,
                    "engine": name,
                    "prompt tokens/s": f"{1e3 * b * length / prefill:,.0f}",
                    "decoded tokens/s": f"{1e3 * b / took:,.0f}",
                }
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["baby", "gpt2"], default="baby")
    parser.add_argument("--tokens", type=int, help="how many to generate (default: 1,000 of baby, 256 of gpt2)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="a small model, few tokens")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    use_threads(given.threads)
    plain = {"activation_function": "gelu", "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    name = "nanogpt-cpu" if given.smoke else {"baby": "nanogpt-baby"}.get(given.model, given.model)
    changes = {"n_positions": 1024} if name == "nanogpt-baby" else {}
    config = preset(name, **plain, **changes)
    tokens = given.tokens or (40 if given.smoke else 256 if name == "gpt2" else 1000)

    tinyllm.manual_seed(0)
    model = GPT(config).eval()
    peer = gpt_torch.TorchGPT(config).eval()
    peer.load_state_dict({name: torch.from_numpy(np.array(p.detach())) for name, p in model.state_dict().items()})
    print(" ".join(f"{name}={value}" for name, value in machine().items()))
    print(f"{name}: {model.num_parameters():,} parameters, {config.n_positions} positions")
    rows = curve(model, peer, tokens, 3 if given.smoke else 8)
    show([{key: f"{value:.2f}" if isinstance(value, float) else value for key, value in row.items()} for row in rows])
    mean, many = beyond(model)
    print(f"past {config.n_positions} tokens: {mean:.2f} ms, mean of {many}\n")
    rates = batch(model, peer, 5 if given.smoke else 24)
    show(rates)
    growth = rows[-1]["rest"] / rows[0]["rest"]
    flat = growth < 1.1
    print(f"\nrest of the last tokens over that of the first: {growth:.2f} ({'met' if flat else 'NOT met'}: below 1.1)")
    write_json(given.json, {"machine": machine(), "model": name, "curve": rows, "beyond ms": mean, "rates": rates})
    return 0 if flat or given.smoke else 1


if __name__ == "__main__":
    sys.exit(main())
