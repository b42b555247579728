"""SentencePiece's character rules over bytes, for compiled pipelines: the same as charsmap.py's `Charsmap.match`.

    cdef Rules rules
    rules_read(&rules, table)                           # `table` (bytes, checked by charsmap.charsmap) must outlive it
    size = rules_at(&rules, s, n, &new, &new_size)      # one place: bytes that it consumes, and what they become
    length = rules_apply(&rules, s, n, &out, 0, &capacity)   # a whole text, written to a block that grows

At each place the longest rule that ends with a character; without one the character itself. A byte that is no UTF-8
is consumed alone and becomes U+FFFD. Not here: spaces, the prefix, symbols of the user.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcpy, memset

from tinyllm.tokenizers._shared cimport code_point, grown

cdef extern from *:
    """
    #define LEAF 0x80000000U
    #define TRIE_OFFSET(unit) (((unit) >> 10) << (((unit) & 0x200) >> 6))
    static const unsigned char REPLACEMENT[3] = {0xEF, 0xBF, 0xBD};
    """
    const uint32_t LEAF
    uint32_t TRIE_OFFSET(uint32_t unit)
    const uint8_t REPLACEMENT[3]

cdef struct Rules:
    const uint32_t* units
    const uint8_t* results
    int64_t n_results
    uint8_t plain[256]  # whether this byte of ASCII before another of ASCII (or the end) stays as it is


cdef void rules_read(Rules* rules, const uint8_t* table, int64_t size) noexcept:
    """Points `rules` into the table; nothing is copied. Without a table (size 0) nothing changes."""
    cdef uint32_t trie = 0, root, base, unit
    cdef int c, after
    memset(rules, 0, sizeof(Rules))
    memset(rules.plain, 1, 128)
    if size == 0:
        return
    memcpy(&trie, table, 4)
    rules.units = <const uint32_t*> (table + 4)
    rules.results = table + 4 + trie
    rules.n_results = size - 4 - trie
    root = TRIE_OFFSET(rules.units[0])
    for c in range(1, 128):
        unit = rules.units[root ^ c]
        if unit & (LEAF | 0xFF) != <uint32_t> c:
            continue
        base = root ^ c ^ TRIE_OFFSET(unit)
        rules.plain[c] = not unit & 0x100
        for after in range(1, 128):
            if rules.units[base ^ after] & (LEAF | 0xFF) == <uint32_t> after:
                rules.plain[c] = 0


cdef inline int64_t rules_at(
    const Rules* rules, const uint8_t* s, int64_t n, const uint8_t** new, int64_t* new_size
) noexcept:
    """The bytes that the rule at s (of which n > 0 bytes are there) consumes, and what they become."""
    cdef int size
    cdef int64_t done = 0, found = 0, i
    cdef uint32_t base, unit = 0, at = 0
    cdef const uint8_t* end
    if code_point(s, n, &size) < 0:
        new[0] = REPLACEMENT
        new_size[0] = 3
        return 1
    new[0] = s
    new_size[0] = size
    if rules.units == NULL:
        return size
    found = size
    base = TRIE_OFFSET(rules.units[0])
    while done < n and code_point(s + done, n - done, &size) >= 0:
        for i in range(size):
            base ^= s[done + i]
            unit = rules.units[base]
            if unit & (LEAF | 0xFF) != s[done + i]:
                break
            base ^= TRIE_OFFSET(unit)
        else:
            done += size
            if unit & 0x100:
                at = rules.units[base] & ~LEAF
                end = <const uint8_t*> memchr(rules.results + at, 0, rules.n_results - at)
                new[0] = rules.results + at
                new_size[0] = (end if end != NULL else rules.results + rules.n_results) - new[0]
                found = done
            continue
        break
    return found


cdef int64_t rules_apply(
    const Rules* rules, const uint8_t* s, int64_t n, uint8_t** out, int64_t length, int64_t* capacity
) except -1:
    """Appends the text to `out`, which has `length` bytes and room for `capacity`; the new length."""
    cdef int64_t i = 0, run, size = 0
    cdef const uint8_t* new = NULL
    while i < n:
        run = i
        while run < n and rules.plain[s[run]]:
            run += 1
        if run > i and run < n and s[run] >= 0x80:
            run -= 1  # that one may begin a rule with what follows
        out[0] = <uint8_t*> grown(out[0], capacity, length + run - i + 1, 1)
        if run > i:
            memcpy(out[0] + length, s + i, run - i)
            length += run - i
            i = run
            if i == n:
                break
        i += rules_at(rules, s + i, n - i, &new, &size)
        out[0] = <uint8_t*> grown(out[0], capacity, length + size, 1)
        memcpy(out[0] + length, new, size)
        length += size
    return length
