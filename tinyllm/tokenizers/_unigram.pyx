# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The best segmentation under a Unigram model, compiled: the same ids as reference.unigram.viterbi gives, and raw text
to ids with what SentencePieceNormalizer does in between.

Text passes through a window: as soon as all
ways that could still win have their beginning in common, that beginning is certain and leaves. So memory doesn't grow
with the text, and there is no cache that could give another result than the sums of the whole text.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_Append
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from tinyllm.tokenizers._shared cimport MIX, code_point, grown, hash_bytes, zeroed

from tinyllm.errors import TokenizerError

cdef enum:
    PART = 1 << 8  # characters that come into the window at once, and leave it if they can
    REPLACEMENT = 0xFFFD
    SYMBOL = 0x2581

cdef extern from *:
    """
    #define RESET 100000.0f /* as in reference/unigram.py */
    """
    const float RESET

ctypedef fused real:
    float
    double


cdef struct Back:  # the last piece of the best way to a place
    int32_t length  # 0: no way has been found yet
    int32_t token


cdef struct Window:  # of characters, and the places before, between and behind them
    uint32_t* points
    int32_t* codes  # of the trie; after the last one 0
    uint8_t* widths  # in bytes of the piece that is encoded
    void* best  # the scores of the best ways to the places: float or double
    Back* back
    int32_t* path
    const int32_t* code_of
    int64_t capacity, path_capacity
    int64_t n  # characters in it
    int64_t at  # of them, so many have all their pieces tried
    int64_t reached  # the last place that some way goes to
    int64_t due  # when `at` is here, it's time to look what can leave
    bint after_unknown


cdef int make_room(Window* w, int64_t more) except -1:
    """For so many characters more."""
    cdef int64_t had = w.capacity
    if w.n + more + 1 <= had:
        return 0
    cdef int64_t capacity = max(w.n + more + 1, 2 * had)
    widened(<void**>&w.points, capacity, sizeof(uint32_t))
    widened(<void**>&w.codes, capacity, sizeof(int32_t))
    widened(<void**>&w.widths, capacity, sizeof(uint8_t))
    widened(&w.best, capacity, sizeof(double))
    widened(<void**>&w.back, capacity, sizeof(Back))
    w.capacity = capacity
    return 0


cdef int widened(void** block, int64_t count, size_t size) except -1:
    cdef void* moved = realloc(block[0], count * size)
    if moved == NULL:
        raise MemoryError(f"no {count * size} bytes for the characters of a text")
    block[0] = moved
    return 0


cdef void release(Window* w) noexcept:
    free(w.points)
    free(w.codes)
    free(w.widths)
    free(w.best)
    free(w.back)
    free(w.path)


cdef inline void append(Window* w, uint32_t point) noexcept:
    cdef int64_t n = w.n
    w.points[n] = point
    w.codes[n] = w.code_of[point]
    w.codes[n + 1] = 0
    w.back[n + 1].length = 0
    w.n = n + 1


include "_unigram_trie.pxi"
include "_unigram_normalize.pxi"
include "_unigram_cache.pxi"


cdef bint fill(Window* w, Reader* r, const uint8_t* s, int64_t n, int64_t enough) except -1:
    """The characters of a piece, until the window has `enough`; whether that was the last. No UTF-8 becomes U+FFFD."""
    cdef int32_t point
    cdef int size
    make_room(w, max(enough - w.n, 0))
    while w.n < enough and r.at < n:
        point = code_point(s + r.at, n - r.at, &size)
        w.widths[w.n] = size
        append(w, REPLACEMENT if point < 0 else point)
        r.at += size
    return r.at >= n


cdef inline void arrive_unknown(real* best, Back* back, real score, int32_t token) noexcept:
    if back.length == 0 or score > best[0]:
        best[0] = score
        back[0] = Back(1, token)


