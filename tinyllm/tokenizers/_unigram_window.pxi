"""A text on its way through: characters come in, and what is certain of its best segmentation leaves. Included by
_unigram.pyx.

Places are before, between and behind the characters; place 0 is where what has left ends. The best way to a place is
known by its last token, so of characters that can't begin a piece any more nothing but a token a place is kept, and
only as long as the ways that could still win begin differently.
"""

cdef enum:
    PART = 1 << 8  # characters that come into the window at once
    MANY = 1 << 16  # tokens: while more leave, memory is given back in between
    # A token is an id, or one of these:
    NO_WAY = 0x7FFFFFFF  # to this place is known yet
    UNKNOWN = 1 << 30  # flag: a character that no piece is; its code point is in the other bits
    MARK = -0x7FFFFFFF - 1  # flag, the sign: on a way that is being followed

ctypedef fused real:
    float
    double


cdef struct Costs:  # what the best way depends on
    const Unit* units
    const double* scores
    const int32_t* lengths  # of the pieces, in characters
    double unknown_score
    int64_t longest
    bint float32


cdef struct Window:
    # of the characters from `base` on, and the places before them
    uint32_t* points
    int32_t* codes  # of the trie; after the last one 0
    void* best  # the scores of the best ways: float or double
    int32_t* steps  # the lengths of their last tokens, in characters
    int64_t base, capacity
    # of all places
    int32_t* tokens
    int64_t tokens_capacity
    int64_t n  # characters in it
    int64_t at  # of them, so many have all their pieces tried
    int64_t reached  # the last place that some way goes to
    int64_t due  # when `at` is here, it's time to look what can leave
    const int32_t* code_of
    # what has left
    int32_t* ids
    int64_t n_ids, ids_capacity
    bint after_unknown
    # and, if asked for, how many bytes of the text each id stands for
    const uint8_t* text  # NULL: not asked for
    int64_t told, size  # so many bytes of it have left, of so many
    int32_t* widths
    int64_t widths_capacity


cdef int widened(void** block, int64_t count, size_t size) except -1:
    cdef void* moved = realloc(block[0], count * size)
    if moved == NULL:
        raise MemoryError(f"no {count * size} bytes for the characters of a text")
    block[0] = moved
    return 0


cdef int make_room(Window* w, int64_t more) except -1:
    """For so many characters more."""
    cdef int64_t needed = w.n - w.base + more + 1
    if needed > w.capacity:
        needed = max(needed, 2 * w.capacity)
        widened(<void**>&w.points, needed, sizeof(uint32_t))
        widened(<void**>&w.codes, needed, sizeof(int32_t))
        widened(&w.best, needed, sizeof(double))
        widened(<void**>&w.steps, needed, sizeof(int32_t))
        w.capacity = needed
    needed = w.n + more + 1
    if needed > w.tokens_capacity:
        needed = max(needed, 2 * w.tokens_capacity)
        widened(<void**>&w.tokens, needed, sizeof(int32_t))
        w.tokens_capacity = needed
    return 0


cdef int begin_window(Window* w, const int32_t* code_of) except -1:
    w.n = w.at = w.reached = w.base = w.n_ids = 0
    w.due = PART
    w.after_unknown = False
    w.code_of = code_of
    w.text = NULL
    make_room(w, PART)
    w.codes[0] = 0
    w.tokens[0] = NO_WAY
    (<double*>w.best)[0] = 0  # of a float, too, all bits are 0
    return 0


cdef void release(Window* w) noexcept:
    if w != NULL:
        free(w.points)
        free(w.codes)
        free(w.best)
        free(w.steps)
        free(w.tokens)
        free(w.ids)
        free(w.widths)
        free(w)


cdef inline void append(Window* w, uint32_t point) noexcept:
    cdef int64_t i = w.n - w.base
    w.points[i] = point
    w.codes[i] = w.code_of[point]
    w.codes[i + 1] = 0
    w.n += 1
    w.tokens[w.n] = NO_WAY


cdef inline void arrive(
    real* best, int32_t* tokens, int32_t* steps, int64_t at, int64_t to, real score, int32_t token
) noexcept:
    """At the place `to`, by one way more."""
    if tokens[to] == NO_WAY or score > best[to]:
        best[to] = score
        tokens[to] = token
        steps[to] = <int32_t>(to - at)


