# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Training BPE, compiled: the same merges as reference/bpe_train.py's `train`. Text is bytes.

All words lie in one array, `symbols`, with a border between them:

    border  l o w  border  l o w e r  border

A merge writes the new symbol over the first position of the two it joins. A symbol of n positions has -(n - 1) at its
last one, so the neighbours of a symbol are found in both directions with no links: to the right by its length, to the
left by what stands before it. Each pair has its count and the places where it begins, or once began. The heap may hold
counts that are too high, never too low: only pairs with the newest symbol gain occurrences, and they are pushed after
all of these were counted. So an entry is checked when it comes up, and pushed back if its count has fallen. A pair
that occurs less than min_frequency times can never be merged, and is dropped at once.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from tinyllm.tokenizers._shared cimport MIX, code_point, hash_bytes, same_bytes, zeroed

from tinyllm.errors import TokenizerError

cdef enum:
    BORDER = -0x80000000
    INSIDE = -1
    DROPPED = -1  # instead of an id: a symbol that is left out, so that its neighbours meet
    WALL = -2  # a symbol that nothing is merged with, nor across
    BLOCK = 4  # positions >> BLOCK have a shortcut to their word
    NO_MEMORY = -1

cdef enum Tie:
    SMALLER_IDS, SHORTER_PIECE, EARLIER_PLACE

cdef enum Flag:  # what a symbol may not do
    NEVER = 1  # be merged
    NOT_RIGHT = 2  # be the right part of a merge, nor may what begins with it
    NOT_LAST = 4  # be the right part; what begins with it may

cdef int64_t MOST = 0x4000000000000000  # occurrences times bytes: sums over words then stay within 64 signed bits

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


cdef struct Neighbour:  # of the symbol that a merge makes
    int32_t symbol
    int32_t n_places
    int64_t lost  # occurrences of the pair that was here before
    int64_t won  # of the pair that is here now
    int32_t* places


cdef struct Found:
    int32_t neighbour
    int32_t place


cdef inline int32_t left_of(uint64_t key) noexcept nogil:
    return <int32_t>(key >> 32)


cdef inline int32_t right_of(uint64_t key) noexcept nogil:
    return <int32_t><uint32_t>key


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


