# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The best segmentation under a Unigram model, compiled: the same ids as reference.unigram.viterbi gives, and raw text
to ids with what SentencePieceNormalizer does in between.

The vocabulary is a trie by code points, whose edges are one hash table. Text passes through a window: as soon as all
ways that could still win have their beginning in common, that beginning is certain and leaves. So memory doesn't grow
with the text, and there is no cache that could give another result than the sums of the whole text.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_Append
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from tinyllm.tokenizers._shared cimport MIX, code_point, grown, zeroed

from tinyllm.errors import TokenizerError

cdef enum:
    PART = 1 << 12  # characters that come into the window at once, and leave it if they can
    POINTS = 0x110000
    REPLACEMENT = 0xFFFD
    SYMBOL = 0x2581

cdef double RESET = 100000.0  # as in reference/unigram.py

cdef struct Edge:
    uint64_t key  # node << 21 | code point
    double score
    int32_t token  # -1: no piece ends here
    int32_t node  # 0: no edge


cdef struct Place:  # between two characters of the window
    double best  # the score of the best way to it
    int32_t length  # of that way's last piece, in characters; 0: none found yet
    int32_t token  # that piece
    uint32_t point  # the character after it
    int32_t width  # of that character, in bytes of the piece that is encoded


cdef struct Window:
    Place* places
    int32_t* path
    int64_t capacity, path_capacity
    int64_t n  # characters in it
    int64_t at  # of them, so many have all their pieces tried
    int64_t reached  # the last place that some way goes to
    int64_t due  # when `at` is here, it's time to look what can leave
    bint after_unknown


cdef inline int make_room(Window* w, int64_t more) except -1:
    w.places = <Place*>grown(w.places, &w.capacity, w.n + more + 1, sizeof(Place))
    return 0


cdef inline void append(Window* w, uint32_t point, int32_t width) noexcept:
    w.places[w.n].point = point
    w.places[w.n].width = width
    w.n += 1
    w.places[w.n].length = 0


include "_unigram_normalize.pxi"


cdef bint fill(Window* w, Reader* r, const uint8_t* s, int64_t n, int64_t enough) except -1:
    """The characters of a piece, until the window has `enough`; whether that was the last. No UTF-8 becomes U+FFFD."""
    cdef int32_t point
    cdef int size
    make_room(w, max(enough - w.n, 0))
    while w.n < enough and r.at < n:
        point = code_point(s + r.at, n - r.at, &size)
        append(w, REPLACEMENT if point < 0 else point, size)
        r.at += size
    return r.at >= n


