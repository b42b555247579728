"""Characters and pieces, as segment.py cuts them. Included by the cores that cut text."""

cdef bytes stage1_object = unicode.STAGE1
cdef bytes stage2_object = unicode.STAGE2
cdef const uint8_t* STAGE1 = stage1_object
cdef const uint8_t* STAGE2 = stage2_object

cdef enum Kind:  # what GPT-2's pattern tells apart
    OTHER, LETTER, NUMBER, SPACE

cdef uint8_t KIND[16]
memset(KIND, OTHER, sizeof(KIND))
for _number in (unicode.LU, unicode.LL, unicode.LT, unicode.LM, unicode.LO):
    KIND[_number] = LETTER
KIND[unicode.NUMBER] = NUMBER
KIND[unicode.SPACE] = SPACE


cdef inline int char_class(const uint8_t* s, int64_t n, int* size) noexcept:
    """The class (of _unicode) of the character at s, of which n > 0 bytes are there, and its size in bytes.

    A byte that starts no well-formed UTF-8 is a character of class 0.
    """
    cdef int32_t point
    if s[0] < 0x80:
        size[0] = 1
        return STAGE2[s[0]]  # the first block of stage 2 is ASCII
    point = code_point(s, n, size)
    return 0 if point < 0 else STAGE2[STAGE1[point >> 7] << 7 | point & 127]


cdef int64_t next_gpt2(const uint8_t* s, int64_t i, int64_t n) noexcept:
    """The end of the piece that starts at s[i], i < n. The comments are segment.PATTERNS["gpt2"]."""
    cdef int size
    cdef int kind
    cdef int64_t j = i
    cdef int64_t last
    # 's|'t|'re|'ve|'m|'ll|'d
    if s[i] == c"'" and i + 1 < n:
        if s[i + 1] == c"s" or s[i + 1] == c"t" or s[i + 1] == c"m" or s[i + 1] == c"d":
            return i + 2
        if i + 2 < n and ((s[i + 2] == c"e" and (s[i + 1] == c"r" or s[i + 1] == c"v"))
                          or (s[i + 2] == c"l" and s[i + 1] == c"l")):
            return i + 3
    #  ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
    if s[i] == c" " and i + 1 < n and KIND[char_class(s + i + 1, n - i - 1, &size)] != SPACE:
        j = i + 1
    kind = KIND[char_class(s + j, n - j, &size)]
    if kind != SPACE:
        while True:
            j += size
            if j == n or KIND[char_class(s + j, n - j, &size)] != kind:
                return j
    # \s+(?!\S)|\s+: a run of spaces leaves its last one to what follows, if there is another before it
    while True:
        last = j
        j += size
        if j == n:
            return n
        if KIND[char_class(s + j, n - j, &size)] != SPACE:
            return last if last > i else j
