"""The pieces that are read out of text, as a trie by characters. Included by _unigram.pyx.

It's laid out as a double array (Aoe 1989): from unit u, the character with code c leads to unit v = units[u].base + c
if units[v].parent is u. Codes count from 1, the character on most edges first; 0 is what no piece has. A unit is 16
bytes and nearly all are used, so the tries of usual vocabularies stay in the second-level cache.
"""

cdef enum:
    POINTS = 0x110000
    PATIENCE = 32  # places that are tried before the ones so far count as full


cdef struct Unit:
    int32_t base
    int32_t parent  # -1: unused; -2: none, for it is the root
    int32_t token  # -1: no piece ends here
    float score


cdef struct Edge:  # of the trie while it's made: one slot of a hash table
    uint64_t key  # node << 21 | code point
    int32_t node  # where it leads; 0: no edge


cdef class Trie:
    """`tokens[i]`: the piece of id i in UTF-8, None if it is never read out of text; `scores[i]` its score."""

    cdef Unit* units
    cdef int64_t n_units
    cdef int32_t* codes  # by code point
    cdef int64_t longest  # characters of a piece

    def __init__(self, list tokens, list scores):
        cdef Edge* edges = <Edge*>zeroed(64, sizeof(Edge))
        cdef int32_t* piece_nodes = NULL
        cdef int64_t n_edges = 64
        cdef int64_t n_nodes = 1
        cdef int64_t i
        if self.units != NULL:
            raise RuntimeError("made twice")
        self.longest = 1
        try:
            piece_nodes = <int32_t*>zeroed(len(tokens), sizeof(int32_t))
            for i in range(len(tokens)):
                if tokens[i] is not None:
                    piece_nodes[i] = self.insert(tokens[i], &edges, &n_edges, &n_nodes)
            self.lay_out(edges, n_edges, n_nodes, tokens, scores, piece_nodes)
        finally:
            free(edges)
            free(piece_nodes)

    def __dealloc__(self):
        free(self.units)
        free(self.codes)

    cdef int32_t insert(self, bytes piece, Edge** edges, int64_t* n_edges, int64_t* n_nodes) except -1:
        """The node at the end of a piece. Nodes are numbered as they come, from 1; a child after its parent."""
        cdef const uint8_t* s = piece
        cdef int64_t left = len(piece)
        cdef int64_t length = 0
        cdef int64_t node = 0
        cdef uint64_t key
        cdef int64_t i
        cdef int size
        while left:
            if 2 * n_nodes[0] >= n_edges[0]:
                widen(edges, n_edges)
            key = <uint64_t>node << 21 | <uint64_t>code_point(s, left, &size)
            i = slot(edges[0], n_edges[0], key)
            if edges[0][i].node == 0:
                if n_nodes[0] >= 0x7FFFFFF0:
                    raise OverflowError("the vocabulary has more than 2**31 characters")
                edges[0][i] = Edge(key, <int32_t>n_nodes[0])
                n_nodes[0] += 1
            node = edges[0][i].node
            s += size
            left -= size
            length += 1
        self.longest = max(self.longest, length)
        return <int32_t>node

    cdef int lay_out(
        self, const Edge* edges, int64_t n_edges, int64_t n_nodes, list tokens, list scores, const int32_t* piece_nodes
    ) except -1:
        """The edges by node, the codes, and a base for each node where its children's units are free."""
        cdef int64_t* first = NULL
        cdef int32_t* child = NULL
        cdef int32_t* label = NULL
        cdef int32_t* unit_of = NULL
        cdef int64_t i, node, at
        cdef int64_t full = 1  # units below are used, or as good as
        cdef int32_t most
        try:
            most = self.number_codes(edges, n_edges)
            first = <int64_t*>zeroed(n_nodes + 2, sizeof(int64_t))
            child = <int32_t*>zeroed(n_nodes, sizeof(int32_t))
            label = <int32_t*>zeroed(n_nodes, sizeof(int32_t))
            unit_of = <int32_t*>zeroed(n_nodes, sizeof(int32_t))
            for i in range(n_edges):
                if edges[i].node:
                    first[(edges[i].key >> 21) + 2] += 1
            for node in range(n_nodes):
                first[node + 2] += first[node + 1]
            for i in range(n_edges):
                if edges[i].node:
                    node = edges[i].key >> 21
                    at = first[node + 1]
                    first[node + 1] += 1
                    child[at] = edges[i].node
                    label[at] = self.codes[edges[i].key & 0x1FFFFF]
            self.grow(n_nodes + most + 2)
            self.units[0].parent = -2
            for node in range(n_nodes):
                if first[node] == first[node + 1]:
                    continue
                at = self.find_base(label + first[node], first[node + 1] - first[node], most, &full)
                self.units[unit_of[node]].base = <int32_t>at
                for i in range(first[node], first[node + 1]):
                    unit_of[child[i]] = <int32_t>(at + label[i])
                    self.units[at + label[i]].parent = unit_of[node]
            for i in range(len(tokens)):
                if piece_nodes[i]:
                    self.units[unit_of[piece_nodes[i]]].token = <int32_t>i
                    self.units[unit_of[piece_nodes[i]]].score = scores[i]
        finally:
            free(first)
            free(child)
            free(label)
            free(unit_of)
        return 0

    cdef int32_t number_codes(self, const Edge* edges, int64_t n_edges) except -1:
        """Set `codes`; returns the largest."""
        cdef int64_t i
        cdef int32_t code = 0
        cdef list seen = []
        self.codes = <int32_t*>zeroed(POINTS, sizeof(int32_t))
        for i in range(n_edges):
            if edges[i].node:
                self.codes[edges[i].key & 0x1FFFFF] += 1
        for i in range(POINTS):
            if self.codes[i]:
                seen.append((-self.codes[i], i))
        for _, point in sorted(seen):
            code += 1
            self.codes[<int64_t>point] = code
        return code

    cdef int64_t find_base(self, const int32_t* labels, int64_t n, int32_t most, int64_t* full) except -1:
        """The first base from which all units base + label are free, but for those before `full`."""
        cdef int64_t i, base
        cdef int64_t tried = 0
        cdef int64_t at = full[0]
        while True:
            self.grow(at + most + 2)
            while self.units[at].parent != -1:
                at += 1
                self.grow(at + most + 2)
            if tried == 0:
                full[0] = at
            base = at - labels[0]
            for i in range(n):
                if base < 0 or self.units[base + labels[i]].parent != -1:
                    break
            else:
                return base
            tried += 1
            if tried == PATIENCE:
                full[0] = at
                tried = 1
            at += 1

    cdef int grow(self, int64_t needed) except -1:
        cdef int64_t had = self.n_units
        if needed <= had:
            return 0
        self.units = <Unit*>grown(self.units, &self.n_units, needed, sizeof(Unit))
        if self.n_units >= 0x7FFFFFF0:
            raise OverflowError("the vocabulary's trie has more than 2**31 units")
        memset(self.units + had, 0xFF, (self.n_units - had) * sizeof(Unit))
        while had < self.n_units:
            self.units[had].base = 0
            had += 1
        return 0


cdef inline int64_t slot(const Edge* edges, int64_t n_edges, uint64_t key) noexcept:
    """The edge with this key, or the empty place for it."""
    cdef uint64_t h = key * MIX
    cdef int64_t i = (h ^ h >> 32) & (n_edges - 1)
    while edges[i].node and edges[i].key != key:
        i = (i + 1) & (n_edges - 1)
    return i


cdef int widen(Edge** edges, int64_t* n_edges) except -1:
    cdef int64_t n = n_edges[0]
    cdef Edge* wider = <Edge*>zeroed(2 * n, sizeof(Edge))
    cdef int64_t i
    for i in range(n):
        if edges[0][i].node:
            wider[slot(wider, 2 * n, edges[0][i].key)] = edges[0][i]
    free(edges[0])
    edges[0] = wider
    n_edges[0] = 2 * n
    return 0
