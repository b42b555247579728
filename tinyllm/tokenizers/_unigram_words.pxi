"""The words, their first pieces, and the lattice of each word. Included by _unigram_train.pyx."""

cdef enum:
    BORDER = 4  # bytes after a word that another follows: U+2581, 0


cdef struct Piece:
    int32_t start  # in the text, in bytes
    int32_t size
    int32_t place  # the position of its first character in a word that has it
    int32_t length  # in characters
    double score


cdef class Words:
    """`words`: (bytes, count, how many of them no other word follows), in order; the list is emptied. `characters`: (code
    point, count), the first pieces, most frequent first. `kinds`: {code point: what it is}, of all that occur.

    `inner_spaces` and `space_runs`: whether a piece may have U+2581 inside, or be a run of it.
    """

    cdef Piece* pieces
    cdef int64_t n_pieces, pieces_capacity
    # the text that spellings lie in
    cdef uint8_t* text
    cdef int64_t n
    # the words: positions of characters, and one for each end
    cdef int64_t n_words, n_positions
    cdef int32_t* word_start
    cdef double* counts
    cdef double total
    cdef int32_t* single  # by position: the piece that the character alone is, or -1
    cdef int64_t* first  # by position: where its arcs begin; the next one's beginning is its end
    cdef uint16_t* arc_length
    cdef int32_t* arc_piece
    cdef int64_t longest, most_positions
    # work space: for each piece, and for each position of one word
    cdef double* probability
    cdef double* expected
    cdef double* alpha
    cdef double* share
    cdef int32_t* back_length
    cdef int32_t* back_piece

    def __init__(
        self, list words, list characters, dict kinds, int64_t max_length, int64_t seed_size,
        bint apart, bint inner_spaces, bint space_runs
    ):
        if self.text != NULL:
            raise RuntimeError("made twice")
        self.longest = max_length
        cdef int32_t* place = NULL
        cdef int32_t* entry = NULL
        cdef double* weights = NULL
        cdef uint16_t* kind_of = NULL
        cdef int32_t* sa = NULL
        cdef Run* runs = NULL
        cdef int64_t n_runs = 0
        cdef Shape shape
        try:
            kind_of = <uint16_t*>zeroed(POINTS, sizeof(uint16_t))
            for point, kind in kinds.items():
                kind_of[<int64_t>point] = kind
            self.lay_out(words, &place, &entry, &weights)
            del words[:]
            sa = <int32_t*>malloc((self.n + 1) * sizeof(int32_t))
            shape = Shape(kind_of, max_length, apart, inner_spaces, space_runs)
            runs = find_runs(self.text, self.n, sa, entry, weights, &shape, &n_runs)
            free(entry)
            free(weights)
            entry = NULL
            weights = NULL
            self.make_characters(characters, place)
            n_runs = self.make_pieces(&runs, n_runs, sa, place, seed_size)
            self.make_arcs(runs, n_runs, sa, place)
        finally:
            free(place)
            free(entry)
            free(weights)
            free(kind_of)
            free(sa)
            free(runs)
        self.alpha = <double*>zeroed(self.most_positions, sizeof(double))
        self.share = <double*>zeroed(self.most_positions, sizeof(double))
        self.back_length = <int32_t*>zeroed(self.most_positions, sizeof(int32_t))
        self.back_piece = <int32_t*>zeroed(self.most_positions, sizeof(int32_t))
        self.probability = <double*>zeroed(self.n_pieces, sizeof(double))
        self.expected = <double*>zeroed(self.n_pieces, sizeof(double))

    def __dealloc__(self):
        free(self.pieces)
        free(self.text)
        free(self.word_start)
        free(self.counts)
        free(self.single)
        free(self.first)
        free(self.arc_length)
        free(self.arc_piece)
        free(self.probability)
        free(self.expected)
        free(self.alpha)
        free(self.share)
        free(self.back_length)
        free(self.back_piece)

    cdef int lay_out(self, list words, int32_t** place, int32_t** entry, double** weights) except -1:
        """The text: each word as it stands before another one (with U+2581, 0) and as it stands last (with 0).

        place[byte]: the position of the character that begins there; -1: none; -2 - position in a word's second copy.
        entry[byte]: the number of the copy, whose weight is how often the word stands so.
        """
        cdef int64_t size = 0
        cdef int64_t copies = 0
        cdef int64_t characters = 0
        cdef int64_t count, ends, length, i, at, word_at
        cdef const uint8_t* s
        cdef bytes word
        cdef bint second
        word_at = 0
        for word, count, ends in words:
            copies += (count > ends) + (ends > 0)
            size += (count > ends) * (len(word) + BORDER) + (ends > 0) * (len(word) + 1)
            characters += len(word) + 1
        if size >= 0x7FFFFFF0:
            raise OverflowError(f"the words have {size} bytes; the limit is 2 GiB")
        self.n = size
        self.n_words = len(words)
        self.text = <uint8_t*>zeroed(size + BORDER, 1)
        self.word_start = <int32_t*>zeroed(self.n_words + 1, sizeof(int32_t))
        self.counts = <double*>zeroed(self.n_words, sizeof(double))
        place[0] = <int32_t*>malloc((size + 1) * sizeof(int32_t))
        entry[0] = <int32_t*>malloc((size + 1) * sizeof(int32_t))
        weights[0] = <double*>malloc((copies + 1) * sizeof(double))
        if place[0] == NULL or entry[0] == NULL or weights[0] == NULL:
            raise MemoryError(f"no memory for words of {size} bytes")
        memset(place[0], 0xFF, (size + 1) * sizeof(int32_t))
        at = copies = 0
        for i in range(self.n_words):
            word, count, ends = words[i]
            s = word
            length = len(word)
            self.word_start[i] = <int32_t>self.n_positions
            self.counts[i] = count
            self.total += count
            for second in range(2):
                if (count == ends) if not second else (ends == 0):
                    continue
                memcpy(self.text + at, s, length)
                weights[0][copies] = ends if second else count - ends
                word_at = self.word_start[i]
                for j in range(length):
                    if s[j] & 0xC0 != 0x80:
                        place[0][at + j] = <int32_t>(-2 - word_at if second and count > ends else word_at)
                        word_at += 1
                if not second:
                    memcpy(self.text + at + length, "\xe2\x96\x81", 3)
                length += 1 if second else BORDER
                for j in range(length):
                    entry[0][at + j] = <int32_t>copies
                at += length
                length = len(word)
                copies += 1
            self.n_positions = word_at + 1
            self.most_positions = max(self.most_positions, word_at + 1 - self.word_start[i])
        self.word_start[self.n_words] = <int32_t>self.n_positions
        return 0

    cdef int make_characters(self, list characters, const int32_t* place) except -1:
        """The first pieces, and where they are."""
        cdef int32_t* id_of = <int32_t*>zeroed(POINTS, sizeof(int32_t))
        cdef int64_t i
        cdef int32_t j
        cdef int size
        try:
            self.single = <int32_t*>malloc((self.n_positions + 1) * sizeof(int32_t))
            if self.single == NULL:
                raise MemoryError(f"no memory for words of {self.n_positions} characters")
            memset(self.single, 0xFF, (self.n_positions + 1) * sizeof(int32_t))
            for point, count in characters:
                self.add_piece(Piece(0, 0, 0, 1, count))
                id_of[<int64_t>point] = <int32_t>self.n_pieces
            for i in range(self.n):
                if place[i] >= 0:
                    j = id_of[code_point(self.text + i, self.n - i, &size)] - 1
                    self.single[place[i]] = j
                    if j >= 0 and self.pieces[j].size == 0:
                        self.pieces[j].start = <int32_t>i
                        self.pieces[j].size = size
                        self.pieces[j].place = place[i]
        finally:
            free(id_of)
        return 0

    cdef int add_piece(self, Piece piece) except -1:
        self.pieces = <Piece*>grown(self.pieces, &self.pieces_capacity, self.n_pieces + 1, sizeof(Piece))
        self.pieces[self.n_pieces] = piece
        self.n_pieces += 1
        return 0

    cdef int64_t make_pieces(
        self, Run** runs, int64_t n_runs, const int32_t* sa, const int32_t* place, int64_t seed_size
    ) except -1:
        """The runs of the highest weight * length become pieces, and the others go; of equal ones the longer, then
        the one that sorts first. `length` becomes the id. Returns how many are left.
        """
        cdef uint64_t* keys = <uint64_t*>malloc(max(n_runs, 1) * sizeof(uint64_t))
        cdef int32_t* order = <int32_t*>malloc(max(n_runs, 1) * sizeof(int32_t))
        cdef Run* kept = <Run*>malloc(max(min(n_runs, seed_size), 1) * sizeof(Run))
        cdef int64_t i
        cdef int32_t at
        cdef Run* run
        cdef double sum = 0
        cdef double log_sum
        try:
            if keys == NULL or order == NULL or kept == NULL:
                raise MemoryError(f"no memory for {n_runs} pieces")
            for i in range(n_runs):
                order[i] = <int32_t>i
                keys[i] = <uint64_t>runs[0][i].first
            sort_by(keys, order, n_runs)
            for i in range(n_runs):
                run = &runs[0][order[i]]
                keys[i] = descending(<float>(<float>run.weight * <float>run.length)) << 16 | <uint64_t>(0xFFFF - run.size)
            sort_by(keys, order, n_runs)
            n_runs = min(n_runs, seed_size)
            for i in range(n_runs):
                kept[i] = runs[0][order[i]]
                run = &kept[i]
                at = place[sa[run.first]]
                self.add_piece(
                    Piece(
                        sa[run.first], run.size, at if at >= 0 else -2 - at, run.length,
                        <float>(<float>run.weight * <float>run.length),
                    )
                )
                run.length = <int32_t>(self.n_pieces - 1)
            free(runs[0])
            runs[0] = kept
            kept = NULL
        finally:
            free(keys)
            free(order)
            free(kept)
        for i in range(self.n_pieces):
            sum += self.pieces[i].score
        log_sum = log(sum)
        for i in range(self.n_pieces):
            self.pieces[i].score = log(self.pieces[i].score) - log_sum
        return n_runs

    cdef int make_arcs(self, Run* runs, int64_t n_runs, const int32_t* sa, const int32_t* place) except -1:
        """For each position the pieces of two and more characters that begin there, short ones first."""
        cdef uint64_t* keys = <uint64_t*>malloc(max(n_runs, 1) * sizeof(uint64_t))
        cdef int32_t* order = <int32_t*>malloc(max(n_runs, 1) * sizeof(int32_t))
        cdef int32_t* open_runs = NULL
        cdef int64_t capacity = 0
        cdef int64_t i, j, depth, next_run, at, filling
        try:
            if keys == NULL or order == NULL:
                raise MemoryError(f"no memory for {n_runs} pieces")
            for i in range(n_runs):  # a run is inside the shorter one that begins there
                order[i] = <int32_t>i
                keys[i] = <uint64_t>runs[i].first << 32 | <uint64_t>runs[i].size
            sort_by(keys, order, n_runs)
            self.first = <int64_t*>zeroed(self.n_positions + 2, sizeof(int64_t))
            for filling in range(2):
                depth = next_run = 0
                for i in range(self.n):
                    while depth and runs[open_runs[depth - 1]].last < i:
                        depth -= 1
                    while next_run < n_runs and runs[order[next_run]].first == i:
                        open_runs = <int32_t*>grown(open_runs, &capacity, depth + 1, sizeof(int32_t))
                        open_runs[depth] = order[next_run]
                        depth += 1
                        next_run += 1
                    at = place[sa[i]]
                    if at < 0:
                        continue
                    if not filling:
                        self.first[at + 2] = depth
                        continue
                    for j in range(depth):
                        self.arc_piece[self.first[at + 1]] = runs[open_runs[j]].length
                        self.arc_length[self.first[at + 1]] = <uint16_t>self.pieces[runs[open_runs[j]].length].length
                        self.first[at + 1] += 1
                if not filling:
                    for i in range(self.n_positions + 1):
                        self.first[i + 1] += self.first[i]
                    self.arc_piece = <int32_t*>zeroed(self.first[self.n_positions + 1], sizeof(int32_t))
                    self.arc_length = <uint16_t*>zeroed(self.first[self.n_positions + 1], sizeof(uint16_t))
        finally:
            free(keys)
            free(order)
            free(open_runs)
        return 0
