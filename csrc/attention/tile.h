/* What the attention kernels share: the register tile, packing, and exp.
 *
 * Queries lie across the lanes: scores are kept transposed, a row for each key and a column for each query, so that
 * maxima, sums and what a query sees are one vector operation for W queries, and keys and values are read in place of
 * their rows, element by element, without being transposed. A panel is TILE_PANEL queries (two vectors); a strip is up
 * to TILE_STRIP rows of the other operand; the register tile is one strip by one or two vectors.
 *
 * Scores, probabilities and outputs of a query are chains of fma over d, over keys and over queries in order. What a
 * query doesn't see adds exact zeros or is left out, so a result does not depend on the neighbours in its tile.
 */
#ifndef TL_TILE_H
#define TL_TILE_H

#include "../rows.h"

/* Registers: TILE_STRIP x 2 sums, two vectors and a broadcast. */
#if defined(TL_AVX512) || defined(__aarch64__)
enum { TILE_STRIP = 12 };
#else
enum { TILE_STRIP = 6 };
#endif
/* Strips are one, two or three units high. A block is as many keys or queries as are taken at a time. */
enum { TILE_UNIT = TILE_STRIP / 3, TILE_PANEL = 2 * W, TILE_BLOCK = 96, IN_PLACE_KEYS = 512 };
enum { TILE_WIDTH = (int)W > TILE_UNIT ? (int)W : TILE_UNIT }; /* packed rows are multiples of it: both divide it */
_Static_assert(TILE_BLOCK % TILE_PANEL == 0 && TILE_BLOCK % TILE_STRIP == 0, "a block is whole panels and strips");

INLINE int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- the register tile ---- */

/* c[r][vector v] = factor[v] c[r][v] + sum over k of a[k ak + r ar] b[k bk + v W ...]; from zero without a factor. */
typedef void (*tile_function)(int64_t depth, const T *a, int64_t ak, int64_t ar, const T *b, int64_t bk, T *c,
                              int64_t cr, const V *factor);

/* Inlined with h and w known, so that every sum is a register. A pointer for three rows: x86 addresses what is 0, 1 and
 * 2 times the distance of rows away. */
INLINE void attention_tile(const int h, const int w, int64_t depth, const T *a, int64_t ak, int64_t ar, const T *b,
                      int64_t bk, T *c, int64_t cr, const V *factor) {
    V sum[12][2];
    T *const to[4] = {c, c + 3 * cr, c + 6 * cr, c + 9 * cr};
#pragma GCC unroll 12
    for (int r = 0; r < 12; r++)
        if (r < h) {
            const T *from = to[r / 3] + r % 3 * cr;
            sum[r][0] = factor ? v_load(from) * factor[0] : v_zero();
            if (w > 1) sum[r][1] = factor ? v_load(from + W) * factor[1] : v_zero();
        }
    const T *rows[4] = {a, a + 3 * ar, a + 6 * ar, a + 9 * ar};
    for (int64_t k = 0; k < depth; k++, b += bk) {
        V b0 = v_load(b), b1 = w > 1 ? v_load(b + W) : v_zero();
#pragma GCC unroll 12
        for (int r = 0; r < 12; r++)
            if (r < h) {
                V x = v_splat(rows[r / 3][r % 3 * ar]);
                sum[r][0] = v_fma(x, b0, sum[r][0]);
                if (w > 1) sum[r][1] = v_fma(x, b1, sum[r][1]);
            }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) rows[i] += ak;
    }
#pragma GCC unroll 12
    for (int r = 0; r < 12; r++)
        if (r < h) {
            v_store(to[r / 3] + r % 3 * cr, sum[r][0]);
            if (w > 1) v_store(to[r / 3] + r % 3 * cr + W, sum[r][1]);
        }
}

#define TILE(units, w)                                                                                           \
    static void tile_##units##_##w(int64_t depth, const T *a, int64_t ak, int64_t ar, const T *b, int64_t bk, T *c, \
                                   int64_t cr, const V *factor) {                                                \
        attention_tile(units * TILE_UNIT, w, depth, a, ak, ar, b, bk, c, cr, factor);                                 \
    }
TILE(1, 1)
TILE(2, 1)
TILE(3, 1)
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
#undef TILE
static const tile_function tiles[3][2] = {{tile_1_1, tile_1_2}, {tile_2_1, tile_2_2}, {tile_3_1, tile_3_2}};

/* The tile for `rows` rows, at most a strip, which may be computed up to the next unit; and that height. */
INLINE tile_function tile_of(int64_t rows, int w) { return tiles[(rows - 1) / TILE_UNIT][w - 1]; }

/* `columns` columns, whole vectors, of the same product: as many tiles as it takes. */
INLINE void tile_columns(int64_t rows, int64_t columns, int64_t depth, const T *a, int64_t ak, int64_t ar, const T *b,
                         int64_t bk, T *c, int64_t cr, const V *factor) {
    for (int64_t at = 0; at < columns; at += TILE_PANEL)
        tile_of(rows, columns - at > W ? 2 : 1)(depth, a, ak, ar, b + at, bk, c + at, cr, factor);
}

