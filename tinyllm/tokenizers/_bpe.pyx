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

from tinyllm.tokenizers._shared cimport MIX, code_point, zeroed

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
include "_encode.pxi"
include "_ids.pxi"

ctypedef int64_t (*Cutter)(const uint8_t* s, int64_t i, int64_t n) noexcept nogil

cdef enum:
    BATCH = 1 << 16  # tokens between two looks at the list that is being made
    CACHE_BITS = 17  # pieces
    PAIR_BITS = 18  # neighbours
    LATER = 0x7FFFFFFF  # the rank of no merge
    FAILED = -3  # no memory
    LARGE = 1 << 22  # tokens, or symbols, of a Work that is not kept
    MAX_PARTS = 4096  # bytes of a token that has a rank


cdef struct Token:  # what `linear` has to know of a symbol
    int32_t left, right, rank  # its last merge; rank -1: it is made by none
    int32_t size  # bytes
    int32_t shorter  # the longest token that it begins with, or -1


cdef class Encoder:
    """Texts, or pieces of them, to ids, by Rules (of reference/bpe_encode.py).

    A short piece that was met before comes from a table that holds one piece a slot. Where two want the same slot the
    newer stays: memory is fixed, and what is cached changes nothing but time. `cached` and `linear` are for tests;
    the attribute `linear` says whether that way is taken.
    """

    cdef Trie known  # what text can be merged to; all spellings where not linear
    cdef Trie whole  # what only a whole piece can be
    cdef Trie atomic
    cdef Merge* merges
    cdef int64_t merges_mask
    cdef uint64_t* sieve  # a bit for each hash of a pair; if it is 0 there is no merge
    cdef int sieve_shift
    cdef Token* tokens
    cdef int64_t n_symbols, n_ids
    cdef PyObject** numbers  # the int of each id, made once
    cdef int32_t fallback[256]
    cdef int32_t unk, replacement
    cdef bint characters, fuse_unk, ignore_merges, late, has_fallback, has_atomic, has_unused, has_affixes
    cdef bint cached, is_linear
    cdef const uint8_t* prefix
    cdef const uint8_t* suffix
    cdef int64_t prefix_size, suffix_size
    cdef Cutter cutter
    cdef Work* free_works
    cdef int32_t* no_parts  # -1 for unused symbols, DEAD for others
    cdef uint64_t random
    cdef object rules

    def __cinit__(self, rules, scanner=None, bint cached=True, bint linear=True):
        cdef int64_t i
        self.rules = rules  # keeps the bytes that are pointed to
        self.n_symbols = len(rules.tokens)
        self.n_ids = rules.n_ids
        self.unk = rules.unk
        self.characters, self.fuse_unk, self.late = rules.characters, rules.fuse_unk, rules.late
        self.ignore_merges = rules.ignore_merges
        self.prefix, self.prefix_size = <const uint8_t*><bytes>rules.prefix, len(rules.prefix)
        self.suffix, self.suffix_size = <const uint8_t*><bytes>rules.suffix, len(rules.suffix)
        self.has_affixes = self.prefix_size or self.suffix_size
        self.has_fallback, self.has_unused = len(rules.byte_ids) > 0, len(rules.unused) > 0
        for i in range(256):
            self.fallback[i] = rules.byte_ids[i] if self.has_fallback else -1
        self.has_atomic = len(rules.atomic) > 0
        trie_make(&self.atomic, sum(map(len, rules.atomic)))
        for name, token in rules.atomic.items():
            trie_add(&self.atomic, <const uint8_t*><bytes>name, len(name), token)
        trie_hasten(&self.atomic, self.atomic.used)
        for name in rules.atomic:
            trie_note(&self.atomic, <const uint8_t*><bytes>name, len(name))
        for name in rules.atomic:
            trie_pave(&self.atomic, <const uint8_t*><bytes>name, len(name))
        self.cached = cached
        self.cutter = NULL if scanner is None else <Cutter><void*>scanner_of(scanner)
        self.numbers = numbers_made(self.n_ids)
        if self.has_unused:
            self.no_parts = <int32_t*>zeroed(self.n_symbols, 2 * sizeof(int32_t))
            for i in range(2 * self.n_symbols):
                self.no_parts[i] = -1 if i // 2 in rules.unused else DEAD
        self.read_tokens(rules.tokens)
        self.read_merges(rules.merges)
        plain = self.n_symbols == self.n_ids and not (self.has_affixes or self.has_unused)
        self.is_linear = linear and plain and self.settle(rules)

    def __dealloc__(self):
        cdef Work* w = self.free_works
        cdef Work* after
        while w != NULL:
            after = w.next
            free_work(w)
            w = after
        numbers_free(self.numbers, self.n_ids)
        free(self.no_parts)
        free(self.merges)
        free(self.sieve)
        free(self.tokens)
        trie_free(&self.known)
        trie_free(&self.whole)
        trie_free(&self.atomic)

    # ---- Tables ----

    cdef int read_tokens(self, tokens) except -1:
        cdef int64_t i
        cdef bytes token
        self.tokens = <Token*>table(self.n_symbols, sizeof(Token))
        for i in range(self.n_symbols):
            token = tokens[i]
            self.tokens[i] = Token(-1, -1, -1, <int32_t>len(token), -1)
        self.spell(&self.known, tokens, None)
        self.replacement = <int32_t>trie_get(&self.known, b"\xef\xbf\xbd", 3)
        return 0

    cdef int spell(self, Trie* trie, tokens, chosen) except -1:
        """Make the trie of the chosen tokens, in as little room as they need."""
        cdef Trie large
        cdef bytes token
        which = range(self.n_symbols) if chosen is None else chosen
        trie_make(&large, sum([len(tokens[i]) for i in which]))
        for i in which:
            token = tokens[i]
            if token:
                trie_add(&large, token, len(token), i)
        used = large.used
        trie_free(&large)
        trie_make(trie, used)
        cdef int64_t n_characters = 0
        for i in which:
            token = tokens[i]
            if token:
                trie_add(trie, token, len(token), i)
                n_characters += characters_after_first(token, len(token))
        trie_hasten(trie, n_characters)
        for i in which:
            token = tokens[i]
            trie_note(trie, token, len(token))
        for i in which:
            token = tokens[i]
            trie_pave(trie, token, len(token))
        return 0

    cdef int read_merges(self, merges) except -1:
        cdef int64_t n = 16
        cdef int64_t i
        cdef uint64_t pair
        while n < 2 * len(merges):
            n *= 2
        self.merges = <Merge*>table(n, sizeof(Merge))
        self.merges_mask = n - 1
        for i in range(n):
            self.merges[i].rank = -1
        for a, b, rank, new in merges:
            pair = <uint64_t>a << 32 | <uint64_t>b
            i = slot_of(pair) & self.merges_mask
            while self.merges[i].rank >= 0 and self.merges[i].pair != pair:
                i = (i + 1) & self.merges_mask
            self.merges[i] = Merge(pair, rank, new)
        n = 1 << 12
        self.sieve_shift = 52
        while n < 16 * len(merges):
            n *= 2
            self.sieve_shift -= 1
        self.sieve = <uint64_t*>zeroed(n >> 6, sizeof(uint64_t))
        for a, b, _, _ in merges:
            i = (<uint64_t>a << 32 | <uint64_t>b) * MIX >> self.sieve_shift
            self.sieve[i >> 6] |= <uint64_t>1 << (i & 63)
        return 0

    cdef bint settle(self, rules) except -1:
        """Find how each token is made, and whether `linear` can be relied on.

        A token is made in one way only: between its borders everything happens as in its bytes alone. So what
        encoding its bytes doesn't end with is never made, and its last merge there is its last merge everywhere.
        """
        cdef int64_t i
        cdef Token* token
        cdef bytes spelling
        byte_ids = set(rules.byte_ids) - {-1}
        if byte_ids and -1 in rules.byte_ids:
            return False
        made = set()
        for a, b, rank, new in rules.merges:
            if a in byte_ids or b in byte_ids or (rules.unk >= 0 and (a == rules.unk or b == rules.unk)):
                return False  # what stands for unknown characters merges
            made.add(new)
        cdef Work* w = self.work()
        try:
            for i in made:
                spelling = rules.tokens[i]
                if not spelling:
                    return False
                if self.begin(w, spelling, len(spelling)) < 0:
                    raise MemoryError("no memory to encode a token")
                if w.n <= SHORT:
                    merge_short(self.merges, self.merges_mask, w)
                elif merge_heap(self.merges, self.merges_mask, w) < 0:
                    raise MemoryError("no memory to encode a token")
                if w.n == 1 and w.ids[0] == i:
                    self.tokens[i].left, self.tokens[i].right, self.tokens[i].rank = w.left, w.right, w.rank
        finally:
            self.put_back(w)
        for i in made:
            token = &self.tokens[i]
            if token.rank >= 0 and (self.tokens[token.left].rank >= token.rank
                                    or self.tokens[token.right].rank >= token.rank):
                return False
        return self.sort_out(rules.tokens)

    cdef bint sort_out(self, tokens) except -1:
        """`known` and `whole` for `linear`, and for each token the next shorter one that it begins with."""
        cdef int64_t i, n, node, at
        cdef bytes spelling
        reachable, others = [], []
        for i in range(self.n_symbols):
            spelling = tokens[i]
            n = len(spelling)
            if n == 0:
                continue
            if self.tokens[i].rank >= 0 or n == (self.unit(spelling, n) if self.characters else 1):
                reachable.append(i)
            elif i < self.n_ids:
                others.append(i)
        trie_free(&self.known)
        memset(&self.known, 0, sizeof(Trie))
        self.spell(&self.known, tokens, reachable)
        if self.ignore_merges:
            self.spell(&self.whole, tokens, others)
        for i in reachable:
            spelling = tokens[i]
            node = self.known.mask + 1
            for at in range(<int64_t>len(spelling) - 1):
                node = trie_find(&self.known, node, <uint8_t>spelling[at])
                if trie_value(&self.known, node) >= 0:
                    self.tokens[i].shorter = trie_value(&self.known, node)
        return True

    # ---- What Python calls ----

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

    cdef Work* work(self) except NULL:
        """A Work that nobody else uses, until it is put back."""
        cdef Work* w = self.free_works
        if w != NULL:
            self.free_works = w.next
            return w
        w = <Work*>zeroed(1, sizeof(Work))
        w.cache_mask = (1 << CACHE_BITS) - 1
        w.cache = <Cached*>table(w.cache_mask + 1, sizeof(Cached))
        w.pairs = <uint64_t*>table(1 << PAIR_BITS, sizeof(uint64_t))
        if self.has_unused:
            w.parts = <int32_t*>zeroed(self.n_symbols, 2 * sizeof(int32_t))
        w.dropout = 0
        return w

    cdef void put_back(self, Work* w) noexcept:
        if w.out_capacity + w.ids_capacity + 64 * w.dead_capacity > LARGE:  # by a piece as there are few
            free_work(w)
            return
        w.next = self.free_works
        self.free_works = w

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
        if room(<void**>&w.out, &w.out_capacity, start + CACHED, sizeof(int32_t)) < 0:
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

    # ---- Without merging ----

    cdef int linear_text(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """Append the ids of one piece to `out`: at each place the longest token that can follow the one before.

        Where none can, the token before is taken back, a shorter one tried there, and no token ends here any more.
        There is one way only to come to a place, so no place is given up twice. 1: it can't be done like this.
        """
        cdef int64_t i = 0
        cdef int64_t j, size
        cdef int64_t first = w.out_size  # what comes before it, if anything, is an unknown character
        cdef bint given_up = False
        cdef int32_t token
        w.open_unk = False
        while i < n:
            token = trie_longest(&self.known, s + i, n - i, &size)
            if token < 0:
                size = self.unit(s + i, n - i)
                if self.characters and size == 1 and s[i] >= 0x80:
                    return 1  # no UTF-8: counts as another character
                if self.unk < 0 and not self.has_fallback:
                    return 1  # left out, so that its neighbours may merge
                if self.unknown(w, s + i, size) < 0:
                    return -1
                i += size
                first = w.out_size
                continue
            if size == 0:
                size = self.tokens[token].size
            while True:
                j = i + size
                if not (given_up and w.dead[j >> 6] >> (j & 63) & 1) and (
                        w.out_size == first or self.can_follow(w, w.out[w.out_size - 1], token)):
                    break
                if self.tokens[token].shorter >= 0:
                    token = self.tokens[token].shorter
                    size = self.tokens[token].size
                    continue
                if w.out_size == first:
                    return 1  # can't happen; the merges would tell
                if not given_up:
                    given_up = True
                    if room(<void**>&w.dead, &w.dead_capacity, (n >> 6) + 1, sizeof(uint64_t)) < 0:
                        return -1
                    memset(w.dead, 0, ((n >> 6) + 1) * sizeof(uint64_t))
                w.dead[i >> 6] |= <uint64_t>1 << (i & 63)
                w.out_size -= 1
                token = w.out[w.out_size]
                size = self.tokens[token].size
                i -= size
            if emit(w, token, <int32_t>size) < 0:
                return -1
            w.open_unk = False
            i = j
        return 0

    cdef int linear_around(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """`linear_text` of what is between atomic tokens."""
        cdef int64_t i = 0
        cdef int64_t start = 0
        cdef int64_t size
        cdef int32_t token
        cdef int failed = 0
        while i < n:
            token = trie_longest(&self.atomic, s + i, n - i, &size)
            if token < 0:
                i += self.unit(s + i, n - i)
                continue
            failed = self.linear_text(w, s + start, i - start)
            if failed:
                return failed
            if emit(w, token, self.tokens[token].size) < 0:
                return -1
            i += self.tokens[token].size
            start = i
        return self.linear_text(w, s + start, n - start)

    cdef inline bint can_follow(self, Work* w, int32_t a, int32_t b) noexcept nogil:
        """Whether the bytes of a and b give these two tokens."""
        cdef uint64_t key = (<uint64_t>1 << 63) | (<uint64_t>a << 27 | <uint64_t>b) << 1
        cdef uint64_t* known = &w.pairs[key * MIX >> (64 - PAIR_BITS)]
        if known[0] >> 1 != key >> 1:
            known[0] = key | self.stay_apart(a, b)
        return known[0] & 1

    cdef bint stay_apart(self, int32_t a, int32_t b) noexcept nogil:
        """Going back in time from the tokens a and b, no two symbols at their border would have merged before they
        did otherwise.

        Of two merges of the same rank the left one comes first. So at the border, a merge comes before the one that
        makes a only if its rank is lower, and before the one that makes b also if it is the same.
        """
        cdef int32_t limit = LATER
        cdef int32_t new = 0
        cdef int32_t rank
        cdef int64_t i
        while True:
            i = (<uint64_t>a << 32 | <uint64_t>b) * MIX >> self.sieve_shift
            if self.sieve[i >> 6] >> (i & 63) & 1:
                rank = rank_of(self.merges, self.merges_mask, a, b, &new)
                if rank >= 0 and rank < limit:
                    return False
            if self.tokens[a].rank > self.tokens[b].rank:
                limit = self.tokens[a].rank
                a = self.tokens[a].right
            elif self.tokens[b].rank >= 0:
                limit = self.tokens[b].rank + 1
                b = self.tokens[b].left
            else:
                return True

    # ---- Merging ----

    cdef int merged(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """Append the ids of one piece to `out` by making the merges."""
        cdef int64_t i
        if self.begin(w, s, n) < 0:
            return -1
        if self.has_unused:
            memcpy(w.parts, self.no_parts, 2 * self.n_symbols * sizeof(int32_t))
        if w.n <= SHORT and w.dropout == 0 and not self.has_unused:
            merge_short(self.merges, self.merges_mask, w)
        elif merge_heap(self.merges, self.merges_mask, w) < 0:
            return -1
        w.open_unk = False
        for i in range(w.n):
            if w.ids[i] >= FROZEN:
                w.open_unk = False
                if emit(w, w.ids[i] - FROZEN, w.sizes[i]) < 0:
                    return -1
            elif self.resolve(w, w.ids[i], s, w.sizes[i]) < 0:
                return -1
            s += w.sizes[i]
        return 0

    cdef int resolve(self, Work* w, int32_t symbol, const uint8_t* s, int64_t size) noexcept nogil:
        """Append a symbol of s[:size] to `out`: an id as it is, an unused one in parts, another as unknown."""
        cdef int64_t left
        if symbol < 0 or symbol >= self.n_ids:
            return self.unknown(w, s, size)
        if w.parts != NULL and w.parts[2 * symbol] >= 0:
            left = self.tokens[w.parts[2 * symbol]].size
            if self.resolve(w, w.parts[2 * symbol], s, left) < 0:
                return -1
            return self.resolve(w, w.parts[2 * symbol + 1], s + left, size - left)
        w.open_unk = False
        return emit(w, symbol, <int32_t>size)

    cdef int unknown(self, Work* w, const uint8_t* s, int64_t size) noexcept nogil:
        """Append the unknown character s[:size] to `out`, in whatever stands for it."""
        cdef int64_t i
        if self.can_fall_back(s, size):
            w.open_unk = False
            for i in range(size):
                if emit(w, self.fallback[s[i]], 1) < 0:
                    return -1
        elif self.unk >= 0:
            if w.open_unk and self.fuse_unk:
                if w.with_widths:
                    w.widths[w.out_size - 1] += <int32_t>size
                return 0
            w.open_unk = True
            return emit(w, self.unk, <int32_t>size)
        return 0

    cdef inline int64_t unit(self, const uint8_t* s, int64_t n) noexcept nogil:
        """The size of the symbol that s[:n] begins with, if it is not an atomic one."""
        cdef int size
        if not self.characters:
            return 1
        code_point(s, n, &size)
        return size

    cdef bint can_fall_back(self, const uint8_t* s, int64_t n) noexcept nogil:
        """Whether each of these bytes has a token of its own."""
        cdef int64_t i
        if not self.has_fallback:
            return False
        for i in range(n):
            if self.fallback[s[i]] < 0:
                return False
        return True

    cdef int start_with(self, Work* w, int32_t symbol, int64_t size) noexcept nogil:
        """Append a symbol to those of the piece."""
        if (room(<void**>&w.ids, &w.ids_capacity, w.n + 1, sizeof(int32_t)) < 0
                or room(<void**>&w.sizes, &w.sizes_capacity, w.n + 1, sizeof(int32_t)) < 0):
            return -1
        w.ids[w.n] = symbol
        w.sizes[w.n] = <int32_t>size
        w.n += 1
        return 0

    cdef int begin(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """The symbols of a piece before any merge."""
        cdef int64_t i = 0
        cdef int64_t size
        cdef int32_t token
        cdef int64_t held = 0  # the width of an unk that may grow
        w.n = 0
        if n > 0x7FFFFFFF:
            return -1
        while i < n:
            token = trie_longest(&self.atomic, s + i, n - i, &size) if self.has_atomic else -1
            if token >= 0:
                size = self.tokens[token].size
                token |= FROZEN
            else:
                size = self.unit(s + i, n - i)
                token = self.spelled(w, s, i, size, n)
            if token == FAILED:
                return -1
            if token >= 0 or self.late:
                if held and self.start_with(w, self.unk, held) < 0:
                    return -1
                held = 0
                if self.start_with(w, token, size) < 0:
                    return -1
            elif self.can_fall_back(w.name, w.name_size):
                for j in range(w.name_size):  # as in Hugging Face, before an unk that is held
                    if self.start_with(w, self.fallback[w.name[j]], 1) < 0:
                        return -1
            elif self.unk >= 0:
                if held and not self.fuse_unk:
                    if self.start_with(w, self.unk, held) < 0:
                        return -1
                    held = 0
                held += size
            i += size
        return self.start_with(w, self.unk, held) if held else 0

    cdef int32_t spelled(self, Work* w, const uint8_t* s, int64_t i, int64_t size, int64_t n) noexcept nogil:
        """The id of the symbol s[i:i + size] of the piece s[:n], or UNKNOWN, or FAILED; its spelling is w.name."""
        cdef int64_t k = self.prefix_size if i else 0
        if room(<void**>&w.name, &w.name_capacity, self.prefix_size + size + self.suffix_size, 1) < 0:
            return FAILED
        memcpy(w.name, self.prefix, k)
        memcpy(w.name + k, s + i, size)
        k += size
        if i + size == n:
            memcpy(w.name + k, self.suffix, self.suffix_size)
            k += self.suffix_size
        w.name_size = k
        if self.characters and size == 1 and s[i] >= 0x80 and not self.has_affixes:
            return self.replacement
        return <int32_t>trie_get(&self.known, w.name, k)


def merges_of(ranks):
    """As reference/bpe_encode.py's: the merges that tiktoken's ranks come to."""
    cdef Trie trie
    cdef bytes token
    cdef const uint8_t* s
    cdef int64_t n, i, at
    cdef int32_t ends[MAX_PARTS]  # where the parts end
    cdef int32_t joined[MAX_PARTS]  # the rank of each part joined with the next
    tokens = sorted(ranks, key=ranks.__getitem__)
    trie_make(&trie, sum(map(len, tokens)))
    merges = []
    try:
        for i, token in enumerate(tokens):
            trie_add(&trie, token, len(token), <int32_t>i)
        for token in tokens:
            s, n = token, len(token)
            if n < 2:
                continue
            if n > MAX_PARTS:
                raise ValueError(f"a token has {n} bytes; the limit is {MAX_PARTS}")
            for i in range(n):
                ends[i] = <int32_t>(i + 1)
            for i in range(n - 1):
                joined[i] = span_rank(&trie, s, ends, i)
            while n > 2:
                at = -1
                for i in range(n - 1):
                    if joined[i] >= 0 and (at < 0 or joined[i] < joined[at]):
                        at = i
                if at < 0:
                    break
                n -= 1
                for i in range(at, n):
                    ends[i] = ends[i + 1]
                    joined[i] = joined[i + 1]
                if at > 0:
                    joined[at - 1] = span_rank(&trie, s, ends, at - 1)
                if at < n - 1:
                    joined[at] = span_rank(&trie, s, ends, at)
            if n == 2:
                merges.append((token[: ends[0]], token[ends[0] :]))
    finally:
        trie_free(&trie)
    return merges


cdef inline int32_t span_rank(const Trie* trie, const uint8_t* s, const int32_t* ends, int64_t i) noexcept nogil:
    """The number of part i of s joined with the next, or -1."""
    cdef int64_t start = ends[i - 1] if i else 0
    return <int32_t>trie_get(trie, s + start, ends[i + 1] - start)
