"""Counting words and training merges, as reference/bpe.py does it. Included by _bpe_train.pyx."""

cdef struct Word:
    uint64_t hash
    int64_t start  # of its bytes in `text`
    int64_t size
    int64_t count


cdef class WordCounter:
    """How often each piece occurs, and the merges that follow from it."""

    cdef Word* words
    cdef int64_t n_words, words_capacity
    cdef uint8_t* text
    cdef int64_t text_size, text_capacity
    cdef int32_t* slots  # index into words, plus 1; 0 is empty
    cdef int64_t n_slots
    cdef uint64_t seed

    def __cinit__(self):
        self.n_slots = 1 << 12
        self.slots = <int32_t*>zeroed(self.n_slots, sizeof(int32_t))
        self.seed = hash("word") & 0xFFFFFFFFFFFFFFF  # differs by process: no text can aim at one slot

    def __dealloc__(self):
        free(self.words)
        free(self.text)
        free(self.slots)

    def add(self, bytes data not None):
        """Count the pieces of one text."""
        cdef const uint8_t* s = data
        cdef int64_t n = len(data)
        cdef int64_t i = 0
        cdef int64_t j
        while i < n:
            j = next_gpt2(s, i, n)
            self.count(s + i, j - i)
            i = j

    def items(self):
        """(piece, count) of each distinct piece, in order of first appearance."""
        cdef int64_t i
        cdef Word* word
        found = []
        for i in range(self.n_words):
            word = &self.words[i]
            found.append(((<const char*>self.text)[word.start : word.start + word.size], word.count))
        return found

    cdef int count(self, const uint8_t* s, int64_t size) except -1:
        cdef uint64_t h = hash_bytes(s, size, self.seed)
        cdef int64_t slot = h & (self.n_slots - 1)
        cdef Word* word
        while self.slots[slot]:
            word = &self.words[self.slots[slot] - 1]
            if word.hash == h and word.size == size and memcmp(self.text + word.start, s, size) == 0:
                word.count += 1
                return 0
            slot = (slot + 1) & (self.n_slots - 1)
        self.words = <Word*>grown(self.words, &self.words_capacity, self.n_words + 1, sizeof(Word))
        self.text = <uint8_t*>grown(self.text, &self.text_capacity, self.text_size + size, 1)
        memcpy(self.text + self.text_size, s, size)
        self.words[self.n_words] = Word(h, self.text_size, size, 1)
        self.n_words += 1
        self.text_size += size
        self.slots[slot] = <int32_t>self.n_words
        if self.text_size > 0x7FFFFFFF:
            raise MemoryError("more than 2 GiB of distinct words; train on a part of the text")
        if 2 * self.n_words > self.n_slots:
            self.rehash()
        return 0

    cdef int rehash(self) except -1:
        cdef int64_t n = 4 * self.n_slots
        cdef int32_t* slots = <int32_t*>zeroed(n, sizeof(int32_t))
        cdef int64_t i, slot
        for i in range(self.n_words):
            slot = self.words[i].hash & (n - 1)
            while slots[slot]:
                slot = (slot + 1) & (n - 1)
            slots[slot] = <int32_t>(i + 1)
        free(self.slots)
        self.slots = slots
        self.n_slots = n
        return 0

    def train(self, list byte_ids, int64_t first_id, int64_t n_merges, int64_t min_frequency, progress):
        """reference.bpe.train on the words counted so far."""
        cdef Trainer trainer = Trainer()
        trainer.fill(self, byte_ids)
        return trainer.run(first_id, n_merges, max(min_frequency, 1), progress)


cdef struct Pair:
    uint64_t key  # left id << 32 | right id: in this order ties are broken
    int64_t count
    int32_t* places  # positions where the pair starts, or once started, ascending
    int64_t n_places, capacity


cdef struct Entry:
    int64_t count
    uint64_t key
    int64_t pair


cdef inline bint above(Entry* x, Entry* y) noexcept:
    return x.count > y.count or (x.count == y.count and x.key < y.key)


