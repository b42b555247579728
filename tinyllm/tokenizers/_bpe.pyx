# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Byte-pair encoding, compiled: the same results as reference/bpe.py, which tests compare it with. Text is bytes."""

from cpython.list cimport PyList_New, PyList_SetItem
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from tinyllm.tokenizers._shared cimport MIX, grown, hash_bytes, zeroed

from tinyllm.tokenizers import _unicode as unicode

include "_segment.pxi"
include "_encode.pxi"
