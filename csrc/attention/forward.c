/* Attention forward in FlashAttention-2's order (Dao 2023, arXiv:2307.08691): query blocks outside, key blocks inside,
 * online softmax (Milakov and Gimelshein 2018), sums kept unnormalised, one division at the end, and only
 * lse = max + log(sum) saved for backward.
 *
 * q (batch, heads, tq, d), k (batch, kv_heads, tk, d), v (batch, kv_heads, tk, dv) by strides, last axis contiguous;
 * o (batch, tq, heads, dv), lse (batch, heads, tq).
 */
#include "tile.h"

enum { FORWARD_KEYS = 256 }; /* keys a time: a strip's scores stay in L1; up to so many keys nothing is ever rescaled */

typedef struct {
    const tl_attention *call;
    const T *q, *k, *v, *slopes;
    T *o, *lse;
    int64_t blocks;
    int failed;
} forward_job;

typedef struct {
    T *k, *v, *q, *scores, *sums;
    int64_t tk, dv; /* padded to panels */
} forward_scratch;

/* One row of a strip meets keys first .. first + n - 1: scores become exp(score - max), and what came before is
 * rescaled to the new max. */
INLINE void online_softmax(const query_row *row, T *scores, int64_t first, int64_t n, T *max, T *total, T *sums,
                           int64_t columns) {
    V top = v_splat(*max), gain;
    if (row->plain && row->lo <= first && row->hi >= first + n) {
        for (int64_t c = 0; c < n; c += W) top = v_max(v_load(scores + c), top);
    } else {
        for (int64_t c = 0; c < n; c += W) {
            V x = tile_score(row, v_load(scores + c), first + c, &gain);
            v_store(scores + c, x);
            top = v_max(x, top);
        }
    }
    top = tile_fold_max(top);
    V shift = v_select(top == v_splat(-(T)INFINITY), v_zero(), top), even = v_zero(), odd = v_zero();
    for (int64_t c = 0; c < n; c += TILE_PANEL) {
        V a = tile_exp(v_load(scores + c) - shift), b = tile_exp(v_load(scores + c + W) - shift);
        v_store(scores + c, a);
        v_store(scores + c + W, b);
        even += a;
        odd += b;
    }
    V sum = tile_fold_sum(even + odd);
    if (*total != 0) {
        V factor = v_exp(v_splat(*max) - shift);
        sum += v_splat(*total) * factor;
        for (int64_t c = 0; c < columns; c += W) v_store(sums + c, v_load(sums + c) * factor);
    }
    *total = sum[0];
    *max = top[0];
}

