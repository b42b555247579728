"""Training byte-level BPE, counting included, beside rustbpe and Hugging Face: tokenizers.py bpe-train.

GPT-2's pattern, the text in memory as one str, the same number of threads (rustbpe's and Hugging Face's come from
RAYON_NUM_THREADS, so each run is a process). Memory is the peak of such a process above what it has before training:
the text and the imports. Hugging Face takes 40 s and 5 GB for 60 MB, and is not asked there. That the merges are the
same as its own is shown by tests/oracle/test_bpe_training_oracle.py; rustbpe breaks ties in another way.
"""

from __future__ import annotations

import gc
import json
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import packages

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def shakespeare() -> str:
    """About 1.1 MB of plays."""
    return packages.english()[:1_115_394]


def corpus(size: int = 60_000_000) -> str:
    """Plays, then Python's source code."""
    parts, have = [packages.english()], len(packages.english())
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for file in sorted(Path(folder).rglob("*.py")):
            if have < size:
                parts.append(file.read_text("utf-8", "replace"))
                have += len(parts[-1])
    return "".join(parts)[:size]


def contestant(who: str, text: str, vocab_size: int, threads: int) -> Any:
    """What trains once."""
    if who == "tinyllm":
        from tinyllm.tokenizers.pretokenizers import ByteLevel
        from tinyllm.tokenizers.trainers import BPETrainer
        from tinyllm.tokenizers.trainers.count import count_words

        level, trainer = ByteLevel(add_prefix_space=False), BPETrainer(vocab_size)
        return lambda: trainer.train(count_words([text], pre_tokenizer=level, threads=threads))
    if who == "rustbpe":
        import rustbpe

        return lambda: rustbpe.Tokenizer().train_from_iterator(iter([text]), vocab_size, pattern=PATTERN)
    import tokenizers as hf

    def train() -> None:
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.pre_tokenizer = level = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = hf.trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, initial_alphabet=level.alphabet())
        tokenizer.train_from_iterator([text], trainer)

    return train


def peak() -> int:
    """Bytes of the largest memory that this process has had since it last was asked (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    Path("/proc/self/clear_refs").write_text("5")
    return int(found[1]) << 10 if found else 0


def once(who: str, path: str, vocab_size: int, threads: int) -> None:
    """In a process of its own: train, and print seconds and bytes."""
    text = Path(path).read_text("utf-8")
    train = contestant(who, text, vocab_size, threads)
    contestant(who, "a b", 257, threads)()  # imports and first uses
    gc.collect()
    peak()
    before = peak()
    began = time.perf_counter()
    train()
    print(json.dumps([time.perf_counter() - began, peak() - before]))


def run(who: str, path: str, vocab_size: int, threads: int) -> list[float]:
    """`once`, from here."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": str(threads > 1).lower()}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    program = "import sys, _tokenizers_bpe_train as one; one.once(*sys.argv[1:3], *map(int, sys.argv[3:]))"
    command = [sys.executable, "-W", "ignore", "-c", program, who, path, str(vocab_size), str(threads)]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def rows(smoke: bool) -> list[dict[str, Any]]:
    """One row a text, vocabulary and number of threads. Runs of the contestants take turns."""
    large = corpus(2_000_000 if smoke else 60_000_000)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text, vocab_size in (
            ("plays", shakespeare(), 1000),
            ("plays", shakespeare(), 8000),
            (f"{len(large) // 1_000_000} MB", large, 32768),
        ):
            path = os.path.join(folder, "text")
            Path(path).write_text(text, "utf-8")
            names = ["tinyllm", "rustbpe"] + (["tokenizers"] if name == "plays" else [])
            for threads in (1, 2):
                found: dict[str, list[list[float]]] = {who: [] for who in names}
                for _ in range(1 if smoke else 5 if name == "plays" else 3):
                    for who in names:
                        found[who].append(run(who, path, vocab_size, threads))
                table.append(row(name, vocab_size, threads, found))
    return table


def row(name: str, vocab_size: int, threads: int, found: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Medians."""
    middle = {who: [statistics.median(one) for one in zip(*runs, strict=True)] for who, runs in found.items()}
    figures: dict[str, Any] = {"text": name, "vocabulary": vocab_size, "threads": threads}
    for who in ("tinyllm", "rustbpe", "tokenizers"):
        seconds, size = middle.get(who, [None, None])
        figures[f"{who} s"] = "" if seconds is None else f"{seconds:.3f}"
        figures[f"{who} MB"] = "" if size is None else f"{size / 1e6:.0f}"
    return figures | {"x rustbpe": f"{middle['rustbpe'][0] / middle['tinyllm'][0]:.1f}"}
