"""The compiled scanners of the split patterns in pretokenizers/patterns.py. Included by each module that cuts text.

A scanner takes bytes, where a piece begins and where the text ends, and returns where the piece ends. It never
goes back more than over one run of characters, so it takes linear time on any bytes.
"""

ctypedef int64_t (*Scanner)(const uint8_t* s, int64_t i, int64_t n) noexcept

cdef enum Kind:  # what the patterns tell apart; SPACE has NEWLINE's characters too, LETTER those of all but Mark
    UPPER = 1  # [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
    LOWER = 2  # [\p{Ll}\p{Lm}\p{Lo}\p{M}]
    LETTER = 4  # \p{L}
    NUMBER = 8  # \p{N}
    SPACE = 16  # \s
    NEWLINE = 32  # [\r\n]
    WIDE = 128  # only in ASCII: the character has more than one byte, or the byte is invalid

cdef enum:
    INVALID = 0xFFFF

cdef uint8_t ASCII[256]
cdef uint8_t* KINDS  # of the code points in each block of 64
cdef uint16_t TWO[32]  # the block of a lead byte of two (& 31)
cdef uint16_t THREE[1024]  # the block of a lead byte of three (& 15) and the second (& 63), INVALID where there is none
cdef uint16_t* FOUR  # the block of the code points from 64 * i


def _fill_tables():
    cdef int64_t i
    global KINDS, FOUR
    index, blocks = unicode.INDEX, unicode.BLOCKS
    KINDS = <uint8_t*>zeroed(len(blocks), 1)
    FOUR = <uint16_t*>zeroed(len(index), sizeof(uint16_t))
    kinds = {"Lu": UPPER | LETTER, "Lt": UPPER | LETTER, "Ll": LOWER | LETTER, "Lm": UPPER | LOWER | LETTER,
             "Lo": UPPER | LOWER | LETTER, "Mn": UPPER | LOWER, "Mc": UPPER | LOWER, "Me": UPPER | LOWER,
             "Nd": NUMBER, "Nl": NUMBER, "No": NUMBER}
    of_record = [SPACE if one.white_space else kinds.get(one.category, 0) for one in unicode.RECORDS]
    for i, record in enumerate(blocks):
        KINDS[i] = of_record[record]
    for i, block in enumerate(index):
        FOUR[i] = block
    for i in range(1024):
        THREE[i] = INVALID if i < 32 or 0xD800 >> 6 <= i < 0xE000 >> 6 else FOUR[i]  # overlong, or a surrogate
    for i in range(32):
        TWO[i] = FOUR[i]
    for i in range(256):
        ASCII[i] = WIDE if i > 127 else of_record[unicode.record(i)]
    ASCII[10] |= NEWLINE
    ASCII[13] |= NEWLINE


_fill_tables()


cdef int wide(const uint8_t* s, int64_t n, int* size) noexcept:
    """The kind of the character at s, of which n > 0 bytes are there, and its size in bytes; s[0] is not ASCII.

    A byte that starts no well-formed UTF-8 (nothing overlong, no surrogates) is a character of kind 0.
    """
    cdef int c = s[0]
    cdef int block
    if c >= 0xE0 and c < 0xF0:
        if n >= 3 and s[1] & 0xC0 == 0x80 and s[2] & 0xC0 == 0x80:
            block = THREE[(c & 0x0F) << 6 | s[1] & 0x3F]
            if block != INVALID:
                size[0] = 3
                return KINDS[block << 6 | s[2] & 0x3F]
    elif c < 0xE0:
        if c >= 0xC2 and n >= 2 and s[1] & 0xC0 == 0x80:
            size[0] = 2
            return KINDS[TWO[c & 0x1F] << 6 | s[1] & 0x3F]
    elif n >= 4 and s[1] & 0xC0 == 0x80 and s[2] & 0xC0 == 0x80 and s[3] & 0xC0 == 0x80:
        block = (c & 0x0F) << 12 | (s[1] & 0x3F) << 6 | s[2] & 0x3F
        if block >= 0x10000 >> 6 and block < 0x110000 >> 6:
            size[0] = 4
            return KINDS[FOUR[block] << 6 | s[3] & 0x3F]
    size[0] = 1
    return 0


cdef inline int kind_at(const uint8_t* s, int64_t i, int64_t n, int* size) noexcept:
    """The kind of the character at s[i], and its size in bytes. Past the end: 0, and size 0."""
    if i >= n:
        size[0] = 0
        return 0
    size[0] = 1
    return wide(s + i, n - i, size) if s[i] & 0x80 else ASCII[s[i]]


cdef inline int64_t run_of(int wanted, const uint8_t* s, int64_t i, int64_t n) noexcept:
    """The end of the run of characters from s[i] that are of a wanted kind."""
    cdef int kind, size
    while i < n:
        kind = ASCII[s[i]]
        size = 1
        if kind & WIDE:
            kind = wide(s + i, n - i, &size)
        if not kind & wanted:
            break
        i += size
    return i