cdef class Encoder:
    """`tokens[i]`: the piece of id i in UTF-8, None if it is never read out of text, and its score in `scores`.

    `unknown`: id (or -1) and score of a character that no piece is. `byte_ids`: 256 ids, or empty without byte
    fallback. `float32`: sums are rounded and start again from 0 beyond RESET.
    """

    cdef Trie trie
    cdef StretchCache cache  # None where none could be of use
    cdef double* scores
    cdef double least  # of all scores
    cdef int32_t unknown
    cdef double unknown_score
    cdef bint float32
    cdef int32_t byte_ids[256]
    cdef bint has_bytes
    cdef list numbers  # the int of each id, made once
    cdef Window spare  # kept between calls

    def __init__(self, list tokens, list scores, int32_t unknown, double unknown_score, list byte_ids, bint float32):
        cdef int64_t i
        if self.trie is not None:
            raise RuntimeError("made twice")
        self.trie = Trie(tokens, scores)
        self.unknown = unknown
        self.unknown_score = unknown_score
        self.float32 = float32
        self.has_bytes = len(byte_ids) == 256
        for i in range(len(byte_ids)):
            self.byte_ids[i] = byte_ids[i]
        self.numbers = list(range(len(tokens)))
        self.scores = <double*>zeroed(len(scores), sizeof(double))
        for i in range(len(scores)):
            self.scores[i] = scores[i]
            self.least = min(self.least, self.scores[i])
        self.least = min(self.least, unknown_score)
        symbol = "\u2581".encode()
        if all([score <= 0 for score in scores]) and not any([token and symbol in token[1:] for token in tokens]):
            self.cache = StretchCache(self.trie, tokens)
            self.cache.scores = self.scores
            self.cache.unknown_score = unknown_score

    def __dealloc__(self):
        free(self.scores)
        release(&self.spare)

    def encode_piece(self, bytes data not None):
        """The ids of one piece."""
        cdef list ids = []
        self.encode(data, ids, None, None)
        return ids

    def tokenize(self, bytes data not None):
        """(id, width in bytes) of each token of one piece."""
        cdef list ids = []
        cdef list widths = []
        self.encode(data, ids, widths, None)
        return list(zip(ids, widths))

    def encode_text(self, Normalizer normalizer not None):
        """A function from the bytes of a text to the ids of what `normalizer` makes of it."""
        def encode(bytes data not None):
            cdef list ids = []
            self.encode(data, ids, None, normalizer)
            return ids

        return encode

    cdef int encode(self, bytes data, list ids, list widths, Normalizer normalizer) except -1:
        """Append to `ids`, and to `widths` if it's not None. The window is this call's own: what makes Python objects
        can run other code, which might encode.
        """
        cdef const uint8_t* s = data
        cdef int64_t n = len(data)
        cdef int64_t parts = 0
        cdef bint ended = False
        cdef bint by_words = normalizer is not None and self.cache is not None and normalizer.makes_words()
        cdef Reader reader
        cdef Window w = self.spare
        memset(&self.spare, 0, sizeof(Window))
        memset(&reader, 0, sizeof(Reader))
        w.n = w.at = w.reached = 0
        w.due = PART
        w.after_unknown = False
        w.code_of = self.trie.codes
        try:
            make_room(&w, 0)
            w.codes[0] = 0
            w.back[0].length = 0
            if self.float32:
                (<float*>w.best)[0] = 0
            else:
                (<double*>w.best)[0] = 0
            if by_words:
                while reader.at < n and normalizer.kind_of(s, n, reader.at) == BLANK:
                    reader.at += 1
                if reader.at < n and normalizer.kind_of(s, n, reader.at) == PLAIN:
                    normalizer.begin(&w, &reader)
            while not ended:
                if normalizer is not None:
                    if by_words and w.n == 0:
                        self.take_known(&w, normalizer, &reader, s, n, ids)
                    normalizer.fill(&w, &reader, s, n, w.at + PART + self.trie.longest, by_words)
                    ended = reader.ended
                    if reader.held and by_words:  # no piece goes over this place
                        self.move(&w, w.n, ids, widths)
                        self.commit(&w, w.n, ids, widths)
                        w.due = PART
                        continue
                else:
                    ended = fill(&w, &reader, s, n, w.at + PART + self.trie.longest)
                self.move(&w, w.n if ended else w.n - self.trie.longest, ids, widths)
                parts += 1
                if parts & 0xFF == 0:
                    PyErr_CheckSignals()
            self.commit(&w, w.n, ids, widths)
        finally:
            if self.spare.points == NULL:
                self.spare = w
            else:
                release(&w)
        return 0

    cdef int take_known(
        self, Window* w, Normalizer normalizer, Reader* r, const uint8_t* s, int64_t n, list ids
    ) except -1:
        """Go over all stretches that are known, or soon are, while the window is empty."""
        cdef const uint8_t* joined = self.cache.joined
        cdef int64_t start, end, i
        cdef uint8_t kind
        cdef int32_t token
        cdef const Stretch* stretch
        cdef double sum = (<float*>w.best)[0] if self.float32 else (<double*>w.best)[0]
        cdef double rounding = 2.0**-22 if self.float32 else 2.0**-51
        while r.held == r.after_space:  # no space, or one that came from spaces
            start = r.at
            if r.held:
                while start < n and normalizer.kind_of(s, n, start) == BLANK:
                    start += 1
            end = start
            kind = PLAIN
            while end < n and end - start < KEY:
                kind = normalizer.kind_of(s, n, end)
                if kind != PLAIN or (end > start and not joined[s[end - 1] * 128 + s[end]]):
                    break
                end += 1
            if end == start or end - start >= KEY or kind == 0:
                break
            token = self.cache.alone[s[start]]
            if end - start == 1 and not r.held and token >= 0:
                sum += self.scores[token]
                if self.float32:
                    sum = <float>sum
                PyList_Append(ids, self.numbers[token])
            else:
                stretch = self.cache.find(s + start, end - start, r.held)
                if stretch.n_ids == 0 or not stretch.margin > -rounding * (end - start + 1) * (sum + stretch.score):
                    break
                if sum + (KEY + 1) * self.least < -RESET:
                    break
                for i in range(stretch.n_ids):
                    sum += self.scores[stretch.ids[i]]
                    if self.float32:
                        sum = <float>sum
                    PyList_Append(ids, self.numbers[stretch.ids[i]])
            w.after_unknown = False
            r.at = end
            r.held = r.after_space = end < n and kind == BLANK
            r.at += r.held
            if end == n:
                break
        if self.float32:
            (<float*>w.best)[0] = <float>sum
        else:
            (<double*>w.best)[0] = sum
        return 0

    cdef int move(self, Window* w, int64_t end, list ids, list widths) except -1:
        """Try all pieces that begin before the place `end`, and let go what is certain."""
        cdef int64_t n = w.n
        cdef int64_t stop
        while w.at < end:
            stop = min(end, w.due)
            if self.float32:
                self.advance(w, <float*>w.best, stop)
            else:
                self.advance(w, <double*>w.best, stop)
            if w.at == w.due:
                self.commit(w, self.common_beginning(w), ids, widths)
                w.due = max(<int64_t>PART, 2 * w.at)
                end -= n - w.n
                n = w.n
        return 0

    cdef void advance(self, Window* w, real* best, int64_t end) noexcept:
        """Try all pieces that begin before the place `end`."""
        cdef const Unit* units = self.trie.units
        cdef const int32_t* codes = w.codes
        cdef Back* back = w.back
        cdef int64_t reached = w.reached
        cdef int64_t at, to, i
        cdef int32_t unit, child, token
        cdef real here, score
        cdef real unknown_score = <real>self.unknown_score
        for at in range(w.at, end):
            here = best[at]
            if real is float and (here > RESET or here < -RESET):
                score = here
                for i in range(at, reached + 1):
                    if i == at or back[i].length:
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
                        score = here + self.scores[token]
                    if back[to].length == 0 or score > best[to]:
                        best[to] = score
                        back[to] = Back(<int32_t>(to - at), token)
                elif to == at + 1:
                    arrive_unknown(&best[to], &back[to], here + unknown_score, self.unknown)
            if to == at:
                to = at + 1
                arrive_unknown(&best[to], &back[to], here + unknown_score, self.unknown)
            reached = max(reached, to)
        w.reached = reached
        w.at = max(w.at, end)

    cdef int64_t common_beginning(self, Window* w) noexcept:
        """The last place that all ways to the places from w.at on have in common.

        From the last place leftwards: each that a way goes through is marked by the sign of its length.
        """
        cdef Back* back = w.back
        cdef int64_t i, before
        cdef int64_t ways = 0
        for i in range(w.at, w.reached + 1):
            ways += back[i].length > 0
            back[i].length = -back[i].length
        i = w.reached
        while True:
            if back[i].length < 0:
                back[i].length = -back[i].length
                if ways == 1:
                    return i
                before = i - back[i].length
                if back[before].length < 0:
                    ways -= 1
                else:
                    back[before].length = -back[before].length
                if before == 0:
                    break
            i -= 1
        for i in range(i):
            if back[i].length < 0:
                back[i].length = -back[i].length
        return 0

    cdef int commit(self, Window* w, int64_t end, list ids, list widths) except -1:
        """Append the tokens of the best way to the place `end`, which becomes the first of the window."""
        cdef Back* back = w.back
        cdef int64_t at = end
        cdef int64_t n = 0
        cdef int64_t i
        cdef int32_t token
        if end == 0:
            return 0
        w.path = <int32_t*>grown(w.path, &w.path_capacity, end, sizeof(int32_t))
        while at:
            w.path[n] = <int32_t>at
            n += 1
            at -= back[at].length
        for i in range(n - 1, -1, -1):
            token = back[w.path[i]].token
            if token == self.unknown:
                self.add_unknown(w, at, w.path[i], ids, widths)
            else:
                PyList_Append(ids, self.numbers[token])
                if widths is not None:
                    PyList_Append(widths, self.width_of(w, at, w.path[i]))
            w.after_unknown = token == self.unknown
            at = w.path[i]
        n = w.n + 1 - end
        memmove(w.points, w.points + end, n * sizeof(uint32_t))
        memmove(w.codes, w.codes + end, n * sizeof(int32_t))
        memmove(w.widths, w.widths + end, n)
        if self.float32:
            memmove(w.best, <float*>w.best + end, n * sizeof(float))
        else:
            memmove(w.best, <double*>w.best + end, n * sizeof(double))
        memmove(back, back + end, n * sizeof(Back))
        back[0].length = 0
        w.n -= end
        w.at -= end
        w.reached -= end
        return 0

    cdef int64_t width_of(self, Window* w, int64_t start, int64_t end) noexcept:
        cdef int64_t i
        cdef int64_t width = 0
        for i in range(start, end):
            width += w.widths[i]
        return width

    cdef int add_unknown(self, Window* w, int64_t start, int64_t end, list ids, list widths) except -1:
        """What is unknown, as bytes or as one token with what is unknown before it."""
        cdef int64_t at
        cdef int32_t width
        cdef bytes spelled
        if self.has_bytes:
            for at in range(start, end):
                spelled = chr(w.points[at]).encode()
                width = w.widths[at]
                for byte in spelled:
                    PyList_Append(ids, self.numbers[self.byte_ids[<int>byte]])
                    if widths is not None:
                        PyList_Append(widths, 1 if width > 0 else 0)
                    width -= 1
            return 0
        if self.unknown < 0:
            raise TokenizerError(
                f"no piece of the vocabulary spells {chr(w.points[start])!r}, and there is no unknown piece"
            )
        if not w.after_unknown:
            PyList_Append(ids, self.numbers[self.unknown])
            if widths is not None:
                PyList_Append(widths, self.width_of(w, start, end))
        elif widths is not None:
            widths[len(widths) - 1] += self.width_of(w, start, end)
        return 0