cdef void advance(Window* w, const Costs* costs, real* best, int64_t end) noexcept:
    """Try all pieces that begin before the place `end`."""
    cdef const Unit* units = costs.units
    cdef const int32_t* codes = w.codes
    cdef const uint32_t* points = w.points
    cdef int32_t* tokens = w.tokens + w.base
    cdef int32_t* steps = w.steps
    cdef int64_t reached = w.reached - w.base
    cdef int64_t at, to, i
    cdef int32_t unit, child, token
    cdef real here, score
    cdef real unknown_score = <real>costs.unknown_score
    for at in range(w.at - w.base, end - w.base):
        here = best[at]
        if real is float and (here > RESET or here < -RESET):
            score = here
            for i in range(at, reached + 1):
                if i == at or tokens[i] != NO_WAY:
                    best[i] -= score
            here = 0
        unit = 0
        to = at
        while True:
            child = units[unit].base + codes[to]
            if units[child].parent != unit:
                break
            unit = child
            to += 1
            token = units[unit].token
            if token >= 0:
                if real is float:
                    score = here + units[unit].score
                else:
                    score = here + costs.scores[token]
                arrive(best, tokens, steps, at, to, score, token)
            elif to == at + 1:
                arrive(best, tokens, steps, at, to, here + unknown_score, UNKNOWN | points[at])
        if to == at:
            to = at + 1
            arrive(best, tokens, steps, at, to, here + unknown_score, UNKNOWN | points[at])
        reached = max(reached, to)
    w.reached = reached + w.base
    w.at = max(w.at, end)


cdef inline int64_t length_of(int32_t token, const int32_t* lengths) noexcept:
    """In characters."""
    return 1 if token & UNKNOWN else lengths[token]


cdef int64_t common_beginning(Window* w, const int32_t* lengths) noexcept:
    """The last place that all ways to the places from w.at on have in common, by marking the tokens of the ways from
    the last place leftwards.
    """
    cdef int32_t* tokens = w.tokens
    cdef int64_t i, before
    cdef int64_t ways = 0
    for i in range(w.at, w.reached + 1):
        if tokens[i] != NO_WAY:
            ways += 1
            tokens[i] |= MARK
    i = w.reached
    while True:
        if tokens[i] < 0:
            tokens[i] ^= MARK
            if ways == 1:
                return i
            before = i - length_of(tokens[i], lengths)
            if tokens[before] < 0:
                ways -= 1
            else:
                tokens[before] |= MARK
            if before == 0:
                break
        i -= 1
    for i in range(i):
        tokens[i] &= ~MARK
    return 0


cdef int64_t gather(Window* w, int64_t end, const int32_t* lengths) noexcept:
    """Move the tokens of the best way to the place `end` next to each other; the last is tokens[end]. Returns where the
    first is.
    """
    cdef int32_t* tokens = w.tokens
    cdef int64_t at = end
    cdef int64_t to = end
    cdef int32_t token
    while at:
        token = tokens[at]
        at -= w.steps[at - w.base] if at >= w.base else length_of(token, lengths)
        tokens[to] = token  # a token is at least one character, so what is still to be read is never written over
        to -= 1
    return to + 1


cdef void leave(Window* w, int64_t end) noexcept:
    """The place `end` becomes place 0."""
    w.n -= end
    w.at -= end
    w.reached -= end
    w.base -= end
    memmove(w.tokens + 1, w.tokens + 1 + end, w.n * sizeof(int32_t))


cdef int reserve(Window* w, int64_t more) except -1:
    """Room for so many ids more."""
    w.ids = <int32_t*>grown(w.ids, &w.ids_capacity, w.n_ids + more, sizeof(int32_t))
    if w.text != NULL:
        w.widths = <int32_t*>grown(w.widths, &w.widths_capacity, w.n_ids + more, sizeof(int32_t))
    return 0


cdef inline void push(Window* w, int32_t token, int32_t width) noexcept:
    w.ids[w.n_ids] = token
    if w.text != NULL:
        w.widths[w.n_ids] = width
    w.n_ids += 1


cdef inline int32_t width_of(Window* w, int64_t length) noexcept:
    """The next `length` characters leave; how many bytes of the text they were, if that is asked for."""
    cdef int size
    cdef int64_t before = w.told
    while length and w.text != NULL:
        code_point(w.text + w.told, w.size - w.told, &size)
        w.told += size
        length -= 1
    return <int32_t>(w.told - before)


cdef void drop_characters(Window* w, size_t size) noexcept:
    """All that have their pieces tried, and their scores, of `size` bytes each."""
    cdef int64_t gone = w.at - w.base
    cdef int64_t n = w.n + 1 - w.at
    memmove(w.points, w.points + gone, n * sizeof(uint32_t))
    memmove(w.codes, w.codes + gone, n * sizeof(int32_t))
    memmove(w.best, <char*>w.best + gone * size, n * size)
    memmove(w.steps, w.steps + gone, n * sizeof(int32_t))
    w.base = w.at
