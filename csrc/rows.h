/* Loops over one contiguous row of any length: the tail is the body under a mask, so an element's arithmetic does not
 * depend on where in memory the row lies, and a sum over a row always adds in the same order.
 *
 * Inside ROW_EACH and ROW_SUM, `at` is the first element of the current vector and `left` how many of its lanes belong
 * to the row; LOAD and STORE take the row's first element.
 */
#ifndef TL_ROWS_H
#define TL_ROWS_H

INLINE I i_lanes(void) {
    I lanes;
    for (int lane = 0; lane < (int)W; lane++) lanes[lane] = lane;
    return lanes;
}

/* x in the first n lanes, fill in the others. */
INLINE V v_keep(V x, int64_t n, V fill) {
    return n >= (int64_t)W ? x : v_select(i_lanes() < i_splat((lane_int)n), x, fill);
}

INLINE V row_load(const T *p, int64_t left) { return left >= (int64_t)W ? v_load(p) : v_load_n(p, left); }

INLINE void row_store(T *p, V x, int64_t left) {
    if (left >= (int64_t)W) v_store(p, x);
    else v_store_n(p, x, left);
}

#define LOAD(row) row_load((row) + at, left)
#define STORE(row, x) row_store((row) + at, x, left)
#define ROW_EACH(n) for (int64_t at = 0, left = (n); left > 0; at += W, left -= W)

/* The sum over the row of `term`, whose lanes past the end must be 0. Four partial sums hide the latency of the add. */
#define ROW_SUM(n, term)                                        \
    ({                                                          \
        V sum0_ = v_zero(), sum1_ = v_zero(), sum2_ = v_zero(), sum3_ = v_zero(); \
        int64_t at = 0, left = (n);                             \
        while (left >= 4 * (int64_t)W) {                        \
            sum0_ += term; at += W; left -= W;                  \
            sum1_ += term; at += W; left -= W;                  \
            sum2_ += term; at += W; left -= W;                  \
            sum3_ += term; at += W; left -= W;                  \
        }                                                       \
        for (; left > 0; at += W, left -= W) sum0_ += term;     \
        v_hsum((sum0_ + sum1_) + (sum2_ + sum3_));              \
    })

/* NaN if there is one, -inf for an empty row. */
INLINE T row_max(const T *x, int64_t n) {
    V lowest = v_splat(-(T)INFINITY), top = lowest;
    ROW_EACH(n) top = v_maximum(top, v_keep(LOAD(x), left, lowest));
    return v_hmax(top);
}

/* Rows that are worth a thread. */
INLINE int64_t row_grain(int64_t columns) { return TL_GRAIN / 4 / (columns + 1) + 1; }
#endif
