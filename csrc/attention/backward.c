/* Attention backward with recomputation (Dao et al. 2022, arXiv:2205.14135, algorithm 4): probabilities come again from
 * q, k and lse, tile by tile, and no T x T array exists unless the gradient of an additive mask is asked for.
 *
 *     p = exp(s - lse),   ds = p (r do.v - D),   D = rowsum(do o)
 *     dv += (p r)^T do,   dk += scale ds^T q,    dq += scale ds k
 *
 * r is dropout's factor, drawn again from its counters. Tiles are TILE_ROWS queries by TILE_KEYS keys. dk and dv of a
 * tile are added over query blocks in order, head after head of a group; dq over key blocks in order. With enough heads
 * one pass gives all three (a thread owns whole key/value heads); with few, one pass over key blocks gives dk and dv
 * and another over query blocks dq. Both add in the same order, so the bits don't depend on the number of threads.
 *
 * o is (batch, tq, heads, dv); everything else by strides, last axis contiguous.
 */
#include "tile.h"

enum { TILE_KEYS = 96 };
_Static_assert(TILE_KEYS % TILE_PANEL == 0 && TILE_KEYS % TILE_STRIP == 0, "a tile is whole panels and whole strips");

typedef struct {
    const tl_attention *call;
    const T *q, *k, *v, *o, *lse, *dout, *slopes;
    T *dq, *dk, *dv, *dmask;
    int64_t row_blocks, key_blocks;
    int failed;
} backward_job;

/* Packed operands of one key/value head and one of its query heads, gradients being added up, one tile. */
typedef struct {
    T *memory;
    T *k_across, *v_across, *k_along;
    T *q_across, *q_along, *do_across, *do_along, *rowsum;
    T *dk, *dv, *dq;
    T *p, *ds;
    int64_t tq, tk, d, d_v; /* padded: tq to strips, the others to panels */
    int64_t begin[TILE_STRIPS], end[TILE_STRIPS];  /* keys of the tile that a strip sees, counted from its first */
} backward_scratch;

static int backward_alloc(const tl_attention *call, backward_scratch *s) {
    s->tq = round_up(call->tq, TILE_STRIP), s->tk = round_up(call->tk, TILE_PANEL);
    s->d = round_up(call->d, TILE_PANEL), s->d_v = round_up(call->dv, TILE_PANEL);
    struct {
        T **part;
        int64_t size;
    } parts[] = {
        {&s->k_across, s->tk * call->d + W},  {&s->v_across, s->tk * call->dv + W},  {&s->k_along, s->tk * s->d},
        {&s->q_across, s->tq * call->d + W},  {&s->do_across, s->tq * call->dv + W}, {&s->q_along, s->tq * s->d},
        {&s->do_along, s->tq * s->d_v},       {&s->rowsum, call->tq},
        {&s->dk, (s->tk + TILE_KEYS) * s->d},
        {&s->dv, (s->tk + TILE_KEYS) * s->d_v}, {&s->dq, s->tq * s->d},                {&s->p, TILE_ROWS * TILE_KEYS},
        {&s->ds, TILE_ROWS * TILE_KEYS},
    };
    int64_t total = 0, count = sizeof parts / sizeof *parts;
    for (int64_t i = 0; i < count; i++) total += round_up(parts[i].size, 64);
    T *next = s->memory = tl_malloc((size_t)total * sizeof(T));
    if (!next) return -1;
    for (int64_t i = 0; i < count; next += round_up(parts[i].size, 64), i++) *parts[i].part = next;
    return 0;
}

static void pack_keys(const backward_job *job, backward_scratch *s, int64_t batch, int64_t kv_head) {
    const tl_attention *call = job->call;
    const int64_t *ks = call->k_strides, *vs = call->v_strides;
    const T *k = job->k + batch * ks[0] + kv_head * ks[1], *v = job->v + batch * vs[0] + kv_head * vs[1];
    pack_across(s->k_across, TILE_PANEL, k, ks[2], call->tk, call->d, 1);
    pack_across(s->v_across, TILE_PANEL, v, vs[2], call->tk, call->dv, 1);
    pack_along(s->k_along, k, ks[2], call->tk, s->tk, call->d);
    memset(s->dk, 0, (size_t)((s->tk + TILE_KEYS) * s->d) * sizeof(T));
    memset(s->dv, 0, (size_t)((s->tk + TILE_KEYS) * s->d_v) * sizeof(T));
}

