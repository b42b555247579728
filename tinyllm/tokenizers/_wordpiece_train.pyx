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
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from tinyllm.tokenizers._shared cimport MIX, grown, zeroed

cdef enum:
    TABLE = 1 << 16  # c log c of smaller counts is looked up

cdef double ODD[12]
cdef double C_LOG_C[TABLE]
for _k in range(12):
    ODD[_k] = 1 / (2.0 * _k + 1)


cdef double ln(double x) noexcept:
    """reference.ln, operation by operation."""
    cdef int e, k
    cdef double m = frexp(x, &e)
    cdef double s, z
    cdef double total = 0
    if m < 0.7071067811865476:
        m = 2 * m
        e -= 1
    s = (m - 1) / (m + 1)
    z = s * s
    for k in range(11, -1, -1):
        total = total * z + ODD[k]
    return e * 0.6931471805599453 + 2 * s * total


C_LOG_C[0] = C_LOG_C[1] = 0
for _k in range(2, TABLE):
    C_LOG_C[_k] = <double>_k * ln(_k)


cdef inline double c_log_c(int64_t c) noexcept:
    return C_LOG_C[c] if c < TABLE else <double>c * ln(<double>c)


cdef struct Word:
    int64_t start  # of its symbols
    int64_t size, count


cdef struct Token:
    int64_t count
    int32_t* pairs  # those in which it stands
    int64_t n_pairs, pairs_capacity


cdef struct Pair:
    int32_t a, b
    int32_t bucket, at  # where it is among the heaps; at == -1: nowhere
    bint refused
    int64_t n  # how often it can be merged
    int64_t fresh  # the number of the merge after which `own` was computed
    double own
    int32_t* words  # in which it occurs, or once occurred
    int64_t n_words, words_capacity


cdef struct Bucket:
    int64_t n
    int32_t* heap  # pairs that can be merged n times
    int64_t size, capacity


