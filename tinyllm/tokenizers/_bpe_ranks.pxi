"""The merges that tiktoken's ranks come to, as `merges_of` of reference/bpe_encode.py finds them. Included by _bpe.pyx.
"""

cdef enum:
    MAX_PARTS = 4096  # bytes of a token that has a rank


def merges_of(ranks):
    """As reference/bpe_encode.py's: the merges that tiktoken's ranks come to."""
    cdef Trie trie
    cdef bytes token
    cdef const uint8_t* s
    cdef int64_t n, i, at
    cdef int32_t ends[MAX_PARTS]  # where the parts end
    cdef int32_t joined[MAX_PARTS]  # the rank of each part joined with the next
    tokens = sorted(ranks, key=ranks.__getitem__)
    trie_make(&trie, sum(map(len, tokens)))
    merges = []
    try:
        for i, token in enumerate(tokens):
            trie_add(&trie, token, len(token), <int32_t>i)
        for token in tokens:
            s, n = token, len(token)
            if n < 2:
                continue
            if n > MAX_PARTS:
                raise ValueError(f"a token has {n} bytes; the limit is {MAX_PARTS}")
            for i in range(n):
                ends[i] = <int32_t>(i + 1)
            for i in range(n - 1):
                joined[i] = span_rank(&trie, s, ends, i)
            while n > 2:
                at = -1
                for i in range(n - 1):
                    if joined[i] >= 0 and (at < 0 or joined[i] < joined[at]):
                        at = i
                if at < 0:
                    break
                n -= 1
                for i in range(at, n):
                    ends[i] = ends[i + 1]
                    joined[i] = joined[i + 1]
                if at > 0:
                    joined[at - 1] = span_rank(&trie, s, ends, at - 1)
                if at < n - 1:
                    joined[at] = span_rank(&trie, s, ends, at)
            if n == 2:
                merges.append((token[: ends[0]], token[ends[0] :]))
    finally:
        trie_free(&trie)
    return merges


cdef inline int32_t span_rank(const Trie* trie, const uint8_t* s, const int32_t* ends, int64_t i) noexcept nogil:
    """The number of part i of s joined with the next, or -1."""
    cdef int64_t start = ends[i - 1] if i else 0
    return <int32_t>trie_get(trie, s + start, ends[i + 1] - start)