static void pack_queries(const backward_job *job, backward_scratch *s, int64_t batch, int64_t head) {
    const tl_attention *call = job->call;
    const int64_t *qs = call->q_strides, *os = call->do_strides;
    const T *q = job->q + batch * qs[0] + head * qs[1], *dout = job->dout + batch * os[0] + head * os[1];
    pack_across(s->q_across, TILE_STRIP, q, qs[2], call->tq, call->d, query_scale(call));
    pack_across(s->do_across, TILE_STRIP, dout, os[2], call->tq, call->dv, 1);
    pack_along(s->q_along, q, qs[2], call->tq, s->tq, call->d);
    pack_along(s->do_along, dout, os[2], call->tq, s->tq, call->dv);
    for (int64_t i = 0; i < call->tq; i++) {
        const T *row = dout + i * os[2], *o = job->o + ((batch * call->tq + i) * call->heads + head) * call->dv;
        s->rowsum[i] = ROW_SUM(call->dv, LOAD(row) * LOAD(o));
    }
    memset(s->dq, 0, (size_t)(s->tq * s->d) * sizeof(T));
}

/* A row of the tile: p holds scale q.k and ds holds do.v on entry, r p and ds on return; n keys from j on. */
INLINE void gradient_row(const backward_job *job, const backward_scratch *s, int64_t batch, int64_t head, int64_t i,
                         int64_t j, int64_t n, T *p, T *ds) {
    const tl_attention *call = job->call;
    query_row row = tile_query(call, job->slopes, batch, head, i);
    T lse = job->lse[(batch * call->heads + head) * call->tq + i];
    V shift = v_splat(lse == -(T)INFINITY ? (T)INFINITY : lse), level = v_splat(s->rowsum[i]);
    uint32_t buffer[TILE_KEYS + PHILOX_SLACK] __attribute__((aligned(64)));
    const uint32_t *words = NULL;
    if (call->dropout > 0) words = probability_words(call, buffer, batch, head, i, j, n);
    V raise = v_splat(call->dropout < 1 ? (T)(1.0 / (1.0 - call->dropout)) : 0);
    int32_t threshold = keep_threshold(call->dropout);
    T *dmask = job->dmask ? job->dmask + ((batch * call->heads + head) * call->tq + i) * call->tk : NULL;
    int whole = row.plain && row.lo <= j && row.hi >= j + n;
    for (int64_t c = 0; c < n; c += W) {
        V x = v_load(p + c), dp = v_load(ds + c), gain = v_splat(1);
        if (!whole) x = tile_score(&row, x, j + c, &gain);
        V prob = tile_exp(x - shift), kept = prob;
        if (words) {
            kept = keep_lanes(words + c, threshold, prob * raise);
            dp = keep_lanes(words + c, threshold, dp * raise);
        }
        V slope = prob * (dp - level);
        v_store(p + c, kept);
        v_store(ds + c, slope * gain);
        if (dmask && j + c < call->tk) row_store(dmask + j + c, slope, call->tk - j - c);
    }
}

/* Whole vectors: from and to are multiples of W. */
INLINE void clear(T *row, int64_t from, int64_t to) {
    for (; from < to; from += W) v_store(row + from, v_zero());
}

/* p and ds of one tile; 0 where no row of it sees any of its keys. */
static int gradient_tile(const backward_job *job, backward_scratch *s, int64_t batch, int64_t head, int64_t first,
                         int64_t key) {
    const tl_attention *call = job->call;
    int64_t strips = at_most(TILE_STRIPS, (s->tq - first) / TILE_STRIP), seen = 0;
    for (int64_t strip = 0; strip < strips; strip++) {
        int64_t lo, hi;
        strip_interval(call, batch, first + strip * TILE_STRIP, TILE_STRIP, &lo, &hi);
        s->begin[strip] = at_least(lo - key, 0);
        s->end[strip] = at_most(hi - key, TILE_KEYS);
        if (s->begin[strip] < s->end[strip]) seen = 1;
        else s->begin[strip] = s->end[strip] = 0;
    }
    if (!seen) return 0;
    int64_t width = at_most(TILE_KEYS, round_up(call->tk - key + TILE_STRIP, W)); /* what add_key_gradients reads */
    for (int64_t strip = 0; strip < strips; strip++) {
        int64_t begin = s->begin[strip], end = s->end[strip];
        int64_t row = first + strip * TILE_STRIP;
        const T *q = s->q_across + row * call->d, *dout = s->do_across + row * call->dv;
        T *p = s->p + strip * TILE_STRIP * TILE_KEYS, *ds = s->ds + strip * TILE_STRIP * TILE_KEYS;
        for (int64_t j = begin; j < end; j += TILE_PANEL) {
            tile_product(call->d, q, TILE_STRIP, 1, s->k_across + (key + j) * call->d, p + j, TILE_KEYS, 0);
            tile_product(call->dv, dout, TILE_STRIP, 1, s->v_across + (key + j) * call->dv, ds + j, TILE_KEYS, 0);
        }
        for (int64_t r = 0; r < TILE_STRIP; r++, p += TILE_KEYS, ds += TILE_KEYS) {
            int64_t i = row + r, used = i < call->tq ? begin : 0, stop = i < call->tq ? end : 0;
            if (used < stop) gradient_row(job, s, batch, head, i, key + used, stop - used, p + used, ds + used);
            clear(p, 0, used), clear(ds, 0, used);
            clear(p, stop, width), clear(ds, stop, width);
        }
    }
    return 1;
}

