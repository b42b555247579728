"""Encoding, as reference/bpe.py does it. Included by _bpe.pyx."""

cdef enum:
    SHORT = 48  # symbols; longer pieces take the heap
    KEY = 22  # bytes of the longest piece that is cached
    IDS = 8  # tokens of the longest encoding that is cached
    CACHE = 1 << 15  # pieces


cdef struct Rank:
    uint64_t key  # left id << 32 | right id
    int32_t rank  # -1: empty
    int32_t new


cdef struct Cached:  # one cache line; size 0: empty
    uint64_t hash
    uint8_t size
    uint8_t n_ids
    uint8_t key[KEY]
    int32_t ids[IDS]


cdef class Encoder:
    """Bytes to ids, given the ids of the 256 bytes and {(left id, right id): (rank, merged id)}.

    A piece met before comes from a table that holds one piece a slot. Where two want the same slot the newer
    stays: memory is fixed, and what is cached changes nothing but time.
    """

    cdef int32_t id_of[256]
    cdef Rank* ranks
    cdef int64_t n_ranks  # slots
    cdef Cached* cache
    cdef list numbers  # the int of each id, made once
    cdef int32_t* out
    cdef int64_t out_size, out_capacity
    # work space for long pieces
    cdef int32_t* symbols
    cdef int32_t* before
    cdef int32_t* after
    cdef uint64_t* heap  # rank << 32 | position: the lowest rank first, then the leftmost
    cdef int64_t symbols_capacity, before_capacity, after_capacity, heap_size, heap_capacity

    def __cinit__(self, list byte_ids, dict ranks, int64_t vocab_size):
        cdef int64_t i
        for i in range(256):
            self.id_of[i] = byte_ids[i]
        self.numbers = list(range(vocab_size))
        self.cache = <Cached*>zeroed(CACHE, sizeof(Cached))
        self.n_ranks = 16
        while self.n_ranks < 2 * len(ranks):
            self.n_ranks *= 2
        self.ranks = <Rank*>zeroed(self.n_ranks, sizeof(Rank))
        for i in range(self.n_ranks):
            self.ranks[i].rank = -1
        cdef uint64_t key
        for (a, b), (rank, new) in ranks.items():
            key = <uint64_t>a << 32 | <uint64_t>b
            i = self.slot_of(key)
            while self.ranks[i].rank >= 0:
                i = (i + 1) & (self.n_ranks - 1)
            self.ranks[i] = Rank(key, rank, new)

    def __dealloc__(self):
        free(self.ranks)
        free(self.cache)
        free(self.out)
        free(self.symbols)
        free(self.before)
        free(self.after)
        free(self.heap)

    def encode(self, bytes data not None):
        """The ids of a text, as a list of int."""
        cdef const uint8_t* s = data
        cdef int64_t n = len(data)
        cdef int64_t i = 0
        cdef int64_t j
        self.out_size = 0
        while i < n:
            j = next_gpt2(s, i, n)
            self.add_piece(s + i, j - i)
            i = j
        return self.taken()

    def encode_piece(self, bytes data not None):
        """The ids of one piece, whatever a split pattern would make of it."""
        self.out_size = 0
        if data:
            self.add_piece(<const uint8_t*>data, len(data))
        return self.taken()

    cdef list taken(self):
        """What is in `out`, set aside meanwhile: making a list can run finalizers, and one might encode."""
        cdef int64_t i
        cdef int64_t n = self.out_size
        cdef int64_t capacity = self.out_capacity
        cdef int32_t* out = self.out
        self.out = NULL
        self.out_capacity = 0
        cdef list ids = PyList_New(n)
        for i in range(n):
            number = self.numbers[out[i]]
            Py_INCREF(number)  # PyList_SetItem takes the reference over
            PyList_SetItem(ids, i, number)
        free(self.out)
        self.out = out
        self.out_capacity = capacity
        return ids

    cdef inline int64_t slot_of(self, uint64_t key) noexcept:
        key *= MIX
        return (key ^ key >> 32) & (self.n_ranks - 1)

    cdef inline int32_t rank(self, int32_t a, int32_t b, int32_t* new) noexcept:
        """The rank of a pair and the token it makes, or -1."""
        cdef uint64_t key = <uint64_t>a << 32 | <uint64_t>b
        cdef int64_t i = self.slot_of(key)
        while self.ranks[i].rank >= 0:
            if self.ranks[i].key == key:
                new[0] = self.ranks[i].new
                return self.ranks[i].rank
            i = (i + 1) & (self.n_ranks - 1)
        return -1

    cdef int add_piece(self, const uint8_t* s, int64_t n) except -1:
        """Append the ids of one piece to `out`."""
        cdef uint64_t h
        cdef Cached* known
        cdef int64_t start = self.out_size
        cdef int64_t n_ids
        self.out = <int32_t*>grown(self.out, &self.out_capacity, start + n, sizeof(int32_t))
        if n > KEY:
            if n > SHORT:
                return self.add_long(s, n)
            self.add_short(s, n)
            return 0
        h = hash_bytes(s, n, 0)
        known = &self.cache[h & (CACHE - 1)]
        if known.hash == h and known.size == n and memcmp(known.key, s, n) == 0:
            memcpy(self.out + start, known.ids, known.n_ids * sizeof(int32_t))
            self.out_size += known.n_ids
            return 0
        self.add_short(s, n)
        n_ids = self.out_size - start
        if n_ids <= IDS:
            known.hash = h
            known.size = <uint8_t>n
            known.n_ids = <uint8_t>n_ids
            memcpy(known.key, s, n)
            memcpy(known.ids, self.out + start, n_ids * sizeof(int32_t))
        return 0

    cdef void add_short(self, const uint8_t* s, int64_t n) noexcept:
        """Find the lowest rank among all neighbours, merge, and again: time grows with the square of n."""
        cdef int32_t* ids = self.out + self.out_size
        cdef int32_t ranks[SHORT]  # of (ids[i], ids[i + 1])
        cdef int32_t made[SHORT]
        cdef int64_t i, at
        for i in range(n):
            ids[i] = self.id_of[s[i]]
        for i in range(n - 1):
            ranks[i] = self.rank(ids[i], ids[i + 1], &made[i])
        while True:
            at = -1
            for i in range(n - 1):
                if ranks[i] >= 0 and (at < 0 or ranks[i] < ranks[at]):
                    at = i
            if at < 0:
                break
            ids[at] = made[at]
            n -= 1
            for i in range(at + 1, n):
                ids[i] = ids[i + 1]
                ranks[i - 1] = ranks[i]
                made[i - 1] = made[i]
            if at > 0:
                ranks[at - 1] = self.rank(ids[at - 1], ids[at], &made[at - 1])
            if at < n - 1:
                ranks[at] = self.rank(ids[at], ids[at + 1], &made[at])
        self.out_size += n

    cdef int add_long(self, const uint8_t* s, int64_t n) except -1:
        """A heap of the pairs over a linked list of the symbols: O(n log n)."""
        cdef int64_t i, j, k, left
        cdef uint64_t top
        cdef int32_t new = -1
        if n > 0x7FFFFFFF:
            raise OverflowError(f"one piece of the text has {n} bytes; the limit is 2 GiB")
        self.symbols = <int32_t*>grown(self.symbols, &self.symbols_capacity, n, sizeof(int32_t))
        self.before = <int32_t*>grown(self.before, &self.before_capacity, n, sizeof(int32_t))
        self.after = <int32_t*>grown(self.after, &self.after_capacity, n, sizeof(int32_t))
        self.heap_size = 0
        for i in range(n):
            self.symbols[i] = self.id_of[s[i]]
            self.before[i] = <int32_t>(i - 1)
            self.after[i] = <int32_t>(i + 1 if i + 1 < n else -1)
        for i in range(n - 1):
            self.push(i)
        while self.heap_size:
            top = self.pop()
            i = top & 0xFFFFFFFF
            j = self.after[i]
            if self.symbols[i] < 0 or j < 0:
                continue  # merged into the symbol to the left, or last by now
            if self.rank(self.symbols[i], self.symbols[j], &new) != <int32_t>(top >> 32):
                continue  # one of the two has been merged into something else
            self.symbols[i] = new
            self.symbols[j] = -1
            k = self.after[i] = self.after[j]
            if k >= 0:
                self.before[k] = <int32_t>i
                self.push(i)
            left = self.before[i]
            if left >= 0:
                self.push(left)
        i = 0
        while i >= 0:
            self.out[self.out_size] = self.symbols[i]
            self.out_size += 1
            i = self.after[i]
        return 0

    cdef int push(self, int64_t i) except -1:
        """The pair that starts at position i, if it has a rank, into the heap."""
        cdef int32_t new
        cdef int32_t rank = self.rank(self.symbols[i], self.symbols[self.after[i]], &new)
        if rank < 0:
            return 0
        cdef uint64_t entry = <uint64_t>rank << 32 | <uint64_t>i
        self.heap = <uint64_t*>grown(self.heap, &self.heap_capacity, self.heap_size + 1, sizeof(uint64_t))
        cdef int64_t at = self.heap_size
        self.heap_size += 1
        while at and entry < self.heap[(at - 1) // 2]:
            self.heap[at] = self.heap[(at - 1) // 2]
            at = (at - 1) // 2
        self.heap[at] = entry
        return 0

    cdef uint64_t pop(self) noexcept:
        cdef uint64_t top = self.heap[0]
        self.heap_size -= 1
        cdef uint64_t last = self.heap[self.heap_size]
        cdef int64_t at = 0
        cdef int64_t child = 1
        while child < self.heap_size:
            if child + 1 < self.heap_size and self.heap[child + 1] < self.heap[child]:
                child += 1
            if last <= self.heap[child]:
                break
            self.heap[at] = self.heap[child]
            at = child
            child = 2 * at + 1
        self.heap[at] = last
        return top
