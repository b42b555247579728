"""A set of byte strings with a number each, made once and then only read. Included by _bpe.pyx.

A node is the slot of a hash table that its edge lies in: the edge's parent and byte are the key, so a step costs one
probe, and a node 8 bytes. The first two bytes of a string step at once, by a table.
"""

cdef enum:
    VALUE_BITS = 28  # of a slot: value + 2, or 1 for none, then a bit that says whether the node has edges
    VALUES = (1 << VALUE_BITS) - 1

cdef struct Trie:
    uint64_t* slots  # (parent << 8 | byte) << VALUE_BITS | value; 0: empty
    uint32_t* first  # the node of two bytes, or 0
    int32_t single[256]  # the value of one byte, or -1
    int64_t mask  # slots - 1; the root is numbered mask + 1
    int shift
    int64_t used


cdef inline int64_t trie_find(const Trie* trie, int64_t node, uint64_t byte) noexcept nogil:
    """The node that `byte` leads to from `node`, or 0."""
    cdef uint64_t key = <uint64_t>node << 8 | byte
    cdef uint64_t slot
    cdef int64_t i = (key * MIX) >> trie.shift
    while True:
        slot = trie.slots[i]
        if slot >> VALUE_BITS == key:
            return i
        if slot == 0:
            return 0
        i = (i + 1) & trie.mask


cdef inline int32_t trie_value(const Trie* trie, int64_t node) noexcept nogil:
    """The number of the string that ends at `node`, or -1."""
    return <int32_t>((trie.slots[node] & VALUES) >> 1) - 1


cdef int trie_make(Trie* trie, int64_t n_bytes) except -1:
    """Room for strings of `n_bytes` bytes in all."""
    cdef int64_t n = 1 << 10
    cdef int i
    trie.shift = 54
    while n < n_bytes + n_bytes // 2 + 2:
        n *= 2
        trie.shift -= 1
    if n > 1 << 27:
        raise MemoryError("the tokens have more than 80 MB of text")
    trie.slots = <uint64_t*>zeroed(n, sizeof(uint64_t))
    trie.first = <uint32_t*>zeroed(1 << 16, sizeof(uint32_t))
    trie.mask = n - 1
    trie.used = 0
    trie.slots[0] = <uint64_t>-1  # so that no node is number 0
    for i in range(256):
        trie.single[i] = -1
    return 0


cdef void trie_free(Trie* trie) noexcept:
    free(trie.slots)
    free(trie.first)


cdef void trie_add(Trie* trie, const uint8_t* s, int64_t n, int32_t value) noexcept nogil:
    """Give the string s[:n], n > 0, a number, at most 2^26."""
    cdef int64_t node = trie.mask + 1
    cdef int64_t i, step
    cdef uint64_t key
    for i in range(n):
        step = trie_find(trie, node, s[i])
        if step == 0:
            key = <uint64_t>node << 8 | s[i]
            step = (key * MIX) >> trie.shift
            while trie.slots[step]:
                step = (step + 1) & trie.mask
            trie.slots[step] = key << VALUE_BITS
            trie.used += 1
            if node <= trie.mask:
                trie.slots[node] |= 1
        node = step
        if i == 1:
            trie.first[s[0] << 8 | s[1]] = <uint32_t>node
    trie.slots[node] = trie.slots[node] & ~<uint64_t>(VALUES - 1) | <uint64_t>(value + 1) << 1
    if n == 1:
        trie.single[s[0]] = value


cdef inline int64_t trie_get(const Trie* trie, const uint8_t* s, int64_t n) noexcept nogil:
    """The number of s[:n], or -1."""
    cdef int64_t i = 2
    cdef int64_t node
    if n < 2:
        return trie.single[s[0]] if n else -1
    node = trie.first[s[0] << 8 | s[1]]
    while node and i < n:
        node = trie_find(trie, node, s[i])
        i += 1
    return trie_value(trie, node) if node else -1


cdef inline int32_t trie_longest(const Trie* trie, const uint8_t* s, int64_t n) noexcept nogil:
    """The number of the longest string that s[:n], n > 0, begins with, or -1."""
    cdef int32_t best = trie.single[s[0]]
    cdef int64_t i = 2
    cdef int64_t node
    cdef int64_t slot
    if n < 2:
        return best
    node = trie.first[s[0] << 8 | s[1]]
    while node:
        slot = trie.slots[node] & VALUES
        if slot > 1:
            best = <int32_t>(slot >> 1) - 1
        if i == n or not slot & 1:
            break
        node = trie_find(trie, node, s[i])
        i += 1
    return best
