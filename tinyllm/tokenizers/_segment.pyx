# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cutting bytes into pieces with the compiled scanners, where no encoder does it in the same pass."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from tinyllm.tokenizers._shared cimport code_point, zeroed

from tinyllm.tokenizers import _unicode as unicode

include "_segment.pxi"


cdef enum Role:  # as in pretokenizers/kinds.py
    SKIP, ALONE, LAST, FIRST, RUN, OTHER


cdef class Cutter:
    """Cuts texts by the kind of each character; `page(number)` gives the kinds of 128, and is asked when first needed.
    """

    cdef object page
    cdef const uint8_t* pages[8704]
    cdef list kept  # the bytes that they are in

    def __cinit__(self, page):
        self.page, self.kept = page, []

    def pieces(self, str text not None):
        """The pieces of a text one after another, in UTF-8. UnicodeEncodeError for a lone surrogate."""
        return Runs(self, text.encode())

    cdef const uint8_t* kinds(self, int64_t number) except NULL:
        if self.pages[number] == NULL:
            found = self.page(number)
            if type(found) is not bytes or len(found) != 128:
                raise ValueError("a page must be 128 bytes")
            self.kept.append(found)
            self.pages[number] = found
        return self.pages[number]


cdef class Runs:
    """What Cutter.pieces gives."""

    cdef Cutter cutter
    cdef bytes data
    cdef int64_t at

    def __cinit__(self, Cutter cutter not None, bytes data not None):
        self.cutter, self.data = cutter, data

    def __iter__(self):
        return self

    def __next__(self):
        cdef const uint8_t* s = self.data
        cdef const uint8_t* ascii = self.cutter.kinds(0)
        cdef int64_t n = len(self.data)
        cdef int64_t i = self.at
        cdef int64_t start = -1
        cdef int32_t point
        cdef int kind
        cdef int run = SKIP
        cdef int size = 1
        while i < n:
            if s[i] < 128:
                kind, size = ascii[s[i]], 1
            else:
                point = code_point(s + i, n - i, &size)
                kind = self.cutter.kinds(point >> 7)[point & 127]
            if start < 0:
                if kind != SKIP:
                    start, run = i, RUN if kind == FIRST else kind
                i += size
                if kind == ALONE or kind == LAST:
                    break
            elif kind == run:
                i += size
            else:
                if kind == LAST:
                    i += size
                break
        self.at = i
        if start < 0:
            raise StopIteration
        return self.data[start:i]


cdef class Pieces:
    """The pieces of `data` under the pattern `name`, one after another."""

    cdef bytes data
    cdef Scanner scan
    cdef int64_t at

    def __cinit__(self, bytes data not None, str name not None):
        self.data, self.scan = data, scanner_of(name)

    def __iter__(self):
        return self

    def __next__(self):
        cdef int64_t start = self.at
        if start >= len(self.data):
            raise StopIteration
        self.at = self.scan(self.data, start, len(self.data))
        return self.data[start : self.at]


def split(bytes data not None, str name not None):
    """All of them in a list."""
    return list(Pieces(data, name))


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
