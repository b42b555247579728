# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The normalizers' compiled core: character rules over bytes, without alignment. See _normalize.pxi."""

from libc.stdlib cimport free

from tinyllm.tokenizers import charsmap

include "_normalize.pxi"


cdef class CharacterRules:
    """The rules of a table (charsmap.py) as a function of bytes. TokenizerError for a table that is none."""

    cdef bytes table
    cdef Rules rules

    def __init__(self, bytes table):
        if table:
            charsmap.charsmap(table)
        self.table = table
        rules_read(&self.rules, <const uint8_t*> self.table, len(table))

    def apply(self, bytes text):
        """`text` with the longest rule applied at each place."""
        cdef uint8_t* out = NULL
        cdef int64_t capacity = 0, length
        try:
            length = rules_apply(&self.rules, <const uint8_t*> text, len(text), &out, 0, &capacity)
            return (<char*> out)[:length] if length else b""
        finally:
            free(out)