static void forward_block(const forward_job *job, const forward_scratch *s, int64_t batch, int64_t head,
                          int64_t first) {
    const tl_attention *call = job->call;
    int64_t rows = at_most(TILE_ROWS, call->tq - first), strips = round_up(rows, TILE_STRIP) / TILE_STRIP, d = call->d;
    const T *q = job->q + batch * call->q_strides[0] + head * call->q_strides[1] + first * call->q_strides[2];
    pack_across(s->q, TILE_STRIP, q, call->q_strides[2], rows, d, query_scale(call));
    memset(s->sums, 0, (size_t)(strips * TILE_STRIP * s->dv) * sizeof(T));

    T max[TILE_ROWS], total[TILE_ROWS];
    int64_t lo[TILE_STRIPS], hi[TILE_STRIPS], least = call->tk, most = 0;
    for (int r = 0; r < TILE_ROWS; r++) max[r] = -(T)INFINITY, total[r] = 0;
    for (int64_t strip = 0; strip < strips; strip++) {
        strip_interval(call, batch, first + strip * TILE_STRIP, TILE_STRIP, &lo[strip], &hi[strip]);
        if (lo[strip] < hi[strip]) least = at_most(least, lo[strip]), most = at_least(most, hi[strip]);
    }
    int32_t threshold = keep_threshold(call->dropout);
    for (int64_t block = least / FORWARD_KEYS * FORWARD_KEYS; block < most; block += FORWARD_KEYS) {
        for (int64_t strip = 0; strip < strips; strip++) {
            int64_t begin = at_least(lo[strip], block), end = at_most(hi[strip], block + FORWARD_KEYS), n = end - begin;
            if (n <= 0) continue;
            for (int64_t j = 0; j < n; j += TILE_PANEL)
                tile_product(d, s->q + strip * TILE_STRIP * d, TILE_STRIP, 1, s->k + (begin + j) * d, s->scores + j,
                             FORWARD_KEYS, 0);
            T *sums = s->sums + strip * TILE_STRIP * s->dv;
            for (int64_t r = 0; r < TILE_STRIP; r++) {
                int64_t local = strip * TILE_STRIP + r, i = first + local;
                T *scores = s->scores + r * FORWARD_KEYS;
                if (local >= rows) {
                    memset(scores, 0, (size_t)n * sizeof(T));
                    continue;
                }
                query_row row = tile_query(call, job->slopes, batch, head, i);
                online_softmax(&row, scores, begin, n, &max[local], &total[local], sums + r * s->dv, s->dv);
                if (call->dropout > 0) {
                    uint32_t buffer[FORWARD_KEYS + PHILOX_SLACK] __attribute__((aligned(64)));
                    const uint32_t *words = probability_words(call, buffer, batch, head, i, begin, n);
                    for (int64_t c = 0; c < n; c += W)
                        v_store(scores + c, keep_lanes(words + c, threshold, v_load(scores + c)));
                }
            }
            for (int64_t c = 0; c < s->dv; c += TILE_PANEL)
                tile_product(n, s->scores, 1, FORWARD_KEYS, s->v + c * s->tk + begin * TILE_PANEL, sums + c, s->dv, 1);
        }
    }
    T raise = call->dropout > 0 && call->dropout < 1 ? (T)(1.0 / (1.0 - call->dropout)) : 1;
    for (int64_t r = 0; r < rows; r++) {
        T *o = job->o + ((batch * call->tq + first + r) * call->heads + head) * call->dv;
        V share = v_splat(total[r] == 0 ? 0 : raise / total[r]);
        const T *sums = s->sums + r * s->dv;
        ROW_EACH(call->dv) STORE(o, v_load(sums + at) * share);
        job->lse[(batch * call->heads + head) * call->tq + first + r] = max[r] + LIBM(log)(total[r]);
    }
}

static void forward_range(void *context, int64_t unit, int64_t end) {
    forward_job *job = context;
    const tl_attention *call = job->call;
    forward_scratch s = {.tk = round_up(call->tk, TILE_PANEL), .dv = round_up(call->dv, TILE_PANEL)};
    int64_t sizes[] = {s.tk * call->d + W, s.tk * s.dv, TILE_ROWS * call->d + W, TILE_STRIP * FORWARD_KEYS,
                       TILE_ROWS * s.dv};
    int64_t total = 0;
    T **parts[] = {&s.k, &s.v, &s.q, &s.scores, &s.sums};
    for (int part = 0; part < 5; part++) total += round_up(sizes[part], 64);
    T *memory = tl_malloc((size_t)total * sizeof(T));
    if (!memory) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    T *next = memory;
    for (int part = 0; part < 5; part++) *parts[part] = next, next += round_up(sizes[part], 64);

    for (int64_t packed = -1; unit < end; unit++) {
        int64_t pair = unit / job->blocks, batch = pair / call->heads, head = pair % call->heads;
        int64_t kv_head = head / (call->heads / call->kv_heads), kv = batch * call->kv_heads + kv_head;
        if (kv != packed) {
            const int64_t *ks = call->k_strides, *vs = call->v_strides;
            pack_across(s.k, TILE_PANEL, job->k + batch * ks[0] + kv_head * ks[1], ks[2], call->tk, call->d, 1);
            pack_along(s.v, job->v + batch * vs[0] + kv_head * vs[1], vs[2], call->tk, s.tk, call->dv);
            packed = kv;
        }
        forward_block(job, &s, batch, head, balanced(unit % job->blocks, job->blocks) * TILE_ROWS);
    }
    tl_free(memory);
}

static int FN(attention)(const tl_attention *call, const T *q, const T *k, const T *v, const T *slopes, T *o, T *lse) {
    forward_job job = {call, q, k, v, slopes, o, lse, (call->tq + TILE_ROWS - 1) / TILE_ROWS, 0};
    int64_t work = TILE_ROWS * (call->tk + 1) * (call->d + call->dv + 1);
    tl_parallel(call->batch * call->heads * job.blocks, 1 + 8 * TL_GRAIN / work, forward_range, &job);
    return job.failed ? -1 : 0;
}
