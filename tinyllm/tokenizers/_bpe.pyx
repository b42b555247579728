# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Byte-pair encoding, compiled: the same results as reference/bpe_encode.py, which tests compare it with.

Two ways to encode a piece give the same tokens. `merged` makes the merges, in O(n log n). `linear` finds the tokens by
themselves, as the Rust crate `bpe` of rust-gems (GitHub) does, in O(n): the tokens of any beginning of a piece are
those of the whole piece, but for the last few, so they are found from left to right, and whether one can follow
another depends on these two alone. It holds if the merges inside each token came in order of rank; `settle` checks it.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from tinyllm.tokenizers._shared cimport MIX, code_point, hash_key, key_of, room, zeroed

from tinyllm.tokenizers import _unicode as unicode

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from *:
    """
    #if defined(__linux__)
    #include <stdint.h>
    #include <sys/mman.h>
    static void in_large_pages(void *block, size_t bytes) { /* a hint: fewer walks through the page table */
        uintptr_t start = ((uintptr_t)block + 4095) & ~(uintptr_t)4095;
        if (bytes >= 1 << 21) madvise((void *)start, bytes - (start - (uintptr_t)block), MADV_HUGEPAGE);
    }
    #else
    static void in_large_pages(void *block, size_t bytes) { (void)block; (void)bytes; }
    #endif
    """
    void in_large_pages(void* block, size_t size) noexcept nogil


cdef void* table(int64_t count, size_t size) except NULL:
    """`count` zeroed elements of `size` bytes, that are read at random."""
    cdef void* block = zeroed(count, size)
    in_large_pages(block, count * size)
    return block


include "_segment.pxi"
include "_trie.pxi"
include "_bpe_merge.pxi"
include "_bpe_tables.pxi"
include "_bpe_merged.pxi"
include "_bpe_linear.pxi"
include "_bpe_ranks.pxi"
include "_ids.pxi"

ctypedef int64_t (*Cutter)(const uint8_t* s, int64_t i, int64_t n) noexcept nogil

cdef enum:
    BATCH = 1 << 16  # tokens between two looks at the list that is being made


