"""Checkpoints: a directory with a manifest, weights as safetensors, the tokenizer, and the resolved
configuration.

    manifest.json               what is in it
    model-<hash>.safetensors    weights by parameter name; tied parameters once
    tokenizer-<hash>.json       the tokenizer
    config.toml                 the run's configuration, for people (the manifest holds it too)

The manifest lists every tensor as (name, dtype, global shape, slice, file, SHA-256) and every file with its
size and SHA-256. Files are named after their content, and the manifest is written last: until its rename the
old checkpoint stands whole, after it the new one, and files that no manifest names are then removed. A tensor
that is split over processes is the same list with smaller slices.

Hashes find damage, not malice: whoever can edit the files can edit the manifest. Nothing in a checkpoint is
ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _io
from ..config import Config, dumps, from_dict, to_dict
from ..errors import CheckpointError, ConfigError
from ..formats import safetensors
from ..models.gpt import GPT, GPTConfig
from ..tokenizers import load as load_tokenizer
from ..tokenizers.base import Tokenizer

FORMAT = "tinyllm checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
_OURS = re.compile(r"model-[0-9a-f]{16}\.safetensors|tokenizer-[0-9a-f]{16}\.json")
MANIFEST_LIMIT = 16 << 20


@dataclass
class Checkpoint:
    """What `load` returns. `tensors` are read-only views of mapped files; `step` counts optimizer steps."""

    step: int
    config: Config
    model_config: dict[str, Any]
    tokenizer: Tokenizer
    tensors: dict[str, np.ndarray]
    metrics: dict[str, float] = field(default_factory=dict)


def save(
    directory: str,
    *,
    model: GPT,
    tokenizer: Tokenizer,
    config: Config,
    step: int,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write a checkpoint into `directory`, replacing the one there at one instant. Raises OSError, and the
    old one stands.
    """
    _io.make_directory(directory)
    tensors = {name: tensor.array for name, tensor in model.state_dict().items()}
    for name, first in _tied(model).items():
        if name != first:
            del tensors[name]
    hashes = {name: _hash_array(array) for name, array in tensors.items()}
    # Equal names must mean equal bytes: the old manifest may still name the file that is written now.
    facts = sorted(f"{name} {x.dtype} {x.shape} {hashes[name]}\n" for name, x in tensors.items())
    digest = hashlib.sha256("".join(facts).encode()).hexdigest()
    weights, words = f"model-{digest[:16]}.safetensors", f"tokenizer-{tokenizer.fingerprint()[:16]}.json"

    safetensors.write(os.path.join(directory, weights), tensors)
    tokenizer.save(os.path.join(directory, words))
    _io.write_atomic(os.path.join(directory, "config.toml"), dumps(config))
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        "metrics": dict(metrics or {}),
        "config": to_dict(config),
        "model": {"type": "gpt", **to_dict(model.config)},
        "tokenizer": {"file": words, "fingerprint": tokenizer.fingerprint()},
        "files": {name: _describe_file(os.path.join(directory, name)) for name in (weights, words)},
        "tensors": [
            {
                "name": name,
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "slice": [[0, n] for n in array.shape],
                "file": weights,
                "sha256": hashes[name],
            }
            for name, array in tensors.items()
        ],
    }
    _io.write_atomic(os.path.join(directory, MANIFEST), json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    for name in os.listdir(directory):
        if _OURS.fullmatch(name) and name not in manifest["files"]:  # type: ignore[operator]
            _io.remove(os.path.join(directory, name))


def load(directory: str) -> Checkpoint:
    """Read and verify a checkpoint. Raises CheckpointError that names the file or tensor that is missing or
    damaged.
    """
    path = os.path.join(directory, MANIFEST)
    manifest = _read_manifest(path)
    try:
        step, files, entries = manifest["step"], manifest["files"], manifest["tensors"]
        model_config, metrics = dict(manifest["model"]), dict(manifest["metrics"])
        words, fingerprint = manifest["tokenizer"]["file"], manifest["tokenizer"]["fingerprint"]
        for name, facts in files.items():
            _check_file(directory, name, facts)
        stored = {
            name: safetensors.read(os.path.join(directory, name))[0] for name in files if name.endswith(".safetensors")
        }
        tensors = {entry["name"]: _take(stored, entry, path) for entry in entries}
        config = from_dict(manifest["config"], Config())
        if words not in files:
            raise CheckpointError(f"{path}: the tokenizer {words!r} is not among the files")
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged manifest: {type(error).__name__} {error}") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: its configuration does not fit this version of tinyllm: {error}") from error
    tokenizer = load_tokenizer(os.path.join(directory, words))
    if tokenizer.fingerprint() != fingerprint:
        raise CheckpointError(
            f"{os.path.join(directory, words)}: fingerprint {tokenizer.fingerprint()}, expected {fingerprint}"
        )
    return Checkpoint(step, config, model_config, tokenizer, tensors, metrics)


def load_model(directory: str) -> tuple[GPT, Tokenizer, Checkpoint]:
    """The model of a checkpoint with its weights, in evaluation mode, its tokenizer, and the rest."""
    checkpoint = load(directory)
    settings = dict(checkpoint.model_config)
    kind = settings.pop("type", None)
    if kind != "gpt":
        raise CheckpointError(f"{directory}: a model of type {kind!r}; this version of tinyllm builds 'gpt'")
    try:
        model = GPT(from_dict(settings, GPTConfig()))
    except ValueError as error:
        raise CheckpointError(f"{directory}: its model configuration cannot be built: {error}") from error
    load_weights(model, checkpoint.tensors, directory)
    model.eval()
    return model, checkpoint.tokenizer, checkpoint


def load_weights(model: GPT, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Copy weights into a model. Raises CheckpointError that lists what the file has and what the model
    wants.
    """
    tied = _tied(model)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if tied.get(name, name) == name}
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


def _tied(model: GPT) -> dict[str, str]:
    """Each parameter's name, and the first name of the same parameter."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def _hash_array(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _describe_file(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _read_manifest(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): not a checkpoint, or an unfinished one"
        ) from error
    if len(text) > MANIFEST_LIMIT:
        raise CheckpointError(f"{path}: larger than {MANIFEST_LIMIT} bytes")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged manifest: {str(error)[:200]}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not the manifest of a {FORMAT}")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: version {manifest.get('version')!r} of the format; this tinyllm reads version {VERSION}"
        )
    return manifest


def _check_file(directory: str, name: str, facts: Mapping[str, Any]) -> None:
    path = os.path.join(directory, name)
    if os.path.basename(name) != name or name in ("", ".", ".."):
        raise CheckpointError(f"{directory}: the manifest names the file {name!r}, outside the checkpoint")
    if os.path.islink(path) or not os.path.isfile(path):
        raise CheckpointError(f"{path} is missing (or not a regular file): the checkpoint is incomplete")
    found = _describe_file(path)
    if found != {"bytes": facts["bytes"], "sha256": facts["sha256"]}:
        raise CheckpointError(
            f"{path} is damaged: expected {facts['bytes']} bytes, sha256 {facts['sha256']}; found {found}"
        )


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
    if _hash_array(array) != entry["sha256"]:
        raise CheckpointError(f"{path}: tensor {name!r} is damaged: its SHA-256 is not the manifest's")
    return array
