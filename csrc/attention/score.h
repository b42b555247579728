/* What the queries of a panel see, and how q.k becomes a score: intervals, masks, ALiBi, softcap.
 *
 * Scores of a strip lie as [key][query of the panel]; functions here work on one vector of a panel, `v` is 0 or 1. Keys
 * that all its queries see need nothing when the call is plain.
 */
#ifndef TL_SCORE_H
#define TL_SCORE_H

#include "tile.h"

typedef struct {
    lane_int lo[TILE_PANEL], hi[TILE_PANEL]; /* the keys that a query sees; none for rows past the end */
    int64_t begin[2], end[2];                /* the keys that any query of a vector sees, */
    int64_t all_from[2], all_to[2];          /* and those that all of them see */
} __attribute__((aligned(64))) query_panel;

INLINE void interval(const tl_attention *call, int64_t batch, int64_t i, int64_t *lo, int64_t *hi) {
    *lo = call->lo ? at_least(call->lo[batch * call->lo_stride + i], 0) : 0;
    *hi = call->hi ? at_most(call->hi[batch * call->hi_stride + i], call->tk) : call->tk;
    if (*lo >= *hi) *lo = *hi = 0;
}

static void panel_intervals(const tl_attention *call, int64_t batch, int64_t first, query_panel *p) {
    for (int v = 0; v < 2; v++) {
        int64_t begin = call->tk, end = 0, all_from = 0, all_to = call->tk;
        for (int64_t lane = v * W; lane < (v + 1) * (int64_t)W; lane++) {
            int64_t lo = 0, hi = 0;
            if (first + lane < call->tq) interval(call, batch, first + lane, &lo, &hi);
            p->lo[lane] = (lane_int)lo, p->hi[lane] = (lane_int)hi;
            if (lo < hi) begin = at_most(begin, lo), end = at_least(end, hi);
            all_from = at_least(all_from, lo), all_to = at_most(all_to, hi);
        }
        p->begin[v] = at_most(begin, end), p->end[v] = end, p->all_from[v] = all_from, p->all_to[v] = all_to;
    }
}

/* Keys of first .. first + n - 1, n at most a block, that vector v meets in whole strips: empty is end <= begin. Strips
 * count from `first`, the last one may be short by units. */
INLINE void met_keys(const query_panel *p, int v, int64_t first, int64_t n, int64_t *begin, int64_t *end) {
    *begin = at_least(p->begin[v] - first, 0) / TILE_STRIP * TILE_STRIP;
    *end = at_most(round_up(p->end[v] - first, TILE_UNIT), n);
    if (p->begin[v] == p->end[v] || *end <= *begin) *begin = *end = 0;
}

/* What q is multiplied by before the product, so that `score` finds LOG2E scale q.k, or scale q.k / softcap. */
INLINE T query_scale(const tl_attention *call) {
    return call->softcap > 0 ? (T)(call->scale / call->softcap) : (T)(call->scale * 1.4426950408889634);
}

/* Everything that changes scores of one head besides the intervals. */
typedef struct {
    const tl_attention *call;
    const void *mask; /* of this head's first query, or NULL */
    T slope; /* times LOG2E */
    int plain; /* only the intervals matter */
} score_rule;

INLINE score_rule rule_of(const tl_attention *call, const T *slopes, int64_t batch, int64_t head) {
    score_rule rule = {call, NULL, slopes ? slopes[head] * LOG2E : 0, 0};
    rule.plain = !slopes && !call->mask && call->softcap == 0;
    int64_t offset = batch * call->mask_strides[0] + head * call->mask_strides[1];
    if (call->mask && call->mask_is_bool) rule.mask = (const uint8_t *)call->mask + offset;
    else if (call->mask) rule.mask = (const T *)call->mask + offset;
    return rule;
}

/* Mask of key j for W queries from i on; what lies outside the array is 0. */
static V mask_column(const score_rule *rule, int64_t i, int64_t j) {
    const tl_attention *call = rule->call;
    V x = v_zero();
    if (j >= call->tk) return x;
    int64_t at = i * call->mask_strides[2] + j * call->mask_strides[3], n = at_most(W, call->tq - i);
    for (int lane = 0; lane < (int)n; lane++, at += call->mask_strides[2])
        x[lane] = call->mask_is_bool ? ((const uint8_t *)rule->mask)[at] : ((const T *)rule->mask)[at];
    return x;
}

INLINE V hide(const query_panel *p, int v, int64_t j, V x) {
    I lo, hi, key = i_splat((lane_int)j);
    memcpy(&lo, p->lo + v * W, sizeof lo), memcpy(&hi, p->hi + v * W, sizeof hi);
    return v_select((lo <= key) & (key < hi), x, v_splat(-(T)INFINITY));
}

/* A mask times LOG2E. What is finite stays so: keys that are all masked by the least number have equal shares. */
INLINE V scaled_mask(V m) {
    V least = v_splat(TL_DOUBLE ? (T)-DBL_MAX : (T)-FLT_MAX);
    return v_select(m == v_splat(-(T)INFINITY), m, v_max(least, m * v_splat(LOG2E)));
}

/* LOG2E times the score of key j for the W queries from i on; *gain = d score / d (scale q.k). */
INLINE V score(const score_rule *rule, int64_t i, int64_t j, V x, V *gain) {
    const tl_attention *call = rule->call;
    *gain = v_splat(1);
    if (call->softcap > 0) {
        V t = v_tanh(x);
        x = v_splat((T)call->softcap * LOG2E) * t;
        *gain = v_splat(1) - t * t;
    }
    if (rule->slope != 0) {
        I distance = i_splat((lane_int)(j - i - call->tk + call->tq)) - i_lanes();
        x += v_splat(rule->slope) * __builtin_convertvector(distance, V);
    }
    if (rule->mask) {
        V m = mask_column(rule, i, j);
        x = call->mask_is_bool ? v_select(m != v_zero(), x, v_splat(-(T)INFINITY)) : x + scaled_mask(m);
    }
    return x;
}

/* Scores of keys j .. j + n - 1, rows of `step` elements, for the W queries from i on: -inf where not visible. The
 * gains too, if asked for, where the rule is not plain. */
static void tile_scores(const score_rule *rule, const query_panel *p, int v, int64_t i, int64_t j, int64_t n, T *x,
                        int64_t step, V *gains) {
    V gain;
    if (!rule->plain)
        for (int64_t r = 0; r < n; r++) {
            v_store(x + r * step, score(rule, i, j + r, v_load(x + r * step), &gain));
            if (gains) gains[r] = gain;
        }
    int64_t below = at_most(p->all_from[v] - j, n), above = at_least(p->all_to[v] - j, 0);
    for (int64_t r = 0; r < below; r++) v_store(x + r * step, hide(p, v, j + r, v_load(x + r * step)));
    for (int64_t r = above; r < n; r++) v_store(x + r * step, hide(p, v, j + r, v_load(x + r * step)));
}

#endif
