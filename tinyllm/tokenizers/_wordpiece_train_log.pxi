"""c log c, the same bits as in reference/wordpiece.py. Included by _wordpiece_train.pyx."""

cdef enum:
    TABLE = 1 << 16  # c log c of smaller counts is looked up

cdef double ODD[12]
cdef double C_LOG_C[TABLE]
for _k in range(12):
    ODD[_k] = 1 / (2.0 * _k + 1)


cdef double ln(double x) noexcept:
    """reference.ln, operation by operation."""
    cdef int e, k
    cdef double m = frexp(x, &e)
    cdef double s, z
    cdef double total = 0
    if m < 0.7071067811865476:
        m = 2 * m
        e -= 1
    s = (m - 1) / (m + 1)
    z = s * s
    for k in range(11, -1, -1):
        total = total * z + ODD[k]
    return e * 0.6931471805599453 + 2 * s * total


C_LOG_C[0] = C_LOG_C[1] = 0
for _k in range(2, TABLE):
    C_LOG_C[_k] = <double>_k * ln(_k)


cdef inline double c_log_c(int64_t c) noexcept:
    return C_LOG_C[c] if c < TABLE else <double>c * ln(<double>c)
