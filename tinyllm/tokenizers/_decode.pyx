# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Joining the bytes of tokens, compiled: the same as b"".join over a list of them."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.long cimport PyLong_AsLongLong
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from tinyllm.tokenizers._shared cimport zeroed

cdef enum:
    FIT = 16  # bytes that are copied at once, whatever a token has


cdef class Joiner:
    """The bytes of `tokens` one after another. Ids in `gaps` are none; those in `special` can be skipped."""

    cdef bytes text
    cdef int64_t* starts  # of each token in the text, and the end of the last
    cdef uint8_t* kind  # 0 a token, 1 a special one, 2 none
    cdef int64_t n

    def __cinit__(self, list tokens, special, gaps):
        cdef int64_t i
        self.n = len(tokens)
        self.starts = <int64_t*>zeroed(self.n + 1, sizeof(int64_t))
        self.kind = <uint8_t*>zeroed(self.n, 1)
        self.text = b"".join(tokens) + bytes(FIT)
        for i in range(self.n):
            self.starts[i + 1] = self.starts[i] + len(tokens[i])
        for i in special:
            self.kind[i] = 1
        for i in gaps:
            self.kind[i] = 2

    def __dealloc__(self):
        free(self.starts)
        free(self.kind)

    def join(self, list ids not None, bint skip):
        """The bytes of the ids, or None if one of them is no id. TypeError for what is no integer."""
        cdef int64_t count = len(ids)
        cdef int64_t i, size, start
        cdef int64_t total = 0
        cdef int64_t token
        cdef const uint8_t* text = self.text
        cdef int32_t* known = <int32_t*>malloc((count + 1) * sizeof(int32_t))
        cdef uint8_t* out = NULL
        cdef uint8_t* at
        if known == NULL:
            raise MemoryError(f"no memory for {count} ids")
        try:
            for i in range(count):
                token = PyLong_AsLongLong(ids[i])
                if token < 0 or token >= self.n or self.kind[token] == 2:
                    return None
                if skip and self.kind[token] == 1:
                    token = -1
                else:
                    total += self.starts[token + 1] - self.starts[token]
                known[i] = <int32_t>token
            out = <uint8_t*>malloc(total + FIT)
            if out == NULL:
                raise MemoryError(f"no {total} bytes for the text of {count} ids")
            at = out
            for i in range(count):
                if known[i] < 0:
                    continue
                start = self.starts[known[i]]
                size = self.starts[known[i] + 1] - start
                if size <= FIT:
                    memcpy(at, text + start, FIT)
                else:
                    memcpy(at, text + start, size)
                at += size
            return PyBytes_FromStringAndSize(<char*>out, total)
        except OverflowError:
            return None
        finally:
            free(known)
            free(out)