cdef class Trainer:
    """The words that `flat()` of a counter gives, in symbols, and their merges.

    `tokens` are the spellings of the ids there are, special tokens among them. ids[form][i] is the id of the i-th of
    `points` (bytes, if `points` is None, else code points) in a form, as `characters` numbers them; with one form it is
    for all. `absent` stands for all others. What is merged has at most `most_length` symbols, and `may_join` allows it:
    `marks` are the script that each of `tokens` begins with, and ends with, and its flags.
    """

    cdef int32_t* symbols
    cdef int64_t n_symbols
    cdef int32_t* starts  # of words
    cdef int64_t* frequency
    cdef int64_t n_words
    cdef readonly int64_t joints  # where two symbols of a word meet
    cdef readonly int64_t occurrences  # of all these in the text
    cdef int32_t* word_near  # by position >> BLOCK: the word there or before
    cdef Pair* pairs
    cdef int64_t n_pairs, pairs_capacity
    cdef int32_t* slots  # index into pairs, plus 1; 0 is empty
    cdef int64_t n_slots
    cdef Entry* heap
    cdef int64_t heap_size, heap_capacity
    cdef void** blocks  # of places
    cdef int32_t* users  # pairs whose places are in a block
    cdef int64_t n_blocks, blocks_capacity, users_capacity
    # by id
    cdef int64_t n_ids, n_initial, most_ids
    cdef int32_t* length  # in symbols of the alphabet
    cdef uint8_t* first  # script, or 0 where that of the neighbour counts, or 1 where none does
    cdef uint8_t* last
    cdef uint8_t* flags
    cdef int64_t* spelled  # where it begins in `spellings`
    cdef uint8_t* spellings
    cdef int64_t spellings_capacity
    cdef int32_t* known  # table of spellings: id plus 1
    cdef int64_t n_known
    cdef int32_t* parts  # the two ids that a new id joins
    # while a pair is merged
    cdef int32_t* neighbour_of[2]  # by id: index into neighbours[side], plus 1
    cdef Neighbour* neighbours[2]
    cdef int64_t n_neighbours[2]
    cdef int64_t neighbours_capacity[2]
    cdef Found* found[2]
    cdef int64_t n_found[2]
    cdef int64_t found_capacity[2]
    # settings
    cdef int tie
    cdef int64_t min_frequency, most_length
    cdef int64_t prefix

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.n_blocks):
            free(self.blocks[i])
        for block in (<size_t>self.symbols, <size_t>self.starts, <size_t>self.frequency, <size_t>self.word_near,
                      <size_t>self.pairs, <size_t>self.slots, <size_t>self.heap, <size_t>self.blocks,
                      <size_t>self.users, <size_t>self.length, <size_t>self.first, <size_t>self.last,
                      <size_t>self.flags, <size_t>self.spelled, <size_t>self.spellings, <size_t>self.known,
                      <size_t>self.parts, <size_t>self.neighbour_of[0], <size_t>self.neighbour_of[1],
                      <size_t>self.neighbours[0], <size_t>self.neighbours[1],
                      <size_t>self.found[0], <size_t>self.found[1]):
            free(<void*><size_t>block)

    def __init__(self, list tokens not None, int64_t n_merges, str tie not None, int64_t min_frequency=1,
                 int64_t most_length=0x7FFFFFFF, bytes prefix=b"", list marks=None):
        cdef int64_t i
        cdef bytes token
        self.tie = {"hf": SMALLER_IDS, "spm": SHORTER_PIECE, "minbpe": EARLIER_PLACE}[tie]
        self.min_frequency = max(min_frequency, 1)
        self.most_length = most_length
        self.prefix = len(prefix)
        self.n_initial = len(tokens)
        self.most_ids = self.n_initial + n_merges
        if self.most_ids > 0x7FFFFFF0:
            raise TokenizerError(f"a vocabulary of {self.most_ids} tokens is more than ids have bits for")
        self.length = <int32_t*>zeroed(self.most_ids, sizeof(int32_t))
        self.first = <uint8_t*>zeroed(self.most_ids, 1)
        self.last = <uint8_t*>zeroed(self.most_ids, 1)
        self.flags = <uint8_t*>zeroed(self.most_ids, 1)
        self.spelled = <int64_t*>zeroed(self.most_ids + 1, sizeof(int64_t))
        self.parts = <int32_t*>zeroed(2 * self.most_ids, sizeof(int32_t))
        self.n_known = 1 << 10
        while self.n_known < 2 * self.most_ids:
            self.n_known *= 2
        self.known = <int32_t*>zeroed(self.n_known, sizeof(int32_t))
        for i in range(2):
            self.neighbour_of[i] = <int32_t*>zeroed(self.most_ids, sizeof(int32_t))
        for i in range(self.n_initial):
            token = tokens[i]
            self.length[i] = 1
            if marks:
                self.first[i], self.last[i], self.flags[i] = marks[i]
            if not self.spell(token, len(token), NULL, 0):
                raise MemoryError("no memory for the tokenizer's tables")

    def fill(self, bytes text not None, bytes ends not None, bytes counts not None, list points, list ids,
             int absent):
        """Take in the words."""
        cdef const uint8_t* s = text
        cdef const int64_t* word_ends = <const int64_t*><const char*>ends
        cdef const int64_t* n = <const int64_t*><const char*>counts
        cdef int64_t n_words = len(ends) // 8
        cdef bint is_bytes = points is None
        cdef int64_t n_points = 256 if is_bytes else 0x110000
        cdef int64_t n_forms = len(ids)
        cdef int32_t* id_of = <int32_t*>zeroed(n_points * n_forms, sizeof(int32_t))
        cdef int64_t w, i, form, point, total = 0, start = 0, walls = 0
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
        self.count_pairs()

    cdef void begin(self, int64_t n) noexcept nogil:
        """A border, and the beginning of a word; one without symbols is no word."""
        if self.symbols[self.n_symbols - 1] != BORDER:
            self.symbols[self.n_symbols] = BORDER
            self.n_symbols += 1
            self.n_words += 1
        self.starts[self.n_words] = <int32_t>self.n_symbols
        self.frequency[self.n_words] = n

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
                pair = self.pair(<uint64_t>self.symbols[i] << 32 | <uint64_t>self.symbols[i + 1], True)
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
                pair = self.pair(<uint64_t>self.symbols[i] << 32 | <uint64_t>self.symbols[i + 1], False)
                if pair != NULL:
                    pair.places[pair.n_places] = <int32_t>i
                    pair.n_places += 1
        for i in range(kept):
            if not self.push(i):
                raise MemoryError("no memory for the heap")
        return 0

    def run(self, progress=None):
        """The merges: [(left id, right id)]; merge i makes the id len(tokens) + i. Other threads run meanwhile."""
        cdef int64_t i
        cdef int status = 1
        cdef int64_t goal = self.most_ids - self.n_initial
        while status == 1 and self.n_ids < self.most_ids:
            with nogil:
                for i in range(64):
                    status = self.step() if self.n_ids < self.most_ids else 0
                    if status != 1:
                        break
            if status == NO_MEMORY:
                raise MemoryError("no memory for the pairs")
            PyErr_CheckSignals()
            if progress is not None:
                progress(self.n_ids - self.n_initial, goal)
        return [(self.parts[2 * i], self.parts[2 * i + 1]) for i in range(self.n_initial, self.n_ids)]

    cdef int step(self) noexcept nogil:
        """One merge: 1. None is left: 0."""
        cdef Entry top
        cdef Pair* pair
        cdef int32_t a, b
        while self.heap_size:
            top = self.heap[0]
            pair = &self.pairs[top.pair]
            if top.count != pair.count:
                self.pop()
                if pair.count >= self.min_frequency and not self.push(top.pair):
                    return NO_MEMORY
                continue
            self.pop()
            a = left_of(pair.key)
            b = right_of(pair.key)
            if self.find_spelling(a, b):
                self.forget(pair)  # what it would make is there already
                continue
            return 1 if self.merge(top.pair, a, b) else NO_MEMORY
        return 0

    cdef bint merge(self, int64_t index, int32_t a, int32_t b) noexcept nogil:
        """Join the pair everywhere. The counts of its neighbours change; its own falls to zero."""
        cdef int32_t new = <int32_t>self.n_ids
        cdef int32_t size = self.length[a] + self.length[b]
        cdef int32_t* s = self.symbols
        cdef int32_t* places = self.pairs[index].places
        cdef int64_t n_places = self.pairs[index].n_places
        cdef int64_t k, i, j, left, right, n
        cdef int64_t w
        if not self.spell(self.spellings + self.spelled[a], self.spelled[a + 1] - self.spelled[a],
                          self.spellings + self.spelled[b] + self.skipped(b), self.spelled[b + 1] - self.spelled[b] - self.skipped(b)):
            return False
        self.parts[2 * new], self.parts[2 * new + 1] = a, b
        self.length[new] = size
        self.first[new] = self.first[a] if self.first[a] else self.first[b]
        self.last[new] = self.last[b] if self.last[b] else self.last[a]
        self.flags[new] = self.flags[a] & NOT_RIGHT
        for k in range(n_places):
            i = places[k]
            if s[i] != a:
                continue
            j = i + self.length[a]
            if s[j] != b:
                continue  # gone by now; in "aaa" the second (a, a) goes with the first
            w = self.word_near[i >> BLOCK]
            while self.starts[w + 1] <= i:
                w += 1
            n = self.frequency[w]
            right = i + size
            s[i] = new
            s[j] = INSIDE
            s[right - 1] = 1 - size
            left = s[i - 1]
            if left != BORDER:
                left = i - 1 if left >= 0 else i - 1 + left
                if s[left] == new:  # made just now: (new, a), found there, is (new, new)
                    self.neighbours[1][self.neighbour_of[1][a] - 1].won -= n
                    if not self.meet(0, new, left, 0, n):
                        return False
                elif not self.meet(0, s[left], left, n, n):
                    return False
            if s[right] != BORDER and not self.meet(1, s[right], i, n, n):
                return False
        self.forget(&self.pairs[index])
        return self.settle(0, a, new) and self.settle(1, b, new)

    cdef bint meet(self, int side, int32_t symbol, int64_t place, int64_t lost, int64_t won) noexcept nogil:
        """Put down a neighbour of the new symbol: on the left (0) or right (1), in a pair that begins at `place`."""
        cdef int32_t index = self.neighbour_of[side][symbol]
        cdef Neighbour* one
        if not index:
            if not self.room(<void**>&self.neighbours[side], &self.neighbours_capacity[side],
                             self.n_neighbours[side] + 1, sizeof(Neighbour)):
                return False
            self.neighbours[side][self.n_neighbours[side]] = Neighbour(symbol, 0, 0, 0, NULL)
            self.n_neighbours[side] += 1
            index = self.neighbour_of[side][symbol] = <int32_t>self.n_neighbours[side]
        one = &self.neighbours[side][index - 1]
        one.lost += lost
        one.won += won
        one.n_places += 1
        if not self.room(<void**>&self.found[side], &self.found_capacity[side], self.n_found[side] + 1, sizeof(Found)):
            return False
        self.found[side][self.n_found[side]] = Found(index - 1, <int32_t>place)
        self.n_found[side] += 1
        return True

    cdef bint settle(self, int side, int32_t old, int32_t new) noexcept nogil:
        """The pairs of one side: those with `old` lose what those with `new` win."""
        cdef int64_t k, total = 0, n_pairs = 0
        cdef Neighbour* one
        cdef Pair* pair
        cdef int32_t* places
        cdef int64_t first_pair = self.n_pairs
        for k in range(self.n_neighbours[side]):
            one = &self.neighbours[side][k]
            self.neighbour_of[side][one.symbol] = 0
            if one.lost:
                pair = self.pair(self.key(side, one.symbol, old), False)
                if pair != NULL:
                    pair.count -= one.lost
                    if pair.count < self.min_frequency:
                        self.forget(pair)
            if one.won < self.min_frequency or not (
                    self.may_join(new, one.symbol) if side else self.may_join(one.symbol, new)):
                one.n_places = 0
                continue
            total += one.n_places
            n_pairs += 1
        if n_pairs:
            places = <int32_t*>malloc(total * sizeof(int32_t))
            if places == NULL or not self.new_block(places, n_pairs):
                return False
            for k in range(self.n_neighbours[side]):
                one = &self.neighbours[side][k]
                if not one.n_places:
                    continue
                pair = self.pair(self.key(side, one.symbol, new), True)
                if pair == NULL:
                    return False
                pair.count = one.won
                pair.places = one.places = places
                pair.n_places = one.n_places
                pair.block = <int32_t>(self.n_blocks - 1)
                places += one.n_places
            for k in range(self.n_found[side]):
                one = &self.neighbours[side][self.found[side][k].neighbour]
                if one.n_places:
                    one.places[0] = self.found[side][k].place
                    one.places += 1
            for k in range(first_pair, self.n_pairs):
                if not self.push(k):
                    return False
        self.n_neighbours[side] = self.n_found[side] = 0
        return True

    cdef inline uint64_t key(self, int side, int32_t symbol, int32_t other) noexcept nogil:
        return <uint64_t>other << 32 | <uint64_t>symbol if side else <uint64_t>symbol << 32 | <uint64_t>other

    cdef inline bint may_join(self, int32_t a, int32_t b) noexcept nogil:
        """Whether two symbols may become one, whatever their number."""
        if self.flags[a] & NEVER or self.flags[b] & (NEVER | NOT_RIGHT | NOT_LAST):
            return False
        if self.last[a] > 1 and self.first[b] > 1 and self.last[a] != self.first[b]:
            return False
        return self.length[a] + self.length[b] <= self.most_length

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
        if (not self.room(<void**>&self.blocks, &self.blocks_capacity, self.n_blocks + 1, sizeof(void*))
                or not self.room(<void**>&self.users, &self.users_capacity, self.n_blocks + 1, sizeof(int32_t))):
            free(block)
            return False
        self.blocks[self.n_blocks] = block
        self.users[self.n_blocks] = <int32_t>users
        self.n_blocks += 1
        return True

    cdef Pair* pair(self, uint64_t key, bint make) noexcept nogil:
        """The pair; NULL if there is none, or no memory to make it."""
        cdef int64_t slot = self.slot_of(key)
        while self.slots[slot]:
            if self.pairs[self.slots[slot] - 1].key == key:
                return &self.pairs[self.slots[slot] - 1]
            slot = (slot + 1) & (self.n_slots - 1)
        if not make or not self.room(<void**>&self.pairs, &self.pairs_capacity, self.n_pairs + 1, sizeof(Pair)):
            return NULL
        self.pairs[self.n_pairs] = Pair(key, 0, NULL, 0, 0)
        self.n_pairs += 1
        self.slots[slot] = <int32_t>self.n_pairs
        if 2 * self.n_pairs > self.n_slots and not self.rehash(2 * self.n_slots):
            return NULL
        return &self.pairs[self.n_pairs - 1]

    cdef inline int64_t slot_of(self, uint64_t key) noexcept nogil:
        key *= MIX
        return (key ^ key >> 32) & <uint64_t>(self.n_slots - 1)

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

    cdef inline bint room(self, void** block, int64_t* capacity, int64_t needed, size_t size) noexcept nogil:
        """Let `block` have room for `needed` elements of `size` bytes; false if there is no memory."""
        cdef int64_t more
        cdef void* moved
        if needed <= capacity[0]:
            return True
        more = max(needed, capacity[0] + capacity[0] // 2, 64)
        moved = realloc(block[0], more * size)
        if moved == NULL or more > 0x7FFFFFF0:
            return False
        block[0] = moved
        capacity[0] = more
        return True

    # Spellings: each id has one, and no two the same.

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
        if not self.room(<void**>&self.spellings, &self.spellings_capacity, start + n_x + n_y, 1):
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
        if not self.room(<void**>&self.spellings, &self.spellings_capacity, start + n, 1):
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

    # The heap: more occurrences first, then what `tie` says.

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
        if not self.room(<void**>&self.heap, &self.heap_capacity, self.heap_size + 1, sizeof(Entry)):
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
