"""A piece without merging: its tokens found from left to right, in O(n). Included by _bpe.pyx, where it says why that
is right, and for which models: `settle` finds out.
"""

cdef enum:
    LATER = 0x7FFFFFFF  # the rank of no merge


cdef class Linear(Merging):
    """Encodes a piece token by token; 1 instead of 0 if that can't be done, and merging must."""

    cdef bint settle(self, rules) except -1:
        """Find how each token is made, and whether `linear` can be relied on.

        A token is made in one way only: between its borders everything happens as in its bytes alone. So what
        encoding its bytes doesn't end with is never made, and its last merge there is its last merge everywhere.
        """
        cdef int64_t i
        cdef Token* token
        cdef bytes spelling
        byte_ids = set(rules.byte_ids) - {-1}
        if byte_ids and -1 in rules.byte_ids:
            return False
        made = set()
        for a, b, rank, new in rules.merges:
            if a in byte_ids or b in byte_ids or (rules.unk >= 0 and (a == rules.unk or b == rules.unk)):
                return False  # what stands for unknown characters merges
            made.add(new)
        cdef Work* w = self.work()
        try:
            for i in made:
                spelling = rules.tokens[i]
                if not spelling:
                    return False
                if self.begin(w, spelling, len(spelling)) < 0:
                    raise MemoryError("no memory to encode a token")
                if w.n <= SHORT:
                    merge_short(self.merges, self.merges_mask, w)
                elif merge_heap(self.merges, self.merges_mask, w) < 0:
                    raise MemoryError("no memory to encode a token")
                if w.n == 1 and w.ids[0] == i:
                    self.tokens[i].left, self.tokens[i].right, self.tokens[i].rank = w.left, w.right, w.rank
        finally:
            self.put_back(w)
        for i in made:
            token = &self.tokens[i]
            if token.rank >= 0 and (self.tokens[token.left].rank >= token.rank
                                    or self.tokens[token.right].rank >= token.rank):
                return False
        return self.sort_out(rules.tokens)

    cdef bint sort_out(self, tokens) except -1:
        """`known` and `whole` for `linear`, and for each token the next shorter one that it begins with."""
        cdef int64_t i, n, node, at
        cdef bytes spelling
        reachable, others = [], []
        for i in range(self.n_symbols):
            spelling = tokens[i]
            n = len(spelling)
            if n == 0:
                continue
            if self.tokens[i].rank >= 0 or n == (self.unit(spelling, n) if self.characters else 1):
                reachable.append(i)
            elif i < self.n_ids:
                others.append(i)
        trie_free(&self.known)
        memset(&self.known, 0, sizeof(Trie))
        self.spell(&self.known, tokens, reachable)
        if self.ignore_merges:
            self.spell(&self.whole, tokens, others)
        for i in reachable:
            spelling = tokens[i]
            node = self.known.mask + 1
            for at in range(<int64_t>len(spelling) - 1):
                node = trie_find(&self.known, node, <uint8_t>spelling[at])
                if trie_value(&self.known, node) >= 0:
                    self.tokens[i].shorter = trie_value(&self.known, node)
        return True

    cdef int linear_text(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """Append the ids of one piece to `out`: at each place the longest token that can follow the one before.

        Where none can, the token before is taken back, a shorter one tried there, and no token ends here any more.
        There is one way only to come to a place, so no place is given up twice. 1: it can't be done like this.
        """
        cdef int64_t i = 0
        cdef int64_t j, size
        cdef int64_t first = w.out_size  # what comes before it, if anything, is an unknown character
        cdef bint given_up = False
        cdef int32_t token
        w.open_unk = False
        while i < n:
            token = trie_longest(&self.known, s + i, n - i, &size)
            if token < 0:
                size = self.unit(s + i, n - i)
                if self.characters and size == 1 and s[i] >= 0x80:
                    return 1  # no UTF-8: counts as another character
                if self.unk < 0 and not self.has_fallback:
                    return 1  # left out, so that its neighbours may merge
                if self.unknown(w, s + i, size) < 0:
                    return -1
                i += size
                first = w.out_size
                continue
            if size == 0:
                size = self.tokens[token].size
            while True:
                j = i + size
                if not (given_up and w.dead[j >> 6] >> (j & 63) & 1) and (
                        w.out_size == first or self.can_follow(w, w.out[w.out_size - 1], token)):
                    break
                if self.tokens[token].shorter >= 0:
                    token = self.tokens[token].shorter
                    size = self.tokens[token].size
                    continue
                if w.out_size == first:
                    return 1  # can't happen; the merges would tell
                if not given_up:
                    given_up = True
                    if not room(<void**>&w.dead, &w.dead_capacity, (n >> 6) + 1, sizeof(uint64_t)):
                        return -1
                    memset(w.dead, 0, ((n >> 6) + 1) * sizeof(uint64_t))
                w.dead[i >> 6] |= <uint64_t>1 << (i & 63)
                w.out_size -= 1
                token = w.out[w.out_size]
                size = self.tokens[token].size
                i -= size
            if emit(w, token, <int32_t>size) < 0:
                return -1
            w.open_unk = False
            i = j
        return 0

    cdef int linear_around(self, Work* w, const uint8_t* s, int64_t n) noexcept nogil:
        """`linear_text` of what is between atomic tokens."""
        cdef int64_t i = 0
        cdef int64_t start = 0
        cdef int64_t size
        cdef int32_t token
        cdef int failed = 0
        while i < n:
            token = trie_longest(&self.atomic, s + i, n - i, &size)
            if token < 0:
                i += self.unit(s + i, n - i)
                continue
            failed = self.linear_text(w, s + start, i - start)
            if failed:
                return failed
            if emit(w, token, self.tokens[token].size) < 0:
                return -1
            i += self.tokens[token].size
            start = i
        return self.linear_text(w, s + start, n - start)

    cdef inline bint can_follow(self, Work* w, int32_t a, int32_t b) noexcept nogil:
        """Whether the bytes of a and b give these two tokens."""
        cdef uint64_t key = (<uint64_t>1 << 63) | (<uint64_t>a << 27 | <uint64_t>b) << 1
        cdef uint64_t* known = &w.pairs[key * MIX >> (64 - PAIR_BITS)]
        if known[0] >> 1 != key >> 1:
            known[0] = key | self.stay_apart(a, b)
        return known[0] & 1

    cdef bint stay_apart(self, int32_t a, int32_t b) noexcept nogil:
        """Going back in time from the tokens a and b, no two symbols at their border would have merged before they
        did otherwise.

        Of two merges of the same rank the left one comes first. So at the border, a merge comes before the one that
        makes a only if its rank is lower, and before the one that makes b also if it is the same.
        """
        cdef int32_t limit = LATER
        cdef int32_t new = 0
        cdef int32_t rank
        cdef int64_t i
        while True:
            i = key_of(a, b) * MIX >> self.sieve_shift
            if self.sieve[i >> 6] >> (i & 63) & 1:
                rank = rank_of(self.merges, self.merges_mask, a, b, &new)
                if rank >= 0 and rank < limit:
                    return False
            if self.tokens[a].rank > self.tokens[b].rank:
                limit = self.tokens[a].rank
                a = self.tokens[a].right
            elif self.tokens[b].rank >= 0:
                limit = self.tokens[b].rank + 1
                b = self.tokens[b].left
            else:
                return True