/* dv += p^T do and dk += ds^T q over the tile: TILE_STRIP keys a time, over the strips that see any of them. */
static void add_key_gradients(const tl_attention *call, backward_scratch *s, int64_t first, int64_t key) {
    int64_t strips = at_most(TILE_STRIPS, (s->tq - first) / TILE_STRIP), keys = at_most(TILE_KEYS, call->tk - key);
    for (int64_t j = 0; j < keys; j += TILE_STRIP) {
        int64_t from = strips, to = 0;
        for (int64_t strip = 0; strip < strips; strip++)
            if (s->begin[strip] < j + TILE_STRIP && s->end[strip] > j) from = at_most(from, strip), to = strip + 1;
        int64_t depth = (to - from) * TILE_STRIP, row = from * TILE_STRIP;
        if (depth <= 0) continue;
        for (int64_t c = 0; c < s->d_v; c += TILE_PANEL)
            tile_product(depth, s->p + row * TILE_KEYS + j, TILE_KEYS, 1,
                         s->do_along + c * s->tq + (first + row) * TILE_PANEL,
                         s->dv + (key + j) * s->d_v + c, s->d_v, 1);
        for (int64_t c = 0; c < s->d; c += TILE_PANEL)
            tile_product(depth, s->ds + row * TILE_KEYS + j, TILE_KEYS, 1,
                         s->q_along + c * s->tq + (first + row) * TILE_PANEL,
                         s->dk + (key + j) * s->d + c, s->d, 1);
    }
}

/* dq += ds k over the tile. */
static void add_query_gradients(backward_scratch *s, int64_t first, int64_t key) {
    int64_t strips = at_most(TILE_STRIPS, (s->tq - first) / TILE_STRIP);
    for (int64_t strip = 0; strip < strips; strip++) {
        int64_t begin = s->begin[strip], depth = s->end[strip] - begin;
        if (depth <= 0) continue;
        for (int64_t c = 0; c < s->d; c += TILE_PANEL)
            tile_product(depth, s->ds + strip * TILE_STRIP * TILE_KEYS + begin, 1, TILE_KEYS,
                         s->k_along + c * s->tk + (key + begin) * TILE_PANEL,
                         s->dq + (first + strip * TILE_STRIP) * s->d + c, s->d, 1);
    }
}

/* Rows first .. first + rows - 1 of a packed gradient, scaled, into the output (rows apart by `stride`). */
static void write_rows(T *out, int64_t stride, const T *packed, int64_t padded, int64_t first, int64_t rows,
                       int64_t columns, T scale) {
    V factor = v_splat(scale);
    for (int64_t i = first; i < first + rows; i++)
        ROW_EACH(columns) STORE(out + i * stride, LOAD(packed + i * padded) * factor);
}

static void write_dq(const backward_job *job, const backward_scratch *s, int64_t batch, int64_t head, int64_t first) {
    const tl_attention *call = job->call;
    const int64_t *to = call->dq_strides;
    write_rows(job->dq + batch * to[0] + head * to[1], to[2], s->dq, s->d, first, at_most(TILE_ROWS, call->tq - first),
               call->d, (T)call->scale);
}

static void write_dkv(const backward_job *job, const backward_scratch *s, int64_t batch, int64_t kv_head, int64_t key) {
    const tl_attention *call = job->call;
    const int64_t *to_k = call->dk_strides, *to_v = call->dv_strides;
    T *dk = job->dk + batch * to_k[0] + kv_head * to_k[1], *dv = job->dv + batch * to_v[0] + kv_head * to_v[1];
    int64_t keys = at_most(TILE_KEYS, call->tk - key);
    write_rows(dk, to_k[2], s->dk, s->d, key, keys, call->d, (T)call->scale);
    write_rows(dv, to_v[2], s->dv, s->d_v, key, keys, call->dv, 1);
}

