"""One checkpoint: a directory with a manifest, weights and optimizer state as safetensors, the tokenizer, and the
resolved configuration.

    manifest.json           what is in it, and the rest of the state: step, cursor, random streams
    model.safetensors       weights by parameter name; tied parameters once
    optimizer.safetensors   optimizer state as parameter/name, where there is one
    tokenizer.json          the tokenizer
    config.toml             the run's configuration, for people (the manifest holds it too)

The manifest lists every tensor as (name, dtype, global shape, slice, file, SHA-256) and every file with its size and
the SHA-256 of its first bytes, all those that no tensor covers. It is written last, when the rest is on the disk, and
removed first: a directory with a manifest is complete, one without is an unfinished save. A tensor that is split over
processes is the same list with smaller slices. Nothing in a checkpoint is ever executed.

The checkpoints of a run, which of them to keep and which to load, are in store.py.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _io
from .._tensor import Tensor
from ..config import Config, dumps, from_dict, to_dict
from ..errors import CheckpointError, ConfigError, TokenizerError
from ..formats import safetensors
from ..models.gpt import GPT, GPTConfig
from ..nn import init
from ..optim.optimizer import Optimizer
from ..tokenizers import Tokenizer
from ..tokenizers import load as load_tokenizer
from . import manifest

WEIGHTS, OPTIMIZER, WORDS, CONFIG = "model.safetensors", "optimizer.safetensors", "tokenizer.json", "config.toml"
_OURS = frozenset({manifest.NAME, WEIGHTS, OPTIMIZER, WORDS, CONFIG})


@dataclass
class Checkpoint:
    """What `load` returns. Arrays are read-only views of mapped files; `step` counts optimizer steps."""

    directory: str
    step: int
    config: Config
    model_config: dict[str, Any]
    tokenizer: Tokenizer
    tensors: dict[str, np.ndarray]
    """The weights by parameter name."""
    optimizer: dict[str, Any] | None = None
    """What `Optimizer.load_state_dict` takes; None where no optimizer was saved."""
    state: dict[str, Any] = field(default_factory=dict)
    """What else a run needs to go on, as it was given to `save`."""
    metrics: dict[str, float] = field(default_factory=dict)


def save(
    directory: str,
    *,
    model: GPT,
    tokenizer: Tokenizer,
    config: Config,
    step: int,
    optimizer: Optimizer | None = None,
    state: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write a checkpoint into `directory`; what lies there of another one is removed first. Raises OSError with the
    path, and then leaves no manifest.
    """
    remove(directory)
    _io.make_directory(directory)
    written = {WEIGHTS: _weights(model)}
    options = None
    if optimizer is not None:
        written[OPTIMIZER], options = _flat(optimizer.state_dict(by_name=True))
    entries: list[dict[str, Any]] = []
    sizes: dict[str, int] = {}
    # SHA-256 runs at about the speed of a disk: beside the writing, on a core of its own, it costs next to nothing.
    with ThreadPoolExecutor(1) as other:
        hashes = {file: other.map(_hash, tensors.values()) for file, tensors in written.items()}
        for file, tensors in written.items():
            sizes[file] = safetensors.write(os.path.join(directory, file), tensors)
    for file, tensors in written.items():
        entries += [
            _entry(file, name, x, sha256) for (name, x), sha256 in zip(tensors.items(), hashes[file], strict=True)
        ]
    tokenizer.save(os.path.join(directory, WORDS))
    _io.write_atomic(os.path.join(directory, CONFIG), dumps(config))
    content = {
        "step": step,
        "metrics": dict(metrics or {}),
        "state": dict(state or {}),
        "config": to_dict(config),
        "model": {"type": "gpt", **to_dict(model.config)},
        "optimizer": options,
        "tokenizer": tokenizer.fingerprint(),
        "files": {
            name: _describe(os.path.join(directory, name), sizes.get(name)) for name in (*written, WORDS, CONFIG)
        },
        "tensors": entries,
    }
    _io.write_atomic(os.path.join(directory, manifest.NAME), manifest.render(content))