cdef extern from *:
    """
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define FIRST_BYTE(mask) (__builtin_ctzll(mask) >> 3)
    #else
    #define FIRST_BYTE(mask) (__builtin_clzll(mask) >> 3)
    #endif
    #define EACH(byte) (0x0101010101010101ULL * (byte))
    /* 0x80 in each byte of x that is not in 'a' ... 'z' */
    #define NOT_SMALL(x) ((~(((x) & EACH(0x7F)) + EACH(0x80 - 'a')) | (((x) & EACH(0x7F)) + EACH(0x7F - 'z')) | (x)) & EACH(0x80))
    """
    int FIRST_BYTE(uint64_t mask) noexcept
    uint64_t EACH(int byte) noexcept
    uint64_t NOT_SMALL(uint64_t x) noexcept


cdef inline int64_t ascii_run(uint64_t fold, const uint8_t* s, int64_t i, int64_t n) noexcept:
    """The end of the run of a-z from s[i], eight bytes at a time: a word has one branch here. `fold` is 0, or EACH(32)
    for A-Z too. It may end too early at any byte from n - 8 on.
    """
    cdef uint64_t x
    while i + 8 <= n:
        memcpy(&x, s + i, 8)
        x = NOT_SMALL(x | fold)
        if x:
            return i + FIRST_BYTE(x)
        i += 8
    return i


cdef inline int64_t letters(const uint8_t* s, int64_t i, int64_t n) noexcept:
    """run_of(LETTER, s, i, n), faster for ASCII."""
    i = ascii_run(EACH(32), s, i, n)
    return run_of(LETTER, s, i, n) if i + 8 > n or s[i] & 0x80 else i


cdef inline int64_t run_of_no(int unwanted, const uint8_t* s, int64_t i, int64_t n) noexcept:
    """The end of the run of characters from s[i] that are of no unwanted kind."""
    cdef int kind, size
    while i < n:
        kind = ASCII[s[i]]
        size = 1
        if kind & WIDE:
            kind = wide(s + i, n - i, &size)
        if kind & unwanted:
            break
        i += size
    return i


cdef int64_t next_space(const uint8_t* s, int64_t i, int64_t n, bint newlines) noexcept:
    r"""The end of \s+(?!\S)|\s+ at s[i], a space; `newlines`: of \s*[\r\n]+|\s+(?!\S)|\s+."""
    cdef int kind, size
    cdef int64_t start = i
    cdef int64_t last = i
    cdef int64_t newline = 0
    while True:
        kind = kind_at(s, i, n, &size)
        if not kind & SPACE:
            break
        last = i
        i += size
        if kind & NEWLINE:
            newline = i
    if newlines and newline:
        return newline
    # a run of spaces leaves its last one to what follows, if there is another before it
    return last if i < n and last > start else i


cdef inline int64_t suffix(const uint8_t* s, int64_t i, int64_t n, bint fold) noexcept:
    """The end of 's|'t|'re|'ve|'m|'ll|'d at s[i], or i; `fold`: in any case, and with U+017F for s."""
    if n - i < 2 or s[i] != c"'":
        return i
    cdef int a = s[i + 1] | 32 if fold else s[i + 1]
    if a == c"s" or a == c"t" or a == c"m" or a == c"d":
        return i + 2
    if n - i < 3:
        return i
    cdef int b = s[i + 2] | 32 if fold else s[i + 2]
    if (a == c"r" and b == c"e") or (a == c"v" and b == c"e") or (a == c"l" and b == c"l"):
        return i + 3
    return i + 3 if fold and s[i + 1] == 0xC5 and s[i + 2] == 0xBF else i


cdef int64_t next_gpt2(const uint8_t* s, int64_t i, int64_t n) noexcept:
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    cdef int kind, size
    cdef int64_t start = i + (s[i] == c" ")
    cdef int64_t j = letters(s, start, n)
    if j > start:
        return j
    if s[i] == c"'":
        j = suffix(s, i, n, False)
        if j > i:
            return j
    kind = kind_at(s, start, n, &size)
    if kind & SPACE or size == 0:
        return next_space(s, i, n, False)
    if kind & NUMBER:
        return run_of(NUMBER, s, start + size, n)
    return run_of_no(LETTER | NUMBER | SPACE, s, start + size, n)


cdef inline int64_t numbers(const uint8_t* s, int64_t i, int64_t n, int most) noexcept:
    r"""The end of \p{N}{0,most} at s[i]."""
    cdef int size
    while most > 0 and kind_at(s, i, n, &size) & NUMBER:
        i += size
        most -= 1
    return i


