# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Training of the Unigram model, compiled: the same pieces as reference.unigram.Training finds from the same words.

The lattices of all words are made once, out of the suffix array that the first pieces come from: the pieces that a
suffix begins with are the runs of the array that it lies in. Later pieces only go, and their arcs with them. A word's
sums are plain products of probabilities, scaled where they get small, so a step takes no logarithm for an arc.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport exp, log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from tinyllm.tokenizers._shared cimport code_point, grown, zeroed

include "_suffix.pxi"
include "_unigram_runs.pxi"
include "_unigram_words.pxi"

cdef double UNKNOWN_PENALTY = 10.0
cdef double SMALL = 2.0**-200  # where a sum gets smaller than this, it and all that comes from it is divided by it


cdef double digamma(double x) noexcept:
    """As reference.digamma."""
    cdef double below = 0.0
    cdef double y
    while x < 7:
        below += 1 / x
        x += 1
    x -= 0.5
    y = 1 / (x * x)
    return log(x) - below + y * (1.0 / 24 + y * (-7.0 / 960 + y * (31.0 / 8064 - y * (127.0 / 30720))))


cdef class Training(Words):
    """EM and pruning; made from what Words is made from."""

    def __len__(self):
        return self.n_pieces

    def spellings(self):
        """(spelling, score) of each piece that is left, in order."""
        return [
            (self.text[self.pieces[i].start : self.pieces[i].start + self.pieces[i].size], self.pieces[i].score)
            for i in range(self.n_pieces)
        ]

    cdef double unknown(self) noexcept:
        cdef double least = self.pieces[0].score
        cdef int64_t i
        for i in range(self.n_pieces):
            least = min(least, self.pieces[i].score)
        return least - UNKNOWN_PENALTY

    def step(self, bint sparse=True):
        """As reference.Training.step."""
        cdef double objective = 0
        cdef double total = 0
        cdef double most = 0
        cdef double least
        cdef double unknown = exp(self.unknown())
        cdef int64_t i
        cdef int64_t kept = 0
        cdef int32_t* order = NULL
        for i in range(self.n_pieces):
            self.probability[i] = exp(self.pieces[i].score)
            self.expected[i] = 0
        for i in range(self.n_words):
            if i & 0xFFFF == 0:
                PyErr_CheckSignals()
            objective += self.counts[i] * self.expect(i, unknown)
        order = <int32_t*>zeroed(self.n_pieces, sizeof(int32_t))
        try:
            for i in range(self.n_pieces):
                most = max(most, self.expected[i])
            least = min(0.5, most)  # something is left, however short the text
            for i in range(self.n_pieces):
                if self.expected[i] >= least:
                    order[kept] = <int32_t>i
                    kept += 1
                    total += self.expected[i]
            total = digamma(total) if sparse else log(total)
            for i in range(kept):
                self.pieces[order[i]].score = (
                    digamma(self.expected[order[i]]) if sparse else log(self.expected[order[i]])
                ) - total
            self.keep(order, kept)
        finally:
            free(order)
        return objective / self.total

    cdef double expect(self, int64_t word, double unknown) noexcept:
        """Add to `expected` how often each piece is expected in a word; returns the log of its probability."""
        cdef int64_t start = self.word_start[word]
        cdef int64_t n = self.word_start[word + 1] - 1 - start
        cdef int64_t at, arc, end
        cdef int64_t scaled = 0
        cdef double* alpha = self.alpha
        cdef double* share = self.share  # how probable a border is there, divided by alpha
        cdef int32_t* scaled_here = self.back_length
        cdef int32_t piece
        cdef double here, over, sum
        cdef double count = self.counts[word]
        for at in range(n + 1):
            alpha[at] = 0
        alpha[0] = 1
        for at in range(n):
            scaled_here[at] = alpha[at] < SMALL
            if scaled_here[at]:
                scaled += 1
                for end in range(at, min(at + self.longest, n) + 1):
                    alpha[end] /= SMALL
            here = alpha[at]
            piece = self.single[start + at]
            alpha[at + 1] += here * (self.probability[piece] if piece >= 0 else unknown)
            for arc in range(self.first[start + at], self.first[start + at + 1]):
                alpha[at + self.arc_length[arc]] += here * self.probability[self.arc_piece[arc]]
        share[n] = 1 / alpha[n]
        for at in range(n - 1, -1, -1):
            here = alpha[at]
            piece = self.single[start + at]
            over = here * (self.probability[piece] if piece >= 0 else unknown) * share[at + 1]
            self.expected[max(piece, 0)] += count * over
            sum = over
            for arc in range(self.first[start + at], self.first[start + at + 1]):
                piece = self.arc_piece[arc]
                over = here * self.probability[piece] * share[at + self.arc_length[arc]]
                self.expected[piece] += count * over
                sum += over
            share[at] = sum / here
            if scaled_here[at]:
                for end in range(at, min(at + self.longest, n) + 1):
                    share[end] /= SMALL
        return log(alpha[n]) + scaled * log(SMALL)

    cdef int keep(self, const int32_t* order, int64_t n) except -1:
        """Only the pieces order[0 : n], in this order."""
        cdef int32_t* new = <int32_t*>malloc(max(self.n_pieces, 1) * sizeof(int32_t))
        cdef Piece* pieces = <Piece*>malloc(max(n, 1) * sizeof(Piece))
        cdef int64_t i, arc
        cdef int64_t at = 0
        cdef int64_t begin = 0
        if new == NULL or pieces == NULL:
            free(new)
            free(pieces)
            raise MemoryError(f"no memory for {self.n_pieces} pieces")
        memset(new, 0xFF, self.n_pieces * sizeof(int32_t))
        for i in range(n):
            new[order[i]] = <int32_t>i
            pieces[i] = self.pieces[order[i]]
        for i in range(self.n_positions):
            if self.single[i] >= 0:
                self.single[i] = new[self.single[i]]
            for arc in range(begin, self.first[i + 1]):
                if new[self.arc_piece[arc]] >= 0:
                    self.arc_piece[at] = new[self.arc_piece[arc]]
                    self.arc_length[at] = self.arc_length[arc]
                    at += 1
            begin = self.first[i + 1]
            self.first[i + 1] = at
        free(self.pieces)
        self.pieces = pieces
        self.pieces_capacity = self.n_pieces = n
        free(new)
        return 0

    cdef double best_path(self, int64_t start, int64_t n, double unknown, bint whole) noexcept:
        """The score of the best path over n characters; its arcs are in back_length and back_piece by their end.

        Not `whole`: without the arc that is all of it.
        """
        cdef double* best = self.alpha
        cdef int64_t at, arc, end
        cdef int32_t piece
        cdef double score
        for at in range(n + 1):
            self.back_length[at] = 0
        best[0] = 0
        for at in range(n):
            piece = self.single[start + at]
            score = best[at] + (self.pieces[piece].score if piece >= 0 else unknown)
            if self.back_length[at + 1] == 0 or score > best[at + 1]:
                best[at + 1] = score
                self.back_length[at + 1] = 1
                self.back_piece[at + 1] = max(piece, 0)
            for arc in range(self.first[start + at], self.first[start + at + 1]):
                end = at + self.arc_length[arc]
                if end > n or (end == n and at == 0 and not whole):
                    break
                score = best[at] + self.pieces[self.arc_piece[arc]].score
                if self.back_length[end] == 0 or score > best[end]:
                    best[end] = score
                    self.back_length[end] = self.arc_length[arc]
                    self.back_piece[end] = self.arc_piece[arc]
        return best[n]

    def prune(self, int64_t size):
        """As reference.Training.prune."""
        cdef double* used = self.expected
        cdef double unknown = self.unknown()
        cdef double total = 0
        cdef double log_total, instead
        cdef int64_t i, at, length, parts
        cdef int64_t n_kept = 0
        cdef int64_t n_costs = 0
        cdef int32_t* kept = <int32_t*>malloc(max(self.n_pieces, 1) * sizeof(int32_t))
        cdef int32_t* costly = <int32_t*>malloc(max(self.n_pieces, 1) * sizeof(int32_t))
        cdef uint64_t* costs = <uint64_t*>malloc(max(self.n_pieces, 1) * sizeof(uint64_t))
        try:
            if kept == NULL or costly == NULL or costs == NULL:
                raise MemoryError(f"no memory for {self.n_pieces} pieces")
            for i in range(self.n_pieces):
                used[i] = 0
            for i in range(self.n_words):
                if i & 0xFFFF == 0:
                    PyErr_CheckSignals()
                at = self.word_start[i + 1] - 1 - self.word_start[i]
                self.best_path(self.word_start[i], at, unknown, True)
                while at:
                    used[self.back_piece[at]] += self.counts[i]
                    at -= self.back_length[at]
            for i in range(self.n_pieces):
                total += used[i]
            for i in range(self.n_pieces):
                if used[i] == 0:
                    continue
                length = self.pieces[i].length
                if length == 1:
                    kept[n_kept] = <int32_t>i
                    n_kept += 1
                    continue
                if self.best_path(self.pieces[i].place, length, unknown, False) > self.pieces[i].score:
                    continue
                parts = 0
                at = length
                while at:
                    parts += 1
                    at -= self.back_length[at]
                log_total = log(total + used[i] * (parts - 1))
                instead = 0
                at = length
                while at:
                    instead += log(used[self.back_piece[at]] + used[i]) - log_total
                    at -= self.back_length[at]
                costs[n_costs] = descending(<float>(used[i] / total * (log(used[i]) - log(total) - instead)))
                costly[n_costs] = <int32_t>i
                n_costs += 1
            sort_by(costs, costly, n_costs)
            for i in range(min(n_costs, max(size - n_kept, 0))):
                kept[n_kept] = costly[i]
                n_kept += 1
            self.keep(kept, n_kept)
        finally:
            free(kept)
            free(costly)
            free(costs)

    def drop_unreachable(self):
        """As reference.Training.drop_unreachable."""
        cdef double unknown = self.unknown()
        cdef int64_t i
        cdef int64_t n_kept = 0
        cdef int32_t* kept = <int32_t*>zeroed(self.n_pieces, sizeof(int32_t))
        try:
            for i in range(self.n_pieces):
                if self.pieces[i].length == 1 or (
                    self.best_path(self.pieces[i].place, self.pieces[i].length, unknown, False) <= self.pieces[i].score
                ):
                    kept[n_kept] = <int32_t>i
                    n_kept += 1
            self.keep(kept, n_kept)
        finally:
            free(kept)