def load(directory: str) -> Checkpoint:
    """Read and verify a checkpoint. Raises CheckpointError that names the file or tensor that is missing or
    damaged.
    """
    path = os.path.join(directory, manifest.NAME)
    content = manifest.read(path)
    try:
        files, entries, fingerprint = content["files"], content["tensors"], content["tokenizer"]
        for name in {WEIGHTS, WORDS, CONFIG, *files}:
            _check_file(directory, name, files[name])
        stored = {
            name: safetensors.read(os.path.join(directory, name))[0] for name in (WEIGHTS, OPTIMIZER) if name in files
        }
        arrays: dict[str, dict[str, np.ndarray]] = {name: {} for name in stored}
        for entry in entries:
            arrays[entry["file"]][entry["name"]] = _take(stored, entry, path)
        optimizer = content["optimizer"]
        if optimizer is not None:
            optimizer = _nested(optimizer, arrays.get(OPTIMIZER, {}))
        step, metrics = content["step"], dict(content["metrics"])
        if type(step) is not int or step < 0 or not all(type(x) in (int, float) for x in metrics.values()):
            raise TypeError(f"step {step!r:.80}, metrics {metrics!r:.80}")
        checkpoint = Checkpoint(
            directory, step, from_dict(content["config"], Config()), dict(content["model"]),
            load_tokenizer(os.path.join(directory, WORDS)), arrays[WEIGHTS], optimizer,
            dict(content["state"]), metrics,
        )  # fmt: skip
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{error.filename or directory} cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: its configuration does not fit this version of tinyllm: {error}") from error
    except TokenizerError as error:
        raise CheckpointError(f"{directory}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged manifest: {type(error).__name__} {error}") from error
    found = checkpoint.tokenizer.fingerprint()
    if found != fingerprint:
        raise CheckpointError(f"{os.path.join(directory, WORDS)}: fingerprint {found}, expected {fingerprint}")
    return checkpoint


def remove(directory: str) -> None:
    """Delete a checkpoint, or what an unfinished save left of one; nothing happens if there is none. The manifest goes
    first, so that no half of it is ever taken for a whole. Files that are not a checkpoint's stay, and so does then
    the directory.
    """
    if os.path.islink(directory):  # what it points to is someone else's
        _io.remove(directory)
    if not os.path.isdir(directory):
        return
    names = os.listdir(directory)
    if manifest.NAME in names:
        _io.remove(os.path.join(directory, manifest.NAME))
    _io.sync_directory(directory)  # also where it had gone already: whoever removed it may have been killed before this
    for name in _OURS.intersection(names):
        _io.remove(os.path.join(directory, name))
    _io.remove_leftovers(directory)
    if not os.listdir(directory):
        _io.remove_directory(directory)


def build_model(checkpoint: Checkpoint) -> GPT:
    """The model of a checkpoint with its weights, in evaluation mode. Raises CheckpointError where it cannot be."""
    settings = dict(checkpoint.model_config)
    kind = settings.pop("type", None)
    if kind != "gpt":
        raise CheckpointError(f"{checkpoint.directory}: a model of type {kind!r}; this version of tinyllm builds 'gpt'")
    try:
        config = from_dict(settings, GPTConfig())
        least, found = _least_size(config), sum(x.size for x in checkpoint.tensors.values())
        if least > 2 * found + 2**20:  # whatever is less is built, to say which names differ
            raise ValueError(f"it asks for {least} parameters or more, the checkpoint has {found}")
        if config.n_layer > len(checkpoint.tensors):  # a layer has several
            raise ValueError(
                f"it asks for {config.n_layer} layers, the checkpoint has {len(checkpoint.tensors)} tensors"
            )
        with init.deferred():  # the weights that it starts from would be overwritten
            model = GPT(config)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.directory}: its model configuration cannot be built: {error}") from error
    load_weights(model, checkpoint.tensors, checkpoint.directory)
    model.eval()
    return model


def _least_size(c: GPTConfig) -> int:
    """Fewer numbers than these no such model has: embeddings and matrices."""
    positions = c.n_positions if c.position_embedding_type == "learned" else 0
    inner = 4 * c.n_embd if c.n_inner is None else c.n_inner
    return c.n_embd * (c.vocab_size + positions + c.n_layer * (4 * c.n_embd + 2 * inner))