cdef class Encoder:
    """`tokens[i]`: the piece of id i in UTF-8, None if it is never read out of text, and its score in `scores`.

    `unknown`: id (or -1) and score of a character that no piece is. `byte_ids`: 256 ids, or empty without byte
    fallback. `float32`: sums are rounded and start again from 0 beyond RESET.
    """

    cdef Edge* edges
    cdef int64_t n_edges, used
    cdef int shift
    cdef int32_t n_nodes
    cdef int64_t longest
    cdef int32_t unknown
    cdef double unknown_score
    cdef bint float32
    cdef int32_t byte_ids[256]
    cdef bint has_bytes
    cdef list numbers  # the int of each id, made once
    cdef Window spare  # kept between calls

    def __init__(self, list tokens, list scores, int32_t unknown, double unknown_score, list byte_ids, bint float32):
        cdef int64_t i
        if self.edges != NULL:
            raise RuntimeError("made twice")
        self.unknown = unknown
        self.unknown_score = unknown_score
        self.float32 = float32
        self.has_bytes = len(byte_ids) == 256
        for i in range(len(byte_ids)):
            self.byte_ids[i] = byte_ids[i]
        self.numbers = list(range(len(tokens)))
        self.n_edges = 64
        self.shift = 64 - 6
        self.edges = <Edge*>zeroed(self.n_edges, sizeof(Edge))
        self.longest = 1
        for i in range(len(tokens)):
            if tokens[i] is not None:
                self.add(tokens[i], scores[i], <int32_t>i)

    def __dealloc__(self):
        free(self.edges)
        free(self.spare.places)
        free(self.spare.path)

    cdef int add(self, bytes piece, double score, int32_t token) except -1:
        cdef const uint8_t* s = piece
        cdef int64_t left = len(piece)
        cdef int64_t length = 0
        cdef int64_t node = 0
        cdef uint64_t key
        cdef int size
        cdef Edge* edge = NULL
        while left:
            key = node << 21 | code_point(s, left, &size)
            edge = self.slot(key)
            if edge.node == 0:
                if 3 * self.used >= self.n_edges:
                    self.widen()
                    edge = self.slot(key)
                self.used += 1
                self.n_nodes += 1
                edge[0] = Edge(key, 0, -1, self.n_nodes)
            node = edge.node
            s += size
            left -= size
            length += 1
        edge.token = token
        edge.score = score
        self.longest = max(self.longest, length)
        return 0

    cdef int widen(self) except -1:
        cdef Edge* old = self.edges
        cdef int64_t n = self.n_edges
        cdef int64_t i
        self.edges = <Edge*>calloc(2 * n, sizeof(Edge))
        if self.edges == NULL:
            self.edges = old
            raise MemoryError(f"no {2 * n * sizeof(Edge)} bytes for the vocabulary's trie")
        self.n_edges = 2 * n
        self.shift -= 1
        for i in range(n):
            if old[i].node:
                self.slot(old[i].key)[0] = old[i]
        free(old)
        return 0

    cdef inline Edge* slot(self, uint64_t key) noexcept:
        """The edge with this key, or the empty place for it."""
        cdef int64_t i = key * MIX >> self.shift
        while self.edges[i].node and self.edges[i].key != key:
            i = (i + 1) & (self.n_edges - 1)
        return &self.edges[i]

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
        cdef Reader reader
        cdef Window w = self.spare
        memset(&self.spare, 0, sizeof(Window))
        memset(&reader, 0, sizeof(Reader))
        w.n = w.at = w.reached = 0
        w.due = PART
        w.after_unknown = False
        try:
            make_room(&w, 0)
            memset(w.places, 0, sizeof(Place))
            while not ended:
                if normalizer is not None:
                    normalizer.fill(&w, &reader, s, n, w.at + PART + self.longest)
                    ended = reader.ended
                else:
                    ended = fill(&w, &reader, s, n, w.at + PART + self.longest)
                self.advance(&w, w.n if ended else w.n - self.longest, ids, widths)
                parts += 1
                if parts & 0xFF == 0:
                    PyErr_CheckSignals()
            self.commit(&w, w.n, ids, widths)
        finally:
            if self.spare.places == NULL:
                self.spare = w
            else:
                free(w.places)
                free(w.path)
        return 0

    cdef int advance(self, Window* w, int64_t end, list ids, list widths) except -1:
        """Try all pieces that begin before the place `end`."""
        cdef Place* places = w.places
        cdef int64_t at, to, i
        cdef int64_t n = w.n
        cdef uint64_t node
        cdef Edge* edge
        cdef double here, offset
        cdef bint alone
        while w.at < end:
            at = w.at
            if at >= w.due:
                self.commit(w, self.common_beginning(w), ids, widths)
                end -= n - w.n
                n = w.n
                at = w.at
                w.due = max(<int64_t>PART, 2 * at)
            here = places[at].best
            if self.float32 and (here > RESET or here < -RESET):
                offset = here
                for i in range(at, w.reached + 1):
                    if i == at or places[i].length:
                        places[i].best = <float>(places[i].best - offset)
                here = 0
            node = 0
            alone = False
            for to in range(at, n):
                edge = self.slot(node << 21 | places[to].point)
                if edge.node == 0:
                    break
                node = edge.node
                if edge.token >= 0:
                    alone |= to == at
                    self.arrive(w, &places[to + 1], here + edge.score, <int32_t>(to + 1 - at), edge.token)
                    w.reached = max(w.reached, to + 1)
            if not alone:
                self.arrive(w, &places[at + 1], here + self.unknown_score, 1, self.unknown)
                w.reached = max(w.reached, at + 1)
            w.at = at + 1
        return 0

    cdef inline void arrive(self, Window* w, Place* place, double score, int32_t length, int32_t token) noexcept:
        if self.float32:
            score = <float>score
        if place.length == 0 or score > place.best:
            place.best = score
            place.length = length
            place.token = token

    cdef int64_t common_beginning(self, Window* w) noexcept:
        """The last place that all ways to the places from w.at on have in common.

        From the last place leftwards: each that a way goes through is marked by the sign of its length.
        """
        cdef Place* places = w.places
        cdef int64_t i, before
        cdef int64_t ways = 0
        for i in range(w.at, w.reached + 1):
            ways += places[i].length > 0
            places[i].length = -places[i].length
        i = w.reached
        while True:
            if places[i].length < 0:
                places[i].length = -places[i].length
                if ways == 1:
                    return i
                before = i - places[i].length
                if places[before].length < 0:
                    ways -= 1
                else:
                    places[before].length = -places[before].length
                if before == 0:
                    break
            i -= 1
        for i in range(i):
            if places[i].length < 0:
                places[i].length = -places[i].length
        return 0

    cdef int commit(self, Window* w, int64_t end, list ids, list widths) except -1:
        """Append the tokens of the best way to the place `end`, which becomes the first of the window."""
        cdef Place* places = w.places
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
            at -= places[at].length
        for i in range(n - 1, -1, -1):
            token = places[w.path[i]].token
            if token == self.unknown:
                self.add_unknown(w, at, w.path[i], ids, widths)
            else:
                PyList_Append(ids, self.numbers[token])
                if widths is not None:
                    PyList_Append(widths, self.width_of(w, at, w.path[i]))
            w.after_unknown = token == self.unknown
            at = w.path[i]
        memmove(places, places + end, (w.n + 1 - end) * sizeof(Place))
        places[0].length = 0
        w.n -= end
        w.at -= end
        w.reached -= end
        return 0

    cdef int64_t width_of(self, Window* w, int64_t start, int64_t end) noexcept:
        cdef int64_t i
        cdef int64_t width = 0
        for i in range(start, end):
            width += w.places[i].width
        return width

    cdef int add_unknown(self, Window* w, int64_t start, int64_t end, list ids, list widths) except -1:
        """What is unknown, as bytes or as one token with what is unknown before it."""
        cdef int64_t at
        cdef int32_t width
        cdef bytes spelled
        if self.has_bytes:
            for at in range(start, end):
                spelled = chr(w.places[at].point).encode()
                width = w.places[at].width
                for byte in spelled:
                    PyList_Append(ids, self.numbers[self.byte_ids[<int>byte]])
                    if widths is not None:
                        PyList_Append(widths, 1 if width > 0 else 0)
                    width -= 1
            return 0
        if self.unknown < 0:
            raise TokenizerError(
                f"no piece of the vocabulary spells {chr(w.places[start].point)!r}, and there is no unknown piece"
            )
        if not w.after_unknown:
            PyList_Append(ids, self.numbers[self.unknown])
            if widths is not None:
                PyList_Append(widths, self.width_of(w, start, end))
        elif widths is not None:
            widths[len(widths) - 1] += self.width_of(w, start, end)
        return 0
