# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The tokenizers' compiled core: split, count words, train merges, encode.

The same results as segment.py and reference.py, which tests compare it with. Text is bytes. All tables are
open addressing with linear probing and a power of two of slots. Inside there are only C arrays and no loop
over Python objects, so building against the limited API costs no speed.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_New, PyList_SetItem
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from tinyllm.tokenizers import _unicode as unicode

cdef extern from *:
    """
    #define MIX 0x9E3779B97F4A7C15ULL /* 2^64 / golden ratio */
    """
    const uint64_t MIX


cdef inline uint64_t hash_bytes(const uint8_t* s, int64_t n, uint64_t seed) noexcept:
    cdef uint64_t h = seed ^ <uint64_t>n * MIX
    cdef uint64_t word
    while n >= 8:
        memcpy(&word, s, 8)
        h = (h ^ word) * MIX
        h ^= h >> 29
        s += 8
        n -= 8
    word = 0
    while n > 0:
        n -= 1
        word = word << 8 | s[n]
    h = (h ^ word) * MIX
    return h ^ h >> 32


cdef void* grown(void* block, int64_t* capacity, int64_t needed, size_t size) except NULL:
    """`block`, of capacity[0] elements of `size` bytes, with room for `needed`; it at least doubles."""
    if needed <= capacity[0]:
        return block
    cdef int64_t more = max(needed, 2 * capacity[0], 4)
    cdef void* moved = realloc(block, more * size)
    if moved == NULL:
        raise MemoryError(f"no {more * size} bytes for the tokenizer's tables")
    capacity[0] = more
    return moved


cdef void* zeroed(int64_t count, size_t size) except NULL:
    cdef void* block = calloc(max(count, 1), size)
    if block == NULL:
        raise MemoryError(f"no {count * size} bytes for the tokenizer's tables")
    return block


include "_segment.pxi"
include "_train.pxi"
include "_encode.pxi"
