"""Text that appears as it is generated: never half a character, and joined exactly what decoding all ids at
once gives.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ConfigError
from ..models.gpt import GPT
from ..tokenizers.base import Stream, Tokenizer
from .sample import Sampling, generate


def stream_text(
    model: GPT, tokenizer: Tokenizer, prompt: str, count: int, sampling: Sampling | None = None
) -> Iterator[str]:
    """Yield the text of `count` tokens that continue `prompt`, piece by piece (the prompt itself is not repeated).

    A prompt that cannot be continued raises here, before the first piece is asked for.
    """
    ids = tokenizer.encode(prompt)
    if not ids:
        raise ConfigError("the prompt is empty: generation continues a text of at least one token")
    return _pieces(tokenizer.stream(), generate(model, ids, count, sampling))


def _pieces(stream: Stream, tokens: Iterator[int]) -> Iterator[str]:
    for token in tokens:
        if piece := stream.push(token):
            yield piece
    if rest := stream.finish():
        yield rest
