"""Text that appears as it is generated: never half a character, never the beginning of a stop string, and
joined exactly what decoding all ids at once gives.

A text ends before the stop string that is complete first (of those the one that began first). What may still
become a stop string is held back until that is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import ConfigError
from ..models.gpt import GPT
from ..tokenizers import Tokenizer
from .decode import Decoder
from .sample import Sampling, draw, start


class TextStream:
    """Ids in, one at a time; text out as soon as it is certain. `stopped`: a stop string has come."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()):
        if isinstance(stop, str) or not all(stop):
            raise ConfigError(f"stop takes several strings of at least one character, got {stop!r}")
        self._characters, self._stop, self._held, self.stopped = tokenizer.stream(), tuple(stop), "", False

    def push(self, token: int) -> str:
        """The text that is certain with `token`; nothing after a stop string."""
        return self._certain(self._characters.push(token))

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        text = self._certain(self._characters.finish())
        rest, self._held = self._held, ""
        return text + rest

    def _certain(self, new: str) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self._held, self.stopped = "", True
            return text[: min(found)[1]]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        certain = len(text) - keep
        self._held = text[certain:]
        return text[:certain]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`, at most."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def stream_text(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    count: int,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the text of up to `count` tokens that continue `prompt`, piece by piece (the prompt itself is not
    repeated), ending before the first stop string.

    A prompt that cannot be continued raises here, before the first piece is asked for.
    """
    decoder = start(model, [_encoded(tokenizer, prompt)], count)
    return answer(decoder, TextStream(tokenizer, stop), sampling or Sampling(), range(count))


def answer(decoder: Decoder, text: TextStream, sampling: Sampling, numbers: range) -> Iterator[str]:
    """Yield what a decoder of one row goes on to say, the tokens with these numbers at most."""
    for number in numbers:
        if piece := text.push(draw(decoder, sampling, number, [0])[0]):
            yield piece
        if text.stopped:
            return
    if rest := text.finish():
        yield rest


def complete(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    count: int,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
) -> list[str]:
    """The text of up to `count` tokens after each prompt, computed together; a row that has stopped leaves the
    batch. Give a prompt n times for n samples. Text r is drawn as row r (see `generate`).
    """
    decoder = start(model, [_encoded(tokenizer, prompt) for prompt in prompts], count)
    texts = [TextStream(tokenizer, stop) for _ in prompts]
    pieces: list[list[str]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    for number in range(count):
        for row, token in zip(rows, draw(decoder, sampling or Sampling(), number, rows), strict=True):
            pieces[row].append(texts[row].push(token))
        going = [i for i, row in enumerate(rows) if not texts[row].stopped]
        if not going:
            break
        if len(going) < len(rows):
            decoder.select(going)
            rows = [rows[i] for i in going]
    return ["".join(parts) + text.finish() for parts, text in zip(pieces, texts, strict=True)]


def _encoded(tokenizer: Tokenizer, prompt: str) -> list[int]:
    if not (ids := tokenizer.encode(prompt)):
        raise ConfigError("the prompt is empty: generation continues a text of at least one token")
    return ids
