"""Merging the symbols of one piece, as reference/bpe_encode.py does it. Included by _bpe.pyx.

Nothing here touches a Python object, so all of it runs without the GIL: what changes while a text is encoded is in a
`Work`, of which each thread that is encoding has its own. Functions that need memory return -1 if there is none.
"""

cdef enum:
    UNKNOWN = -1  # an unknown character until the end, where they are resolved late
    DEAD = -2  # merged into the symbol to the left
    FROZEN = 1 << 30  # added to an id that takes part in no merge
    SHORT = 40  # symbols; more of them take the heap
    KEY = 15  # bytes of the longest piece that is cached
    CACHED = 4  # tokens of the longest encoding that is cached
    CACHE_BITS = 17  # pieces
    PAIR_BITS = 18  # neighbours


cdef struct Merge:
    uint64_t pair  # left id << 32 | right id
    int32_t rank  # -1: empty
    int32_t new


cdef struct Cached:  # half a cache line
    uint64_t low, high  # the bytes of a piece, and its length as the last byte; 0: empty
    int32_t ids[CACHED]  # -1 after the last


cdef struct Work:
    Work* next  # in the list of those that nobody uses
    Cached* cache
    int64_t cache_mask
    uint64_t* pairs  # a cache of which neighbours can be: (left << 27 | right) << 1 | answer
    int32_t* out
    int32_t* widths  # of `out`, if asked for
    int64_t out_size, out_capacity, widths_capacity
    bint with_widths
    double dropout
    uint64_t random
    # the symbols of a piece and its links, in what takes the heap
    int32_t* ids
    int32_t* sizes
    int32_t* before
    int32_t* after
    int64_t n, ids_capacity, sizes_capacity, before_capacity, after_capacity
    uint64_t* heap  # rank << 32 | position: the lowest rank first, then the leftmost
    uint64_t* dropped
    int64_t heap_size, heap_capacity, dropped_size, dropped_capacity
    uint64_t* dead  # a bit for each place where no token may end
    int64_t dead_capacity
    uint8_t* name  # of a symbol: prefix, character, suffix
    int64_t name_size, name_capacity
    int32_t left, right, rank  # the last merge
    bint open_unk  # the last token is an unk that may grow
    int32_t* parts  # left and right of each unused symbol as last seen, or -1


cdef void free_work(Work* w) noexcept:
    free(w.cache)
    free(w.pairs)
    free(w.out)
    free(w.widths)
    free(w.ids)
    free(w.sizes)
    free(w.before)
    free(w.after)
    free(w.heap)
    free(w.dropped)
    free(w.dead)
    free(w.name)
    free(w.parts)
    free(w)


cdef inline int emit(Work* w, int32_t token, int32_t width) noexcept nogil:
    """Append a token to `out`."""
    if w.out_size == w.out_capacity:
        if not room(<void**>&w.out, &w.out_capacity, w.out_size + 1, sizeof(int32_t)):
            return -1
    if w.with_widths:
        if not room(<void**>&w.widths, &w.widths_capacity, w.out_size + 1, sizeof(int32_t)):
            return -1
        w.widths[w.out_size] = width
    w.out[w.out_size] = token
    w.out_size += 1
    return 0