def load_weights(model: GPT, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Copy weights into a model. Raises CheckpointError that lists what the file has and what the model
    wants.
    """
    wanted = {name: array.shape for name, array in _weights(model).items()}
    problems = [
        f"the model wants {name} {shape}, the file lacks it" for name, shape in wanted.items() if name not in tensors
    ]
    problems += [
        f"the file has {name} {x.shape}, the model has no such name"
        for name, x in tensors.items()
        if name not in wanted
    ]
    problems += [
        f"the file has {name} {tensors[name].shape}, the model wants {shape}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if problems:
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise CheckpointError(f"{source} does not fit the model:\n  " + "\n  ".join(problems[:20]) + more)
    model.load_state_dict(tensors, strict=False)


def _weights(model: GPT) -> dict[str, np.ndarray]:
    """The arrays of a model's state by name; of a parameter that has several names, the first."""
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}
    return {name: x.array for name, x in model.state_dict().items() if names.get(name, name) == name}


def _flat(state: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Optimizer state as arrays, named parameter/key, and the rest of it as plain values."""
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, dict[str, Any]] = {}
    for name, values in state["state"].items():
        arrays |= {f"{name}/{key}": x.array for key, x in values.items() if isinstance(x, Tensor)}
        plain[name] = {key: x for key, x in values.items() if not isinstance(x, Tensor)}
    return arrays, {"state": plain, "param_groups": state["param_groups"]}


def _nested(plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `_flat`."""
    state = {name: dict(values) for name, values in plain["state"].items()}
    for path, array in arrays.items():
        name, _, key = path.rpartition("/")
        state[name][key] = array
    return {"state": state, "param_groups": plain["param_groups"]}


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _entry(file: str, name: str, array: np.ndarray, sha256: str) -> dict[str, Any]:
    shape = list(array.shape)
    whole = [[0, n] for n in shape]
    return {"name": name, "dtype": array.dtype.name, "shape": shape, "slice": whole, "file": file, "sha256": sha256}


def _describe(path: str, hashed: int | None = None) -> dict[str, Any]:
    """Size of a file and SHA-256 of its first `hashed` bytes, by default all of them."""
    with _io.open_file(path, follow=False) as file:
        size = os.fstat(file.fileno()).st_size
        hashed = size if hashed is None else hashed
        return {"bytes": size, "hashed": hashed, "sha256": hashlib.sha256(file.read(hashed)).hexdigest()}


def _check_file(directory: str, name: str, facts: Mapping[str, Any]) -> None:
    if name not in _OURS - {manifest.NAME}:
        raise CheckpointError(f"{directory}: the manifest names the file {name!r}, which is none of a checkpoint's")
    path = os.path.join(directory, name)
    if os.path.islink(path) or not os.path.isfile(path):
        raise CheckpointError(f"{path} is missing (or not a regular file): the checkpoint is incomplete")
    size = os.path.getsize(path)
    if size != facts["bytes"]:
        raise CheckpointError(f"{path} is damaged: expected {facts['bytes']} bytes, found {size}")
    if _describe(path, min(facts["hashed"], size)) != facts:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the manifest's")


def _take(stored: Mapping[str, Mapping[str, np.ndarray]], entry: Mapping[str, Any], path: str) -> np.ndarray:
    name, shape = entry["name"], tuple(entry["shape"])
    array = stored.get(entry["file"], {}).get(name)
    if array is None:
        raise CheckpointError(f"{path}: tensor {name!r} is not in {entry['file']!r}")
    if entry["slice"] != [[0, n] for n in shape]:
        raise CheckpointError(
            f"{path}: tensor {name!r} is a part, {entry['slice']} of {shape}; this version reads whole ones"
        )
    if array.shape != shape or array.dtype.name != entry["dtype"]:
        raise CheckpointError(
            f"{path}: tensor {name!r} is {array.dtype} {array.shape}, expected {entry['dtype']} {shape}"
        )
    if _hash(array) != entry["sha256"]:
        where = os.path.join(os.path.dirname(path), entry["file"])
        raise CheckpointError(f"{where}: tensor {name!r} is damaged: its SHA-256 is not the manifest's")
    return array
