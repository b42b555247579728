/* The register tile: up to MR rows and one or two vectors of columns, summed over one block of K.
 *
 * Nothing is assumed of where A and B lie: a packed strip or panel and the matrix itself differ in the steps alone.
 */

#define TL_FEW_ROWS(X) X(0) X(1) X(2) X(3)
#define TL_ROWS(X) TL_FEW_ROWS(X) X(4) X(5)
#if TL_MR == 12
#define TL_MORE_ROWS(X) X(6) X(7) X(8) X(9) X(10) X(11)
#else
#define TL_MORE_ROWS(X)
#endif
#define TL_ALL_ROWS(X) TL_ROWS(X) TL_MORE_ROWS(X)

/* c[0..h-1][0..cols-1] = a b (+ from) (+ bias); `from` may be c. a_step is between rows of A whose steps along k are 1,
 * or, kmajor, between steps along k of rows that are 1 apart; b_step is between steps along k. b has whole vectors.
 * Where fetches are spread each step along k asks for the next of `lines`, up to the last. */
typedef void (*gemm_tile)(int64_t k, const T *a, int64_t a_step, const T *b, int64_t b_step, const T *from,
                          int64_t from_step, T *c, int64_t cm, int64_t cols, const T *bias, const T *const *lines,
                          const T *const *last_line);

/* Whether a step along k has room for a fetch: not beside the far lines of a kmajor A, nor the products of 6 rows. */
INLINE int spreads(int kmajor) { return MR > 6 && !kmajor; }

/* Inlined with the first four known, so every sum is a register. across: B is stored transposed, b_step is between its
 * columns, and the columns are made on the way. */
