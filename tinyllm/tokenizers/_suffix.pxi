"""The suffix array of a text in linear time, and the common prefixes of neighbours in it. Included by
_unigram_train.pyx; reference/substrings.py is the same, simpler.
"""


cdef inline bint is_lms(const uint8_t* smaller, int64_t i) noexcept:
    """Whether a suffix is less than the next one, but the one before isn't ("leftmost S")."""
    return i > 0 and smaller[i] and not smaller[i - 1]


cdef void set_ends(const int32_t* s, int32_t* bucket, int64_t n, int64_t k) noexcept:
    """bucket[c]: where in sorted order the suffixes that begin with c end."""
    cdef int64_t i
    memset(bucket, 0, k * sizeof(int32_t))
    for i in range(n):
        bucket[s[i]] += 1
    for i in range(1, k):
        bucket[i] += bucket[i - 1]


cdef void induce(const int32_t* s, int32_t* sa, const uint8_t* smaller, int32_t* bucket, int64_t n, int64_t k) noexcept:
    """From the sorted leftmost-S suffixes in `sa`, each at the end of its bucket, the order of all."""
    cdef int64_t i
    cdef int32_t j
    set_ends(s, bucket, n, k)
    for i in range(k - 1, 0, -1):
        bucket[i] = bucket[i - 1]  # the beginnings
    bucket[0] = 0
    for i in range(n):
        j = sa[i] - 1
        if j >= 0 and not smaller[j]:
            sa[bucket[s[j]]] = j
            bucket[s[j]] += 1
    set_ends(s, bucket, n, k)
    for i in range(n - 1, -1, -1):
        j = sa[i] - 1
        if j >= 0 and smaller[j]:
            bucket[s[j]] -= 1
            sa[bucket[s[j]]] = j


cdef int suffix_array(const int32_t* s, int32_t* sa, int64_t n, int64_t k) except -1:
    """The starts of all suffixes of s[0 : n] in their order. All s[i] < k, and the last is 0 as no other is.

    SA-IS (Nong, Zhang and Chan 2009): sort the substrings between leftmost-S positions, name them by rank, sort the
    suffixes of the text of names in the same way, and induce the order of all others from theirs.
    """
    cdef uint8_t* smaller = <uint8_t*>malloc(n)
    cdef int32_t* bucket = <int32_t*>malloc(k * sizeof(int32_t))
    cdef int64_t i, j, d, m, names
    cdef int32_t* reduced
    try:
        if smaller == NULL or bucket == NULL:
            raise MemoryError(f"no memory for the suffix array of {n} bytes")
        smaller[n - 1] = 1
        for i in range(n - 2, -1, -1):
            smaller[i] = s[i] < s[i + 1] or (s[i] == s[i + 1] and smaller[i + 1])
        memset(sa, 0xFF, n * sizeof(int32_t))
        set_ends(s, bucket, n, k)
        for i in range(1, n):
            if is_lms(smaller, i):
                bucket[s[i]] -= 1
                sa[bucket[s[i]]] = <int32_t>i
        induce(s, sa, smaller, bucket, n, k)
        m = 0
        for i in range(n):
            if is_lms(smaller, sa[i]):
                sa[m] = sa[i]
                m += 1
        memset(sa + m, 0xFF, (n - m) * sizeof(int32_t))
        names = 0
        for i in range(m):
            if i == 0 or not same_substring(s, smaller, n, sa[i - 1], sa[i]):
                names += 1
            sa[m + sa[i] // 2] = <int32_t>(names - 1)
        j = n
        for i in range(n - 1, m - 1, -1):
            if sa[i] >= 0:
                j -= 1
                sa[j] = sa[i]
        reduced = sa + n - m
        if names < m:
            suffix_array(reduced, sa, m, names)
        else:
            for i in range(m):
                sa[reduced[i]] = <int32_t>i
        j = 0
        for i in range(1, n):
            if is_lms(smaller, i):
                reduced[j] = <int32_t>i
                j += 1
        for i in range(m):
            sa[i] = reduced[sa[i]]
        memset(sa + m, 0xFF, (n - m) * sizeof(int32_t))
        set_ends(s, bucket, n, k)
        for i in range(m - 1, -1, -1):
            j = sa[i]
            sa[i] = -1
            bucket[s[j]] -= 1
            sa[bucket[s[j]]] = <int32_t>j
        induce(s, sa, smaller, bucket, n, k)
    finally:
        free(smaller)
        free(bucket)
    return 0


cdef bint same_substring(const int32_t* s, const uint8_t* smaller, int64_t n, int64_t a, int64_t b) noexcept:
    """Whether the substrings from two leftmost-S positions up to the next ones are the same."""
    cdef int64_t d = 0
    while True:
        if a + d >= n or b + d >= n or s[a + d] != s[b + d] or smaller[a + d] != smaller[b + d]:
            return False
        if d and (is_lms(smaller, a + d) or is_lms(smaller, b + d)):
            return is_lms(smaller, a + d) and is_lms(smaller, b + d)
        d += 1


cdef void common_prefixes(
    const uint8_t* text, const int32_t* sa, int32_t* rank, int32_t* common, int64_t n, bint apart
) noexcept:
    """common[i]: how many bytes the suffixes sa[i - 1] and sa[i] begin alike with; `rank` is work space.

    Kasai et al. 2001. `apart`: a zero byte is like nothing, not even another one.
    """
    cdef int64_t i, j
    cdef int64_t alike = 0
    for i in range(n):
        rank[sa[i]] = <int32_t>i
    for i in range(n):
        if rank[i] == 0:
            common[0] = 0
            alike = 0
            continue
        j = sa[rank[i] - 1]
        while i + alike < n and j + alike < n and text[i + alike] == text[j + alike]:
            if apart and text[i + alike] == 0:
                break
            alike += 1
        common[rank[i]] = <int32_t>alike
        if alike:
            alike -= 1