cdef inline int64_t next_like_cl100k(const uint8_t* s, int64_t i, int64_t n, int most, bint end) noexcept:
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most}| ?[^\s\p{L}\p{N}]+[\r\n]*
    |\s*[\r\n]+|\s+(?!\S)|\s+; with `end`, \s++$ before \s*[\r\n]+."""
    cdef int kind, size, next_size, next_kind
    cdef int64_t start = i + (s[i] == c" ")
    cdef int64_t j = letters(s, start, n)
    if j > start:
        return j
    kind = kind_at(s, i, n, &size)
    if kind & NUMBER:
        return numbers(s, i + size, n, most - 1)
    if s[i] == c"'":
        j = suffix(s, i, n, True)
        if j > i:
            return j
    next_kind = kind_at(s, i + size, n, &next_size)
    if next_kind & LETTER and not kind & NEWLINE:
        return letters(s, i + size, n)
    j = i + size
    if kind & SPACE:
        if s[i] != c" " or next_size == 0 or next_kind & (LETTER | NUMBER | SPACE):
            if end:
                j = run_of(SPACE, s, j, n)
                if j == n:
                    return n
            return next_space(s, i, n, True)
        j += next_size
    return run_of(NEWLINE, s, run_of_no(LETTER | NUMBER | SPACE, s, j, n), n)


cdef int64_t next_cl100k(const uint8_t* s, int64_t i, int64_t n) noexcept:
    return next_like_cl100k(s, i, n, 3, True)


cdef int64_t next_llama3(const uint8_t* s, int64_t i, int64_t n) noexcept:
    return next_like_cl100k(s, i, n, 3, False)


cdef int64_t next_qwen2(const uint8_t* s, int64_t i, int64_t n) noexcept:
    return next_like_cl100k(s, i, n, 1, False)


cdef inline int64_t cased(const uint8_t* s, int64_t i, int64_t n) noexcept:
    r"""The end at s[i] of U*L+|U+L*, where U is of kind UPPER and L of kind LOWER, or i.

    U* takes the run of U. If an L follows, L+ goes on from there. If not, U* gives back as little as lets L+ match:
    all after the last character of the run that is in L too; and if there is none, U+ has the run.
    """
    cdef int kind, size
    cdef int64_t start = i
    cdef int64_t both = i
    cdef int64_t j
    while i < n and s[i] >= c"A" and s[i] <= c"Z":
        i += 1
    j = ascii_run(0, s, i, n)
    if j > i:
        return run_of(LOWER, s, j, n) if j + 8 > n or s[j] & 0x80 else j
    while True:
        kind = kind_at(s, i, n, &size)
        if not kind & UPPER:
            break
        i += size
        if kind & LOWER:
            both = i
    if kind & LOWER:
        return run_of(LOWER, s, i + size, n)
    return both if both > start else i


cdef inline int64_t next_like_o200k(const uint8_t* s, int64_t i, int64_t n, int most, bint suffixes) noexcept:
    r"""[^\r\n\p{L}\p{N}]?U*L+(?i:'s|...)?|[^\r\n\p{L}\p{N}]?U+L*(?i:'s|...)?|\p{N}{1,most}| ?[^\s\p{L}\p{N}]+[\r\n/]*
    |\s*[\r\n]+|\s+(?!\S)|\s+; the (?i:'s|'t|'re|'ve|'m|'ll|'d)? with `suffixes` only."""
    cdef int kind, size
    cdef int64_t start = i + (s[i] == c" ")
    cdef int64_t j = cased(s, start, n)  # a mark can be the first character, but U* and U+ take it as well
    if j > start:
        return suffix(s, j, n, True) if suffixes else j
    kind = kind_at(s, i, n, &size)
    if kind & NUMBER:
        return numbers(s, i + size, n, most - 1)
    if start == i and not kind & NEWLINE:
        j = cased(s, i + size, n)
        if j > i + size:
            return suffix(s, j, n, True) if suffixes else j
    j = i + size
    if kind & SPACE:
        kind = kind_at(s, j, n, &size)
        if s[i] != c" " or size == 0 or kind & (NUMBER | SPACE):
            return next_space(s, i, n, True)
        j += size
    j = run_of_no(LETTER | NUMBER | SPACE, s, j, n)
    while j < n and (s[j] == c"\r" or s[j] == c"\n" or s[j] == c"/"):
        j += 1
    return j


cdef int64_t next_o200k(const uint8_t* s, int64_t i, int64_t n) noexcept:
    return next_like_o200k(s, i, n, 3, True)


cdef int64_t next_tekken(const uint8_t* s, int64_t i, int64_t n) noexcept:
    return next_like_o200k(s, i, n, 1, False)


cdef Scanner scanner_of(str name) except NULL:
    """The scanner of the pattern that patterns.PATTERNS calls `name`."""
    if name == "gpt2":
        return next_gpt2
    if name == "cl100k":
        return next_cl100k
    if name == "llama3":
        return next_llama3
    if name == "qwen2":
        return next_qwen2
    if name == "o200k":
        return next_o200k
    if name == "tekken":
        return next_tekken
    raise ValueError(f"no scanner is compiled for the pattern {name!r}")