/* ---- packing ---- */

/* TILE_PANEL rows of x from the first of `rows` on, scaled, transposed: out[depth][TILE_PANEL], zeros past the end. */
static void pack_panel_across(T *out, const T *x, int64_t stride, int64_t rows, int64_t depth, T scale) {
    V factor = v_splat(scale);
    for (int64_t k = 0; k < depth; k += W) {
        int64_t left = at_most(W, depth - k);
        for (int64_t r = 0; r < TILE_PANEL; r += W) {
            T *to = out + k * TILE_PANEL + r;
            V block[W];
#pragma GCC unroll 16
            for (int i = 0; i < (int)W; i++)
                block[i] = r + i < rows ? row_load(x + (r + i) * stride + k, left) * factor : v_zero();
            v_transpose(block);
            if (left == (int64_t)W) {
#pragma GCC unroll 16
                for (int i = 0; i < (int)W; i++) v_store(to + i * TILE_PANEL, block[i]);
            } else {
                for (int64_t i = 0; i < left; i++) v_store(to + i * TILE_PANEL, block[i]);
            }
        }
    }
}

/* Rows of x next to each other, zeros up to `padded` rows of `width` columns, a multiple of TILE_WIDTH; gives
 * `out`. */
static const T *pack_rows(T *out, int64_t width, int64_t padded, const T *x, int64_t stride, int64_t rows,
                          int64_t columns) {
    const T *packed = out;
    for (int64_t r = 0; r < rows; r++, x += stride, out += width) {
        for (int64_t at = 0, left = columns; at < width; at += W, left -= W)
            v_store(out + at, left > 0 ? LOAD(x) : v_zero());
    }
    memset(out, 0, (size_t)((padded - rows) * width) * sizeof(T));
    return packed;
}

/* The way back: up to W rows from `across` (columns, TILE_PANEL), each lane times its `factor`. */
INLINE void unpack_across(T *out, int64_t stride, const T *across, int64_t rows, int64_t columns, V factor) {
    for (int64_t c = 0; c < columns; c += W) {
        V x[W];
#pragma GCC unroll 16
        for (int k = 0; k < (int)W; k++)
            x[k] = c + k < columns ? v_load(across + (c + k) * TILE_PANEL) * factor : v_zero();
        v_transpose(x);
        for (int64_t r = 0; r < rows; r++) row_store(out + r * stride + c, x[r], columns - c);
    }
}

/* ---- what a kernel did ---- */

INLINE void count(tl_attention_cost *cost, int64_t blocks, int64_t exponentials, int64_t rescaled, int64_t divisions,
                  int64_t words_read, int64_t words_written) {
    cost->blocks += blocks, cost->exponentials += exponentials, cost->rescaled += rescaled;
    cost->divisions += divisions, cost->words_read += words_read, cost->words_written += words_written;
}

/* Add what one thread counted to the call's. */
static void add_cost(const tl_attention *call, const tl_attention_cost *own) {
    if (!call->cost) return;
    const int64_t *from = &own->blocks;
    for (int i = 0; i < (int)(sizeof *own / sizeof *from); i++)
        __atomic_fetch_add(&call->cost->blocks + i, from[i], __ATOMIC_RELAXED);
}

/* ---- exp ---- */

/* Scores are kept times LOG2E, so that a probability is a power of two: its argument is split by one subtraction, which
 * is exact, where powers of e take two steps. */
static const T LOG2E = (T)1.4426950408889634, LN2 = (T)0.6931471805599453;

/* 2^x, x <= 0 but for rounding, to 2 ulp; 0 where the result would be far below a largest term of 1, and for -inf. */
INLINE V tile_exp2(V x) {
    const V least = v_splat(-125);
#if TL_DOUBLE
    return v_select(x < least, v_zero(), V_MAP(exp2, v_max(least, x)));
#else
#if defined(TL_AVX512)
    V n = v_round(x), r = x - n;
#else
    const V magic = v_splat(12582912.0f); /* 1.5 2^23: adding it rounds to an integer, which is the low bits then */
    V z = x + magic, r = x - (z - magic);
#endif
    V p = TL_POLY5(r, 0.00132648449f, 0.00967165176f, 0.0555074476f, 0.240222365f, 0.693146944f, 1.0f);
#if defined(TL_AVX512)
    return (V)_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ), p, n);
#else
    return v_select(x < least, v_zero(), p * (V)(((U)z << 23) + (U)i_splat(127 << 23)));
#endif
#endif
}

/* Blocks in the order first, last, second, ...: a contiguous range of them has its share of causal work. */
INLINE int64_t balanced(int64_t index, int64_t count) { return index % 2 ? count - 1 - index / 2 : index / 2; }

#endif
