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

from tinyllm.tokenizers._shared cimport code_point, hash_bytes, hash_key, key_of, room, same_bytes, zeroed

from tinyllm.errors import TokenizerError

cdef enum:
    NO_MEMORY = -1

include "_bpe_train_spellings.pxi"
include "_bpe_train_words.pxi"
include "_bpe_train_pairs.pxi"


cdef struct Neighbour:  # of the symbol that a merge makes
    int32_t symbol
    int32_t n_places
    int64_t lost  # occurrences of the pair that was here before
    int64_t won  # of the pair that is here now
    int32_t* places


cdef struct Found:
    int32_t neighbour
    int32_t place


cdef class Trainer(Pairs):
    """The words that `flat()` of a counter gives, in symbols, and their merges.

    `tokens` are the spellings of the ids there are, special tokens among them. ids[form][i] is the id of the i-th of
    `points` (bytes, if `points` is None, else code points) in a form, as `characters` numbers them; with one form it is
    for all. `absent` stands for all others. What is merged has at most `most_length` symbols, and `may_join` allows it:
    `marks` are the script that each of `tokens` begins with, and ends with, and its flags.
    """

    cdef int64_t n_initial, most_ids
    cdef int32_t* parts  # by id: the two that it joins
    # while a pair is merged: what stands on its left (0) and right (1)
    cdef int32_t* neighbour_of[2]  # by id: index into neighbours[side], plus 1
    cdef Neighbour* neighbours[2]
    cdef int64_t n_neighbours[2]
    cdef int64_t neighbours_capacity[2]
    cdef Found* found[2]
    cdef int64_t n_found[2]
    cdef int64_t found_capacity[2]

    def __dealloc__(self):
        cdef int side
        free(self.parts)
        for side in range(2):
            free(self.neighbour_of[side])
            free(self.neighbours[side])
            free(self.found[side])

    def __init__(self, list tokens not None, int64_t n_merges, str tie not None, int64_t min_frequency=1,
                 int64_t most_length=0x7FFFFFFF, bytes prefix=b"", list marks=None):
        cdef int64_t i
        cdef bytes token
        self.tie = {"hf": SMALLER_IDS, "spm": SHORTER_PIECE, "minbpe": EARLIER_PLACE}[tie]
        self.min_frequency = max(min_frequency, 1)
        self.n_initial = len(tokens)
        self.most_ids = self.n_initial + n_merges
        if self.most_ids > 0x7FFFFFF0:
            raise TokenizerError(f"a vocabulary of {self.most_ids} tokens is more than ids have bits for")
        self.make_spellings(self.most_ids, len(prefix))
        self.make_symbols(self.most_ids, most_length)
        self.parts = <int32_t*>zeroed(2 * self.most_ids, sizeof(int32_t))
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
        self.take_words(text, ends, counts, points, ids, absent)
        self.count_pairs()

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
        cdef int64_t skipped = self.skipped(b)
        if not self.spell(self.spellings + self.spelled[a], self.spelled[a + 1] - self.spelled[a],
                          self.spellings + self.spelled[b] + skipped, self.spelled[b + 1] - self.spelled[b] - skipped):
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
            if not room(<void**>&self.neighbours[side], &self.neighbours_capacity[side],
                             self.n_neighbours[side] + 1, sizeof(Neighbour)):
                return False
            self.neighbours[side][self.n_neighbours[side]] = Neighbour(symbol, 0, 0, 0, NULL)
            self.n_neighbours[side] += 1
            index = self.neighbour_of[side][symbol] = <int32_t>self.n_neighbours[side]
        one = &self.neighbours[side][index - 1]
        one.lost += lost
        one.won += won
        one.n_places += 1
        if not room(<void**>&self.found[side], &self.found_capacity[side], self.n_found[side] + 1, sizeof(Found)):
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
        return key_of(other, symbol) if side else key_of(symbol, other)
