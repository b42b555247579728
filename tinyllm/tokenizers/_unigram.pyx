# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The best segmentation under a Unigram model, compiled: the same ids as reference.unigram.viterbi gives, and raw text
to ids with what SentencePieceNormalizer does in between.

Text passes through a window (_unigram_window.pxi): as soon as all ways that could still win have their beginning in
common, that beginning is certain and leaves. Only what passes between two borders of words is remembered
(_unigram_cache.pxi), and not used where the sums of the whole text could give another result.
"""

from cpython.exc cimport PyErr_CheckSignals, PyErr_Clear
from cpython.list cimport PyList_Append, PyList_New
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from tinyllm.tokenizers._shared cimport MIX, code_point, grown, hash_bytes, same_bytes, zeroed

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.base import utf8

cdef enum:
    FULL = 1 << 12  # ids, that are then put into a list
    SHORT = 1 << 16  # characters: a str so long remembers its UTF-8, for that is faster
    REPLACEMENT = 0xFFFD
    SYMBOL = 0x2581

cdef extern from *:
    """
    #define RESET 100000.0f /* as in reference/unigram.py */
    """
    const float RESET

cdef extern from "Python.h":
    bint PyUnicode_Check(object text)
    Py_ssize_t PyUnicode_GetLength(object text) except -1
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size)  # NULL with an error set, for a lone surrogate
    int PyList_SetItem(object list, Py_ssize_t index, PyObject* item) except -1  # takes over a reference to the item

include "_unigram_trie.pxi"
include "_unigram_window.pxi"
include "_unigram_cache.pxi"
include "_unigram_normalize.pxi"


cdef int64_t fill(Window* w, const uint8_t* s, int64_t n, int64_t at, int64_t enough) except -1:
    """The characters of a piece from `at` on, until the window has `enough`; returns where the next one is. No UTF-8
    becomes U+FFFD.
    """
    cdef int32_t point
    cdef int size
    make_room(w, max(enough - w.n, 0))
    while w.n < enough and at < n:
        point = code_point(s + at, n - at, &size)
        append(w, REPLACEMENT if point < 0 else point)
        at += size
    return at


cdef class Encoder:
    """`tokens[i]`: the piece of id i in UTF-8, None if it is never read out of text, and its score in `scores`.

    `unknown`: id (or -1) and score of a character that no piece is; `unknown_piece`: how that id is spelled.
    `byte_ids`: 256 ids, or empty without byte fallback. `float32`: sums are rounded and start again from 0 beyond
    RESET.
    """

    cdef Trie trie
    cdef StretchCache cache  # None where none could be of use
    cdef Costs costs
    cdef double* scores
    cdef int32_t* lengths
    cdef int32_t unknown
    cdef bytes unknown_piece
    cdef int32_t byte_ids[256]
    cdef bint has_bytes
    cdef list numbers  # the int of each id, made once
    cdef PyObject** number_of  # these
    cdef Window* spare  # kept between calls

    def __init__(self, list tokens, list scores, int32_t unknown, double unknown_score, list byte_ids, bint float32):
        cdef int64_t i
        if self.trie is not None:
            raise RuntimeError("made twice")
        self.trie = Trie(tokens, scores)
        self.unknown = unknown
        self.unknown_piece = tokens[unknown] if unknown >= 0 else None
        self.has_bytes = len(byte_ids) == 256
        for i in range(len(byte_ids)):
            self.byte_ids[i] = byte_ids[i]
        self.numbers = list(range(len(tokens)))
        self.number_of = <PyObject**>zeroed(len(tokens), sizeof(PyObject*))
        self.scores = <double*>zeroed(len(tokens), sizeof(double))
        self.lengths = <int32_t*>zeroed(len(tokens), sizeof(int32_t))
        for i in range(len(tokens)):
            self.number_of[i] = <PyObject*>self.numbers[i]
            self.scores[i] = scores[i]
            self.lengths[i] = len(tokens[i].decode()) if tokens[i] is not None else 0
        self.costs = Costs(self.trie.units, self.scores, self.lengths, unknown_score, self.trie.longest, float32)
        symbol = "\u2581".encode()
        if all([score <= 0 for score in scores]) and not any([token and symbol in token[1:] for token in tokens]):
            self.cache = StretchCache(self.trie, tokens)
            self.cache.costs = &self.costs
            self.cache.least = min(scores + [unknown_score])

    def __dealloc__(self):
        free(self.number_of)
        free(self.scores)
        free(self.lengths)
        release(self.spare)

    def encode_piece(self, text):
        """The ids of one piece, str or bytes."""
        return self.encode(text, None, False)

    def tokenize(self, text):
        """(id, width in bytes) of each token of one piece."""
        return self.encode(text, None, True)

    def encode_text(self, Normalizer normalizer not None):
        """A function from a text, str or bytes, to the ids of what `normalizer` makes of it."""
        normalizer.bind(self.trie, self.cache)

        def encode(text):
            return self.encode(text, normalizer, False)

        return encode

    cdef list encode(self, object text, Normalizer normalizer, bint widths):
        """The window is this call's own: what makes Python objects can run other code, which might encode."""
        cdef list ids = None
        cdef bytes data
        cdef Py_ssize_t n = 0
        cdef const char* s = NULL
        if PyUnicode_Check(text) and PyUnicode_GetLength(text) <= SHORT:
            s = PyUnicode_AsUTF8AndSize(text, &n)
        if s == NULL:
            PyErr_Clear()
            data = utf8(text)
            n = len(data)
            s = data
        cdef Window* w = self.spare
        self.spare = NULL
        if w == NULL:
            w = <Window*>zeroed(1, sizeof(Window))
        try:
            begin_window(w, self.trie.codes)
            if normalizer is None:
                ids = self.take_piece(w, <const uint8_t*>s, n, widths)
            elif self.cache is not None and normalizer.makes_words():
                ids = self.take_words(w, normalizer, <const uint8_t*>s, n)
            else:
                ids = self.take_text(w, normalizer, <const uint8_t*>s, n)
            return self.flush(w, self.commit(w, w.n, ids))
        finally:
            if self.spare == NULL:
                self.spare = w
            else:
                release(w)

    cdef list take_piece(self, Window* w, const uint8_t* s, int64_t n, bint widths):
        """All of a piece goes into the window. Returns the ids that have left it."""
        cdef list ids = None
        cdef int64_t at = 0
        if widths:
            w.text = s
            w.told = 0
            w.size = n
        while at < n:
            at = fill(w, s, n, at, w.at + PART + self.trie.longest)
            ids = self.move(w, at == n, ids)
        return ids

    cdef list take_text(self, Window* w, Normalizer normalizer, const uint8_t* s, int64_t n):
        """All of a text, normalized."""
        cdef list ids = None
        cdef Reader reader
        memset(&reader, 0, sizeof(Reader))
        while not reader.ended:
            normalizer.fill(w, &reader, s, n, w.at + PART + self.trie.longest, False)
            ids = self.move(w, reader.ended, ids)
        return ids

    cdef list take_words(self, Window* w, Normalizer normalizer, const uint8_t* s, int64_t n):
        """All of a text, normalized, where no piece goes over the place before a space."""
        cdef list ids = None
        cdef Reader reader
        memset(&reader, 0, sizeof(Reader))
        while reader.at < n and normalizer.kind_of(s, n, reader.at) == BLANK:
            reader.at += 1
        if reader.at < n and normalizer.kind_of(s, n, reader.at) == PLAIN:
            normalizer.begin(w, &reader)
        while not reader.ended:
            if w.n == 0:
                self.cache.take_known(w, normalizer, &reader, s, n)
            normalizer.fill(w, &reader, s, n, w.at + PART + self.trie.longest, True)
            ids = self.move(w, reader.ended or reader.held > 0, ids)
            if reader.held:
                ids = self.commit(w, w.n, ids)
        return ids

    cdef list move(self, Window* w, bint ended, list ids):
        """Try all pieces that can be tried, and let go what is certain."""
        cdef int64_t end = w.n if ended else w.n - self.trie.longest
        cdef int64_t before
        while w.at < end:
            if self.costs.float32:
                advance(w, &self.costs, <float*>w.best, min(end, w.due))
            else:
                advance(w, &self.costs, <double*>w.best, min(end, w.due))
            if w.at == w.due:
                before = w.n
                ids = self.commit(w, common_beginning(w, self.lengths), ids)
                end -= before - w.n
        if w.at - w.base > PART + self.trie.longest:
            drop_characters(w, sizeof(float) if self.costs.float32 else sizeof(double))
        return ids

    cdef list commit(self, Window* w, int64_t end, list ids):
        """The tokens of the best way to the place `end` leave."""
        cdef int64_t first
        if end > 0:
            first = gather(w, end, self.lengths)
            while end > MANY:
                leave(w, first - 1)
                end -= first - 1
                w.tokens_capacity = w.n + 1
                widened(<void**>&w.tokens, w.tokens_capacity, sizeof(int32_t))
                ids = self.emit(w, 1, end // 2, ids)
                first = end // 2 + 1
            ids = self.emit(w, first, end, ids)
            leave(w, end)
            drop_characters(w, sizeof(float) if self.costs.float32 else sizeof(double))
        w.due = max(<int64_t>PART, 2 * w.at)
        return ids

    cdef list emit(self, Window* w, int64_t first, int64_t end, list ids):
        """tokens[first] to tokens[end] leave."""
        cdef int64_t stop
        cdef int32_t token
        cdef int32_t* to
        while first <= end:
            stop = min(first + FULL, end + 1)
            reserve(w, stop - first)
            to = w.ids + w.n_ids
            while first < stop and w.text == NULL:
                token = w.tokens[first]
                if token & UNKNOWN or token == self.unknown:
                    break
                to[0] = token
                to += 1
                first += 1
                w.after_unknown = False
            w.n_ids = to - w.ids
            if first < stop:
                self.emit_one(w, w.tokens[first])
                first += 1
            if w.n_ids >= FULL and w.text == NULL:
                ids = self.flush(w, ids)
        return ids

    cdef int emit_one(self, Window* w, int32_t token) except -1:
        """What is unknown becomes bytes, or one token with what is unknown before it."""
        cdef int32_t width
        if not token & UNKNOWN and token != self.unknown:
            push(w, token, width_of(w, self.lengths[token]))
            w.after_unknown = False
            return 0
        if self.has_bytes:
            return self.emit_bytes(w, chr(token ^ UNKNOWN) if token & UNKNOWN else self.unknown_piece.decode())
        if self.unknown < 0:
            raise TokenizerError(
                f"no piece of the vocabulary spells {chr(token ^ UNKNOWN)!r}, and there is no unknown piece"
            )
        width = width_of(w, length_of(token, self.lengths))
        if not w.after_unknown:
            push(w, self.unknown, width)
        elif w.text != NULL:
            w.widths[w.n_ids - 1] += width
        w.after_unknown = True
        return 0

    cdef int emit_bytes(self, Window* w, str characters) except -1:
        cdef int32_t width
        cdef uint8_t byte
        for character in characters:
            reserve(w, 4)
            width = width_of(w, 1)
            for byte in character.encode():
                push(w, self.byte_ids[byte], 1 if width > 0 else 0)
                width -= 1
        return 0

    cdef list flush(self, Window* w, list ids):
        """The ids that have left, and their widths if asked for, behind `ids`, which is None if there are none yet."""
        cdef int64_t n = w.n_ids
        cdef int64_t i
        w.n_ids = 0
        PyErr_CheckSignals()
        if w.text != NULL:
            return [(self.numbers[w.ids[i]], w.widths[i]) for i in range(n)]
        if ids is None:
            ids = PyList_New(n)
            for i in range(n):
                Py_INCREF(<object>self.number_of[w.ids[i]])
                PyList_SetItem(ids, i, self.number_of[w.ids[i]])
        else:
            for i in range(n):
                PyList_Append(ids, <object>self.number_of[w.ids[i]])
        return ids
