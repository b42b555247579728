# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cutting text into pieces, compiled: the same results as segment.py. Text is bytes."""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from tinyllm.tokenizers._shared cimport code_point

from tinyllm.tokenizers import _unicode as unicode

include "_segment.pxi"


def split(bytes data not None):
    """The pieces of `data` under GPT-2's pattern."""
    cdef const uint8_t* s = data
    cdef int64_t n = len(data)
    cdef int64_t i = 0
    cdef int64_t j
    pieces = []
    while i < n:
        j = next_gpt2(s, i, n)
        pieces.append(data[i:j])
        i = j
    return pieces
