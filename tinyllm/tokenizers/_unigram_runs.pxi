"""The substrings of the words that may be pieces, out of the suffix array of these. Included by _unigram_train.pyx."""

cdef enum:
    # What trainers/unigram.py says of a character; from SCRIPTS on: the number of its script
    BAD = 0  # in no piece
    SPACE = 1
    ANY = 2  # goes with every script
    INHERITED = 3  # has the script of the character before
    ALONE = 0x8000  # flag: in no piece but its own
    POINTS = 0x110000


cdef struct Run:  # of suffixes that begin alike
    int32_t first
    int32_t last
    int32_t size
    int32_t length
    double weight  # while it's open: of the suffixes before it


cdef struct Shape:  # of pieces
    const uint16_t* kind_of  # by code point
    int64_t longest  # in characters
    bint apart  # no word follows another
    bint inner_spaces  # U+2581 may be inside
    bint space_runs  # or be all of it


cdef int sort_by(uint64_t* keys, int32_t* order, int64_t n) except -1:
    """Sort `order` by the keys[i] that go with it, smallest first, equal ones as they are: radix sort, 16 bits a time."""
    cdef uint64_t* keys2 = <uint64_t*>malloc(max(n, 1) * sizeof(uint64_t))
    cdef int32_t* order2 = <int32_t*>malloc(max(n, 1) * sizeof(int32_t))
    cdef int64_t* counts = <int64_t*>malloc(65536 * sizeof(int64_t))
    cdef int64_t i, sum, here
    cdef int shift
    cdef uint64_t digit
    try:
        if keys2 == NULL or order2 == NULL or counts == NULL:
            raise MemoryError(f"no memory to sort {n} pieces")
        for shift in range(0, 64, 16):
            memset(counts, 0, 65536 * sizeof(int64_t))
            for i in range(n):
                counts[keys[i] >> shift & 0xFFFF] += 1
            if n == 0 or counts[keys[0] >> shift & 0xFFFF] == n:
                continue
            sum = 0
            for i in range(65536):
                here = counts[i]
                counts[i] = sum
                sum += here
            for i in range(n):
                digit = keys[i] >> shift & 0xFFFF
                keys2[counts[digit]] = keys[i]
                order2[counts[digit]] = order[i]
                counts[digit] += 1
            memcpy(keys, keys2, n * sizeof(uint64_t))
            memcpy(order, order2, n * sizeof(int32_t))
    finally:
        free(keys2)
        free(order2)
        free(counts)
    return 0


cdef inline uint64_t descending(float x) noexcept:
    """A number that is the smaller, the larger x is."""
    cdef uint32_t bits
    memcpy(&bits, &x, 4)
    return bits if bits >> 31 else 0x7FFFFFFF - bits


cdef Run* find_runs(
    const uint8_t* text, int64_t n, int32_t* sa, const int32_t* entry, const double* weights, const Shape* shape,
    int64_t* n_runs
) except? NULL:
    """The substrings that may be pieces and occur twice or more, by the end of their runs in the suffix array, which is
    put into `sa`. weights[entry[byte]]: how often the word around it occurs.
    """
    cdef int32_t* numbers = <int32_t*>malloc((n + 1) * sizeof(int32_t))
    cdef int32_t* common = <int32_t*>malloc((n + 1) * sizeof(int32_t))
    cdef double before = 0  # what the suffixes before i weigh
    cdef double began
    cdef Run* runs = NULL
    cdef int64_t capacity = 0
    cdef int64_t i, depth, size, first
    cdef Run* stack = NULL
    cdef int64_t stack_capacity = 0
    try:
        if sa == NULL or numbers == NULL or common == NULL:
            raise MemoryError(f"no memory for the suffix array of {n} bytes")
        for i in range(n):
            numbers[i] = text[i] + 1
        numbers[n] = 0
        suffix_array(numbers, sa, n + 1, 257)
        for i in range(n):
            sa[i] = sa[i + 1]  # the empty suffix comes first
        common_prefixes(text, sa, numbers, common, n, shape.apart)
        free(numbers)
        numbers = NULL
        stack = <Run*>grown(stack, &stack_capacity, 64, sizeof(Run))
        stack[0] = Run(0, 0, 0, 0, 0)
        depth = 1
        for i in range(1, n + 1):
            if i & 0xFFFFF == 0:
                PyErr_CheckSignals()
            size = common[i] if i < n else 0
            first = i - 1
            began = before
            before += weights[entry[sa[i - 1]]]
            while size < stack[depth - 1].size:
                depth -= 1
                first = stack[depth].first
                began = stack[depth].weight
                stack[depth].last = <int32_t>(i - 1)
                stack[depth].weight = before - began
                if may_be_piece(&stack[depth], text, sa, shape):
                    runs = <Run*>grown(runs, &capacity, n_runs[0] + 1, sizeof(Run))
                    runs[n_runs[0]] = stack[depth]
                    n_runs[0] += 1
            if size > stack[depth - 1].size:
                stack = <Run*>grown(stack, &stack_capacity, depth + 1, sizeof(Run))
                stack[depth] = Run(<int32_t>first, 0, <int32_t>size, 0, began)
                depth += 1
    except:
        free(runs)
        raise
    finally:
        free(numbers)
        free(common)
        free(stack)
    return runs


cdef bint may_be_piece(Run* run, const uint8_t* text, const int32_t* sa, const Shape* shape) noexcept:
    """Whether it is well-formed, long enough and not too long, and of one script. Sets its length."""
    cdef const uint8_t* s = text + sa[run.first]
    cdef int64_t left = run.size
    cdef int64_t length = 0
    cdef int64_t spaces = 0
    cdef int size, kind
    cdef int script = ANY
    cdef bint last_is_space = False
    if run.weight < 2 or run.size > 4 * shape.longest or s[0] & 0xC0 == 0x80 or s[left] & 0xC0 == 0x80:
        return False
    while left:
        if s[0] == 0:
            return False
        kind = shape.kind_of[code_point(s, left, &size)]
        if kind == BAD or kind & ALONE:
            return False
        last_is_space = kind == SPACE
        if last_is_space:
            spaces += 1
        elif kind != INHERITED:
            if kind != ANY and script != ANY and kind != script:
                return False
            script = kind
        length += 1
        s += size
        left -= size
    run.length = <int32_t>length
    if length < 2 or length > shape.longest:
        return False
    if shape.space_runs and spaces == length:
        return True
    if shape.inner_spaces:
        return not last_is_space
    s = text + sa[run.first]
    return spaces == 0 or (spaces == 1 and shape.kind_of[code_point(s, run.size, &size)] == SPACE)