cdef class Trainer:
    """`n_tokens`: how many ids there are already; `symbols`, `sizes`, `counts`: the words as ids, one after the other,
    how many ids each has, and how often it occurs (int32, int64, int64 as bytes).
    """

    cdef Word* words
    cdef int64_t n_words
    cdef int32_t* symbols
    cdef Token* tokens
    cdef int64_t n_tokens, tokens_capacity
    cdef Pair* pairs
    cdef int64_t n_pairs, pairs_capacity
    cdef int32_t* pair_slots
    cdef int64_t n_pair_slots
    cdef Bucket* buckets
    cdef int64_t n_buckets, buckets_capacity
    cdef int32_t* bucket_slots
    cdef int64_t n_bucket_slots
    cdef int32_t* touched  # pairs whose n changed
    cdef int64_t n_touched, touched_capacity
    cdef int64_t total  # N
    cdef int64_t done  # merges
    cdef int64_t min_frequency
    cdef bint pmi

    def __cinit__(self, int64_t n_tokens, bytes symbols, bytes sizes, bytes counts, bint pmi, int64_t min_frequency):
        cdef const int64_t* size = <const int64_t*><const char*>sizes
        cdef const int64_t* number = <const int64_t*><const char*>counts
        cdef int64_t i, k
        cdef int64_t at = 0
        self.pmi = pmi
        self.min_frequency = max(min_frequency, 1)
        self.n_pair_slots = self.n_bucket_slots = 1 << 10
        self.pair_slots = <int32_t*>zeroed(self.n_pair_slots, sizeof(int32_t))
        self.bucket_slots = <int32_t*>zeroed(self.n_bucket_slots, sizeof(int32_t))
        for i in range(n_tokens):
            self.new_token()
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
        cdef int64_t i
        for i in range(self.n_tokens):
            free(self.tokens[i].pairs)
        for i in range(self.n_pairs):
            free(self.pairs[i].words)
        for i in range(self.n_buckets):
            free(self.buckets[i].heap)
        free(self.words)
        free(self.symbols)
        free(self.tokens)
        free(self.pairs)
        free(self.pair_slots)
        free(self.buckets)
        free(self.bucket_slots)
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

    cdef int64_t best(self) noexcept:
        """The pair to merge; -1 if none raises the score above 0."""
        cdef double whole = c_log_c(self.total)
        cdef double score
        cdef double best_score = 0
        cdef int64_t i
        cdef int64_t found = -1
        cdef int64_t n = 0
        for i in range(self.n_buckets):
            if self.buckets[i].size == 0:
                continue
            score = self.pairs[self.buckets[i].heap[0]].own
            if not self.pmi:
                score += whole - c_log_c(self.total - self.buckets[i].n)
            if score > best_score or (score == best_score and found >= 0 and self.buckets[i].n > n):
                best_score = score
                n = self.buckets[i].n
                found = self.buckets[i].heap[0]
        return found

    # Merging

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

    # Scores

    cdef int refresh_touched(self) except -1:
        cdef int64_t i
        for i in range(self.n_touched):
            self.refresh(self.touched[i])
        self.n_touched = 0
        return 0

    cdef int refresh_around(self, int32_t token) except -1:
        """The pairs in which a token stands; those that are gone leave the list."""
        cdef Token* t = &self.tokens[token]
        cdef Pair* pair
        cdef int64_t i
        cdef int64_t kept = 0
        for i in range(t.n_pairs):
            pair = &self.pairs[t.pairs[i]]
            if pair.n == 0:
                continue  # for ever: every merge makes a token that is new, and no others become neighbours
            t.pairs[kept] = t.pairs[i]
            kept += 1
            self.refresh(t.pairs[i])
        t.n_pairs = kept
        return 0

    cdef int refresh(self, int32_t index) except -1:
        """The own score of a pair, and its place among the heaps."""
        cdef Pair* pair = &self.pairs[index]
        cdef int64_t a, b, n
        cdef int32_t bucket
        if pair.fresh == self.done:
            return 0
        pair.fresh = self.done
        n = pair.n
        if n < self.min_frequency or pair.refused:
            self.remove(pair)
            return 0
        a = self.tokens[pair.a].count
        b = self.tokens[pair.b].count
        if self.pmi:
            pair.own = <double>n / (<double>a * <double>b)
        else:
            if pair.a == pair.b:
                pair.own = c_log_c(a - 2 * n) - c_log_c(a)
            else:
                pair.own = (c_log_c(a - n) - c_log_c(a)) + (c_log_c(b - n) - c_log_c(b))
            pair.own += c_log_c(n)
        bucket = self.bucket_of(n)
        if pair.at >= 0 and pair.bucket == bucket:
            self.settle(&self.buckets[bucket], pair.at, index)
            return 0
        self.remove(pair)
        pair.bucket = bucket
        self.insert(&self.buckets[bucket], index)
        return 0

    # Heaps

    cdef inline bint above(self, int32_t x, int32_t y) noexcept:
        """Whether pair x is to be merged before y, both having the same n."""
        cdef Pair* p = &self.pairs[x]
        cdef Pair* q = &self.pairs[y]
        if p.own != q.own:
            return p.own > q.own
        return p.a < q.a or (p.a == q.a and p.b < q.b)

    cdef void settle(self, Bucket* bucket, int64_t i, int32_t index) noexcept:
        """Put a pair into the hole at i of a heap, or where it belongs above or below."""
        cdef int64_t child
        while i and self.above(index, bucket.heap[(i - 1) // 2]):
            bucket.heap[i] = bucket.heap[(i - 1) // 2]
            self.pairs[bucket.heap[i]].at = <int32_t>i
            i = (i - 1) // 2
        while True:
            child = 2 * i + 1
            if child + 1 < bucket.size and self.above(bucket.heap[child + 1], bucket.heap[child]):
                child += 1
            if child >= bucket.size or not self.above(bucket.heap[child], index):
                break
            bucket.heap[i] = bucket.heap[child]
            self.pairs[bucket.heap[i]].at = <int32_t>i
            i = child
        bucket.heap[i] = index
        self.pairs[index].at = <int32_t>i

    cdef int insert(self, Bucket* bucket, int32_t index) except -1:
        bucket.heap = <int32_t*>grown(bucket.heap, &bucket.capacity, bucket.size + 1, sizeof(int32_t))
        bucket.size += 1
        self.settle(bucket, bucket.size - 1, index)
        return 0

    cdef void remove(self, Pair* pair) noexcept:
        cdef Bucket* bucket
        cdef int64_t at = pair.at
        if at < 0:
            return
        pair.at = -1
        bucket = &self.buckets[pair.bucket]
        bucket.size -= 1
        if at < bucket.size:
            self.settle(bucket, at, bucket.heap[bucket.size])

    # Tables

    cdef int32_t new_token(self) except -1:
        self.tokens = <Token*>grown(self.tokens, &self.tokens_capacity, self.n_tokens + 1, sizeof(Token))
        self.tokens[self.n_tokens] = Token(0, NULL, 0, 0)
        self.n_tokens += 1
        return <int32_t>(self.n_tokens - 1)

    cdef inline int64_t pair_slot(self, int32_t a, int32_t b) noexcept:
        """Where a pair is in the table, or would be."""
        cdef uint64_t h = (<uint64_t>a << 32 | <uint64_t>b) * MIX
        cdef int64_t slot = (h ^ h >> 32) & (self.n_pair_slots - 1)
        cdef Pair* pair
        while self.pair_slots[slot]:
            pair = &self.pairs[self.pair_slots[slot] - 1]
            if pair.a == a and pair.b == b:
                break
            slot = (slot + 1) & (self.n_pair_slots - 1)
        return slot

    cdef Pair* pair_of(self, int32_t a, int32_t b) except NULL:
        """The pair; a new one is put among the pairs of both its tokens."""
        cdef int64_t slot = self.pair_slot(a, b)
        cdef int64_t i = self.n_pairs
        if not self.pair_slots[slot]:
            if i == 0x7FFFFFFF:
                raise MemoryError("more than 2**31 different pairs; train on a part of the text")
            self.pairs = <Pair*>grown(self.pairs, &self.pairs_capacity, i + 1, sizeof(Pair))
            self.pairs[i] = Pair(a, b, -1, -1, False, 0, -2, 0, NULL, 0, 0)
            self.n_pairs += 1
            self.pair_slots[slot] = <int32_t>self.n_pairs
            if 2 * self.n_pairs > self.n_pair_slots:
                self.grow_pair_slots()
            self.enlist(&self.tokens[a], <int32_t>i)
            if a != b:
                self.enlist(&self.tokens[b], <int32_t>i)
            return &self.pairs[i]
        return &self.pairs[self.pair_slots[slot] - 1]

    cdef int enlist(self, Token* token, int32_t pair) except -1:
        token.pairs = <int32_t*>grown(token.pairs, &token.pairs_capacity, token.n_pairs + 1, sizeof(int32_t))
        token.pairs[token.n_pairs] = pair
        token.n_pairs += 1
        return 0

    cdef int grow_pair_slots(self) except -1:
        cdef int64_t i
        cdef int32_t* slots = <int32_t*>zeroed(4 * self.n_pair_slots, sizeof(int32_t))
        free(self.pair_slots)
        self.pair_slots = slots
        self.n_pair_slots *= 4
        for i in range(self.n_pairs):
            self.pair_slots[self.pair_slot(self.pairs[i].a, self.pairs[i].b)] = <int32_t>(i + 1)
        return 0

    cdef int32_t bucket_of(self, int64_t n) except -1:
        """The heap of the pairs that can be merged n times."""
        cdef int64_t mask = self.n_bucket_slots - 1
        cdef int64_t slot = (<uint64_t>n * MIX >> 32) & mask
        cdef int64_t i
        cdef int32_t* slots
        while self.bucket_slots[slot]:
            if self.buckets[self.bucket_slots[slot] - 1].n == n:
                return self.bucket_slots[slot] - 1
            slot = (slot + 1) & mask
        self.buckets = <Bucket*>grown(self.buckets, &self.buckets_capacity, self.n_buckets + 1, sizeof(Bucket))
        self.buckets[self.n_buckets] = Bucket(n, NULL, 0, 0)
        self.n_buckets += 1
        self.bucket_slots[slot] = <int32_t>self.n_buckets
        if 2 * self.n_buckets > self.n_bucket_slots:
            slots = <int32_t*>zeroed(4 * self.n_bucket_slots, sizeof(int32_t))
            free(self.bucket_slots)
            self.bucket_slots = slots
            self.n_bucket_slots *= 4
            mask = self.n_bucket_slots - 1
            for i in range(self.n_buckets):
                slot = (<uint64_t>self.buckets[i].n * MIX >> 32) & mask
                while slots[slot]:
                    slot = (slot + 1) & mask
                slots[slot] = <int32_t>(i + 1)
        return <int32_t>(self.n_buckets - 1)