/* Everything of key/value heads begin .. end - 1. */
static void all_gradients(void *context, int64_t unit, int64_t end) {
    backward_job *job = context;
    const tl_attention *call = job->call;
    backward_scratch s;
    if (backward_alloc(call, &s)) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    int64_t group = call->heads / call->kv_heads;
    for (; unit < end; unit++) {
        int64_t batch = unit / call->kv_heads, kv_head = unit % call->kv_heads;
        pack_keys(job, &s, batch, kv_head);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            pack_queries(job, &s, batch, head);
            for (int64_t key = 0; key < call->tk; key += TILE_KEYS)
                for (int64_t first = 0; first < call->tq; first += TILE_ROWS)
                    if (gradient_tile(job, &s, batch, head, first, key)) {
                        add_key_gradients(call, &s, first, key);
                        add_query_gradients(&s, first, key);
                    }
            for (int64_t first = 0; first < call->tq; first += TILE_ROWS) write_dq(job, &s, batch, head, first);
        }
        for (int64_t key = 0; key < call->tk; key += TILE_KEYS) write_dkv(job, &s, batch, kv_head, key);
    }
    tl_free(s.memory);
}

/* dk and dv of key blocks begin .. end - 1, counted over all key/value heads. */
static void key_gradients(void *context, int64_t unit, int64_t end) {
    backward_job *job = context;
    const tl_attention *call = job->call;
    backward_scratch s;
    if (backward_alloc(call, &s)) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    int64_t group = call->heads / call->kv_heads, blocks = job->key_blocks;
    while (unit < end) {
        int64_t kv = unit / blocks, batch = kv / call->kv_heads, kv_head = kv % call->kv_heads;
        int64_t stop = at_most(end, (kv + 1) * blocks);
        pack_keys(job, &s, batch, kv_head);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            pack_queries(job, &s, batch, head);
            for (int64_t u = unit; u < stop; u++) {
                int64_t key = balanced(u % blocks, blocks) * TILE_KEYS;
                for (int64_t first = 0; first < call->tq; first += TILE_ROWS)
                    if (gradient_tile(job, &s, batch, head, first, key)) add_key_gradients(call, &s, first, key);
            }
        }
        for (; unit < stop; unit++) write_dkv(job, &s, batch, kv_head, balanced(unit % blocks, blocks) * TILE_KEYS);
    }
    tl_free(s.memory);
}

/* dq of query blocks begin .. end - 1, counted over all query heads. */
static void query_gradients(void *context, int64_t unit, int64_t end) {
    backward_job *job = context;
    const tl_attention *call = job->call;
    backward_scratch s;
    if (backward_alloc(call, &s)) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    int64_t group = call->heads / call->kv_heads, blocks = job->row_blocks;
    for (int64_t packed = -1; unit < end; unit++) {
        int64_t pair = unit / blocks, batch = pair / call->heads, head = pair % call->heads;
        if (pair != packed) {
            pack_keys(job, &s, batch, head / group);
            pack_queries(job, &s, batch, head);
            packed = pair;
        }
        int64_t first = balanced(unit % blocks, blocks) * TILE_ROWS;
        for (int64_t key = 0; key < call->tk; key += TILE_KEYS)
            if (gradient_tile(job, &s, batch, head, first, key)) add_query_gradients(&s, first, key);
        write_dq(job, &s, batch, head, first);
    }
    tl_free(s.memory);
}

/* dmask (batch, heads, tq, tk) may be NULL. */
static int FN(attention_grad)(const tl_attention *call, const T *dout, const T *q, const T *k, const T *v, const T *o,
                              const T *lse, const T *slopes, T *dq, T *dk, T *dv, T *dmask) {
    backward_job job = {call, q, k, v, o, lse, dout, slopes, dq, dk, dv, dmask, (call->tq + TILE_ROWS - 1) / TILE_ROWS,
                        (call->tk + TILE_KEYS - 1) / TILE_KEYS, 0};
    if (dmask) memset(dmask, 0, (size_t)(call->batch * call->heads * call->tq * call->tk) * sizeof(T));
    int64_t pairs = call->batch * call->kv_heads, threads = tl_num_threads();
    if (pairs == 0) return 0;
    if (pairs % threads == 0 || pairs >= 4 * threads) {
        int64_t work = (1 + call->heads / call->kv_heads) * (call->tq + 1) * (call->tk + 1) * (call->d + call->dv + 1);
        tl_parallel(pairs, 1 + 8 * TL_GRAIN / work, all_gradients, &job);
    } else {
        tl_parallel(pairs * job.key_blocks, 1, key_gradients, &job);
        job.dmask = NULL;
        tl_parallel(call->batch * call->heads * job.row_blocks, 1, query_gradients, &job);
    }
    return job.failed ? -1 : 0;
}
