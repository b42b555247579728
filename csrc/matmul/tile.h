/* The register tile: MR x NR sums over one block of K. */

#define TL_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)
#if TL_MR == 12
#define TL_MORE_ROWS(X) X(6) X(7) X(8) X(9) X(10) X(11)
#else
#define TL_MORE_ROWS(X)
#endif
#define TL_ALL_ROWS(X) TL_ROWS(X) TL_MORE_ROWS(X)

/* c[0..h-1][0..cols-1] = a b (+ from) (+ bias); `from` may be c. */
typedef void (*gemm_tile)(int64_t k, const T *a, const T *b, const T *from, int64_t from_step, T *c, int64_t cm,
                          int64_t cols, const T *bias);

/* Inlined with h, row and step known, so every sum is a register. */
INLINE void tile_body(const int h, const int64_t row, const int64_t step, int64_t k, const T *a, const T *b,
                      const T *from, int64_t from_step, T *c, int64_t cm, int64_t cols, const T *bias) {
#define TL_ZERO(i) V s##i = v_zero(), t##i = v_zero();
    TL_ALL_ROWS(TL_ZERO)
#undef TL_ZERO
#pragma GCC unroll 4
    for (int64_t p = 0; p < k; p++) {
        V b0 = v_load(b), b1 = v_load(b + W);
#define TL_MULTIPLY(i)                   \
    if (i < h) {                         \
        V x = v_splat(a[i * row]);       \
        s##i = v_fma(x, b0, s##i);       \
        t##i = v_fma(x, b1, t##i);       \
    }
        TL_ALL_ROWS(TL_MULTIPLY)
#undef TL_MULTIPLY
        a += step;
        b += NR;
    }
    if (cols == NR) {
        V bias0 = v_zero(), bias1 = v_zero();
        if (bias) bias0 = v_load(bias), bias1 = v_load(bias + W);
#define TL_WRITE(i)                                                                                   \
    if (i < h) {                                                                                      \
        if (from) s##i += v_load(from + i * from_step), t##i += v_load(from + i * from_step + W);     \
        if (bias) s##i += bias0, t##i += bias1;                                                       \
        v_store(c + i * cm, s##i);                                                                    \
        v_store(c + i * cm + W, t##i);                                                                \
    }
        TL_ALL_ROWS(TL_WRITE)
#undef TL_WRITE
    } else {
        int64_t n0 = cols < (int)W ? cols : (int)W, n1 = cols - n0;
        V bias0 = v_zero(), bias1 = v_zero();
        if (bias) bias0 = v_load_n(bias, n0), bias1 = v_load_n(bias + W, n1);
#define TL_WRITE(i)                                                                                              \
    if (i < h) {                                                                                                 \
        const T *of = from + i * from_step;                                                                      \
        if (from) s##i += v_load_n(of, n0), t##i += v_load_n(of + W, n1);                                        \
        if (bias) s##i += bias0, t##i += bias1;                                                                  \
        v_store_n(c + i * cm, s##i, n0);                                                                         \
        v_store_n(c + i * cm + W, t##i, n1);                                                                     \
    }
        TL_ALL_ROWS(TL_WRITE)
#undef TL_WRITE
    }
}

/* Strips of rows keep A_STRIDE between rows; strips of a transposed A are k-major with MR rows together. */
#define TL_TILE(i)                                                                                                   \
    static __attribute__((noinline)) void tile_rows_##i(int64_t k, const T *a, const T *b, const T *from,            \
                                                        int64_t from_step, T *c, int64_t cm, int64_t cols,           \
                                                        const T *bias) {                                             \
        tile_body(i + 1, A_STRIDE, 1, k, a, b, from, from_step, c, cm, cols, bias);                                  \
    }                                                                                                                \
    static __attribute__((noinline)) void tile_kmajor_##i(int64_t k, const T *a, const T *b, const T *from,          \
                                                          int64_t from_step, T *c, int64_t cm, int64_t cols,         \
                                                          const T *bias) {                                           \
        tile_body(i + 1, 1, MR, k, a, b, from, from_step, c, cm, cols, bias);                                        \
    }
TL_ALL_ROWS(TL_TILE)
#undef TL_TILE

#define TL_ENTRY(i) tile_rows_##i,
static const gemm_tile tiles_rows[] = {TL_ALL_ROWS(TL_ENTRY)};
#undef TL_ENTRY
#define TL_ENTRY(i) tile_kmajor_##i,
static const gemm_tile tiles_kmajor[] = {TL_ALL_ROWS(TL_ENTRY)};
#undef TL_ENTRY

