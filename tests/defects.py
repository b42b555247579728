"""Does the suite catch what it should? Plants one defect at a time in a copy of the project and runs the tests on it.

    python tests/defects.py            all of them: half an hour on two cores
    python tests/defects.py 3 7        some of them

For each defect the likeliest test files run first, then the rest of the suite, until one test fails. Prints which test
caught it; exits 1 if a defect survived. A new kind of bug found in the wild gets a line here and a test that sees it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Defect(NamedTuple):
    what: str
    file: str
    old: str
    new: str
    first: str  # test files that should notice


DEFECTS = [
    Defect(
        "wrong sign in a backward (subtraction)",
        "tinyllm/ops/binary.py",
        'return da, backend.unary("neg", unbroadcast(dy, ctx.shapes[1])) if ctx.needs[1] else None',
        "return da, unbroadcast(dy, ctx.shapes[1]) if ctx.needs[1] else None",
        "test_ops.py",
    ),
    Defect(
        "dropped bias in Linear",
        "tinyllm/ops/linalg.py",
        "return plus(residual, rows(x), w.T, bias)",
        "return plus(residual, rows(x), w.T, None)",
        "test_nn.py test_ops.py",
    ),
    Defect(
        "off-by-one in the causal mask: a query sees the next token",
        "tinyllm/nn/masks.py",
        "super().__init__(None, 0, alignment)",
        "super().__init__(None, 1, alignment)",
        "test_gpt.py test_nn.py",
    ),
    Defect(
        "stale mask: dropout's backward draws from another stream",
        "tinyllm/ops/select.py",
        'return backend.dropout(dy, a["p"], a["key"], a["stream"], a.get("base", 0))',
        'return backend.dropout(dy, a["p"], a["key"], a["stream"] + 1, a.get("base", 0))',
        "test_ops.py",
    ),
    Defect(
        "transposed weight where the matrix is square",
        "tinyllm/ops/linalg.py",
        "return plus(residual, rows(x), w.T, bias)",
        "return plus(residual, rows(x), w.T if w.shape[0] != w.shape[1] else w, bias)",
        "test_nn.py test_ops.py",
    ),
    Defect(
        "a second backward overwrites .grad instead of adding",
        "tinyllm/autograd.py",
        "        backend.add_(leaf.grad.array, grad.array)",
        "        leaf.grad = Variable.tensor_class(grad.take())",
        "test_autograd.py",
    ),
    Defect(
        "attention kernel: rowsum(do o) without the scale",
        "csrc/attention/block.h",
        "v_store(s->level + i, part[0] * v_splat(scale));",
        "v_store(s->level + i, part[0]);",
        "test_ops.py",
    ),
    Defect(
        "matmul kernel: a tile of the last columns forgets the bias",
        "csrc/matmul/tile.h",
        "if (bias) bias0 = v_load_n(bias, n0), bias1 = v_load_n(bias + W, n1);",
        "if (bias && cols > (int)W) bias0 = v_load_n(bias, n0), bias1 = v_load_n(bias + W, n1);",
        "test_backend.py test_ops.py",
    ),
    Defect(
        "layer norm's gradient forgets that the mean depends on x",
        "tinyllm/backend/reference/rows.py",
        "(g - _mean(g) - n * _mean(g * n))",
        "(g - n * _mean(g * n))",
        "test_reference.py test_ops.py",
    ),
    Defect(
        "Adam's bias correction one step late",
        "csrc/optim.c",
        "1.0 - pow(beta2, step)",
        "1.0 - pow(beta2, step + 1)",
        "test_backend.py test_optim.py",
    ),
    Defect(
        "accumulation divides by its own micro-batch: a mean of means",
        "tinyllm/training/loop.py",
        "part = summed_loss(model, inputs, targets) / tokens",
        "part = summed_loss(model, inputs, targets) / int((targets != IGNORE).sum()) / len(micro_batches)",
        "test_training.py",
    ),
    Defect(
        "evaluation leaves out the short last window",
        "tinyllm/data/sampler.py",
        "    if rest:\n        batches",
        "    if rest > length:\n        batches",
        "test_data.py",
    ),
    Defect(
        "BPE breaks ties by the larger pair",
        "tinyllm/tokenizers/reference/bpe_train.py",
        "            return pair\n",
        "            return pair[::-1]\n",
        "test_bpe_training.py",
    ),
    Defect(
        "BPE-dropout leaves out one merge of a step at most",
        "tinyllm/tokenizers/reference/bpe_encode.py",
        "if p and coin() < p:",
        "if p and not dropped and coin() < p:",
        "test_bpe_encoding.py",
    ),
    Defect(
        "a merge looks at its left neighbour again, not at its right one",
        "tinyllm/tokenizers/reference/bpe_encode.py",
        "        self.consider(self.before[i])\n        self.consider(i)\n",
        "        self.consider(self.before[i])\n",
        "test_bpe_encoding.py",
    ),
    Defect(
        "special tokens are found in any text, allowed or not",
        "tinyllm/tokenizers/vocabulary.py",
        "if not t.special or t.content in names]",
        "if True]",
        "test_tokenizers_pipeline.py",
    ),
    Defect(
        "an added token is followed by the beginning of a text",
        "tinyllm/tokenizers/pipeline.py",
        "self.pre_tokenizer.pieces(part, part.starts[0] == 0)",
        "self.pre_tokenizer.pieces(part, True)",
        "test_tokenizers_pipeline.py",
    ),
    Defect(
        "ids that are drawn at random are remembered",
        "tinyllm/tokenizers/remember.py",
        "if model.random or pre_tokenizer is None:",
        "if pre_tokenizer is None:",
        "test_tokenizers_remember.py",
    ),
    Defect(
        "windows of a truncated text share no tokens",
        "tinyllm/tokenizers/encoding.py",
        "step = length - stride",
        "step = length",
        "test_tokenizers_pipeline.py",
    ),
    Defect(
        "the first token is decoded like any other",
        "tinyllm/tokenizers/flow.py",
        "text = text if begins == usual else begins + text[len(usual) :]",
        "pass",
        "test_tokenizers_pipeline.py",
    ),
    Defect(
        "cached generation restarts positions at 0",
        "tinyllm/models/gpt.py",
        "past = 0 if cache is None else cache.lengths[:, None]",
        "past = 0",
        "test_gpt.py test_generation.py",
    ),
    Defect(
        "in a ragged batch every row writes where the longest one does",
        "tinyllm/nn/cache.py",
        "if min(self.lengths, default=0) == start:",
        "if True:",
        "test_generation.py",
    ),
    Defect(
        "a pass that was broken off leaves half of its keys in the cache",
        "tinyllm/generation/decode.py",
        "group.cache.truncate(starts)",
        "pass",
        "test_generation.py",
    ),
    Defect(
        "top-p keeps the token that passes it twice",
        "tinyllm/generation/sample.py",
        "np.sort(order[before < top_p])",
        "np.sort(order[: (before < top_p).sum() + 1])",
        "test_generation.py",
    ),
    Defect(
        "all rows of a batch draw the same numbers",
        "tinyllm/generation/sample.py",
        "stream, base=row)",
        "stream)",
        "test_generation.py",
    ),
    Defect(
        "the beginning of a stop string is printed",
        "tinyllm/generation/stream.py",
        "range(min(len(stop) - 1, len(text)), 0, -1)",
        "range(min(len(stop) - 2, len(text)), 0, -1)",
        "test_generation.py",
    ),
    Defect(
        "beam search forgets to reorder the cache",
        "tinyllm/generation/decode.py",
        "            self.cache.select(places)",
        "            self.cache.select(sorted(places))",
        "test_generation.py",
    ),
    Defect(
        "beam search ends with the first n_beam hypotheses that are finished",
        "tinyllm/generation/beam.py",
        "bound <= finished[-1].score",
        "True",
        "test_generation.py",
    ),
    Defect(
        "Philox with nine rounds",
        "csrc/philox.h",
        "(int round = 0; round < 10",
        "(int round = 0; round < 9",
        "test_backend.py test_ops.py",
    ),
    Defect(
        "embedding's gradient keeps one of several equal ids",
        "tinyllm/backend/reference/reduce.py",
        "np.add.at(dx.reshape(n, width), ids.reshape(-1), dy.reshape(ids.size, width))",
        "dx[ids.reshape(-1)] += dy.reshape(ids.size, *tail)",
        "test_reference.py test_ops.py",
    ),
    Defect(
        "a file is renamed into place before it is synced",
        "tinyllm/_io.py",
        '                _call("fsync", self.path, os.fsync, self._fd)\n',
        "",
        "test_io.py",
    ),
    Defect(
        "the manifest of a checkpoint goes with the other files, not before them",
        "tinyllm/training/checkpoint.py",
        "    if manifest.NAME in names:\n",
        "    if False:\n",
        "test_checkpoints.py test_reliability.py",
    ),
    Defect(
        "tensors of a checkpoint are not compared with their hashes",
        "tinyllm/training/checkpoint.py",
        'if _hash(array) != entry["sha256"]:',
        "if False:",
        "test_checkpoints.py test_reliability.py",
    ),
    Defect(
        "a run that goes on appends to the log where it was killed",
        "tinyllm/training/run.py",
        'resumed.state["log"])',
        "{name: os.path.getsize(os.path.join(out, f'log.{name}')) for name in ('jsonl', 'csv')})",
        "test_checkpoints.py test_reliability.py",
    ),
    Defect(
        "a space that the normalizer put before a text comes back with the piece after a control symbol",
        "tinyllm/tokenizers/sentencepiece.py",
        "            self.at_start = self._stage.remove_extra_whitespaces  # then all that come before text go",
        "            self.at_start = True  # then all that come before text go",
        "test_formats_sentencepiece.py",
    ),
    Defect(
        "an added token whose id Hugging Face would change is accepted",
        "tinyllm/tokenizers/formats/tokenizer_json.py",
        "        wanted = numbers.get(token.content, expected)",
        "        wanted = numbers.get(token.content, i)",
        "test_formats_json.py",
    ),
    Defect(
        "a vocabulary that a pre-tokenizer of bytes spells is read as characters",
        "tinyllm/tokenizers/formats/tokenizer_json.py",
        "    return bool(at)",
        "    return False",
        "test_formats_json.py test_formats_convert.py",
    ),
]


def run(copy: Path, defect: Defect) -> str | None:
    """The first test that fails with the defect in place; None if all pass."""
    target = copy / defect.file
    text = target.read_text()
    assert text.count(defect.old) == 1, (
        f"{defect.file}: expected exactly one {defect.old!r}, found {text.count(defect.old)}"
    )
    target.write_text(text.replace(defect.old, defect.new))
    try:
        if defect.file.startswith("csrc/"):
            build(copy)
        files = [f"tests/{name}" for name in defect.first.split()]
        for tests in (files, ["tests", *[f"--ignore={f}" for f in files]]):
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", *tests]
            done = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True)
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
            if done.returncode:
                return found.group(1) if found else f"pytest stopped with code {done.returncode}"
        return None
    finally:
        target.write_text(text)
        if defect.file.startswith("csrc/"):
            build(copy)


def environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def build(copy: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=copy, env=environment(copy), check=True, capture_output=True)


def main() -> int:
    chosen = [int(a) for a in sys.argv[1:]] or range(1, len(DEFECTS) + 1)
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tinyllm"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", "*.so", "runs", ".venv", "__pycache__")
        )
        build(copy)
        for i in chosen:
            began = time.perf_counter()
            caught = run(copy, DEFECTS[i - 1])
            survived += caught is None
            seconds = time.perf_counter() - began
            print(f"{i:2}  {DEFECTS[i - 1].what}\n      {caught or 'SURVIVED'}  ({seconds:.0f} s)", flush=True)
    print(f"{len(chosen) - survived} caught, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
