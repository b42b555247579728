"""Words in symbols, all in one array with borders between them. Included by _bpe_train.pyx."""

cdef enum:
    BORDER = -0x80000000
    INSIDE = -1  # a symbol that begins further left
    DROPPED = -1  # instead of an id: a symbol that is left out, so that its neighbours meet
    WALL = -2  # a symbol that nothing is merged with, nor across
    BLOCK = 4  # positions >> BLOCK have a shortcut to their word

cdef enum Flag:  # what a symbol may not do
    NEVER = 1  # be merged
    NOT_RIGHT = 2  # be the right part of a merge, nor may what begins with it
    NOT_LAST = 4  # be the right part; what begins with it may

cdef int64_t MOST = 0x4000000000000000  # occurrences times bytes: sums over words then stay within 64 signed bits


def characters(bytes text not None, bytes ends not None, bytes counts not None):
    """How often each character occurs: [{code point: n}] for those that are neither first nor last in a word, last,
    first, and both. A byte that is no UTF-8 counts as U+FFFD.
    """
    cdef const uint8_t* s = text
    cdef const int64_t* word_ends = <const int64_t*><const char*>ends
    cdef const int64_t* n = <const int64_t*><const char*>counts
    cdef int64_t w, i
    cdef int64_t start = 0
    cdef int form, width, point
    cdef int64_t* found = <int64_t*>zeroed(4 * 0x110000, sizeof(int64_t))
    cdef bint[0x1100] there  # by point >> 8: whether any of these occurs
    memset(there, 0, sizeof(there))
    for w in range(len(ends) // 8):
        i = start
        while i < word_ends[w]:
            point = code_point(s + i, word_ends[w] - i, &width)
            point = 0xFFFD if point < 0 else point
            form = (2 if i == start else 0) | (1 if i + width == word_ends[w] else 0)
            found[form * 0x110000 + point] += n[w]
            there[point >> 8] = True
            i += width
        start = word_ends[w]
    result = [{}, {}, {}, {}]
    for form in range(4):
        for i in range(0x110000):
            if there[i >> 8] and found[form * 0x110000 + i]:
                result[form][i] = found[form * 0x110000 + i]
    free(found)
    return result


cdef class Words(Spellings):
    """The words, and what symbols are made of."""

    cdef int32_t* symbols
    cdef int64_t n_symbols
    cdef int32_t* starts  # of words
    cdef int64_t* frequency
    cdef int64_t n_words
    cdef readonly int64_t joints  # where two symbols of a word meet
    cdef readonly int64_t occurrences  # of all these in the text
    cdef int32_t* word_near  # by position >> BLOCK: the word there or before
    # by id
    cdef int32_t* length  # in symbols of the alphabet
    cdef uint8_t* first  # script, or 0 where that of the neighbour counts, or 1 where none does
    cdef uint8_t* last
    cdef uint8_t* flags
    cdef int64_t most_length

    def __dealloc__(self):
        free(self.symbols)
        free(self.starts)
        free(self.frequency)
        free(self.word_near)
        free(self.length)
        free(self.first)
        free(self.last)
        free(self.flags)

    cdef int make_symbols(self, int64_t most_ids, int64_t most_length) except -1:
        self.most_length = most_length
        self.length = <int32_t*>zeroed(most_ids, sizeof(int32_t))
        self.first = <uint8_t*>zeroed(most_ids, 1)
        self.last = <uint8_t*>zeroed(most_ids, 1)
        self.flags = <uint8_t*>zeroed(most_ids, 1)
        return 0

    cdef int take_words(self, bytes text, bytes ends, bytes counts, list points, list ids, int absent) except -1:
        """Lay the words out; a wall in a word makes two of it."""
        cdef const uint8_t* s = text
        cdef const int64_t* word_ends = <const int64_t*><const char*>ends
        cdef const int64_t* n = <const int64_t*><const char*>counts
        cdef int64_t n_words = len(ends) // 8
        cdef bint is_bytes = points is None
        cdef int64_t n_points = 256 if is_bytes else 0x110000
        cdef int64_t n_forms = len(ids)
        cdef int32_t* id_of = <int32_t*>zeroed(n_points * n_forms, sizeof(int32_t))
        cdef int64_t w, i, form, point, total = 0, start = 0
        cdef int32_t symbol
        cdef int width = 1
        try:
            for form in range(n_forms):
                for i, symbol in enumerate(ids[form]):
                    id_of[form * n_points + (i if is_bytes else <int64_t>points[i])] = symbol + 3  # 0: absent
            for w in range(n_words):
                if n[w] < 0 or <double>n[w] * <double>(word_ends[w] - start) > <double>(MOST - total):
                    raise TokenizerError("counts must not be negative, and words with them not exceed 2^62 bytes")
                total += n[w] * (word_ends[w] - start)
                start = word_ends[w]
            # no more positions than bytes; a wall takes the place of a symbol and is a border
            if start + n_words + 2 > 0x7FFFFFF0:
                raise MemoryError("more than 2 GiB of distinct words; count them with max_memory=, or shorter ones")
            self.symbols = <int32_t*>zeroed(start + n_words + 2, sizeof(int32_t))
            self.starts = <int32_t*>zeroed(start + n_words + 2 if absent == WALL else n_words + 1, sizeof(int32_t))
            self.frequency = <int64_t*>zeroed(start + n_words + 2 if absent == WALL else n_words + 1, sizeof(int64_t))
            self.symbols[0] = BORDER
            self.n_symbols = 1
            start = 0
            for w in range(n_words):
                self.begin(n[w])
                i = start
                while i < word_ends[w]:
                    form = 0
                    if is_bytes:
                        point = s[i]
                    else:
                        point = code_point(s + i, word_ends[w] - i, &width)
                        if point < 0:
                            point = 0xFFFD
                    if n_forms > 1:
                        form = (2 if i == start else 0) | (1 if i + width == word_ends[w] else 0)
                    symbol = id_of[form * n_points + point] - 3
                    if symbol == -3:
                        symbol = absent
                    i += width
                    if symbol >= 0:
                        self.symbols[self.n_symbols] = symbol
                        self.n_symbols += 1
                    elif symbol == WALL:
                        self.begin(n[w])
                start = word_ends[w]
            self.begin(0)
        finally:
            free(id_of)
        self.word_near = <int32_t*>zeroed((self.n_symbols >> BLOCK) + 1, sizeof(int32_t))
        w = 0
        for i in range((self.n_symbols >> BLOCK) + 1):
            while w + 1 < self.n_words and self.starts[w + 1] <= i << BLOCK:
                w += 1
            self.word_near[i] = <int32_t>w
        return 0

    cdef void begin(self, int64_t n) noexcept nogil:
        """A border, and the beginning of a word; one without symbols is no word."""
        if self.symbols[self.n_symbols - 1] != BORDER:
            self.symbols[self.n_symbols] = BORDER
            self.n_symbols += 1
            self.n_words += 1
        self.starts[self.n_words] = <int32_t>self.n_symbols
        self.frequency[self.n_words] = n

    cdef inline bint may_join(self, int32_t a, int32_t b) noexcept nogil:
        """Whether two symbols may become one, whatever their number."""
        if self.flags[a] & NEVER or self.flags[b] & (NEVER | NOT_RIGHT | NOT_LAST):
            return False
        if self.last[a] > 1 and self.first[b] > 1 and self.last[a] != self.first[b]:
            return False
        return self.length[a] + self.length[b] <= self.most_length
