"""Training is PyTorch's: the same losses, step by step, from the same weights on the same batches.

The configuration, the data path and the loop are those of `tinyllm train --preset cpu` (nanoGPT's recipe for a CPU);
gpt_torch.py is the other side. The text is made up, so that nothing else need be installed; benchmarks/parity.py runs
the whole recipe on a text of yours.
"""

import numpy as np
import pytest

from tinyllm import config

torch = pytest.importorskip("torch")
import gpt_torch  # noqa: E402

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """About 60,000 characters with something to learn: words of a small vocabulary, frequent ones more often."""
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'!,.?;:&3$-")
    words = ["".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(300)]
    often = 1 / np.arange(1, 301)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"{word}{' ' if i % 9 else chr(10)}" for i, word in
                            enumerate(rng.choice(words, 12_000, p=often / often.sum()))))  # fmt: skip
    return str(path)


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's threads wait by spinning, which takes for ever on a machine with something else to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_first_50_losses_of_preset_cpu(text, tmp_path):
    ours, theirs = gpt_torch.trainers(config.replace(config.preset("cpu"), data__text=text), str(tmp_path))
    rows = [(ours.train_step(), theirs.train_step()) for _ in range(50)]
    np.testing.assert_allclose([a["loss"] for a, _ in rows], [b for _, b in rows], rtol=0, atol=1e-4)
    assert rows[-1][1] < rows[0][1] - 0.5  # what was compared was learning,
    assert max(a["grad_norm"] for a, _ in rows) > 1  # and clipped
    assert ours.evaluate() == pytest.approx(theirs.evaluate(), abs=1e-4)


@pytest.mark.parametrize(("bias", "accumulation", "grad_clip"), [(False, 1, 1.0), (True, 3, 0.0)])
def test_in_float64_to_rounding(text, tmp_path, bias, accumulation, grad_clip):
    """A whole schedule in eight steps: warmup, cosine, and its end; weights included."""
    recipe = config.replace(
        config.preset("cpu"),
        data__text=text,
        model__bias=bias,
        model__n_layer=2,
        training__steps=8,
        training__batch_size=12 // accumulation,
        training__accumulation=accumulation,
        optimizer__warmup_steps=3,
        optimizer__grad_clip=grad_clip,
    )
    ours, theirs = gpt_torch.trainers(recipe, str(tmp_path), double=True)
    for _ in range(8):
        a, b = ours.train_step(), theirs.train_step()
        assert a["loss"] == pytest.approx(b, rel=1e-9)
        assert a["lr"] == pytest.approx(theirs.optimizer.param_groups[0]["lr"], rel=1e-12)
    weights = theirs.model.state_dict()
    for name, p in ours.model.state_dict().items():
        np.testing.assert_allclose(p.detach().numpy(), weights[name].numpy(), rtol=1e-6, atol=1e-8, err_msg=name)
    assert ours.evaluate() == pytest.approx(theirs.evaluate(), rel=1e-9)
