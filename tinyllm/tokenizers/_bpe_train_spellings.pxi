"""The spellings of the ids: each id has one, and no two the same. Included by _bpe_train.pyx."""


cdef inline int32_t left_of(uint64_t key) noexcept nogil:
    return <int32_t>(key >> 32)


cdef inline int32_t right_of(uint64_t key) noexcept nogil:
    return <int32_t><uint32_t>key


cdef class Spellings:
    """All spellings, one behind the other, and a hash table of them."""

    cdef int64_t n_ids
    cdef int64_t* spelled  # by id: where it begins in `spellings`
    cdef uint8_t* spellings
    cdef int64_t spellings_capacity
    cdef int32_t* known  # hash table: id plus 1
    cdef int64_t n_known
    cdef int64_t prefix  # bytes

    def __dealloc__(self):
        free(self.spelled)
        free(self.spellings)
        free(self.known)

    cdef int make_spellings(self, int64_t most_ids, int64_t prefix) except -1:
        """Room for that many."""
        self.prefix = prefix
        self.spelled = <int64_t*>zeroed(most_ids + 1, sizeof(int64_t))
        self.n_known = 1 << 10
        while self.n_known < 2 * most_ids:
            self.n_known *= 2
        self.known = <int32_t*>zeroed(self.n_known, sizeof(int32_t))
        return 0

    cdef inline int64_t skipped(self, int32_t b) noexcept nogil:
        """Bytes of the prefix that b loses on the right of a merge."""
        if self.prefix and self.spelled[b + 1] - self.spelled[b] >= self.prefix:
            return self.prefix
        return 0

    cdef bint spell(self, const uint8_t* x, int64_t n_x, const uint8_t* y, int64_t n_y) noexcept nogil:
        """The next id is spelled x and then y."""
        cdef int64_t start = self.spelled[self.n_ids]
        cdef int64_t slot
        cdef int64_t at_x = x - self.spellings if y != NULL else 0
        cdef int64_t at_y = y - self.spellings if y != NULL else 0
        if not room(<void**>&self.spellings, &self.spellings_capacity, start + n_x + n_y, 1):
            return False
        memcpy(self.spellings + start, x if y == NULL else self.spellings + at_x, n_x)
        if y != NULL:
            memcpy(self.spellings + start + n_x, self.spellings + at_y, n_y)
        slot = hash_bytes(self.spellings + start, n_x + n_y, 0) & <uint64_t>(self.n_known - 1)
        while self.known[slot]:
            slot = (slot + 1) & (self.n_known - 1)
        self.n_ids += 1
        self.known[slot] = <int32_t>self.n_ids
        self.spelled[self.n_ids] = start + n_x + n_y
        return True

    cdef bint find_spelling(self, int32_t a, int32_t b) noexcept nogil:
        """Whether there is an id that is spelled as this merge would be."""
        cdef int64_t start = self.spelled[self.n_ids]
        cdef int64_t n_a = self.spelled[a + 1] - self.spelled[a]
        cdef int64_t n = n_a + self.spelled[b + 1] - self.spelled[b] - self.skipped(b)
        cdef int64_t slot, other
        if not room(<void**>&self.spellings, &self.spellings_capacity, start + n, 1):
            return False  # the merge will find that out
        memcpy(self.spellings + start, self.spellings + self.spelled[a], n_a)
        memcpy(self.spellings + start + n_a, self.spellings + self.spelled[b] + self.skipped(b), n - n_a)
        slot = hash_bytes(self.spellings + start, n, 0) & <uint64_t>(self.n_known - 1)
        while self.known[slot]:
            other = self.known[slot] - 1
            if (self.spelled[other + 1] - self.spelled[other] == n
                    and same_bytes(self.spellings + self.spelled[other], self.spellings + start, n)):
                return True
            slot = (slot + 1) & (self.n_known - 1)
        return False

    cdef int compare_spellings(self, uint64_t p, uint64_t q) noexcept nogil:
        """The order of what two pairs would make, byte by byte."""
        cdef const uint8_t* x[2]
        cdef const uint8_t* y[2]
        cdef int64_t n_x[2]
        cdef int64_t n_y[2]
        cdef int side, order
        cdef int64_t n, i = 0, j = 0
        for side in range(2):
            n = right_of(p) if side else left_of(p)
            x[side], n_x[side] = self.spellings + self.spelled[n], self.spelled[n + 1] - self.spelled[n]
            n = right_of(q) if side else left_of(q)
            y[side], n_y[side] = self.spellings + self.spelled[n], self.spelled[n + 1] - self.spelled[n]
        while i < 2 and j < 2:
            n = min(n_x[i], n_y[j])
            order = memcmp(x[i], y[j], n)
            if order:
                return order
            x[i], y[j] = x[i] + n, y[j] + n
            n_x[i], n_y[j] = n_x[i] - n, n_y[j] - n
            i += n_x[i] == 0
            if n_y[j] == 0:
                j += 1
        return (i < 2) - (j < 2)
