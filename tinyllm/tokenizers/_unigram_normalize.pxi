"""Raw text to the characters that a SentencePiece model cuts, as sentencepiece.SentencePieceNormalizer does it (without
symbols of the user), part by part into a window. Included by _unigram.pyx.
"""

cdef enum:
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
    cdef const uint32_t* units
    cdef const uint8_t* results
    cdef bint prefix, squeeze, suffix
    cdef uint32_t space  # what a space becomes
    cdef uint8_t* rules  # by code point: NO_RULE, SOME_RULE, or 0: not looked at yet
    cdef uint8_t kinds[128]  # of an ASCII character before another one

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

    cdef inline uint8_t kind_of(self, const uint8_t* s, int64_t n, int64_t at) noexcept:
        """PLAIN or BLANK, if that is sure: of an ASCII character before another one, or at the end."""
        return self.kinds[s[at]] if s[at] < 0x80 and (at + 1 == n or s[at + 1] < 0x80) else 0

    cdef bint begins_rule(self, const uint8_t* s, int32_t point, int size) noexcept:
        """Whether a rule may begin with the character at s."""
        cdef int64_t base
        cdef int k
        cdef uint32_t unit
        if self.rules[point] == 0:
            self.rules[point] = SOME_RULE
            base = offset_of(self.units[0])
            for k in range(size):
                base ^= s[k]
                unit = self.units[base]
                if unit & (<uint32_t>LEAF | 0xFF) != s[k]:
                    self.rules[point] = NO_RULE
                    break
                base ^= offset_of(unit)
        return self.rules[point] == SOME_RULE

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
                while w.n < enough and r.at + 2 < n:
                    new = s + r.at
                    if new[0] < 0x80:
                        if new[1] >= 0x80 or self.kinds[new[0]] != PLAIN:
                            break
                        point = new[0]
                        size = 1
                    else:
                        point = code_point(new, n - r.at, &size)
                        if point < 0 or self.rules[point] != NO_RULE or point == SYMBOL:
                            break
                    if r.held:
                        self.put_spaces(w, r)
                        make_room(w, max(enough - w.n, 0) + 1)
                    append(w, point)
                    r.after_space = False
                    r.at += size
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
