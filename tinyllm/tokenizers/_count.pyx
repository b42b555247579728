# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Counting the pieces of text, compiled: the same results as trainers/count.py's PythonCounter. Text is bytes."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcpy

from tinyllm.tokenizers._shared cimport hash_bytes, room, same_bytes, zeroed

from tinyllm.tokenizers import _unicode as unicode
from tinyllm.errors import TokenizerError

include "_segment.pxi"

ctypedef int64_t (*Scan)(const uint8_t*, int64_t, int64_t) noexcept nogil  # no scanner touches a Python object

cdef int64_t MOST = 0x4000000000000000  # occurrences times bytes: sums over pieces then stay within 64 signed bits

cdef enum Trouble:  # what `count` may answer instead of 0
    NO_MEMORY = 1, TOO_MANY

cdef struct Word:
    int64_t start  # of its bytes in `text`
    int64_t count
    int64_t first  # where it appeared first: smaller is earlier
    int32_t size
    uint32_t hash


cdef struct Record:  # what a dump has before the bytes of a word
    int64_t count
    int64_t first
    int64_t size


cdef int earlier(const void* x, const void* y) noexcept nogil:
    cdef int64_t a = (<const Word*>x).first
    cdef int64_t b = (<const Word*>y).first
    return (a > b) - (a < b)


