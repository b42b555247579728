"""Ids, found as C integers, as a list of int. Included by _bpe.pyx and _wordpiece.pyx.

A list takes 8 bytes an id, if all places of an id share one int; so these are made once, for the whole vocabulary.
"""

from cpython.list cimport PyList_New, PyList_SetItem
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc

from tinyllm.tokenizers._shared cimport zeroed

cdef enum:
    GIVEN_BACK = 1 << 20  # ids whose memory is given back at a time


cdef PyObject** numbers_made(int64_t n) except NULL:
    """The ints from 0 to n - 1."""
    cdef PyObject** numbers = <PyObject**>zeroed(n, sizeof(PyObject*))
    cdef int64_t i
    cdef object number
    for i in range(n):
        number = i
        Py_INCREF(number)
        numbers[i] = <PyObject*>number
    return numbers


cdef void numbers_free(PyObject** numbers, int64_t n) noexcept:
    cdef int64_t i
    for i in range(n if numbers != NULL else 0):
        Py_XDECREF(numbers[i])
    free(numbers)


cdef list listed(int32_t** ids, int64_t* capacity, int64_t n, PyObject** numbers):
    """The first n of `ids` as a list of int. From the end, so that memory of many ids goes while that of the list
    comes: then `ids` has less room than before.
    """
    cdef int64_t i
    cdef void* less
    cdef PyObject* number
    cdef int32_t* found = ids[0]
    cdef list result = PyList_New(n)
    for i in range(n - 1, -1, -1):
        number = numbers[found[i]]
        Py_INCREF(<object>number)  # PyList_SetItem takes the reference over
        PyList_SetItem(result, i, <object>number)
        if i & (GIVEN_BACK - 1) == 0 and capacity[0] > GIVEN_BACK:
            less = realloc(found, max(i, 1) * sizeof(int32_t))
            if less != NULL:
                ids[0] = found = <int32_t*>less
                capacity[0] = max(i, 1)
    return result
