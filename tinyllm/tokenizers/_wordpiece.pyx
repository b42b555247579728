# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""WordPiece compiled: LinMaxMatch over bytes, as reference/wordpiece.py has it over characters, and BERT's whole
pipeline in one pass.

Tokens are UTF-8, and so are the words: a token that ends where no character ends matches no such word, so bytes and
characters give the same tokens.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcpy, memset

from tinyllm.tokenizers._shared cimport MIX, code_point, grown, zeroed

include "_ids.pxi"

cdef enum:
    START = 0  # the root of what may begin a word
    MIDDLE = 1  # the root of the continuations
    NONE = -1


cdef struct Node:
    int32_t first  # its children are the nodes from here to the `first` of the next node, in the order of their bytes
    int32_t fail  # where to go on if no child fits, having found the tokens of `pops`; NONE: nowhere
    int32_t pops  # the last link of a chain; NONE: there are none


cdef struct Link:
    int32_t token
    int32_t before  # the link of the token before; NONE at the first


cdef struct Span:  # of the sorted tokens: those that begin with the path of a node, which is `depth` bytes long
    int32_t low, high, depth
    int32_t token  # the path itself, if it is one, or NONE


cdef struct Level:  # the nodes whose paths have the same number of bytes
    Span* spans
    int64_t size, capacity


cdef struct Ids:
    int32_t* ids
    int64_t size, capacity