cdef class WordCounter:
    """How often each piece occurs. `scanner` cuts texts into pieces; with None a text is one piece.

    Pieces of more than `max_bytes` are left out: `skipped` of them so far, the longest of `longest` bytes.
    """

    cdef Word* words
    cdef int64_t n_words, words_capacity
    cdef uint8_t* text
    cdef int64_t text_size, text_capacity
    cdef int32_t* slots  # index into words, plus 1; 0 is empty
    cdef int64_t n_slots
    cdef uint64_t seed
    cdef Scan scan
    cdef int64_t max_bytes
    cdef int64_t at  # where the next text stands among all
    cdef readonly int64_t total  # occurrences times bytes
    cdef readonly int64_t skipped, longest

    def __cinit__(self, str scanner=None, int64_t max_bytes=0x7FFFFFFF):
        self.scan = NULL if scanner is None else <Scan>scanner_of(scanner)
        self.max_bytes = min(max_bytes, 0x7FFFFFFF)
        self.seed = hash("word") & 0xFFFFFFFFFFFFFFF  # differs by process: no text can aim at one slot
        self.clear()

    def __dealloc__(self):
        free(self.words)
        free(self.text)
        free(self.slots)

    def __len__(self):
        return self.n_words

    @property
    def memory(self):
        """Bytes that the tables take."""
        return sizeof(Word) * self.words_capacity + self.text_capacity + sizeof(int32_t) * self.n_slots

    def clear(self):
        """Forget all pieces, not how many were left out."""
        free(self.words)
        free(self.text)
        free(self.slots)
        self.words, self.text, self.slots = NULL, NULL, NULL
        self.n_words = self.words_capacity = self.text_size = self.text_capacity = self.total = 0
        self.n_slots = 1 << 12
        self.slots = <int32_t*>zeroed(self.n_slots, sizeof(int32_t))

    def add(self, bytes data not None):
        """Count the pieces of one text."""
        self.add_range(data, 0, len(data), self.at)

    def add_range(self, bytes data not None, int64_t start, int64_t end, int64_t at):
        """Count the pieces of `data` that begin in data[start:end], which stands at byte `at` of all text.

        Other threads run meanwhile.
        """
        cdef const uint8_t* s = data
        cdef int64_t n = len(data)
        cdef int64_t i = start
        cdef int64_t j
        cdef int trouble = 0
        if not 0 <= start <= end <= n:
            raise ValueError(f"the range {start} to {end} is not inside a text of {n} bytes")
        with nogil:
            while i < end and not trouble:
                j = n if self.scan == NULL else self.scan(s, i, n)
                trouble = self.count(s + i, j - i, 1, at + i - start)
                i = j
        self.at = max(self.at, at + end - start)
        self.check(trouble)

    def add_piece(self, bytes piece not None, int64_t n=1):
        """Count one piece n times."""
        if n < 0:
            raise TokenizerError(f"the count of {piece[:40]!r} is {n}; it can't be negative")
        if n:
            self.check(self.count(piece, len(piece), n, self.at))
        self.at += 1

    def items(self):
        """(piece, count) of each distinct piece, in order of first appearance."""
        cdef int64_t i
        cdef Word* word
        self.sort()
        found = []
        for i in range(self.n_words):
            word = &self.words[i]
            found.append(((<const char*>self.text)[word.start : word.start + word.size], word.count))
        return found

    def flat(self):
        """The same for a compiled trainer: all pieces joined, where each ends and its count (packed int64)."""
        cdef int64_t i
        cdef int64_t end = 0
        self.sort()
        cdef bytes text = PyBytes_FromStringAndSize(NULL, self.text_size)  # nobody else has these objects yet
        cdef bytes ends = PyBytes_FromStringAndSize(NULL, 8 * self.n_words)
        cdef bytes counts = PyBytes_FromStringAndSize(NULL, 8 * self.n_words)
        cdef uint8_t* to_text = text
        cdef int64_t* to_ends = <int64_t*><char*>ends
        cdef int64_t* to_counts = <int64_t*><char*>counts
        for i in range(self.n_words):
            memcpy(to_text + end, self.text + self.words[i].start, self.words[i].size)
            end += self.words[i].size
            to_ends[i] = end
            to_counts[i] = self.words[i].count
        return text, ends, counts

    def merge(self, WordCounter other not None, int64_t least=0):
        """Take in the pieces that another counter has counted `least` times or more."""
        cdef int64_t i
        cdef Word* word
        for i in range(other.n_words):
            word = &other.words[i]
            if word.count < least:
                continue
            self.check(self.count(other.text + word.start, word.size, word.count, word.first))
        self.skipped += other.skipped
        self.longest = max(self.longest, other.longest)
        self.at = max(self.at, other.at)

    def dump(self, int64_t parts):
        """All words as `parts` strings of bytes for `load`; a word is in the same part in every counter of a process."""
        cdef int64_t i
        cdef int64_t part
        cdef Record record
        cdef Word* word
        cdef bytes data
        cdef int64_t* sizes = <int64_t*>zeroed(parts, sizeof(int64_t))
        cdef uint8_t** ends = NULL
        found = []
        try:
            for i in range(self.n_words):
                sizes[self.words[i].hash % parts] += sizeof(Record) + self.words[i].size
            ends = <uint8_t**>zeroed(parts, sizeof(uint8_t*))
            for part in range(parts):
                data = PyBytes_FromStringAndSize(NULL, sizes[part])  # nobody else has it yet
                ends[part] = data
                found.append(data)
            for i in range(self.n_words):
                word = &self.words[i]
                part = word.hash % parts
                record = Record(word.count, word.first, word.size)
                memcpy(ends[part], &record, sizeof(Record))
                memcpy(ends[part] + sizeof(Record), self.text + word.start, word.size)
                ends[part] += sizeof(Record) + word.size
        finally:
            free(sizes)
            free(ends)
        return found

    def load(self, bytes data not None):
        """Take in what `dump` gave."""
        cdef const uint8_t* s = data
        cdef int64_t i = 0
        cdef int64_t n = len(data)
        cdef Record record
        while i < n:
            memcpy(&record, s + i, sizeof(Record))
            i += sizeof(Record) + record.size
            self.check(self.count(s + i - record.size, record.size, record.count, record.first))

    cdef int check(self, int trouble) except -1:
        if trouble == NO_MEMORY:
            raise MemoryError(f"no memory for more than {self.n_words} distinct pieces; count with max_memory=")
        if trouble == TOO_MANY:
            raise TokenizerError("the pieces, each as often as it occurs, have more than 2^62 bytes; divide the counts")
        return 0

    cdef int count(self, const uint8_t* s, int64_t size, int64_t n, int64_t first) noexcept nogil:
        cdef uint64_t h
        cdef int64_t slot
        cdef Word* word
        if size > self.max_bytes:
            self.skipped += n
            self.longest = max(self.longest, size)
            return 0
        if <double>n * <double>size > <double>(MOST - self.total):  # a division would cost more than the rest
            return TOO_MANY
        self.total += n * size
        h = hash_bytes(s, size, self.seed)
        slot = h & <uint64_t>(self.n_slots - 1)
        while self.slots[slot]:
            word = &self.words[self.slots[slot] - 1]
            if word.hash == <uint32_t>h and word.size == size and same_bytes(self.text + word.start, s, size):
                word.count += n
                word.first = min(word.first, first)
                return 0
            slot = (slot + 1) & (self.n_slots - 1)
        if (self.n_words > 0x7FFFFFF0  # slots hold their numbers
                or not room(<void**>&self.words, &self.words_capacity, self.n_words + 1, sizeof(Word))
                or not room(<void**>&self.text, &self.text_capacity, self.text_size + size, 1)):
            return NO_MEMORY
        memcpy(self.text + self.text_size, s, size)
        self.words[self.n_words] = Word(self.text_size, n, first, <int32_t>size, <uint32_t>h)
        self.n_words += 1
        self.text_size += size
        self.slots[slot] = <int32_t>self.n_words
        if 2 * self.n_words > self.n_slots:
            return self.rehash(2 * self.n_slots)
        return 0

    cdef int rehash(self, int64_t n) noexcept nogil:
        """A table of n slots, more than there are words."""
        cdef int32_t* slots = <int32_t*>calloc(n, sizeof(int32_t))
        cdef int64_t i, slot
        if slots == NULL:
            return NO_MEMORY
        for i in range(self.n_words):
            slot = self.words[i].hash & <uint64_t>(n - 1)
            while slots[slot]:
                slot = (slot + 1) & (n - 1)
            slots[slot] = <int32_t>(i + 1)
        free(self.slots)
        self.slots = slots
        self.n_slots = n
        return 0

    cdef int sort(self) except -1:
        """Put the words in order of first appearance."""
        cdef int64_t i
        for i in range(1, self.n_words):
            if self.words[i].first < self.words[i - 1].first:
                qsort(self.words, self.n_words, sizeof(Word), earlier)
                return self.check(self.rehash(self.n_slots))
        return 0
