# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Training WordPiece, compiled: the merges of reference/wordpiece.py, without counting everything again.

A merge (a, b), made n times, changes the log-likelihood  sum of c log c - N log N  by a part of its own, which depends
on n and on the counts of a and b, and by  N log N - (N - n) log(N - n). The second part changes with every merge, for
all pairs; but between pairs of equal n it decides nothing. So there is one heap for each n, ordered by the own part,
and of the tops, of which there are as many as different n, the one with the best sum is the merge. Own parts are kept
exact: after a merge those of all pairs in which a or b stands, and of all whose n changed, are computed again. Nothing
is estimated, and no score is ever stale.

That the merged token did not occur before follows from merging everywhere, from left to right: where one string stands
between two borders that no merge has crossed, it is cut in one way, so no two pairs ever make the same token.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport frexp
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from tinyllm.tokenizers._shared cimport MIX, grown, hash_key, key_of, zeroed

include "_wordpiece_train_log.pxi"
include "_wordpiece_train_pairs.pxi"


cdef struct Word:
    int64_t start  # of its symbols
    int64_t size, count


cdef class Trainer(Pairs):
    """`n_tokens`: how many ids there are already; `symbols`, `sizes`, `counts`: the words as ids, one after the other,
    how many ids each has, and how often it occurs (int32, int64, int64 as bytes).
    """

    cdef Word* words
    cdef int64_t n_words
    cdef int32_t* symbols
    cdef int32_t* touched  # pairs whose n changed
    cdef int64_t n_touched, touched_capacity

    def __cinit__(self, int64_t n_tokens, bytes symbols, bytes sizes, bytes counts, bint pmi, int64_t min_frequency):
        cdef const int64_t* size = <const int64_t*><const char*>sizes
        cdef const int64_t* number = <const int64_t*><const char*>counts
        cdef int64_t i, k
        cdef int64_t at = 0
        self.pmi = pmi
        self.min_frequency = max(min_frequency, 1)
        self.make_tables(n_tokens)
        self.symbols = <int32_t*>zeroed(len(symbols) // 4, sizeof(int32_t))
        memcpy(self.symbols, <const char*>symbols, len(symbols))
        self.n_words = len(sizes) // 8
        self.words = <Word*>zeroed(self.n_words, sizeof(Word))
        for i in range(self.n_words):
            self.words[i] = Word(at, size[i], number[i])
            for k in range(at, at + size[i]):
                self.tokens[self.symbols[k]].count += number[i]
            self.total += size[i] * number[i]
            self.count_pairs(i, number[i])
            at += size[i]

    def __dealloc__(self):
        free(self.words)
        free(self.symbols)
        free(self.touched)

    def run(self, int64_t vocab_size, accept, progress):
        """Merge until there are `vocab_size` tokens or no merge is left that helps. `accept(a, b)` is told each, and
        says whether it may be made; its token has the next id.
        """
        cdef int64_t first = self.n_tokens
        cdef int64_t best
        cdef Pair* pair
        self.refresh_touched()
        while self.n_tokens < vocab_size:
            best = self.best()
            if best < 0:
                break
            pair = &self.pairs[best]
            if not accept(pair.a, pair.b):
                pair.refused = True
                self.remove(pair)
                continue
            self.merge(best)
            if self.done % 64 == 0:
                PyErr_CheckSignals()
                if progress is not None:
                    progress(self.done, vocab_size - first)
        if progress is not None:
            progress(self.done, vocab_size - first)

    cdef int merge(self, int64_t index) except -1:
        cdef Pair* pair = &self.pairs[index]
        cdef int32_t a = pair.a
        cdef int32_t b = pair.b
        cdef int32_t new = self.new_token()
        cdef int32_t* places = pair.words
        cdef int64_t n_places = pair.n_words
        cdef int64_t n = pair.n
        cdef int64_t i
        pair.words = NULL  # it occurs nowhere any more
        pair.n_words = pair.words_capacity = 0
        try:
            for i in range(n_places):
                self.merge_in(places[i], a, b, new)
        finally:
            free(places)
        self.tokens[a].count -= n
        self.tokens[b].count -= n
        self.tokens[new].count = n
        self.total -= n
        self.done += 1
        self.refresh_touched()
        self.refresh_around(a)
        self.refresh_around(b)
        return 0

    cdef int merge_in(self, int64_t word, int32_t a, int32_t b, int32_t new) except -1:
        """Merge from left to right in one word, if it still has the pair."""
        cdef int32_t* symbols = self.symbols + self.words[word].start
        cdef int64_t size = self.words[word].size
        cdef int64_t i = 0
        cdef int64_t j = 0
        while i + 1 < size and not (symbols[i] == a and symbols[i + 1] == b):
            i += 1
        if i + 1 >= size:
            return 0
        self.count_pairs(word, -self.words[word].count)
        i = 0
        while i < size:
            if i + 1 < size and symbols[i] == a and symbols[i + 1] == b:
                symbols[j] = new
                i += 2
            else:
                symbols[j] = symbols[i]
                i += 1
            j += 1
        self.words[word].size = j
        self.count_pairs(word, self.words[word].count)
        return 0

    cdef int count_pairs(self, int64_t word, int64_t count) except -1:
        """Add the pairs of one word to the counts, or with a negative count take them away. Equal neighbours that
        overlap can't both be merged, and count once.
        """
        cdef int32_t* symbols = self.symbols + self.words[word].start
        cdef int64_t i
        cdef int64_t taken = 0  # where a pair of equal neighbours may start
        cdef Pair* pair
        for i in range(self.words[word].size - 1):
            if symbols[i] == symbols[i + 1]:
                if i < taken:
                    continue
                taken = i + 2
            pair = self.pair_of(symbols[i], symbols[i + 1])
            if pair.fresh != -1:
                self.touched = <int32_t*>grown(
                    self.touched, &self.touched_capacity, self.n_touched + 1, sizeof(int32_t)
                )
                self.touched[self.n_touched] = <int32_t>(pair - self.pairs)
                self.n_touched += 1
                pair.fresh = -1
            pair.n += count
            if count > 0 and (pair.n_words == 0 or pair.words[pair.n_words - 1] != word):
                pair.words = <int32_t*>grown(pair.words, &pair.words_capacity, pair.n_words + 1, sizeof(int32_t))
                pair.words[pair.n_words] = <int32_t>word
                pair.n_words += 1
        return 0

    cdef int refresh_touched(self) except -1:
        cdef int64_t i
        for i in range(self.n_touched):
            self.refresh(self.touched[i])
        self.n_touched = 0
        return 0
