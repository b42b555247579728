"""What became of stretches of ASCII text met before. Included by _unigram.pyx.

Between two characters that no piece has next to each other all ways have a place in common. A stretch between two such
places has the same best way in every text, but for rounding. So stretches are kept with the margin by which their best
way wins over the second best, and used where no rounding of the sum so far can be as large.
"""

cdef enum:
    KEY = 22  # bytes of the longest stretch that is kept
    IDS = 6
    CACHED = 1 << 14  # stretches


cdef struct Back:  # the last piece of the best way to a place
    int32_t length
    int32_t token


cdef struct Stretch:  # one cache line
    uint8_t size  # 0: empty
    uint8_t n_ids  # 0: it has no best way that could be kept
    uint8_t key[KEY]  # its first byte is 1 if U+2581 comes before the others, else 0
    float margin
    float score  # of the best way
    int32_t ids[IDS]
    uint64_t unused


cdef class StretchCache:
    """Newer stretches take the place of older ones."""

    cdef Trie trie
    cdef const Costs* costs
    cdef double least  # of all scores
    cdef Stretch* stretches
    cdef uint8_t joined[128 * 128]  # whether a piece has these two ASCII characters next to each other
    cdef int32_t alone[128]  # the piece that is this character, or -1

    def __cinit__(self, Trie trie, list tokens):
        cdef const uint8_t* s
        cdef bytes token
        cdef int64_t i
        self.trie = trie
        self.stretches = <Stretch*>zeroed(CACHED, sizeof(Stretch))
        memset(self.alone, 0xFF, sizeof(self.alone))
        for token_id, piece in enumerate(tokens):
            if piece is None:
                continue
            token = piece
            s = token
            if len(token) == 1 and s[0] < 0x80:
                self.alone[s[0]] = token_id
            for i in range(len(token) - 1):
                if s[i] < 0x80 and s[i + 1] < 0x80:
                    self.joined[s[i] * 128 + s[i + 1]] = True

    def __dealloc__(self):
        free(self.stretches)

    cdef int take_known(self, Window* w, Normalizer normalizer, Reader* r, const uint8_t* s, int64_t n) except -1:
        """Go over all stretches that are known, or soon are, while the window is empty; their ids leave it."""
        cdef int64_t start, end, limit, i
        cdef uint8_t kind
        cdef int32_t token
        cdef const Stretch* stretch
        cdef const double* scores = self.costs.scores
        cdef bint float32 = self.costs.float32
        cdef double sum = (<float*>w.best)[0] if float32 else (<double*>w.best)[0]
        cdef double rounding = 2.0**-22 if float32 else 2.0**-51
        reserve(w, FULL + KEY)
        while r.held == r.after_space and w.n_ids < FULL:  # no space, or one that came from spaces
            start = r.at
            if r.held:
                while start < n and normalizer.kind_of(s, n, start) == BLANK:
                    start += 1
            if start >= n or normalizer.kind_of(s, n, start) != PLAIN:
                break
            end = start + 1
            limit = min(n, start + KEY)
            while end < limit and normalizer.joined[s[end - 1] << 8 | s[end]]:
                end += 1
            kind = normalizer.kind_of(s, n, end) if end < n else PLAIN
            if end - start >= KEY or kind == 0:
                break
            token = self.alone[s[start]]
            if end - start == 1 and not r.held and token >= 0:
                sum += scores[token]
                if float32:
                    sum = <float>sum
                w.ids[w.n_ids] = token
                w.n_ids += 1
            else:
                stretch = self.find(s + start, end - start, r.held)
                if stretch.n_ids == 0 or not stretch.margin > -rounding * (end - start + 1) * (sum + stretch.score):
                    break
                if sum + (KEY + 1) * self.least < -RESET:
                    break
                for i in range(stretch.n_ids):
                    sum += scores[stretch.ids[i]]
                    if float32:
                        sum = <float>sum
                    w.ids[w.n_ids + i] = stretch.ids[i]
                w.n_ids += stretch.n_ids
            w.after_unknown = False
            r.at = end
            r.held = r.after_space = end < n and kind == BLANK
            r.at += r.held
            if end == n:
                break
        if float32:
            (<float*>w.best)[0] = <float>sum
        else:
            (<double*>w.best)[0] = sum
        return 0

    cdef inline const Stretch* find(self, const uint8_t* s, int64_t n, bint space) noexcept:
        """The stretch of n bytes, 1 to KEY - 1."""
        cdef Stretch* found = &self.stretches[hash_bytes(s, n, space) & (CACHED - 1)]
        if found.size != n or found.key[0] != space or not same_bytes(found.key + 1, s, n):
            self.learn(found, s, n, space)
        return found

    cdef void learn(self, Stretch* stretch, const uint8_t* s, int64_t n, bint space) noexcept:
        cdef const Unit* units = self.trie.units
        cdef int32_t codes[KEY + 1]
        cdef double best[KEY + 1]
        cdef double second[KEY + 1]
        cdef Back back[KEY + 1]
        cdef int64_t at, to
        cdef int32_t unit, child
        cdef int64_t n_ids = 0
        cdef double lost = -1e30
        stretch.size = <uint8_t>n
        stretch.n_ids = 0
        stretch.key[0] = space
        memcpy(stretch.key + 1, s, n)
        codes[0] = self.trie.codes[SYMBOL]
        for at in range(n):
            codes[at + space] = self.trie.codes[s[at]]
        n += space
        codes[n] = 0
        for at in range(n + 1):
            best[at] = second[at] = lost
        best[0] = 0
        for at in range(n):
            unit = 0
            to = at
            while True:
                child = units[unit].base + codes[to]
                if units[child].parent != unit:
                    break
                unit = child
                to += 1
                if units[unit].token >= 0:
                    arrive_twice(best, second, back, at, to, self.costs.scores[units[unit].token], units[unit].token)
                elif to == at + 1:
                    arrive_twice(best, second, back, at, to, self.costs.unknown_score, -1)
            if to == at:
                arrive_twice(best, second, back, at, at + 1, self.costs.unknown_score, -1)
        stretch.score = <float>best[n]
        stretch.margin = <float>(best[n] - second[n])
        at = n
        while at:
            n_ids += 1
            if n_ids > IDS or back[at].token < 0:
                return
            at -= back[at].length
        at = n
        stretch.n_ids = <uint8_t>n_ids
        while at:
            n_ids -= 1
            stretch.ids[n_ids] = back[at].token
            at -= back[at].length


cdef inline void arrive_twice(
    double* best, double* second, Back* back, int64_t at, int64_t to, double score, int32_t token
) noexcept:
    """The two best ways to `to`, now that there is this arc."""
    if best[at] + score > best[to]:
        second[to] = max(best[to], second[at] + score)
        best[to] = best[at] + score
        back[to] = Back(<int32_t>(to - at), token)
    else:
        second[to] = max(second[to], best[at] + score)
