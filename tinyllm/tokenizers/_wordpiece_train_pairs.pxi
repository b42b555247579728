"""Pairs of tokens, how often each can be merged, and which is best. Included by _wordpiece_train.pyx.

There is a heap of the pairs for each n, that is, how often they can be merged: the order within one is that of their
own parts of the score, as it says at the top of _wordpiece_train.pyx.
"""


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


cdef class Pairs:
    """The tokens, a hash table of the pairs, and their heaps."""

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
    cdef int64_t total  # N
    cdef int64_t done  # merges
    cdef int64_t min_frequency
    cdef bint pmi

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.n_tokens):
            free(self.tokens[i].pairs)
        for i in range(self.n_pairs):
            free(self.pairs[i].words)
        for i in range(self.n_buckets):
            free(self.buckets[i].heap)
        free(self.tokens)
        free(self.pairs)
        free(self.pair_slots)
        free(self.buckets)
        free(self.bucket_slots)

    cdef int make_tables(self, int64_t n_tokens) except -1:
        cdef int64_t i
        self.n_pair_slots = self.n_bucket_slots = 1 << 10
        self.pair_slots = <int32_t*>zeroed(self.n_pair_slots, sizeof(int32_t))
        self.bucket_slots = <int32_t*>zeroed(self.n_bucket_slots, sizeof(int32_t))
        for i in range(n_tokens):
            self.new_token()
        return 0

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

    # Scores

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
        cdef int64_t slot = hash_key(key_of(a, b)) & (self.n_pair_slots - 1)
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
