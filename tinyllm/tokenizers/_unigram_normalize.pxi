"""Raw text to the characters that a SentencePiece model cuts, as sentencepiece.SentencePieceNormalizer does it (without
symbols of the user), part by part into a window. Included by _unigram.pyx.
"""

cdef enum:
    SOONER = 1 << 17  # code points below may be ready
    LEAF = 1 << 31  # of a unit of a Charsmap's double array
    NO_RULE = 1  # begins with the character
    SOME_RULE = 2
    PLAIN = 1  # stays as it is
    BLANK = 2  # becomes a space


cdef struct Reader:
    int64_t at  # the byte to read next
    int64_t held  # spaces that are dropped if nothing comes after them
    bint begun
    bint after_space
    bint ended


cdef inline int64_t offset_of(uint32_t unit) noexcept:
    return <int64_t>(unit >> 10) << ((unit & 0x200) >> 6)


cdef class Normalizer:
    """`units` and `results` of a Charsmap (checked there; empty: no rules), and SentencePieceNormalizer's flags."""

    cdef bytes unit_bytes, result_bytes
    cdef Trie trie
    cdef const uint32_t* units
    cdef const uint8_t* results
    cdef bint prefix, squeeze, suffix
    cdef uint32_t space  # what a space becomes
    cdef uint8_t* rules  # by code point: NO_RULE, SOME_RULE, or 0: not looked at yet
    cdef uint8_t kinds[128]  # of an ASCII character before another one
    cdef uint8_t joined[128 * 256]  # whether a piece has the ASCII character next to this byte, another that is PLAIN
    cdef int32_t* ready  # by code point below SOONER: its code in the trie, if nothing more is to be done; else -1

    def __init__(self, bytes units, bytes results, bint prefix, bint squeeze, bint escape, bint suffix):
        cdef uint8_t pair[2]
        cdef int64_t end
        cdef int c, d
        cdef int64_t found
        cdef bint blank
        if self.rules != NULL:
            raise RuntimeError("made twice")
        self.unit_bytes = units
        self.result_bytes = results
        self.units = <const uint32_t*><const uint8_t*>units if units else NULL
        self.results = results
        self.prefix = prefix
        self.squeeze = squeeze
        self.suffix = suffix
        self.space = SYMBOL if escape else 0x20
        self.rules = <uint8_t*>zeroed(POINTS, 1)
        self.ready = <int32_t*>zeroed(SOONER, sizeof(int32_t))
        memset(self.ready, 0xFF, SOONER * sizeof(int32_t))
        if self.units == NULL:
            memset(self.rules, NO_RULE, POINTS)
        for c in range(128):
            self.kinds[c] = BLANK if c == 0x20 else PLAIN
            pair[0] = c
            for d in range(128 if self.units != NULL else 0):
                pair[1] = d
                found = self.match(pair, 2, &end)
                if found >= 0:
                    blank = end == 1 and self.results[found] == 0x20 and self.results[found + 1] == 0
                    self.kinds[c] = BLANK if blank and (d == 0 or self.kinds[c] == BLANK) else 0

    def __dealloc__(self):
        free(self.rules)
        free(self.ready)

    cdef int64_t match(self, const uint8_t* s, int64_t n, int64_t* end) noexcept:
        """Where the result of the longest rule that s begins with lies, and where the rule ends; -1 if there is none."""
        cdef int64_t base = offset_of(self.units[0])
        cdef int64_t found = -1
        cdef int64_t at = 0
        cdef int64_t k
        cdef int size
        cdef uint32_t unit = 0
        while at < n and code_point(s + at, n - at, &size) >= 0:
            for k in range(at, at + size):
                base ^= s[k]
                unit = self.units[base]
                if unit & (<uint32_t>LEAF | 0xFF) != s[k]:
                    return found
                base ^= offset_of(unit)
            at += size
            if unit & 0x100:
                found = self.units[base] & ~<uint32_t>LEAF
                end[0] = at
        return found

    cdef void bind(self, Trie trie, StretchCache cache) noexcept:
        """To the pieces that the text is cut into."""
        cdef int32_t point, other
        self.trie = trie
        for point in range(128 if cache is not None else 0):
            for other in range(128):
                self.joined[point << 8 | other] = cache.joined[point << 7 | other] and self.kinds[other] == PLAIN
        for point in range(SOONER if self.units == NULL else 128):
            if point != SYMBOL and (point >= 128 or self.kinds[point] == PLAIN):
                self.ready[point] = trie.codes[point]

    cdef inline uint8_t kind_of(self, const uint8_t* s, int64_t n, int64_t at) noexcept:
        """PLAIN or BLANK, if that is sure: of an ASCII character before another one, or at the end."""
        return self.kinds[s[at]] if s[at] < 0x80 and (at + 1 == n or s[at + 1] < 0x80) else 0

    cdef bint begins_rule(self, const uint8_t* s, int32_t point, int size) noexcept:
        """Whether a rule may begin with the character at s."""
        cdef int64_t base
        if self.rules[point] == 0:
            base = self.follow(s, size)
            self.rules[point] = SOME_RULE if base >= 0 else NO_RULE
            if 0x80 <= point < SOONER and point != SYMBOL:
                self.ready[point] = self.trie.codes[point] if base < 0 else self.replaced(s, size, base)
        return self.rules[point] == SOME_RULE

    cdef int64_t follow(self, const uint8_t* s, int size) noexcept:
        """Where the rules go on that begin with these bytes; -1 if none does."""
        cdef int64_t base = offset_of(self.units[0])
        cdef int k
        cdef uint32_t unit
        for k in range(size):
            base ^= s[k]
            unit = self.units[base]
            if unit & (<uint32_t>LEAF | 0xFF) != s[k]:
                return -1
            base ^= offset_of(unit)
        return base

    cdef int32_t replaced(self, const uint8_t* s, int size, int64_t base) noexcept:
        """The code of the character that this one always becomes, if that is a piece by itself; else -1.

        What isn't is unknown, and then it must be told which character it was.
        """
        cdef const Unit* units = self.trie.units
        cdef int64_t end
        cdef int64_t found = self.match(s, size, &end)
        cdef int64_t left = 0
        cdef int32_t point, code
        cdef int k
        for k in range(1, 256):
            if self.units[base ^ k] & (<uint32_t>LEAF | 0xFF) == <uint32_t>k:
                return -1  # a longer rule
        if found < 0 or self.results[found] == 0:
            return -1
        while self.results[found + left]:
            left += 1
        point = code_point(self.results + found, left, &k)
        if k < left or point < 0 or point == 0x20 or point == SYMBOL:
            return -1
        code = self.trie.codes[point]
        k = units[0].base + code
        return code if code and units[k].parent == 0 and units[k].token >= 0 else -1

    cdef int fill(self, Window* w, Reader* r, const uint8_t* s, int64_t n, int64_t enough, bint one_word) except -1:
        """Read on until the window has `enough` characters, or the text is at its end; or, with `one_word`, until a
        space is held back after a word.
        """
        cdef int64_t end, left
        cdef int32_t point
        cdef int size
        cdef const uint8_t* new
        make_room(w, max(enough - w.n, 0) + 1)
        while w.n < enough and not r.ended and not (one_word and r.held and w.n):
            if r.begun:
                self.fill_ready(w, r, s, n, enough)
                if w.n >= enough:
                    break
            if r.at >= n:
                self.finish(w, r)
                break
            point = code_point(s + r.at, n - r.at, &size)
            new = s + r.at
            left = size
            end = size
            if point < 0:
                new = <const uint8_t*>"\xef\xbf\xbd"
                left = 3
            elif self.units != NULL and self.begins_rule(new, point, size):
                point = <int32_t>self.match(s + r.at, n - r.at, &end)
                if point >= 0:
                    new = self.results + point
                    left = 0
                    while new[left]:
                        left += 1
            r.at += end
            if not r.begun:
                if self.squeeze and left == 1 and new[0] == 0x20:
                    continue
                self.begin(w, r)
            self.put(w, r, new, left)
            make_room(w, max(enough - w.n, 0) + 1)
        return 0

    cdef int fill_ready(self, Window* w, Reader* r, const uint8_t* s, int64_t n, int64_t enough) except -1:
        """Read on over characters that are known to stay as they are."""
        cdef int64_t at = r.at
        cdef int64_t i, stop
        cdef int32_t point, code
        cdef int size
        cdef int32_t* tokens
        if at + 2 < n and r.held and self.ready_at(s, n, at, &size, &point) >= 0:
            self.put_spaces(w, r)
            make_room(w, max(enough - w.n, 0) + 1)
        elif r.held:
            return 0
        i = w.n - w.base
        stop = enough - w.base
        tokens = w.tokens + w.n - i
        while i < stop and at + 2 < n:
            code = self.ready_at(s, n, at, &size, &point)
            if code < 0:
                break
            w.points[i] = point
            w.codes[i] = code
            i += 1
            tokens[i] = NO_WAY
            at += size
        if at > r.at:
            r.after_space = False
        w.codes[i] = 0
        w.n = i + w.base
        r.at = at
        return 0

    cdef inline int32_t ready_at(self, const uint8_t* s, int64_t n, int64_t at, int* size, int32_t* point) noexcept:
        """The code of the character at s[at], which isn't the last but one, if it stays as it is; else -1."""
        s += at
        if s[0] < 0x80:
            point[0] = s[0]
            size[0] = 1
            return self.ready[s[0]] if s[1] < 0x80 else -1
        point[0] = code_point(s, n - at, size)
        return self.ready[point[0]] if 0 <= point[0] < SOONER else -1

    cdef bint makes_words(self) noexcept:
        """Whether words have one U+2581 before them."""
        return self.squeeze and self.space == SYMBOL

    cdef int begin(self, Window* w, Reader* r) except -1:
        r.begun = True
        r.after_space = self.squeeze
        if self.prefix and not self.suffix:
            self.put_point(w, r, self.space)
        return 0

    cdef int finish(self, Window* w, Reader* r) except -1:
        r.ended = True
        r.held = 0
        if r.begun and self.prefix and self.suffix:
            make_room(w, 1)
            append(w, self.space)
        return 0

    cdef int put(self, Window* w, Reader* r, const uint8_t* new, int64_t left) except -1:
        """The text that a unit of the original became."""
        cdef int32_t point
        cdef int size
        while r.after_space and left and new[0] == 0x20:
            new += 1
            left -= 1
        if left:
            r.after_space = self.squeeze and new[left - 1] == 0x20
        while left:
            point = code_point(new, left, &size)
            self.put_point(w, r, self.space if point == 0x20 else <uint32_t>point)
            new += size
            left -= size
        return 0

    cdef int put_point(self, Window* w, Reader* r, uint32_t point) except -1:
        if self.squeeze and point == self.space:
            r.held += 1
            return 0
        self.put_spaces(w, r)
        make_room(w, 1)
        append(w, point)
        return 0

    cdef int put_spaces(self, Window* w, Reader* r) except -1:
        make_room(w, r.held)
        while r.held:
            append(w, self.space)
            r.held -= 1
        return 0
