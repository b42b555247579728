"""What the compiled cores share: hashing, growing blocks of memory, and stepping through UTF-8.

Everything is inline, so each core has its own copy and none needs another at run time. All tables of the cores are
open addressing with linear probing and a power of two of slots, and inside there are only C arrays, no loop over
Python objects, so that building against the limited API costs no speed.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, realloc
from libc.string cimport memcpy

cdef extern from *:
    """
    #define MIX 0x9E3779B97F4A7C15ULL /* 2^64 / golden ratio */
    """
    const uint64_t MIX


cdef inline uint64_t hash_bytes(const uint8_t* s, int64_t n, uint64_t seed) noexcept nogil:
    """Of n bytes, eight at a time; the last ones in two reads that may overlap, so that short words need no loop."""
    cdef uint64_t h = seed ^ <uint64_t>n * MIX
    cdef uint64_t word
    cdef uint32_t low, high
    while n > 8:
        memcpy(&word, s, 8)
        h = (h ^ word) * MIX
        h ^= h >> 29
        s += 8
        n -= 8
    if n >= 4:
        memcpy(&low, s, 4)
        memcpy(&high, s + n - 4, 4)
        word = <uint64_t>high << 32 | low
    elif n > 0:
        word = s[0] | <uint64_t>s[n >> 1] << 8 | <uint64_t>s[n - 1] << 16
    else:
        word = 0
    h = (h ^ word) * MIX
    return h ^ h >> 32


cdef inline uint64_t key_of(int32_t a, int32_t b) noexcept nogil:
    """Two ids as one number, in the order of the first and then the second."""
    return <uint64_t><uint32_t>a << 32 | <uint32_t>b


cdef inline uint64_t hash_key(uint64_t key) noexcept nogil:
    key *= MIX
    return key ^ key >> 32


cdef inline bint same_bytes(const uint8_t* s, const uint8_t* t, int64_t n) noexcept nogil:
    """Whether n bytes are the same, read as `hash_bytes` reads them: for short words a call of memcmp costs more."""
    cdef uint64_t x, y
    cdef uint32_t v, w
    while n > 8:
        memcpy(&x, s, 8)
        memcpy(&y, t, 8)
        if x != y:
            return False
        s += 8
        t += 8
        n -= 8
    if n >= 4:
        memcpy(&v, s, 4)
        memcpy(&w, t, 4)
        if v != w:
            return False
        memcpy(&v, s + n - 4, 4)
        memcpy(&w, t + n - 4, 4)
        return v == w
    return n == 0 or (s[0] == t[0] and s[n >> 1] == t[n >> 1] and s[n - 1] == t[n - 1])


cdef inline void* grown(void* block, int64_t* capacity, int64_t needed, size_t size) except NULL:
    """`block`, of capacity[0] elements of `size` bytes, with room for `needed`; it at least doubles."""
    if needed <= capacity[0] and block != NULL:  # never NULL: even 0 bytes are copied to somewhere
        return block
    cdef int64_t more = max(needed, 2 * capacity[0], 4)
    cdef void* moved = realloc(block, more * size)
    if moved == NULL:
        raise MemoryError(f"no {more * size} bytes for the tokenizer's tables")
    capacity[0] = more
    return moved


cdef inline bint room(void** block, int64_t* capacity, int64_t needed, size_t size) noexcept nogil:
    """As `grown`, but for code without the GIL: false if there is no memory, and it grows by a half at least."""
    cdef int64_t more
    cdef void* moved
    if needed <= capacity[0]:
        return True
    more = max(needed, capacity[0] + capacity[0] // 2, 64)
    moved = realloc(block[0], more * size)
    if moved == NULL:
        return False
    block[0] = moved
    capacity[0] = more
    return True


cdef inline void* zeroed(int64_t count, size_t size) except NULL:
    cdef void* block = calloc(max(count, 1), size)
    if block == NULL:
        raise MemoryError(f"no {count * size} bytes for the tokenizer's tables")
    return block


cdef inline int32_t code_point(const uint8_t* s, int64_t n, int* size) noexcept nogil:
    """The character at s, of which n > 0 bytes are there, and its size in bytes; -1 and 1 for a byte that starts no
    well-formed UTF-8 (nothing overlong, no surrogates).
    """
    cdef int c = s[0]
    size[0] = 1
    if c < 0x80:
        return c
    if c < 0xC2 or n < 2 or s[1] & 0xC0 != 0x80:
        return -1
    if c < 0xE0:
        size[0] = 2
        return (c & 0x1F) << 6 | s[1] & 0x3F
    if c < 0xF0:
        if n < 3 or s[2] & 0xC0 != 0x80 or (c == 0xE0 and s[1] < 0xA0) or (c == 0xED and s[1] >= 0xA0):
            return -1
        size[0] = 3
        return (c & 0x0F) << 12 | (s[1] & 0x3F) << 6 | s[2] & 0x3F
    if (c > 0xF4 or n < 4 or s[2] & 0xC0 != 0x80 or s[3] & 0xC0 != 0x80
            or (c == 0xF0 and s[1] < 0x90) or (c == 0xF4 and s[1] >= 0x90)):
        return -1
    size[0] = 4
    return (c & 0x07) << 18 | (s[1] & 0x3F) << 12 | (s[2] & 0x3F) << 6 | s[3] & 0x3F