cdef inline double coin(Work* w) noexcept nogil:
    """A number from [0, 1): splitmix64."""
    w.random += MIX
    cdef uint64_t z = w.random
    z = (z ^ z >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * <uint64_t>0x94D049BB133111EB
    return ((z ^ z >> 31) >> 11) * (1.0 / 9007199254740992.0)


cdef inline int32_t rank_of(const Merge* merges, int64_t mask, int32_t a, int32_t b, int32_t* new) noexcept nogil:
    """The rank of a pair and the symbol it makes, or -1."""
    cdef uint64_t pair = key_of(a, b)
    cdef int64_t i = hash_key(pair) & mask
    while merges[i].rank >= 0:
        if merges[i].pair == pair:
            new[0] = merges[i].new
            return merges[i].rank
        i = (i + 1) & mask
    return -1


cdef void merge_short(const Merge* merges, int64_t mask, Work* w) noexcept nogil:
    """Find the lowest rank among all neighbours, merge, and again: time grows with the square of the length."""
    cdef int32_t ranks[SHORT]  # of (ids[i], ids[i + 1])
    cdef int32_t made[SHORT]
    cdef int32_t* ids = w.ids
    cdef int64_t n = w.n
    cdef int64_t i, at
    for i in range(n - 1):
        ranks[i] = rank_of(merges, mask, ids[i], ids[i + 1], &made[i])
    while True:
        at = -1
        for i in range(n - 1):
            if ranks[i] >= 0 and (at < 0 or ranks[i] < ranks[at]):
                at = i
        if at < 0:
            break
        w.left, w.right, w.rank = ids[at], ids[at + 1], ranks[at]
        ids[at] = made[at]
        w.sizes[at] += w.sizes[at + 1]
        n -= 1
        for i in range(at + 1, n):
            ids[i] = ids[i + 1]
            w.sizes[i] = w.sizes[i + 1]
            ranks[i - 1] = ranks[i]
            made[i - 1] = made[i]
        if at > 0:
            ranks[at - 1] = rank_of(merges, mask, ids[at - 1], ids[at], &made[at - 1])
        if at < n - 1:
            ranks[at] = rank_of(merges, mask, ids[at], ids[at + 1], &made[at])
    w.n = n


cdef int consider(const Merge* merges, int64_t mask, Work* w, int64_t i) noexcept nogil:
    """The pair that starts at position i, if it has a merge, into the heap."""
    cdef int32_t new = 0
    cdef int64_t j = w.after[i]
    if j < 0:
        return 0
    cdef int32_t rank = rank_of(merges, mask, w.ids[i], w.ids[j], &new)
    if rank < 0:
        return 0
    if w.parts != NULL and w.parts[2 * new] != DEAD:
        w.parts[2 * new] = w.ids[i]
        w.parts[2 * new + 1] = w.ids[j]
    return push(w, <uint64_t>rank << 32 | <uint64_t>i)


cdef int push(Work* w, uint64_t entry) noexcept nogil:
    if not room(<void**>&w.heap, &w.heap_capacity, w.heap_size + 1, sizeof(uint64_t)):
        return -1
    cdef int64_t at = w.heap_size
    w.heap_size += 1
    while at and entry < w.heap[(at - 1) // 2]:
        w.heap[at] = w.heap[(at - 1) // 2]
        at = (at - 1) // 2
    w.heap[at] = entry
    return 0


cdef uint64_t pop(Work* w) noexcept nogil:
    cdef uint64_t top = w.heap[0]
    w.heap_size -= 1
    cdef uint64_t last = w.heap[w.heap_size]
    cdef int64_t at = 0
    cdef int64_t child = 1
    while child < w.heap_size:
        if child + 1 < w.heap_size and w.heap[child + 1] < w.heap[child]:
            child += 1
        if last <= w.heap[child]:
            break
        w.heap[at] = w.heap[child]
        at = child
        child = 2 * at + 1
    w.heap[at] = last
    return top


cdef int merge_heap(const Merge* merges, int64_t mask, Work* w) noexcept nogil:
    """A heap of the pairs over a linked list of the symbols: O(n log n). With dropout, each pair that would be next
    is put aside with that probability until one has been merged.
    """
    cdef int64_t i, j, k
    cdef uint64_t top
    cdef int32_t new = 0
    cdef int64_t n = w.n
    if (not room(<void**>&w.before, &w.before_capacity, n, sizeof(int32_t))
            or not room(<void**>&w.after, &w.after_capacity, n, sizeof(int32_t))):
        return -1
    w.heap_size = w.dropped_size = 0
    for i in range(n):
        w.before[i] = <int32_t>(i - 1)
        w.after[i] = <int32_t>(i + 1 if i + 1 < n else -1)
    for i in range(n - 1):
        if consider(merges, mask, w, i) < 0:
            return -1
    while w.heap_size:
        top = pop(w)
        i = <uint32_t>top
        j = w.after[i]
        if w.ids[i] < 0 or j < 0:
            continue  # merged into the symbol to the left, or last by now
        if rank_of(merges, mask, w.ids[i], w.ids[j], &new) != <int32_t>(top >> 32):
            continue  # one of the two has been merged into something else
        if w.dropout > 0 and coin(w) < w.dropout:
            if not room(<void**>&w.dropped, &w.dropped_capacity, w.dropped_size + 1, sizeof(uint64_t)):
                return -1
            w.dropped[w.dropped_size] = top
            w.dropped_size += 1
            continue
        while w.dropped_size:
            w.dropped_size -= 1
            if push(w, w.dropped[w.dropped_size]) < 0:
                return -1
        w.left, w.right, w.rank = w.ids[i], w.ids[j], <int32_t>(top >> 32)
        w.ids[i] = new
        w.sizes[i] += w.sizes[j]
        w.ids[j] = DEAD
        k = w.after[i] = w.after[j]
        if k >= 0:
            w.before[k] = <int32_t>i
        if w.before[i] >= 0 and consider(merges, mask, w, w.before[i]) < 0:
            return -1
        if consider(merges, mask, w, i) < 0:
            return -1
    j = 0
    for i in range(n):
        if w.ids[i] != DEAD:
            w.ids[j] = w.ids[i]
            w.sizes[j] = w.sizes[i]
            j += 1
    w.n = j
    return 0
