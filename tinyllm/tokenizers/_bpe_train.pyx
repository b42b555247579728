# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Counting words and training BPE, compiled: the same results as reference/bpe.py. Text is bytes."""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from tinyllm.tokenizers._shared cimport MIX, grown, hash_bytes, zeroed

from tinyllm.tokenizers import _unicode as unicode

include "_segment.pxi"
include "_train.pxi"
