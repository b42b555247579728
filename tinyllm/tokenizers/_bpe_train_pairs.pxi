"""Pairs of symbols: how often each occurs and where, and which is next. Included by _bpe_train.pyx.

Places lie in blocks, one for all the pairs that came up together, which is free again when none of them is left.
"""

cdef enum Tie:
    SMALLER_IDS, SHORTER_PIECE, EARLIER_PLACE

cdef struct Pair:
    uint64_t key  # left id << 32 | right id
    int64_t count
    int32_t* places  # ascending
    int32_t n_places
    int32_t block  # of memory that the places are in


cdef struct Entry:
    int64_t count
    uint64_t key  # smaller is first
    int64_t pair


cdef class Pairs(Words):
    """A hash table of the pairs, and a heap: more occurrences first, then what `tie` says."""

    cdef Pair* pairs
    cdef int64_t n_pairs, pairs_capacity
    cdef int32_t* slots  # index into pairs, plus 1; 0 is empty
    cdef int64_t n_slots
    cdef Entry* heap
    cdef int64_t heap_size, heap_capacity
    cdef void** blocks  # of places
    cdef int32_t* users  # pairs whose places are in a block
    cdef int64_t n_blocks, blocks_capacity, users_capacity
    cdef int tie
    cdef int64_t min_frequency

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.n_blocks):
            free(self.blocks[i])
        free(self.pairs)
        free(self.slots)
        free(self.heap)
        free(self.blocks)
        free(self.users)

    cdef int count_pairs(self) except -1:
        """Count the pairs that there are, and put down their places."""
        cdef int64_t i, w = 0, total = 0, kept = 0
        cdef Pair* pair
        cdef int32_t* places
        cdef Pair* old
        self.n_slots = 1 << 14
        self.slots = <int32_t*>zeroed(self.n_slots, sizeof(int32_t))
        for i in range(1, self.n_symbols - 1):
            if self.symbols[i] == BORDER:
                w += 1
            elif self.symbols[i + 1] != BORDER:
                self.joints += 1
                self.occurrences += self.frequency[w]
                if not self.may_join(self.symbols[i], self.symbols[i + 1]):
                    continue
                pair = self.pair(key_of(self.symbols[i], self.symbols[i + 1]), True)
                if pair == NULL:
                    raise MemoryError("no memory for the pairs")
                pair.count += self.frequency[w]
                pair.n_places += 1
        old = self.pairs
        for i in range(self.n_pairs):  # those that occur often enough move to the front
            if old[i].count >= self.min_frequency:
                old[kept] = old[i]
                total += old[i].n_places
                kept += 1
        self.n_pairs = kept
        if not self.rehash(self.n_slots):
            raise MemoryError("no memory for the pairs")
        places = <int32_t*>malloc(max(total, 1) * sizeof(int32_t))
        if places == NULL or not self.new_block(places, kept):
            raise MemoryError("no memory for the places of pairs")
        for i in range(kept):
            self.pairs[i].places = places
            places += self.pairs[i].n_places
            self.pairs[i].n_places = 0
        for i in range(1, self.n_symbols - 1):
            if self.symbols[i] != BORDER and self.symbols[i + 1] != BORDER:
                pair = self.pair(key_of(self.symbols[i], self.symbols[i + 1]), False)
                if pair != NULL:
                    pair.places[pair.n_places] = <int32_t>i
                    pair.n_places += 1
        for i in range(kept):
            if not self.push(i):
                raise MemoryError("no memory for the heap")
        return 0

    cdef Pair* pair(self, uint64_t key, bint make) noexcept nogil:
        """The pair; NULL if there is none, or no memory to make it."""
        cdef int64_t slot = self.slot_of(key)
        while self.slots[slot]:
            if self.pairs[self.slots[slot] - 1].key == key:
                return &self.pairs[self.slots[slot] - 1]
            slot = (slot + 1) & (self.n_slots - 1)
        if not make or self.n_pairs == 0x7FFFFFF0 or not room(
                <void**>&self.pairs, &self.pairs_capacity, self.n_pairs + 1, sizeof(Pair)):
            return NULL
        self.pairs[self.n_pairs] = Pair(key, 0, NULL, 0, 0)
        self.n_pairs += 1
        self.slots[slot] = <int32_t>self.n_pairs
        if 2 * self.n_pairs > self.n_slots and not self.rehash(2 * self.n_slots):
            return NULL
        return &self.pairs[self.n_pairs - 1]

    cdef inline int64_t slot_of(self, uint64_t key) noexcept nogil:
        return hash_key(key) & <uint64_t>(self.n_slots - 1)

    cdef bint rehash(self, int64_t n) noexcept nogil:
        """A table of n slots, more than there are pairs."""
        cdef int64_t i, slot
        cdef int32_t* slots = <int32_t*>calloc(n, sizeof(int32_t))
        if slots == NULL:
            return False
        free(self.slots)
        self.slots = slots
        self.n_slots = n
        for i in range(self.n_pairs):
            slot = self.slot_of(self.pairs[i].key)
            while slots[slot]:
                slot = (slot + 1) & (n - 1)
            slots[slot] = <int32_t>(i + 1)
        return True

    cdef void forget(self, Pair* pair) noexcept nogil:
        """The pair will not be merged any more."""
        pair.count = 0
        if pair.places != NULL:
            self.users[pair.block] -= 1
            if not self.users[pair.block]:
                free(self.blocks[pair.block])
                self.blocks[pair.block] = NULL
        pair.places = NULL
        pair.n_places = 0

    cdef bint new_block(self, void* block, int64_t users) noexcept nogil:
        """Keep a block of places until none of its users is left."""
        if (not room(<void**>&self.blocks, &self.blocks_capacity, self.n_blocks + 1, sizeof(void*))
                or not room(<void**>&self.users, &self.users_capacity, self.n_blocks + 1, sizeof(int32_t))):
            free(block)
            return False
        self.blocks[self.n_blocks] = block
        self.users[self.n_blocks] = <int32_t>users
        self.n_blocks += 1
        return True

    cdef inline bint above(self, Entry* x, Entry* y) noexcept nogil:
        if x.count != y.count:
            return x.count > y.count
        if x.key != y.key or self.tie != SHORTER_PIECE:
            return x.key < y.key
        return self.compare_spellings(self.pairs[x.pair].key, self.pairs[y.pair].key) < 0

    cdef bint push(self, int64_t index) noexcept nogil:
        cdef Pair* pair = &self.pairs[index]
        cdef Entry entry = Entry(pair.count, pair.key, index)
        cdef int32_t a = left_of(pair.key)
        cdef int64_t i
        if self.tie == SHORTER_PIECE:
            entry.key = self.length[a] + self.length[right_of(pair.key)]
        elif self.tie == EARLIER_PLACE:
            while (self.symbols[pair.places[0]] != a
                    or self.symbols[pair.places[0] + self.length[a]] != right_of(pair.key)):
                pair.places += 1  # one that is gone
                pair.n_places -= 1
            entry.key = pair.places[0]
        if not room(<void**>&self.heap, &self.heap_capacity, self.heap_size + 1, sizeof(Entry)):
            return False
        i = self.heap_size
        self.heap_size += 1
        while i and self.above(&entry, &self.heap[(i - 1) >> 1]):
            self.heap[i] = self.heap[(i - 1) >> 1]
            i = (i - 1) >> 1
        self.heap[i] = entry
        return True

    cdef void pop(self) noexcept nogil:
        cdef Entry last
        cdef int64_t i = 0
        cdef int64_t child = 1
        self.heap_size -= 1
        last = self.heap[self.heap_size]
        while child < self.heap_size:
            if child + 1 < self.heap_size and self.above(&self.heap[child + 1], &self.heap[child]):
                child += 1
            if not self.above(&self.heap[child], &last):
                break
            self.heap[i] = self.heap[child]
            i = child
            child = 2 * i + 1
        self.heap[i] = last
