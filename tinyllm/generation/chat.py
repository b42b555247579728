"""A conversation in turns: lines in, the model's text out. What was said stays in the cache, so that a turn
costs its own tokens only.

Models here are base models: each line, with its newline, is appended to one growing text, which the model goes
on with. Nothing marks who speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import TokenizerError
from ..models.gpt import GPT
from ..tokenizers import Tokenizer
from .decode import Decoder
from .sample import Sampling
from .stream import TextStream, answer

COMMANDS = "/reset forgets all that was said, /quit leaves\n"


def converse(
    model: GPT,
    tokenizer: Tokenizer,
    read: Callable[[], str],
    write: Callable[[str], None],
    count: int,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
) -> None:
    """Take turns until `read` raises EOFError or returns /quit: a line from `read`, then up to `count` tokens of
    text to `write`, ending before a stop string.

    KeyboardInterrupt while the model writes ends its text there, which stays part of the conversation; /reset
    starts again; an empty line adds nothing and lets the model go on. The same lines and seed give the same
    texts.
    """
    TextStream(tokenizer, stop)  # a bad stop string raises before the first line is read
    decoder: Decoder | None = None
    while True:
        try:
            line = read()
        except EOFError:
            return
        except KeyboardInterrupt:
            write("\n" + COMMANDS)
            continue
        if line.strip() == "/quit":
            return
        if line.strip() == "/reset":
            decoder = None
        elif line.startswith("/"):
            write(COMMANDS)
        else:
            try:
                decoder = _said(model, tokenizer, decoder, line)
            except TokenizerError as error:
                write(f"{error}\n")
                continue
            first = len(decoder.contexts[0])
            _turn(
                answer(decoder, TextStream(tokenizer, stop), sampling or Sampling(), range(first, first + count)), write
            )


def _said(model: GPT, tokenizer: Tokenizer, decoder: Decoder | None, line: str) -> Decoder:
    """The decoder with `line` appended, on a line of its own."""
    if decoder is None:
        return Decoder(model, [tokenizer.encode(line + "\n")])
    if line:
        begun = not tokenizer.decode_bytes(decoder.contexts[0][-1:]).endswith(b"\n")
        decoder.extend([tokenizer.encode("\n" * begun + line + "\n")])
    return decoder


def _turn(pieces: Iterator[str], write: Callable[[str], None]) -> None:
    last = "\n"
    try:
        for last in pieces:
            write(last)
    except KeyboardInterrupt:
        last = ""
    if not last.endswith("\n"):
        write("\n")
