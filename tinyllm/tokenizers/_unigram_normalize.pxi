"""Raw text to the characters that a SentencePiece model cuts, as sentencepiece.SentencePieceNormalizer does it (without
symbols of the user), part by part into a window. Included by _unigram.pyx.
"""

cdef enum:
    LEAF = 1 << 31  # of a unit of a Charsmap's double array
    NO_RULE = 1  # begins with the character
    SOME_RULE = 2


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
    cdef bint plain[128]  # an ASCII character that, before another one, stays as it is

    def __init__(self, bytes units, bytes results, bint prefix, bint squeeze, bint escape, bint suffix):
        cdef uint8_t pair[2]
        cdef int64_t end
        cdef int c, d
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
        for c in range(128):
            self.plain[c] = c != 0x20 and <uint32_t>c != self.space
            for d in range(128):
                pair[0] = c
                pair[1] = d
                if self.units != NULL and self.match(pair, 2, &end) >= 0:
                    self.plain[c] = False

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

    cdef int fill(self, Window* w, Reader* r, const uint8_t* s, int64_t n, int64_t enough) except -1:
        """Read on until the window has `enough` characters, or the text is at its end."""
        cdef int64_t end, left
        cdef int32_t point
        cdef int size
        cdef const uint8_t* new
        make_room(w, max(enough - w.n, 0) + 1)
        while w.n < enough and not r.ended:
            if r.begun:
                while r.at + 1 < n and s[r.at] < 0x80 and s[r.at + 1] < 0x80 and self.plain[s[r.at]] and w.n < enough:
                    if r.held:
                        self.put_spaces(w, r)
                        make_room(w, max(enough - w.n, 0) + 1)
                    append(w, s[r.at], 0)
                    r.after_space = False
                    r.at += 1
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
            append(w, self.space, 0)
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
        append(w, point, 0)
        return 0

    cdef int put_spaces(self, Window* w, Reader* r) except -1:
        make_room(w, r.held)
        while r.held:
            append(w, self.space, 0)
            r.held -= 1
        return 0
