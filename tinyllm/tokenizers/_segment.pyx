# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cutting bytes into pieces with the compiled scanners, where no encoder does it in the same pass."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from tinyllm.tokenizers._shared cimport zeroed

from tinyllm.tokenizers import _unicode as unicode

include "_segment.pxi"


def split(bytes data not None, str name not None):
    """The pieces of `data` under the pattern `name`."""
    cdef Scanner scan = scanner_of(name)
    cdef const uint8_t* s = data
    cdef int64_t n = len(data)
    cdef int64_t i = 0
    cdef int64_t j
    pieces = []
    while i < n:
        j = scan(s, i, n)
        pieces.append(data[i:j])
        i = j
    return pieces


def count(bytes data not None, str name not None):
    """How many pieces `split` gives; for measuring a scanner alone."""
    cdef Scanner scan = scanner_of(name)
    cdef const uint8_t* s = data
    cdef int64_t n = len(data)
    cdef int64_t i = 0
    cdef int64_t pieces = 0
    while i < n:
        i = scan(s, i, n)
        pieces += 1
    return pieces
