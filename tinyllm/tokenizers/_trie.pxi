"""A set of byte strings with a number each, made once and then only read. Included by _bpe.pyx.

A node is the slot of a hash table that its edge lies in: the edge's parent and byte are the key, so a step costs one
probe, and a node 8 bytes. Three shortcuts save most of the steps: from the root by two bytes or by a character of three,
and from any node by a character of three. Each node knows the longest string on the way to it.
"""

cdef enum:
    EDGES = 1  # a bit of a slot: the node has edges
    ENDS = 2  # a string ends here
    PARTS = 4  # strings go on from here by a part of a character of three bytes, and end
    FLAG_BITS = 3
    VALUE_BITS = 28  # of a slot: flags, and the number of the longest string on the way + 1
    VALUES = (1 << VALUE_BITS) - 1

cdef struct Jump:
    uint64_t key  # node << 16 | character
    uint32_t node  # where it leads; 0: nowhere, or empty
    uint32_t value  # and flags, of that node

cdef struct Trie:
    uint64_t* slots  # (parent << 8 | byte) << VALUE_BITS | value and flags; 0: empty
    uint32_t* two  # the node of two bytes, or 0
    Jump* three  # of a character of three bytes, from the root
    Jump* jumps  # of a character of three bytes, from any other node
    int32_t single[256]  # the number of one byte, or -1
    int64_t mask  # slots - 1; the root is numbered mask + 1
    int64_t jumps_mask
    int shift, jumps_shift
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


cdef inline Jump* trie_jump(const Trie* trie, int64_t node, uint64_t character) noexcept nogil:
    """Where a character of three bytes leads to from `node`, or the empty place for it."""
    cdef uint64_t key = <uint64_t>node << 16 | character
    cdef int64_t i = (key * MIX) >> trie.jumps_shift
    while trie.jumps[i].node and trie.jumps[i].key != key:
        i = (i + 1) & trie.jumps_mask
    return &trie.jumps[i]


cdef inline int32_t three_bytes(const uint8_t* s, int64_t n) noexcept nogil:
    """The lower bits of three bytes that look like a character, which they can be told by, or -1."""
    if n < 3 or s[0] & 0xF0 != 0xE0 or s[1] & 0xC0 != 0x80 or s[2] & 0xC0 != 0x80:
        return -1
    return (s[0] & 0x0F) << 12 | (s[1] & 0x3F) << 6 | s[2] & 0x3F


cdef inline int32_t trie_value(const Trie* trie, int64_t node) noexcept nogil:
    """The number of the string that ends at `node`, or -1."""
    cdef int32_t value = <int32_t>((trie.slots[node] & VALUES) >> FLAG_BITS) - 1
    return value if trie.slots[node] & ENDS else -1


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
    trie.slots = <uint64_t*>table(n, sizeof(uint64_t))
    trie.two = <uint32_t*>zeroed(1 << 16, sizeof(uint32_t))
    trie.three = trie.jumps = NULL
    trie.mask = n - 1
    trie.used = 0
    trie.slots[0] = <uint64_t>-1  # so that no node is number 0
    for i in range(256):
        trie.single[i] = -1
    return 0


cdef void trie_free(Trie* trie) noexcept:
    free(trie.slots)
    free(trie.two)
    free(trie.three)
    free(trie.jumps)


cdef void trie_add(Trie* trie, const uint8_t* s, int64_t n, int32_t value) noexcept nogil:
    """Give the string s[:n], n > 0, a number, at most 2^24."""
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
                trie.slots[node] |= EDGES
        node = step
        if i == 1:
            trie.two[s[0] << 8 | s[1]] = <uint32_t>node
    trie.slots[node] = trie.slots[node] >> VALUE_BITS << VALUE_BITS | trie.slots[node] & (EDGES | PARTS) | ENDS
    trie.slots[node] |= <uint64_t>(value + 1) << FLAG_BITS
    if n == 1:
        trie.single[s[0]] = value


