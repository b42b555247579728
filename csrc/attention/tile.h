/* What forward and backward attention share: tiles, packing, and the rule that turns q.k into a score.
 *
 * A strip is TILE_STRIP query rows, a panel TILE_PANEL keys or columns: the register tile of `tile_product` is one
 * strip by one panel, so each vector loaded meets TILE_STRIP rows. Operands are packed once a head, K and V transposed
 * into panels where a product runs over their columns, and read sequentially after that.
 *
 * Rows and keys past the end are zero in the packed operands and have probability 0. Tiles outside the intervals of all
 * their rows are skipped; what a row computes inside a tile does not depend on the other rows of the strip, because the
 * keys that it doesn't see add exact zeros.
 */
#ifndef TL_TILE_H
#define TL_TILE_H

#include "../philox.h"
#include "../rows.h"

/* Registers: TILE_STRIP x 2 sums, two panel vectors and a broadcast. */
#if defined(TL_AVX512) || defined(__aarch64__)
enum { TILE_STRIP = 12 };
#else
enum { TILE_STRIP = 6 };
#endif
enum { TILE_PANEL = 2 * W, TILE_STRIPS = 96 / 12, TILE_ROWS = TILE_STRIPS * TILE_STRIP };

INLINE int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* c[r][0..TILE_PANEL) = sum over k of a[k * ak + r * ar] * b[k][0..TILE_PANEL), added to c if `add`. */
INLINE void tile_product(int64_t depth, const T *a, int64_t ak, int64_t ar, const T *b, T *c, int64_t row, int add) {
    V sum[TILE_STRIP][2];
#pragma GCC unroll 12
    for (int r = 0; r < TILE_STRIP; r++) {
        sum[r][0] = add ? v_load(c + r * row) : v_zero();
        sum[r][1] = add ? v_load(c + r * row + W) : v_zero();
    }
    for (int64_t k = 0; k < depth; k++, a += ak, b += TILE_PANEL) {
        V b0 = v_load(b), b1 = v_load(b + W);
#pragma GCC unroll 12
        for (int r = 0; r < TILE_STRIP; r++) {
            V x = v_splat(a[r * ar]);
            sum[r][0] = v_fma(x, b0, sum[r][0]);
            sum[r][1] = v_fma(x, b1, sum[r][1]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < TILE_STRIP; r++) {
        v_store(c + r * row, sum[r][0]);
        v_store(c + r * row + W, sum[r][1]);
    }
}

/* Rows of x (rows, depth; any row stride), scaled, as groups of `width` rows: out[group][depth][width], transposed
 * W x W at a time. Where the width is less than W a store spills into the place of the next: out needs W elements more. */
INLINE void pack_across(T *out, int64_t width, const T *x, int64_t stride, int64_t rows, int64_t depth, T scale) {
    V factor = v_splat(scale);
    for (int64_t first = 0; first < rows; first += width, out += width * depth, x += width * stride) {
        int64_t n = at_most(width, rows - first);
        for (int64_t k = 0; k < depth; k += W) {
            int64_t left = at_most(W, depth - k);
            for (int64_t r = 0; r < width; r += W) {
                V block[W];
#pragma GCC unroll 16
                for (int i = 0; i < (int)W; i++)
                    block[i] = r + i < n ? row_load(x + (r + i) * stride + k, left) * factor : v_zero();
                v_transpose(block);
                T *to = out + k * width + r;
                if (left == (int64_t)W && (r + (int64_t)W <= width || width < (int64_t)W)) {
#pragma GCC unroll 16
                    for (int i = 0; i < (int)W; i++) v_store(to + i * width, block[i]);
                } else {
                    for (int64_t i = 0; i < left; i++) row_store(to + i * width, block[i], width - r);
                }
            }
        }
    }
}

/* The same value in all lanes: halves folded onto each other by W's logarithm of shuffles. */
INLINE V tile_fold_max(V x) {
#pragma GCC unroll 4
    for (int span = (int)W; span > 1; span /= 2) x = v_max(TL_LOW(x, x), TL_HIGH(x, x));
    return x;
}

INLINE V tile_fold_sum(V x) {
#pragma GCC unroll 4
    for (int span = (int)W; span > 1; span /= 2) x = TL_LOW(x, x) + TL_HIGH(x, x);
    return x;
}

/* Rows of x as panels of TILE_PANEL columns: out[panel][rows rounded up to `padded`][TILE_PANEL]. */
static void pack_along(T *out, const T *x, int64_t stride, int64_t rows, int64_t padded, int64_t columns) {
    for (int64_t c = 0; c < columns; c += TILE_PANEL, out += padded * TILE_PANEL) {
        int64_t left = at_most(TILE_PANEL, columns - c);
        for (int64_t r = 0; r < rows; r++) {
            const T *from = x + r * stride + c;
            v_store(out + r * TILE_PANEL, row_load(from, left));
            v_store(out + r * TILE_PANEL + W, left > (int64_t)W ? row_load(from + W, left - W) : v_zero());
        }
        memset(out + rows * TILE_PANEL, 0, (size_t)((padded - rows) * TILE_PANEL) * sizeof(T));
    }
}

/* One query row of one head: which keys it sees, and how q.k becomes a score. */
typedef struct {
    int64_t lo, hi;
    const T *bias;           /* additive mask of this row, or NULL */
    const uint8_t *visible;  /* boolean mask of this row, or NULL */
    int64_t mask_step, tk, distance;
    T softcap, slope;
    int plain;               /* only the interval matters */
} query_row;

INLINE void interval(const tl_attention *call, int64_t batch, int64_t i, int64_t *lo, int64_t *hi) {
    *lo = call->lo ? at_least(call->lo[batch * call->lo_stride + i], 0) : 0;
    *hi = call->hi ? at_most(call->hi[batch * call->hi_stride + i], call->tk) : call->tk;
    if (*lo >= *hi) *lo = *hi = 0;
}

/* The keys that any row of first .. first + rows - 1 sees, as whole panels; an empty range where none does. */
static void strip_interval(const tl_attention *call, int64_t batch, int64_t first, int64_t rows, int64_t *lo,
                           int64_t *hi) {
    *lo = call->tk;
    *hi = 0;
    for (int64_t i = first; i < at_most(first + rows, call->tq); i++) {
        int64_t row_lo, row_hi;
        interval(call, batch, i, &row_lo, &row_hi);
        if (row_lo == row_hi) continue;
        *lo = at_most(*lo, row_lo);
        *hi = at_least(*hi, row_hi);
    }
    *lo = *lo / TILE_PANEL * TILE_PANEL;
    *hi = *hi ? round_up(*hi, TILE_PANEL) : *lo;
}

INLINE query_row tile_query(const tl_attention *call, const T *slopes, int64_t batch, int64_t head, int64_t i) {
    query_row row = {.tk = call->tk, .softcap = (T)call->softcap, .distance = i + call->tk - call->tq};
    interval(call, batch, i, &row.lo, &row.hi);
    if (slopes) row.slope = slopes[head];
    if (call->mask) {
        const int64_t *s = call->mask_strides;
        int64_t offset = batch * s[0] + head * s[1] + i * s[2];
        row.mask_step = s[3];
        if (call->mask_is_bool) row.visible = (const uint8_t *)call->mask + offset;
        else row.bias = (const T *)call->mask + offset;
    }
    row.plain = !slopes && !call->mask && call->softcap == 0;
    return row;
}

/* What q is multiplied by before the product, so that `tile_score` finds scale * q.k / softcap. */
INLINE T query_scale(const tl_attention *call) {
    return (T)(call->softcap > 0 ? call->scale / call->softcap : call->scale);
}

/* Scores of keys j .. j + W - 1, -inf where not visible; *gain = d score / d (scale q.k). */
INLINE V tile_score(const query_row *row, V x, int64_t j, V *gain) {
    I key = i_lanes() + i_splat((lane_int)j);
    *gain = v_splat(1);
    if (!row->plain) {
        if (row->softcap > 0) {
            V t = v_tanh(x);
            x = v_splat(row->softcap) * t;
            *gain = v_splat(1) - t * t;
        }
        if (row->slope != 0)
            x += v_splat(row->slope) * __builtin_convertvector(key - i_splat((lane_int)row->distance), V);
        int64_t left = at_most(W, row->tk - j);
        if (row->bias && row->mask_step == 1) {
            if (left > 0) x += row_load(row->bias + j, left);
        } else if (row->bias) {
            for (int lane = 0; lane < (int)left; lane++) x[lane] += row->bias[(j + lane) * row->mask_step];
        } else if (row->visible) {
            for (int lane = 0; lane < (int)left; lane++)
                if (!row->visible[(j + lane) * row->mask_step]) x[lane] = -(T)INFINITY;
        }
    }
    I seen = (key >= i_splat((lane_int)row->lo)) & (key < i_splat((lane_int)row->hi));
    return v_select(seen, x, v_splat(-(T)INFINITY));
}

/* x where the word keeps its element, else 0. */
INLINE V keep_lanes(const uint32_t *words, int32_t threshold, V x) {
#if TL_DOUBLE
    I keep;
    for (int lane = 0; lane < (int)W; lane++) keep[lane] = (int32_t)(words[lane] >> 8) >= threshold ? -1 : 0;
#else
    U loaded;
    memcpy(&loaded, words, sizeof loaded);
    I keep = (I)(loaded >> 8) >= i_splat(threshold);
#endif
    return v_select(keep, x, v_zero());
}

/* exp(x), x <= 0 but for rounding, to 0 where it would be denormal: beside a largest term of 1 that is nothing, and
 * keys out of sight (-inf) would otherwise pay for an underflow each. */
INLINE V tile_exp(V x) {
    V least = v_splat(-87);
    return v_select(x < least, v_zero(), v_exp(v_max(least, x)));
}

/* Words of keys j .. j + n - 1 of one row of probabilities. */
INLINE const uint32_t *probability_words(const tl_attention *call, uint32_t *buffer, int64_t batch, int64_t head,
                                         int64_t i, int64_t j, int64_t n) {
    uint64_t row = (uint64_t)((batch * call->heads + head) * call->tq + i);
    return philox_elements(buffer, call->base + row * (uint64_t)call->tk + (uint64_t)j, n, call->key, call->stream);
}

/* Blocks in the order first, last, second, ...: a contiguous range of them has its share of causal work. */
INLINE int64_t balanced(int64_t index, int64_t count) { return index % 2 ? count - 1 - index / 2 : index / 2; }

#endif