INLINE void tile_body(const int h, const int vectors, const int kmajor, const int across, int64_t k, const T *a,
                      int64_t a_step, const T *b, int64_t b_step, const T *from, int64_t from_step, T *c, int64_t cm,
                      int64_t cols, const T *bias, const T *const *lines, const T *const *last_line) {
#define TL_ZERO(i) V s##i = v_zero(), t##i = v_zero();
    TL_ALL_ROWS(TL_ZERO)
#undef TL_ZERO
    /* Rows are addressed from every third one: more pointers than that would not fit the registers. */
    const T *a0 = a, *a3 = a + 3 * a_step, *a6 = a + 6 * a_step, *a9 = a + 9 * a_step;
    int64_t p = 0;
#define TL_MULTIPLY(i)                                                                                 \
    if (i < h) {                                                                                       \
        const T *at = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : a9;                                       \
        V x = v_splat(kmajor ? a0[i] : at[i % 3 * a_step]);                                            \
        s##i = v_fma(x, b0, s##i);                                                                     \
        if (vectors == 2) t##i = v_fma(x, b1, t##i);                                                   \
    }
#define TL_MULTIPLY_ALL                                                                                \
    TL_ALL_ROWS(TL_MULTIPLY)                                                                           \
    a0 += kmajor ? a_step : 1, a3++, a6++, a9++;
    /* As if to write: a prefetch to read is dropped where its page is in no TLB, which is the rule here. */
#define TL_FETCH                                                                                       \
    if (spreads(kmajor)) {                                                                              \
        __builtin_prefetch(*lines, 1);                                                                 \
        lines += lines < last_line;                                                                    \
    }
    for (; across && p + SHORT <= k; p += SHORT, b += SHORT) {
        V x[SHORT], y[SHORT];
        load_columns(b, b_step, x);
        if (vectors == 2) load_columns(b + W * b_step, b_step, y);
        if (p % LINE == 0)
            for (int i = 0; i < vectors * (int)W; i++) __builtin_prefetch(b + (vectors * (int)W + i) * b_step, 0, 2);
#pragma GCC unroll 4
        for (int j = 0; j < (int)SHORT; j++) {
            V b0 = x[j], b1 = vectors == 2 ? y[j] : v_zero();
            TL_MULTIPLY_ALL
            TL_FETCH
        }
    }
#pragma GCC unroll 4
    for (; p < k; p++) {
        V b0, b1 = v_zero();
        if (across) {
            for (int i = 0; i < (int)W; i++) b0[i] = b[i * b_step], b1[i] = vectors == 2 ? b[(W + i) * b_step] : 0;
        } else {
            b0 = v_load(b);
            if (vectors == 2) b1 = v_load(b + W);
        }
        TL_MULTIPLY_ALL
        TL_FETCH
        b += across ? 1 : b_step;
    }
#undef TL_MULTIPLY
#undef TL_MULTIPLY_ALL
#undef TL_FETCH
#define TL_WRITE_AS(i, load, store)                                                                    \
    if (i < h) {                                                                                       \
        const T *of = from + i * from_step;                                                            \
        if (from) s##i += load(of, n0);                                                                \
        if (from && vectors == 2) t##i += load(of + W, n1);                                            \
        if (bias) s##i += bias0, t##i += bias1;                                                        \
        store(c + i * cm, s##i, n0);                                                                   \
        if (vectors == 2) store(c + i * cm + W, t##i, n1);                                             \
    }
#define TL_LOAD(p, n) v_load(p)
#define TL_STORE(p, x, n) v_store(p, x)
#define TL_WRITE(i) TL_WRITE_AS(i, TL_LOAD, TL_STORE)
#define TL_WRITE_PART(i) TL_WRITE_AS(i, v_load_n, v_store_n)
    int64_t n0 = vectors == 2 ? (int)W : cols, n1 = cols - n0;
    V bias0 = v_zero(), bias1 = v_zero();
    if (bias) bias0 = v_load_n(bias, n0), bias1 = v_load_n(bias + W, n1);
    if (cols == vectors * (int)W) {
        TL_ALL_ROWS(TL_WRITE)
    } else {
        TL_ALL_ROWS(TL_WRITE_PART)
    }
#undef TL_WRITE
#undef TL_WRITE_PART
#undef TL_WRITE_AS
#undef TL_LOAD
#undef TL_STORE
}

#define TL_TILE(name, h, vectors, kmajor, across)                                                                    \
    static __attribute__((noinline)) void name(int64_t k, const T *a, int64_t a_step, const T *b, int64_t b_step,    \
                                               const T *from, int64_t from_step, T *c, int64_t cm, int64_t cols,     \
                                               const T *bias, const T *const *lines, const T *const *last_line) {    \
        tile_body(h, vectors, kmajor, across, k, a, a_step, b, b_step, from, from_step, c, cm, cols, bias, lines,    \
                  last_line);                                                                                        \
    }
#define TL_TILES(i)                             \
    TL_TILE(tile_rows_##i, i + 1, 2, 0, 0)      \
    TL_TILE(tile_kmajor_##i, i + 1, 2, 1, 0)    \
    TL_TILE(narrow_rows_##i, i + 1, 1, 0, 0)    \
    TL_TILE(narrow_kmajor_##i, i + 1, 1, 1, 0)
TL_ALL_ROWS(TL_TILES)
#define TL_ACROSS(i) TL_TILE(across_##i, i + 1, FEW_COLUMNS / (int)W, 0, 1)
TL_FEW_ROWS(TL_ACROSS)
#undef TL_ACROSS
#undef TL_TILES
#undef TL_TILE

/* Of a number of rows, of A's layout and of one vector or two. */
static gemm_tile tile_for(int64_t rows, int kmajor, int64_t cols) {
#define TL_ENTRY(i) {{narrow_rows_##i, tile_rows_##i}, {narrow_kmajor_##i, tile_kmajor_##i}},
    static const gemm_tile tiles[MR][2][2] = {TL_ALL_ROWS(TL_ENTRY)};
#undef TL_ENTRY
    return tiles[rows - 1][kmajor][cols > (int)W];
}

/* Of a number of rows up to FEW, for FEW_COLUMNS columns of a B that is stored transposed. */
static gemm_tile tile_across(int64_t rows) {
#define TL_ENTRY(i) across_##i,
    static const gemm_tile tiles[FEW] = {TL_FEW_ROWS(TL_ENTRY)};
#undef TL_ENTRY
    return tiles[rows - 1];
}