cdef int64_t characters_after_first(const uint8_t* s, int64_t n) noexcept nogil:
    """How many shortcuts the string needs at most."""
    cdef int64_t i
    cdef int64_t found = 0
    for i in range(1, n):
        found += three_bytes(s + i, n - i) >= 0
    return found


cdef int trie_hasten(Trie* trie, int64_t n_characters) except -1:
    """Room for this many shortcuts. Then `trie_note` each string, and then `trie_pave` each."""
    cdef int64_t n = 1 << 10
    trie.jumps_shift = 54
    while n < n_characters + n_characters // 4:
        n *= 2
        trie.jumps_shift -= 1
    trie.jumps_mask = n - 1
    trie.jumps = <Jump*>table(n, sizeof(Jump))
    trie.three = <Jump*>zeroed(1 << 16, sizeof(Jump))
    return 0


cdef void trie_note(Trie* trie, const uint8_t* s, int64_t n) noexcept nogil:
    """Note along a string which string was the longest so far, and where it ends within a character."""
    cdef int64_t node = trie.mask + 1
    cdef int64_t i
    cdef uint64_t best = 0
    for i in range(n):
        if i > 0 and s[i] & 0xF0 == 0xE0 and three_bytes(s + i, n - i) < 0:
            trie.slots[node] |= PARTS
        node = trie_find(trie, node, s[i])
        if trie.slots[node] & ENDS:
            best = trie.slots[node] & (VALUES - (EDGES | ENDS | PARTS))
        else:
            trie.slots[node] |= best


cdef void trie_pave(Trie* trie, const uint8_t* s, int64_t n) noexcept nogil:
    """Lay the shortcuts along a string."""
    cdef int64_t node = trie.mask + 1
    cdef int64_t after, i, j
    cdef int32_t character
    cdef Jump* jump
    for i in range(n):
        character = three_bytes(s + i, n - i)
        if character >= 0:
            after = node
            for j in range(3):
                after = trie_find(trie, after, s[i + j])
            jump = &trie.three[character] if i == 0 else trie_jump(trie, node, character)
            jump.key = <uint64_t>node << 16 | character
            jump.node = <uint32_t>after
            jump.value = <uint32_t>(trie.slots[after] & VALUES)
        node = trie_find(trie, node, s[i])


cdef inline int64_t trie_get(const Trie* trie, const uint8_t* s, int64_t n) noexcept nogil:
    """The number of s[:n], or -1."""
    cdef int64_t i = 2
    cdef int64_t node
    if n < 2:
        return trie.single[s[0]] if n else -1
    node = trie.two[s[0] << 8 | s[1]]
    while node and i < n:
        node = trie_find(trie, node, s[i])
        i += 1
    return trie_value(trie, node) if node else -1


cdef inline int32_t trie_longest(const Trie* trie, const uint8_t* s, int64_t n, int64_t* size) noexcept nogil:
    """The number of the longest string that s[:n], n > 0, begins with, or -1. All strings are paved.

    size[0] is its size if that is known without asking for it, else 0.
    """
    cdef int64_t i = 3
    cdef int64_t node = 0
    cdef int64_t step
    cdef uint32_t value = 0
    cdef Jump* jump
    cdef int32_t character = three_bytes(s, n)
    if character >= 0:
        node = trie.three[character].node
        value = trie.three[character].value
    if node == 0:
        i = 2
        node = trie.two[s[0] << 8 | s[1]] if n > 1 else 0
        if node == 0:
            size[0] = 1
            return trie.single[s[0]]
        value = trie.slots[node] & VALUES
    while i < n and value & EDGES:
        character = three_bytes(s + i, n - i)
        if character >= 0:
            jump = trie_jump(trie, node, character)
            if jump.node:
                node = jump.node
                value = jump.value
                i += 3
                continue
            if not value & PARTS:
                break
        step = trie_find(trie, node, s[i])
        if step == 0:
            break
        node = step
        value = trie.slots[node] & VALUES
        i += 1
    size[0] = i if value & ENDS else 0
    return <int32_t>(value >> FLAG_BITS) - 1