cdef class Encoder(Linear):
    """Texts, or pieces of them, to ids, by Rules (of reference/bpe_encode.py).

    A short piece that was met before comes from a table that holds one piece a slot. Where two want the same slot the
    newer stays: memory is fixed, and what is cached changes nothing but time. `cached` and `linear` are for tests;
    the attribute `linear` says whether that way is taken.
    """

    cdef PyObject** numbers  # the int of each id, made once
    cdef bint cached, is_linear
    cdef Cutter cutter

    def __cinit__(self, rules, scanner=None, bint cached=True, bint linear=True):
        self.read(rules)
        self.cached = cached
        self.cutter = NULL if scanner is None else <Cutter><void*>scanner_of(scanner)
        self.numbers = numbers_made(self.n_ids)
        plain = self.n_symbols == self.n_ids and not (self.has_affixes or self.has_unused)
        self.is_linear = linear and plain and self.settle(rules)

    def __dealloc__(self):
        numbers_free(self.numbers, self.n_ids)

    @property
    def linear(self):
        """Whether pieces are encoded in linear time."""
        return bool(self.is_linear)

    def seed(self, uint64_t seed):
        """Begin the random numbers of dropout anew."""
        self.random = seed

    def encode(self, text not None, double p=0.0, normalize=None):
        """The ids of a text (str or bytes), cut by the scanner if there is one. `p`: the probability of dropout.
        `normalize`: a function from bytes to the bytes that are encoded; they are gone before the last ids are listed.
        """
        cdef Py_ssize_t size = 0
        cdef const uint8_t* s
        cdef bytes data
        if isinstance(text, str):
            s = <const uint8_t*>PyUnicode_AsUTF8AndSize(text, &size)
        else:
            data = text if normalize is None else normalize(text)
            s, size = data, len(data)
        cdef int64_t done = 0
        cdef Work* w = self.work()
        w.dropout, w.random = p, self.random
        cdef list ids = []
        try:
            while True:
                w.out_size = 0
                with nogil:
                    done = self.add_text(w, s, done, size)
                if done < 0:
                    raise MemoryError("no memory to encode the text")
                if done == size:
                    data = None
                    if not ids:
                        return self.listed(w)
                ids += self.listed(w)
                if done == size:
                    return ids
        finally:
            self.random = w.random
            self.put_back(w)

    def encode_piece(self, bytes piece not None, double p=0.0):
        """The ids of one piece, which no scanner cuts."""
        cdef Work* w = self.work()
        try:
            self.take_piece(w, piece, p)
            return self.listed(w)
        finally:
            self.put_back(w)

    def tokenize(self, bytes piece not None, double p=0.0):
        """(id, how many bytes of the piece it covers) of each token of one piece."""
        cdef Work* w = self.work()
        cdef int64_t i
        try:
            w.with_widths = True
            self.take_piece(w, piece, p)
            return [(w.out[i], w.widths[i]) for i in range(w.out_size)]
        finally:
            w.with_widths = False
            self.put_back(w)

    cdef int take_piece(self, Work* w, bytes piece, double p) except -1:
        cdef const uint8_t* s = piece
        cdef int64_t n = len(piece)
        cdef int failed
        w.out_size = 0
        w.dropout, w.random = p, self.random
        with nogil:
            failed = self.add_piece(w, s, n, n)
        self.random = w.random
        if failed < 0:
            raise MemoryError(f"no memory to encode a piece of {n} bytes")
        return 0

    cdef list listed(self, Work* w):
        return listed(&w.out, &w.out_capacity, w.out_size, self.numbers)

    # ---- A text, a piece ----

    cdef int64_t add_text(self, Work* w, const uint8_t* s, int64_t i, int64_t n) noexcept nogil:
        """Append the ids of s[i:n] to `out`, or of a batch's worth; how far it came, or -1."""
        cdef int64_t j
        while i < n and w.out_size < BATCH:
            j = n if self.cutter == NULL else self.cutter(s, i, n)
            if self.add_piece(w, s + i, j - i, n - i) < 0:
                return -1
            i = j
        return i

    cdef inline int add_piece(self, Work* w, const uint8_t* s, int64_t n, int64_t readable) noexcept nogil:
        """Append the ids of one piece to `out`. s[:readable] may be read."""
        cdef uint64_t low = 0
        cdef uint64_t high = 0
        cdef uint64_t h
        cdef Cached* known
        cdef int64_t start = w.out_size
        cdef int64_t i
        if n > KEY or n == 0 or not self.cached or w.with_widths or w.dropout > 0:
            return self.add_new(w, s, n)
        if readable >= 16:
            memcpy(&low, s, 8)
            memcpy(&high, s + 8, 8)
            if n < 8:
                low &= (<uint64_t>1 << 8 * n) - 1
                high = 0
            else:
                high &= (<uint64_t>1 << 8 * (n - 8)) - 1
        elif n < 8:
            memcpy(&low, s, n)
        else:
            memcpy(&low, s, 8)
            memcpy(&high, s + 8, n - 8)
        high |= <uint64_t>n << 56
        h = (low ^ (high * MIX >> 32 | high << 32)) * MIX
        known = &w.cache[(h ^ h >> 32) & w.cache_mask]
        if known.low != low or known.high != high:
            if self.add_new(w, s, n) < 0:
                return -1
            if w.out_size - start <= CACHED:
                known.low = low
                known.high = high
                for i in range(CACHED):
                    known.ids[i] = w.out[start + i] if start + i < w.out_size else -1
            return 0
        if not room(<void**>&w.out, &w.out_capacity, start + CACHED, sizeof(int32_t)):
            return -1
        for i in range(CACHED):
            w.out[start + i] = known.ids[i]
            w.out_size += known.ids[i] >= 0
        return 0

    cdef int add_new(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """Append the ids of one piece, of any length, to `out`; the cache is not asked."""
        cdef int64_t token
        cdef int64_t start = w.out_size
        cdef int done
        if n == 0:
            return 0
        if self.ignore_merges and w.dropout == 0 and not (self.is_linear and self.whole.used == 0):
            token = trie_get(&self.whole if self.is_linear else &self.known, s, n)
            if token >= 0 and token < self.n_ids:
                return emit(w, <int32_t>token, <int32_t>n)
        if self.is_linear and w.dropout == 0:
            if self.has_atomic:
                done = self.linear_around(w, s, n)
            else:
                done = self.linear_text(w, s, n)
            if done <= 0:
                return done
            w.out_size = start
        return self.merged(w, s, n)
