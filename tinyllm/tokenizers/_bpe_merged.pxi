"""A piece by its merges: its first symbols, what _bpe_merge.pxi makes of them, and the ids of these. Included by
_bpe.pyx.

This is the way that is right for every model, in O(n log n), or O(n * n) for the short pieces that text is cut into.
"""

cdef enum:
    FAILED = -3  # no memory
    LARGE = 1 << 22  # tokens, or symbols, of a Work that is not kept


cdef class Merging(Tables):
    """Encodes a piece by merging."""

    cdef Work* free_works
    cdef uint64_t random

    def __dealloc__(self):
        cdef Work* w = self.free_works
        cdef Work* after
        while w != NULL:
            after = w.next
            free_work(w)
            w = after

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
        if not room(<void**>&w.name, &w.name_capacity, self.prefix_size + size + self.suffix_size, 1):
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

    cdef int start_with(self, Work* w, int32_t symbol, int64_t size) noexcept nogil:
        """Append a symbol to those of the piece."""
        if (not room(<void**>&w.ids, &w.ids_capacity, w.n + 1, sizeof(int32_t))
                or not room(<void**>&w.sizes, &w.sizes_capacity, w.n + 1, sizeof(int32_t))):
            return -1
        w.ids[w.n] = symbol
        w.sizes[w.n] = <int32_t>size
        w.n += 1
        return 0

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