cdef class Matcher:
    """Words to ids by LinMaxMatch.

    `tokens`: (spelling, id), ascending, no spelling twice. A word of more than `limit` characters, or one that no
    tokens spell, is `unknown`. Memory is linear in the bytes of the tokens: the tokens found on the way to a node are
    those found on the way to its parent and some more, so they are kept as chains that share their beginnings.
    """

    cdef Node* nodes
    cdef uint8_t* labels  # labels[i]: the byte that leads to node i
    cdef Link* links
    cdef int64_t n_nodes, nodes_capacity, labels_capacity, n_links, links_capacity
    cdef readonly int32_t unknown
    cdef int64_t limit
    cdef PyObject** numbers  # the int of each id, made once
    cdef int64_t n_numbers

    def __cinit__(self, list tokens, bytes prefix not None, int32_t unknown, int64_t limit, int64_t vocab_size):
        self.unknown = unknown
        self.limit = limit
        self.numbers = numbers_made(vocab_size)
        self.n_numbers = vocab_size
        self.build(tokens, prefix)

    def __dealloc__(self):
        numbers_free(self.numbers, self.n_numbers)
        free(self.nodes)
        free(self.labels)
        free(self.links)

    cdef int build(self, list tokens, bytes prefix) except -1:
        """Both tries, level by level: a node's children follow each other, and shorter paths come first."""
        cdef int64_t n = len(tokens)
        cdef const uint8_t** texts = <const uint8_t**>zeroed(n, sizeof(uint8_t*))
        cdef int32_t* sizes = NULL
        cdef int32_t* ids = NULL
        cdef Level level = Level(NULL, 0, 0)
        cdef Level below = Level(NULL, 0, 0)
        cdef Span span
        cdef int64_t i, j
        cdef int64_t node = 0
        cdef int32_t low, high
        cdef int32_t low_middle = 0
        cdef int32_t high_middle = 0
        try:
            sizes = <int32_t*>zeroed(n, sizeof(int32_t))
            ids = <int32_t*>zeroed(n, sizeof(int32_t))
            for i in range(n):
                token, number = tokens[i]
                texts[i] = <const uint8_t*><const char*>(<bytes>token)
                sizes[i] = <int32_t>len(token)
                ids[i] = number
                if token.startswith(prefix):
                    if high_middle == 0:
                        low_middle = <int32_t>i
                    high_middle = <int32_t>(i + 1)
            self.new_node(&level, 0, Span(0, <int32_t>n, 0, NONE))
            self.new_node(&level, 0, Span(low_middle, high_middle, <int32_t>len(prefix), NONE))
            while level.size:
                below.size = 0
                for i in range(level.size):
                    span = level.spans[i]
                    self.nodes[node].first = <int32_t>self.n_nodes
                    low = span.low
                    if low < span.high and sizes[low] == span.depth:
                        low += 1  # the path itself
                    j = below.size
                    while low < span.high:
                        high = low + 1
                        while high < span.high and texts[high][span.depth] == texts[low][span.depth]:
                            high += 1
                        self.new_node(
                            &below, texts[low][span.depth],
                            Span(low, high, span.depth + 1, ids[low] if sizes[low] == span.depth + 1 else NONE),
                        )
                        low = high
                    for j in range(j, below.size):
                        self.link(<int32_t>node, <int32_t>(self.n_nodes - below.size + j), below.spans[j].token)
                    node += 1
                level, below = below, level
            self.new_node(&below, 0, Span(0, 0, 0, NONE))  # ends the children of the last one
            self.nodes[node].first = <int32_t>node
        finally:
            free(texts)
            free(sizes)
            free(ids)
            free(level.spans)
            free(below.spans)
        return 0

    cdef int new_node(self, Level* level, uint8_t label, Span span) except -1:
        if self.n_nodes == 0x7FFFFFFF:
            raise MemoryError("the vocabulary is too large: its tokens have more than 2**31 bytes")
        level.spans = <Span*>grown(level.spans, &level.capacity, level.size + 1, sizeof(Span))
        self.nodes = <Node*>grown(self.nodes, &self.nodes_capacity, self.n_nodes + 1, sizeof(Node))
        self.labels = <uint8_t*>grown(self.labels, &self.labels_capacity, self.n_nodes + 1, 1)
        level.spans[level.size] = span
        level.size += 1
        self.nodes[self.n_nodes] = Node(NONE, NONE, NONE)
        self.labels[self.n_nodes] = label
        self.n_nodes += 1
        return 0

    cdef int link(self, int32_t parent, int32_t node, int32_t token) except -1:
        """The failure link and the pops of a new node, from those of nodes nearer to the roots."""
        cdef Node* new = &self.nodes[node]
        cdef int32_t at, to
        if token != NONE:
            new.fail = MIDDLE
            self.links = <Link*>grown(self.links, &self.links_capacity, self.n_links + 1, sizeof(Link))
            self.links[self.n_links] = Link(token, NONE)
            new.pops = <int32_t>self.n_links
            self.n_links += 1
            return 0
        at = self.nodes[parent].fail
        new.pops = self.nodes[parent].pops
        while at != NONE:
            to = self.child(at, self.labels[node])
            if to != NONE:
                new.fail = to
                return 0
            new.pops = self.appended(new.pops, self.nodes[at].pops)
            at = self.nodes[at].fail
        return 0

    cdef int32_t appended(self, int32_t chain, int32_t more) except -2:
        """A chain, and after it another."""
        cdef int64_t i = self.n_links + self.length(more)
        if more == NONE:
            return chain
        self.links = <Link*>grown(self.links, &self.links_capacity, i, sizeof(Link))
        self.n_links = i
        while more != NONE:
            i -= 1
            self.links[i] = Link(self.links[more].token, <int32_t>(i - 1))
            more = self.links[more].before
        self.links[i].before = chain
        return <int32_t>(self.n_links - 1)

    cdef inline int64_t length(self, int32_t link) noexcept:
        cdef int64_t count = 0
        while link != NONE:
            count += 1
            link = self.links[link].before
        return count

    cdef inline int32_t child(self, int32_t node, uint8_t byte) noexcept:
        cdef int32_t first = self.nodes[node].first
        cdef int n = self.nodes[node + 1].first - first
        cdef int k
        cdef const uint8_t* found
        if n > 8:
            found = <const uint8_t*>memchr(self.labels + first, byte, n)
            return NONE if found == NULL else <int32_t>(found - self.labels)
        for k in range(n):
            if self.labels[first + k] == byte:
                return first + k
        return NONE

    cdef inline int32_t take(self, int32_t node, Ids* out) noexcept:
        """The pops of a node to `out`, which has room for them; where to go on."""
        cdef int32_t link = self.nodes[node].pops
        cdef int32_t* place
        out.size += self.length(link)
        place = out.ids + out.size
        while link != NONE:
            place -= 1
            place[0] = self.links[link].token
            link = self.links[link].before
        return self.nodes[node].fail

    cdef int match(self, const uint8_t* s, int64_t n, Ids* out) except -1:
        """Append the ids of one word (UTF-8)."""
        cdef int64_t i
        cdef int64_t start = out.size
        cdef int32_t node = START
        cdef int32_t to
        if n == 0:
            return 0
        if n > self.limit and characters(s, n) > self.limit:
            return self.append(self.unknown, out)
        out.ids = <int32_t*>grown(out.ids, &out.capacity, start + n, sizeof(int32_t))  # no token is empty
        for i in range(n):
            to = self.child(node, s[i])
            while to == NONE:
                if self.nodes[node].fail == NONE:
                    out.size = start
                    return self.append(self.unknown, out)
                node = self.take(node, out)
                to = self.child(node, s[i])
            node = to
        while node != MIDDLE:
            if self.nodes[node].fail == NONE:
                out.size = start
                return self.append(self.unknown, out)
            node = self.take(node, out)
        return 0

    cdef int append(self, int32_t token, Ids* out) except -1:
        out.ids = <int32_t*>grown(out.ids, &out.capacity, out.size + 1, sizeof(int32_t))
        out.ids[out.size] = token
        out.size += 1
        return 0

    cdef list listed(self, Ids* out):
        return listed(&out.ids, &out.capacity, out.size, self.numbers)

    def encode(self, bytes word not None):
        """The ids of one word (UTF-8), as a list of int."""
        cdef Ids out = Ids(NULL, 0, 0)
        try:
            self.match(<const uint8_t*><const char*>word, len(word), &out)
            return self.listed(&out)
        finally:
            free(out.ids)


cdef int64_t characters(const uint8_t* s, int64_t n) noexcept:
    cdef int64_t i
    cdef int64_t count = 0
    for i in range(n):
        count += s[i] & 0xC0 != 0x80
    return count


include "_wordpiece_bert.pxi"
