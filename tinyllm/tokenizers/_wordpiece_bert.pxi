"""BertNormalizer, BertPreTokenizer and WordPiece in one pass over the bytes of a text. Included by _wordpiece.pyx.

What a character becomes is asked of the stages themselves, a page of 128 characters when the first of them is met:

    SPACE  white space: it ends a run and is dropped
    ALONE  a piece by itself, as punctuation and ideographs are: it ends a run too, and has the one id of its piece
    INSIDE part of a word: its bytes (perhaps none) are written in its place
    ODD    anything else: what it gives depends on the characters around it

A run is the longest stretch of INSIDE and ODD. No step of the two stages looks across SPACE or ALONE, so the ids of a
run depend on its bytes alone, and those of a short run are kept in a table that holds one run a slot. Where two want
the same slot the newer stays: memory is fixed, and what is kept changes nothing but time. A run with something ODD in
it goes through the stages one by one.
"""

cdef enum:
    INSIDE, SPACE, ALONE, ODD


cdef enum:
    KEY = 23  # bytes of the longest run that is kept
    IDS = 9  # ids of the longest encoding that is kept
    KEPT = 1 << 15  # runs
    PAGE = 128
    PAGES = 0x2200
    INVALID = 0xDC00  # a byte b that is no UTF-8 is the character INVALID + b


cdef struct Character:
    int32_t value  # ALONE: the id; INSIDE: where its bytes are in `pool`
    uint8_t size  # of them
    uint8_t kind


cdef struct Kept:  # a cache line
    uint64_t key[3]  # the bytes of the run, zeros, and in the last byte its size; size 0: empty
    int32_t ids[IDS]
    int32_t n_ids


