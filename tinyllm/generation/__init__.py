"""Generating text: sampling, beam search, batches, streams, and a conversation."""

from .beam import Beam, beam_search
from .decode import Decoder
from .sample import Sampling, candidates, generate, generate_batch, next_token
from .stream import TextStream, complete, stream_text

__all__ = [
    "Beam",
    "Decoder",
    "Sampling",
    "TextStream",
    "beam_search",
    "candidates",
    "complete",
    "generate",
    "generate_batch",
    "next_token",
    "stream_text",
]
