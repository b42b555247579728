"""Words to their stems or their lemmas, by the packages of the extra `linguistic`, behind the aligned interface.

    Stem("english").normalize(Aligned.of("running studies")).text == "run studi"
    Lemmatize("en").normalize(Aligned.of("The mice went")).text == "The mouse go"

A stem is what is left when endings are cut off by rules (snowballstemmer: Porter's "porter", Porter2 "english", and
thirty languages more); it need not be a word. A lemma is the word that a dictionary lists (simplemma); it knows no
parts of speech, so "left" and "saw" have one lemma each, right or wrong: `lexicon` overrules it. What replaces a word
stands for all of it, in its case: Mice, Mouse; MICE, MOUSE.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib import import_module
from threading import Lock
from types import ModuleType

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.aligned import Aligned
from tinyllm.tokenizers.normalizers._characters import in_case_of, in_categories
from tinyllm.tokenizers.stage import Normalizer

LONGEST = 100  # letters; what is longer is no word and stays as it is
KNOWN = 1 << 16  # words whose stem or lemma is kept


@dataclass(frozen=True)
class Stem(Normalizer):
    """Stems of the words of a `language`, by its name in Snowball."""

    language: str = "english"

    def __post_init__(self) -> None:
        _stemmer(self.language)

    def normalize(self, text: Aligned) -> Aligned:
        return _each_word(text, _stemmer(self.language))


@dataclass(frozen=True)
class Lemmatize(Normalizer):
    """Lemmas of the words of a `language`, by its ISO 639-1 code.

    `lexicon`: (word in small letters, lemma) that come before the dictionary; a mapping will do.
    """

    language: str = "en"
    lexicon: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lexicon", tuple(sorted(dict(self.lexicon).items())))
        _lemmatizer(self.language)

    @cached_property
    def _own(self) -> dict[str, str]:
        return dict(self.lexicon)

    def normalize(self, text: Aligned) -> Aligned:
        own, library = self._own, _lemmatizer(self.language)
        return _each_word(text, lambda word: own.get(word.lower()) or library(word))


def _each_word(text: Aligned, base: Callable[[str], str]) -> Aligned:
    edits = []
    for found in _words().finditer(text.text):
        word = found.group()
        if len(word) <= LONGEST:
            new = in_case_of(base(word.replace("\u2019", "'").replace("\u02bc", "'")), word)
            if new != word:
                edits.append((*found.span(), new))
    return text.edited(edits)


@cache
def _words() -> re.Pattern[str]:
    """Letters and their marks, with apostrophes between them."""
    letter = f"[{in_categories('L', 'M')}]"
    return re.compile(f"{letter}+(?:['\u2019]{letter}+)*")


@cache
def _stemmer(language: str) -> Callable[[str], str]:
    library = _package("snowballstemmer", "Stem")
    if language not in library.algorithms():
        raise TokenizerError(f"Stem knows {', '.join(library.algorithms())}, not {language!r}")
    stemmer, lock = library.stemmer(language), Lock()  # which keeps the word it works on in itself

    @lru_cache(maxsize=KNOWN)
    def stem(word: str) -> str:
        with lock:
            return str(stemmer.stemWord(word.lower()))

    return stem


@cache
def _lemmatizer(language: str) -> Callable[[str], str]:
    library = _package("simplemma", "Lemmatize")
    try:
        library.lemmatize("a", language)
    except ValueError as error:
        raise TokenizerError(f"Lemmatize doesn't know the language {language!r}: {error}") from None

    def lemma(word: str) -> str:
        return str(library.lemmatize(word.lower() if word.isupper() else word, language))

    return lemma


def _package(name: str, stage: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise TokenizerError(f'{stage} needs the package {name}: pip install "tinyllm[linguistic]"') from None
