"""What all of the tokenizers do with what they are given: texts, and the names of special tokens."""

from __future__ import annotations

from collections.abc import Iterable

from tinyllm.errors import TokenizerError


def utf8(text: str | bytes) -> bytes:
    """`text` as bytes; TokenizerError for a str with a lone surrogate, which no UTF-8 stands for."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text is the lone surrogate U+{ord(text[error.start]):04X}, "
            "which is not text; replace it, or pass bytes"
        ) from None


def is_utf8(data: bytes) -> bool:
    """Whether these bytes are characters, or none."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def as_texts(texts: str | bytes | Iterable[str | bytes]) -> Iterable[str | bytes]:
    """What `train` was given as an iterable of texts: one text alone stands for itself, not for its characters."""
    return [texts] if isinstance(texts, (str, bytes)) else texts


def number_specials(names: Iterable[str]) -> dict[str, int]:
    """Special tokens have the first ids, in the order given."""
    if isinstance(names, str):
        raise TypeError(f"special_tokens takes several names, not one str: [{names!r}]")
    names = list(names)
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise TokenizerError(f"special token {twice[0]!r} is given twice")
    return {name: i for i, name in enumerate(names)}