cdef class Bert:
    """Texts to ids.

    `describe(page)`: for each of the characters 128 * page + 0 ... 127 its kind and its bytes, of ALONE those of the
    piece. `stages(run)`: the ids of the bytes of a run.
    """

    cdef Matcher matcher
    cdef object describe, stages
    cdef Character* pages[PAGES]
    cdef uint8_t* pool
    cdef int64_t pool_size, pool_capacity
    cdef Kept* kept

    def __cinit__(self, Matcher matcher not None, describe, stages):
        self.matcher = matcher
        self.describe = describe
        self.stages = stages
        self.kept = <Kept*>zeroed(KEPT, sizeof(Kept))
        self.fill(0)

    def __dealloc__(self):
        cdef int64_t i
        for i in range(PAGES):
            free(self.pages[i])
        free(self.pool)
        free(self.kept)

    cdef int fill(self, int64_t page) except -1:
        cdef Ids found = Ids(NULL, 0, 0)
        cdef int64_t i
        cdef bytes spelled
        cdef list described = self.describe(page)  # may run other code, and that may encode
        cdef Character* characters = <Character*>zeroed(PAGE, sizeof(Character))
        try:
            for i in range(PAGE):
                characters[i].kind, spelled = described[i]
                if characters[i].kind == ALONE:
                    found.size = 0
                    self.matcher.match(<const uint8_t*><const char*>spelled, len(spelled), &found)
                    characters[i].value = found.ids[0]
                elif characters[i].kind == INSIDE:
                    characters[i].value = <int32_t>self.pool_size
                    characters[i].size = <uint8_t>len(spelled)
                    if spelled:
                        self.pool = <uint8_t*>grown(
                            self.pool, &self.pool_capacity, self.pool_size + len(spelled), 1
                        )
                        memcpy(self.pool + self.pool_size, <const char*>spelled, len(spelled))
                        self.pool_size += len(spelled)
            if self.pages[page] == NULL:
                self.pages[page] = characters
                characters = NULL
        finally:
            free(characters)
            free(found.ids)
        return 0

    cdef inline Character* character(self, const uint8_t* s, int64_t n, int* size) except NULL:
        """The character at s, of which n > 0 bytes are there, and its size in bytes."""
        cdef int32_t point = code_point(s, n, size)
        if point < 0:
            point = INVALID + s[0]
        if self.pages[point // PAGE] == NULL:
            self.fill(point // PAGE)
        return &self.pages[point // PAGE][point % PAGE]

    def encode(self, bytes data not None):
        """The ids of a text (UTF-8, or any bytes), as a list of int."""
        cdef Ids out = Ids(NULL, 0, 0)
        try:
            self.run_over(<const uint8_t*><const char*>data, len(data), &out)
            return self.matcher.listed(&out)
        finally:
            free(out.ids)

    cdef int run_over(self, const uint8_t* s, int64_t n, Ids* out) except -1:
        cdef Character* ascii = self.pages[0]
        cdef Character* c
        cdef int size
        cdef int64_t i = 0
        cdef int64_t j
        cdef bint odd
        while i < n:
            j = i
            odd = False
            while True:  # to the end of the run; c: the character that ends it
                while j < n and s[j] < 0x80 and ascii[s[j]].kind == INSIDE:
                    j += 1
                c = NULL
                if j == n:
                    break
                c = self.character(s + j, n - j, &size)
                if c.kind == SPACE or c.kind == ALONE:
                    break
                odd |= c.kind == ODD
                j += size
            if j > i:
                self.run(s, i, j, n, odd, out)
            i = j
            if c != NULL:
                if c.kind == ALONE:
                    self.matcher.append(c.value, out)
                i += size
        return 0

    cdef int run(self, const uint8_t* s, int64_t i, int64_t j, int64_t n, bint odd, Ids* out) except -1:
        """Append the ids of the run s[i : j], j > i, of a text of n bytes."""
        cdef uint64_t key[3]
        cdef uint64_t h
        cdef Kept* known
        cdef int64_t start = out.size
        if j - i > KEY:
            return self.make(s + i, j - i, odd, out)
        h = packed(s + i, j - i, n - i, key)
        known = &self.kept[h & (KEPT - 1)]
        if known.key[0] != key[0] or known.key[1] != key[1] or known.key[2] != key[2]:
            self.make(s + i, j - i, odd, out)
            if out.size - start <= IDS:
                memcpy(known.key, key, sizeof(key))
                known.n_ids = <int32_t>(out.size - start)
                if known.n_ids:
                    memcpy(known.ids, out.ids + start, known.n_ids * sizeof(int32_t))
            return 0
        out.ids = <int32_t*>grown(out.ids, &out.capacity, start + IDS, sizeof(int32_t))
        memcpy(out.ids + start, known.ids, IDS * sizeof(int32_t))  # all of them: a constant size is faster
        out.size = start + known.n_ids
        return 0

    cdef int make(self, const uint8_t* s, int64_t n, bint odd, Ids* out) except -1:
        """Append the ids of a run that is not kept."""
        cdef uint8_t* word = NULL
        cdef int64_t capacity = 0
        cdef int64_t size = 0
        cdef int64_t count = 0  # of its characters
        cdef int64_t i = 0
        cdef int width
        cdef Character* c
        if odd:
            for token in self.stages((<const char*>s)[:n]):
                self.matcher.append(token, out)
            return 0
        try:
            while i < n and count <= self.matcher.limit:
                c = self.character(s + i, n - i, &width)
                i += width
                if c.size == 0:
                    continue
                word = <uint8_t*>grown(word, &capacity, size + c.size, 1)
                memcpy(word + size, self.pool + c.value, c.size)
                count += characters(word + size, c.size)
                size += c.size
            if count > self.matcher.limit:
                self.matcher.append(self.matcher.unknown, out)
            else:
                self.matcher.match(word, size, out)
        finally:
            free(word)
        return 0


cdef uint64_t MASK[KEY + 1][3]  # all ones over the first bytes
cdef uint64_t LAST[KEY + 1]  # that number in the last byte
memset(MASK, 0, sizeof(MASK))
memset(LAST, 0, sizeof(LAST))
for _size in range(KEY + 1):
    memset(MASK[_size], 0xFF, _size)
    memset(<uint8_t*>&LAST[_size] + 7, _size, 1)


cdef inline uint64_t packed(const uint8_t* s, int64_t size, int64_t available, uint64_t* key) noexcept:
    """The key of a run of at most KEY bytes, of which `available` can be read, and the slot where it would be."""
    cdef uint64_t h
    if available >= 24:
        memcpy(key, s, 24)
        key[0] &= MASK[size][0]
        key[1] &= MASK[size][1]
        key[2] &= MASK[size][2]
    else:
        key[0] = key[1] = key[2] = 0
        memcpy(key, s, size)
    key[2] |= LAST[size]
    h = key[0] * MIX
    h = (h ^ h >> 32 ^ key[1]) * MIX
    h = (h ^ h >> 32 ^ key[2]) * MIX
    return h >> 32