cdef class Trainer:
    """All words as one array of symbols, linked inside each word; the pairs; a heap of (count, pair).

    A count in the heap may be too high, never too low: only pairs with the newest symbol gain occurrences,
    and these are pushed after all of them are counted. So an entry is checked when it comes up, and pushed
    back if its count has fallen.
    """

    cdef int32_t* symbols  # -1 once merged into the symbol to the left
    cdef int32_t* before  # position of the neighbour inside the word, or -1
    cdef int32_t* after
    cdef int32_t* word_of
    cdef int64_t* frequency  # of a word
    cdef Pair* pairs
    cdef int64_t n_pairs, pairs_capacity
    cdef int32_t* slots  # index into pairs, plus 1; 0 is empty
    cdef int64_t n_slots
    cdef Entry* heap
    cdef int64_t heap_size, heap_capacity

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.n_pairs):
            free(self.pairs[i].places)
        free(self.symbols)
        free(self.before)
        free(self.after)
        free(self.word_of)
        free(self.frequency)
        free(self.pairs)
        free(self.slots)
        free(self.heap)

    cdef int fill(self, WordCounter words, list byte_ids) except -1:
        cdef int64_t n = words.text_size
        cdef int64_t i, w, start, end
        cdef int32_t id_of[256]
        for i in range(256):
            id_of[i] = byte_ids[i]
        self.symbols = <int32_t*>zeroed(n, sizeof(int32_t))
        self.before = <int32_t*>zeroed(n, sizeof(int32_t))
        self.after = <int32_t*>zeroed(n, sizeof(int32_t))
        self.word_of = <int32_t*>zeroed(n, sizeof(int32_t))
        self.frequency = <int64_t*>zeroed(words.n_words, sizeof(int64_t))
        self.n_slots = 1 << 14
        self.slots = <int32_t*>zeroed(self.n_slots, sizeof(int32_t))
        for w in range(words.n_words):
            start = words.words[w].start
            end = start + words.words[w].size
            self.frequency[w] = words.words[w].count
            for i in range(start, end):
                self.symbols[i] = id_of[words.text[i]]
                self.before[i] = <int32_t>(i - 1 if i > start else -1)
                self.after[i] = <int32_t>(i + 1 if i + 1 < end else -1)
                self.word_of[i] = <int32_t>w
            for i in range(start, end - 1):
                self.change(self.symbols[i], self.symbols[i + 1], self.frequency[w], i)
        return 0

    cdef list run(self, int64_t first_id, int64_t n_merges, int64_t min_frequency, progress):
        cdef int64_t done = 0
        cdef int64_t first_new = 0
        cdef int64_t i
        cdef Entry top
        merges = []
        while True:
            for i in range(first_new, self.n_pairs):
                self.push(Entry(self.pairs[i].count, self.pairs[i].key, i))
            first_new = self.n_pairs
            while self.heap_size and self.heap[0].count != self.pairs[self.heap[0].pair].count:
                top = self.pop()
                top.count = self.pairs[top.pair].count
                if top.count > 0:
                    self.push(top)
            if done == n_merges or self.heap_size == 0 or self.heap[0].count < min_frequency:
                break
            top = self.pop()
            self.merge(top.pair, <int32_t>(first_id + done))
            merges.append((top.key >> 32, top.key & 0xFFFFFFFF))
            done += 1
            if done % 256 == 0:
                PyErr_CheckSignals()
                if progress is not None:
                    progress(done, n_merges)
        if progress is not None and done % 256:
            progress(done, n_merges)
        return merges

    cdef int merge(self, int64_t index, int32_t new) except -1:
        """Replace the pair everywhere. The counts of its neighbours change; its own falls to zero."""
        cdef uint64_t key = self.pairs[index].key
        cdef int32_t a = <int32_t>(key >> 32)
        cdef int32_t b = <int32_t>(key & 0xFFFFFFFF)
        cdef int32_t* places = self.pairs[index].places
        cdef int64_t k, n, i, j, left, right
        for k in range(self.pairs[index].n_places):
            i = places[k]
            j = self.after[i]
            if self.symbols[i] != a or j < 0 or self.symbols[j] != b:
                continue  # gone by now; in "aaa" the second (a, a) goes with the first
            left = self.before[i]
            right = self.after[j]
            n = self.frequency[self.word_of[i]]
            self.symbols[i] = new
            self.symbols[j] = -1
            self.after[i] = <int32_t>right
            if left >= 0:
                self.change(self.symbols[left], a, -n, -1)
                self.change(self.symbols[left], new, n, left)
            if right >= 0:
                self.before[right] = <int32_t>i
                self.change(b, self.symbols[right], -n, -1)
                self.change(new, self.symbols[right], n, i)
        free(places)
        self.pairs[index].places = NULL
        self.pairs[index].n_places = self.pairs[index].capacity = 0
        self.pairs[index].count = 0
        return 0

    cdef int change(self, int32_t a, int32_t b, int64_t n, int64_t place) except -1:
        """Add n to the count of (a, b), and `place` to its places unless that is -1."""
        cdef uint64_t key = <uint64_t>a << 32 | <uint64_t>b
        cdef int64_t slot = self.slot_of(key)
        cdef Pair* pair
        while self.slots[slot] and self.pairs[self.slots[slot] - 1].key != key:
            slot = (slot + 1) & (self.n_slots - 1)
        if not self.slots[slot]:
            self.pairs = <Pair*>grown(self.pairs, &self.pairs_capacity, self.n_pairs + 1, sizeof(Pair))
            self.pairs[self.n_pairs] = Pair(key, 0, NULL, 0, 0)
            self.n_pairs += 1
            self.slots[slot] = <int32_t>self.n_pairs
            if 2 * self.n_pairs > self.n_slots:
                self.rehash()
            pair = &self.pairs[self.n_pairs - 1]
        else:
            pair = &self.pairs[self.slots[slot] - 1]
        pair.count += n
        if place >= 0:
            pair.places = <int32_t*>grown(pair.places, &pair.capacity, pair.n_places + 1, sizeof(int32_t))
            pair.places[pair.n_places] = <int32_t>place
            pair.n_places += 1
        return 0

    cdef inline int64_t slot_of(self, uint64_t key) noexcept:
        key *= MIX
        return (key ^ key >> 32) & (self.n_slots - 1)

    cdef int rehash(self) except -1:
        cdef int64_t i, slot
        cdef int32_t* slots = <int32_t*>zeroed(4 * self.n_slots, sizeof(int32_t))
        free(self.slots)
        self.slots = slots
        self.n_slots *= 4
        for i in range(self.n_pairs):
            slot = self.slot_of(self.pairs[i].key)
            while slots[slot]:
                slot = (slot + 1) & (self.n_slots - 1)
            slots[slot] = <int32_t>(i + 1)
        return 0

    cdef int push(self, Entry entry) except -1:
        self.heap = <Entry*>grown(self.heap, &self.heap_capacity, self.heap_size + 1, sizeof(Entry))
        cdef int64_t i = self.heap_size
        self.heap_size += 1
        while i and above(&entry, &self.heap[(i - 1) // 2]):
            self.heap[i] = self.heap[(i - 1) // 2]
            i = (i - 1) // 2
        self.heap[i] = entry
        return 0

    cdef Entry pop(self) noexcept:
        cdef Entry top = self.heap[0]
        self.heap_size -= 1
        cdef Entry last = self.heap[self.heap_size]
        cdef int64_t i = 0
        cdef int64_t child = 1
        while child < self.heap_size:
            if child + 1 < self.heap_size and above(&self.heap[child + 1], &self.heap[child]):
                child += 1
            if not above(&self.heap[child], &last):
                break
            self.heap[i] = self.heap[child]
            i = child
            child = 2 * i + 1
        self.heap[i] = last
        return top
