"""A model's Rules (reference/bpe_encode.py) in tables. Included by _bpe.pyx.

Tokens are found by their spelling in a trie, and merges by their pair in a hash table, with a sieve before it: most
pairs have no merge, and one bit of the sieve says so.
"""

cdef struct Token:
    int32_t left, right, rank  # its last merge; rank -1: it is made by none
    int32_t size  # bytes
    int32_t shorter  # the longest token that it begins with, or -1


cdef class Tables:
    """What an encoder knows of its model, and never changes."""

    cdef object rules
    cdef Trie known  # what text can be merged to; all spellings where not linear
    cdef Trie whole  # what only a whole piece can be
    cdef Trie atomic
    cdef Merge* merges
    cdef int64_t merges_mask
    cdef uint64_t* sieve  # a bit for each hash of a pair; if it is 0 there is no merge
    cdef int sieve_shift
    cdef Token* tokens
    cdef int64_t n_symbols, n_ids
    cdef int32_t fallback[256]
    cdef int32_t unk, replacement
    cdef bint characters, fuse_unk, ignore_merges, late, has_fallback, has_atomic, has_unused, has_affixes
    cdef const uint8_t* prefix
    cdef const uint8_t* suffix
    cdef int64_t prefix_size, suffix_size
    cdef int32_t* no_parts  # -1 for unused symbols, DEAD for others

    def __dealloc__(self):
        free(self.no_parts)
        free(self.merges)
        free(self.sieve)
        free(self.tokens)
        trie_free(&self.known)
        trie_free(&self.whole)
        trie_free(&self.atomic)

    cdef int read(self, rules) except -1:
        cdef int64_t i
        self.rules = rules  # keeps the bytes that are pointed to
        self.n_symbols = len(rules.tokens)
        self.n_ids = rules.n_ids
        self.unk = rules.unk
        self.characters, self.fuse_unk, self.late = rules.characters, rules.fuse_unk, rules.late
        self.ignore_merges = rules.ignore_merges
        self.prefix, self.prefix_size = <const uint8_t*><bytes>rules.prefix, len(rules.prefix)
        self.suffix, self.suffix_size = <const uint8_t*><bytes>rules.suffix, len(rules.suffix)
        self.has_affixes = self.prefix_size or self.suffix_size
        self.has_fallback, self.has_unused = len(rules.byte_ids) > 0, len(rules.unused) > 0
        for i in range(256):
            self.fallback[i] = rules.byte_ids[i] if self.has_fallback else -1
        if self.has_unused:
            self.no_parts = <int32_t*>zeroed(self.n_symbols, 2 * sizeof(int32_t))
            for i in range(2 * self.n_symbols):
                self.no_parts[i] = -1 if i // 2 in rules.unused else DEAD
        self.read_atomic(rules.atomic)
        self.read_tokens(rules.tokens)
        self.read_merges(rules.merges)
        return 0

    cdef int read_atomic(self, atomic) except -1:
        self.has_atomic = len(atomic) > 0
        trie_make(&self.atomic, sum(map(len, atomic)))
        for name, token in atomic.items():
            trie_add(&self.atomic, <const uint8_t*><bytes>name, len(name), token)
        trie_hasten(&self.atomic, self.atomic.used)
        for name in atomic:
            trie_note(&self.atomic, <const uint8_t*><bytes>name, len(name))
        for name in atomic:
            trie_pave(&self.atomic, <const uint8_t*><bytes>name, len(name))
        return 0

    cdef int read_tokens(self, tokens) except -1:
        cdef int64_t i
        cdef bytes token
        self.tokens = <Token*>table(self.n_symbols, sizeof(Token))
        for i in range(self.n_symbols):
            token = tokens[i]
            self.tokens[i] = Token(-1, -1, -1, <int32_t>len(token), -1)
        self.spell(&self.known, tokens, None)
        self.replacement = <int32_t>trie_get(&self.known, b"\xef\xbf\xbd", 3)
        return 0

    cdef int spell(self, Trie* trie, tokens, chosen) except -1:
        """Make the trie of the chosen tokens, in as little room as they need."""
        cdef Trie large
        cdef bytes token
        which = range(self.n_symbols) if chosen is None else chosen
        trie_make(&large, sum([len(tokens[i]) for i in which]))
        for i in which:
            token = tokens[i]
            if token:
                trie_add(&large, token, len(token), i)
        used = large.used
        trie_free(&large)
        trie_make(trie, used)
        cdef int64_t n_characters = 0
        for i in which:
            token = tokens[i]
            if token:
                trie_add(trie, token, len(token), i)
                n_characters += characters_after_first(token, len(token))
        trie_hasten(trie, n_characters)
        for i in which:
            token = tokens[i]
            trie_note(trie, token, len(token))
        for i in which:
            token = tokens[i]
            trie_pave(trie, token, len(token))
        return 0

    cdef int read_merges(self, merges) except -1:
        cdef int64_t n = 16
        cdef int64_t i
        cdef uint64_t pair
        while n < 2 * len(merges):
            n *= 2
        self.merges = <Merge*>table(n, sizeof(Merge))
        self.merges_mask = n - 1
        for i in range(n):
            self.merges[i].rank = -1
        for a, b, rank, new in merges:
            pair = key_of(a, b)
            i = hash_key(pair) & self.merges_mask
            while self.merges[i].rank >= 0 and self.merges[i].pair != pair:
                i = (i + 1) & self.merges_mask
            self.merges[i] = Merge(pair, rank, new)
        n = 1 << 12
        self.sieve_shift = 52
        while n < 16 * len(merges):
            n *= 2
            self.sieve_shift -= 1
        self.sieve = <uint64_t*>zeroed(n >> 6, sizeof(uint64_t))
        for a, b, _, _ in merges:
            i = key_of(a, b) * MIX >> self.sieve_shift
            self.sieve[i >> 6] |= <uint64_t>1 << (i & 63)
        return 0

    cdef inline int64_t unit(self, const uint8_t* s, int64_t n) noexcept nogil:
        """The size of the symbol that s[:n] begins with, if it is not an atomic one."""
        cdef int size
        if not self.characters:
            return 1
        code_point(s, n, &size)
        return size

    cdef bint can_fall_back(self, const uint8_t* s, int64_t n) noexcept nogil:
        """Whether each of these bytes has a token of its own."""
        cdef int64_t i
        if not self.has_fallback:
            return False
        for i in range(n):
            if self.fallback[s[i]] < 0:
                return False
        return True
