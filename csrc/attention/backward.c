/* Attention backward with recomputation (Dao et al. 2022, arXiv:2205.14135, algorithm 4): probabilities come again from
 * q, k and lse, block by block, and no T x T array exists unless the gradient of an additive mask is asked for.
 *
 *     p = exp(s - lse),   ds = scale p (r do.v - D),   D = rowsum(do o)
 *     dv += (p r)^T do,   dk += ds^T q,   dq += ds k
 *
 * r is dropout's factor, drawn again from its counters. Key blocks outside, query blocks inside, both of TILE_BLOCK:
 * p and ds of a block lie as [key][query], are written once and read by the three products in place. dk and dv are
 * chains over queries in order, head after head of a group. dq is a chain over the keys of a chunk, and chunks, whose
 * number depends on tk alone, are added in order: with too few heads for the threads a chunk is the unit of work, and
 * the bits are the same.
 *
 * o is (batch, tq, heads, dv); everything else by strides, last axis contiguous.
 */
#include "fetch.h"
#include "keep.h"
#include "score.h"

enum { CHUNKS = 8, CHUNK_BLOCKS = 4 }; /* chunks at most, key blocks in one at least */
enum { BLOCK_GROUP = 3 };              /* key blocks that the queries pass at once: rows of D = 128 stay in 1 MiB */

typedef struct {
    const tl_attention *call;
    const T *q, *k, *v, *o, *lse, *dout, *slopes;
    T *dq, *dk, *dv, *dmask;
    int64_t blocks, chunks; /* of keys */
    T *partial;             /* (batch, heads, chunks, tq padded, d padded): dq of chunks that threads share, or NULL */
    int failed;
} backward_job;

/* Packed operands of one key/value head and one of its query heads, gradients being added up, one block. */
typedef struct {
    T *memory;
    const T *k, *v, *q, *dout;             /* rows, in place or copied */
    int64_t k_row, v_row, q_row, dout_row; /* from one to the next */
    T *copies[4];
    T *q_across, *dout_across;             /* panels (d, panel); dout times the scale */
    T *level, *shift;                      /* D times the scale, lse times LOG2E */
    query_panel *panels;
    T *dk, *dv, *dq, *chunk;               /* chunk: dq of one chunk after the first */
    T *p, *ds;                             /* (key, query) of a block */
    int64_t tq, tk, d, d_v;                /* padded */
    int64_t met[TILE_BLOCK / TILE_UNIT][2]; /* queries of the block that meet a strip of keys */
    fetch_list next;
} backward_scratch;

/* Rows are read where they are, as in forward, if they are whole vectors. */
static int rows_in_place(const tl_attention *call) {
    int whole = call->tk % TILE_UNIT == 0 && call->d % TILE_WIDTH == 0 && call->dv % TILE_WIDTH == 0;
    return whole && call->tk <= IN_PLACE_KEYS && call->tq <= IN_PLACE_KEYS;
}

static int backward_alloc(const backward_job *job, backward_scratch *s) {
    const tl_attention *call = job->call;
    int copied = !rows_in_place(call);
    s->tq = round_up(call->tq, TILE_BLOCK), s->tk = round_up(call->tk, TILE_UNIT);
    s->d = round_up(call->d, TILE_WIDTH), s->d_v = round_up(call->dv, TILE_WIDTH);
    s->next = (fetch_list){.left = 0};
    int64_t panels = s->tq / TILE_PANEL * (int64_t)(sizeof(query_panel) / sizeof(T));
    struct {
        T **part;
        int64_t size;
    } parts[] = {
        {&s->copies[0], copied * s->tk * s->d},   {&s->copies[1], copied * s->tk * s->d_v},
        {&s->copies[2], copied * s->tq * s->d},   {&s->copies[3], copied * s->tq * s->d_v},
        {&s->q_across, s->tq * call->d},          {&s->dout_across, s->tq * call->dv},
        {&s->level, s->tq},                       {&s->shift, s->tq},
        {(T **)&s->panels, panels},               {&s->dq, s->tq * s->d},
        {&s->chunk, job->chunks > 1 ? s->tq * s->d : 0},
        {&s->dk, s->tk * s->d},                   {&s->dv, s->tk * s->d_v},
        {&s->p, TILE_BLOCK * TILE_BLOCK},         {&s->ds, TILE_BLOCK * TILE_BLOCK},
    };
    int64_t total = 0, count = sizeof parts / sizeof *parts;
    for (int64_t i = 0; i < count; i++) total += round_up(parts[i].size, 64);
    T *next = s->memory = tl_malloc((size_t)total * sizeof(T));
    if (!next) return -1;
    for (int64_t i = 0; i < count; next += round_up(parts[i].size, 64), i++) *parts[i].part = next;
    return 0;
}

/* ---- packing ---- */

static void backward_keys(const backward_job *job, backward_scratch *s, int64_t batch, int64_t kv_head) {
    const tl_attention *call = job->call;
    const int64_t *ks = call->k_strides, *vs = call->v_strides;
    s->k = job->k + batch * ks[0] + kv_head * ks[1], s->v = job->v + batch * vs[0] + kv_head * vs[1];
    s->k_row = ks[2], s->v_row = vs[2];
    if (!rows_in_place(call)) {
        s->k = pack_rows(s->copies[0], s->d, s->tk, s->k, ks[2], call->tk, call->d);
        s->v = pack_rows(s->copies[1], s->d_v, s->tk, s->v, vs[2], call->tk, call->dv);
        s->k_row = s->d, s->v_row = s->d_v;
    }
    memset(s->dk, 0, (size_t)(s->tk * s->d) * sizeof(T));
    memset(s->dv, 0, (size_t)(s->tk * s->d_v) * sizeof(T));
}

/* D = rowsum(do o) and lse of the W queries from i on: a sum in each lane, turned to lie across the lanes. */
static void pack_levels(const backward_job *job, backward_scratch *s, int64_t batch, int64_t head, int64_t i, T scale) {
    const tl_attention *call = job->call;
    V part[W];
    for (int64_t r = 0; r < (int64_t)W; r++) {
        part[r] = v_zero();
        if (i + r >= call->tq) continue;
        const T *o = job->o + ((batch * call->tq + i + r) * call->heads + head) * call->dv;
        const T *dout = s->dout + (i + r) * s->dout_row;
        ROW_EACH(call->dv) part[r] = v_fma(LOAD(o), LOAD(dout), part[r]);
    }
    v_transpose(part);
    for (int step = 1; step < (int)W; step *= 2)
        for (int r = 0; r < (int)W; r += 2 * step) part[r] += part[r + step];
    v_store(s->level + i, part[0] * v_splat(scale));
    const T *lse = job->lse + (batch * call->heads + head) * call->tq + i;
    V x = i < call->tq ? row_load(lse, call->tq - i) : v_zero();
    v_store(s->shift + i, v_select(x == v_splat(-(T)INFINITY), v_splat((T)INFINITY), x * v_splat(LOG2E)));
}

static void backward_queries(const backward_job *job, backward_scratch *s, int64_t batch, int64_t head) {
    const tl_attention *call = job->call;
    const int64_t *qs = call->q_strides, *os = call->do_strides;
    s->q = job->q + batch * qs[0] + head * qs[1], s->dout = job->dout + batch * os[0] + head * os[1];
    s->q_row = qs[2], s->dout_row = os[2];
    T scale = job->dmask ? 1 : (T)call->scale; /* dmask is ds before the scale */
    if (!rows_in_place(call)) {
        s->q = pack_rows(s->copies[2], s->d, call->tq, s->q, qs[2], call->tq, call->d);
        s->dout = pack_rows(s->copies[3], s->d_v, call->tq, s->dout, os[2], call->tq, call->dv);
        s->q_row = s->d, s->dout_row = s->d_v;
    }
    for (int64_t i = 0; i < call->tq; i += TILE_PANEL) {
        const T *q = s->q + i * s->q_row, *dout = s->dout + i * s->dout_row;
        pack_panel_across(s->q_across + i * call->d, q, s->q_row, call->tq - i, call->d, query_scale(call));
        pack_panel_across(s->dout_across + i * call->dv, dout, s->dout_row, call->tq - i, call->dv, scale);
        panel_intervals(call, batch, i, &s->panels[i / TILE_PANEL]);
        for (int v = 0; v < 2; v++) pack_levels(job, s, batch, head, i + v * W, scale);
    }
}

/* ---- one block ---- */

/* A strip of a vector: p holds scores and ds scale do.v on entry, r p and ds on return. */
static void gradient_strip(const backward_job *job, const backward_scratch *s, const score_rule *rule, int64_t batch,
                           int64_t head, int64_t i, int64_t j, int64_t rows, T *p, T *ds) {
    const tl_attention *call = job->call;
    const query_panel *panel = &s->panels[i / TILE_PANEL];
    V shift = v_load(s->shift + i), level = v_load(s->level + i), gains[TILE_STRIP];
    tile_scores(rule, panel, i % TILE_PANEL != 0, i, j, rows, p, TILE_BLOCK, gains);
    V late_scale = v_splat(job->dmask ? (T)call->scale : 1);
    V raise = v_splat(call->dropout < 1 ? (T)(1.0 / (1.0 - call->dropout)) : 0);
    I kept[TILE_STRIP + 3];
    if (call->dropout > 0)
        keep_keys(call, keep_from(call, batch, head, i, j), rows, keep_threshold(call->dropout), kept);
    for (int64_t r = 0; r < rows; r++, p += TILE_BLOCK, ds += TILE_BLOCK) {
        V dp = v_load(ds), prob = tile_exp2(v_load(p) - shift), share = prob;
        if (call->dropout > 0) {
            share = v_select(kept[r], prob * raise, v_zero());
            dp = v_select(kept[r], dp * raise, v_zero());
        }
        V slope = prob * (dp - level);
        v_store(p, share);
        v_store(ds, rule->plain ? slope : slope * gains[r] * late_scale);
        if (job->dmask && j + r < call->tk) {
            T *to = job->dmask + ((batch * call->heads + head) * call->tq + i) * call->tk + j + r;
            for (int64_t lane = 0; lane < at_most(W, call->tq - i); lane++) to[lane * call->tk] = slope[lane];
        }
    }
}

INLINE void clear(T *p, int64_t rows) {
    for (int64_t r = 0; r < rows; r++) v_store(p + r * TILE_BLOCK, v_zero());
}

/* p and ds of queries first .. and keys key .. of a block; 0 where nobody sees anything. */
static int gradient_block(const backward_job *job, backward_scratch *s, const score_rule *rule, int64_t batch,
                          int64_t head, int64_t first, int64_t key) {
    const tl_attention *call = job->call;
    int64_t keys = at_most(TILE_BLOCK, s->tk - key), queries = at_most(TILE_BLOCK, call->tq - first), seen = 0;
    int64_t begin[TILE_BLOCK / W], end[TILE_BLOCK / W], vectors = round_up(queries, TILE_PANEL) / W;
    for (int64_t u = 0; u < vectors; u++) {
        met_keys(&s->panels[(first + u * W) / TILE_PANEL], u % 2, key, keys, &begin[u], &end[u]);
        seen |= begin[u] < end[u];
    }
    if (!seen) return 0;
    for (int64_t j = 0; j < keys; j += TILE_STRIP) {
        int64_t rows = at_most(TILE_STRIP, keys - j), *met = s->met[j / TILE_STRIP];
        met[0] = queries, met[1] = 0;
        for (int64_t u = 0; u < vectors; u += 2) {
            int in0 = begin[u] <= j && j < end[u], in1 = begin[u + 1] <= j && j < end[u + 1];
            int64_t i = u * W, from = i + (in0 ? 0 : W), used = i + (in1 ? TILE_PANEL : W);
            T *p = s->p + j * TILE_BLOCK, *ds = s->ds + j * TILE_BLOCK;
            if (!in0) clear(p + i, rows), clear(ds + i, rows);
            if (!in1) clear(p + i + W, rows), clear(ds + i + W, rows);
            if (!in0 && !in1) continue;
            const T *q = s->q_across + (first + i) * call->d + (from - i);
            const T *dout = s->dout_across + (first + i) * call->dv + (from - i);
            tile_function tile = tile_of(rows, in0 + in1);
            fetch(&s->next);
            tile(call->d, s->k + (key + j) * s->k_row, 1, s->k_row, q, TILE_PANEL, p + from, TILE_BLOCK, NULL);
            tile(call->dv, s->v + (key + j) * s->v_row, 1, s->v_row, dout, TILE_PANEL, ds + from, TILE_BLOCK, NULL);
            for (int64_t at = from; at < used; at += W)
                gradient_strip(job, s, rule, batch, head, first + at, key + j, rows, p + at, ds + at);
            met[0] = at_most(met[0], from), met[1] = at_most(used, queries);
        }
    }
    return 1;
}

/* Shrink the queries from .. to - 1 of a block to those that see any of the keys j .. j + n - 1, at both ends. */
INLINE void trim_queries(const backward_scratch *s, int64_t first, int64_t j, int64_t n, int64_t *from, int64_t *to) {
#define SEES(i) (PANEL(i).lo[(i) % TILE_PANEL] < j + n && PANEL(i).hi[(i) % TILE_PANEL] > j)
#define PANEL(i) s->panels[(i) / TILE_PANEL]
    while (*from < *to && !SEES(first + *from)) ++*from;
    while (*from < *to && !SEES(first + *to - 1)) --*to;
#undef PANEL
#undef SEES
}

/* dv += p^T do and dk += ds^T q over the block. */
static void add_key_gradients(backward_scratch *s, int64_t first, int64_t key, const V *ones) {
    int64_t keys = at_most(TILE_BLOCK, s->tk - key);
    for (int64_t j = 0; j < keys; j += TILE_STRIP) {
        int64_t rows = at_most(TILE_STRIP, keys - j), from = s->met[j / TILE_STRIP][0], to = s->met[j / TILE_STRIP][1];
        trim_queries(s, first, key + j, rows, &from, &to);
        if (from >= to) continue;
        int64_t at = j * TILE_BLOCK + from, row = first + from;
        tile_columns(rows, s->d_v, to - from, s->p + at, 1, TILE_BLOCK, s->dout + row * s->dout_row, s->dout_row,
                     s->dv + (key + j) * s->d_v, s->d_v, ones);
        tile_columns(rows, s->d, to - from, s->ds + at, 1, TILE_BLOCK, s->q + row * s->q_row, s->q_row,
                     s->dk + (key + j) * s->d, s->d, ones);
    }
}

/* dq += ds k over the block. */
static void add_query_gradients(const tl_attention *call, backward_scratch *s, int64_t first, int64_t key, T *dq,
                                const V *ones) {
    int64_t queries = at_most(TILE_BLOCK, call->tq - first), keys = at_most(TILE_BLOCK, call->tk - key);
    for (int64_t r = 0; r < queries; r += TILE_STRIP) {
        int64_t rows = at_most(TILE_STRIP, queries - r), lo = key + keys, hi = key;
        for (int64_t i = first + r; i < first + r + rows; i++) {
            const query_panel *panel = &s->panels[i / TILE_PANEL];
            int64_t row_lo = panel->lo[i % TILE_PANEL], row_hi = panel->hi[i % TILE_PANEL];
            if (row_lo < row_hi) lo = at_most(lo, row_lo), hi = at_least(hi, row_hi);
        }
        lo = at_least(lo, key), hi = at_most(hi, key + keys);
        if (lo >= hi) continue;
        tile_columns(rows, s->d, hi - lo, s->ds + (lo - key) * TILE_BLOCK + r, TILE_BLOCK, 1, s->k + lo * s->k_row,
                     s->k_row, dq + (first + r) * s->d, s->d, ones);
    }
}

/* ---- a head ---- */

/* Every query against the keys of one chunk: dk and dv are added to, dq is overwritten. */
static void chunk_gradients(const backward_job *job, backward_scratch *s, int64_t batch, int64_t head, int64_t chunk,
                            T *dq) {
    const tl_attention *call = job->call;
    score_rule rule = rule_of(call, job->slopes, batch, head);
    const V ones[2] = {v_splat(1), v_splat(1)};
    memset(dq, 0, (size_t)(s->tq * s->d) * sizeof(T));
    int64_t from = job->blocks * chunk / job->chunks, to = job->blocks * (chunk + 1) / job->chunks;
    for (int64_t group = from; group < to; group += BLOCK_GROUP)
        for (int64_t first = 0; first < call->tq; first += TILE_BLOCK)
            for (int64_t block = group; block < at_most(group + BLOCK_GROUP, to); block++) {
                int64_t key = balanced(block, job->blocks) * TILE_BLOCK;
                if (!gradient_block(job, s, &rule, batch, head, first, key)) continue;
                add_key_gradients(s, first, key, ones);
                add_query_gradients(call, s, first, key, dq, ones);
            }
}

/* Rows of a packed gradient into the output (rows apart by `stride`). */
static void write_rows(T *out, int64_t stride, const T *packed, int64_t padded, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++, out += stride, packed += padded)
        ROW_EACH(columns) STORE(out, v_load(packed + at));
}

static void write_dq(const backward_job *job, int64_t batch, int64_t head, const T *dq, int64_t padded) {
    const int64_t *to = job->call->dq_strides;
    write_rows(job->dq + batch * to[0] + head * to[1], to[2], dq, padded, job->call->tq, job->call->d);
}

static void write_dkv(const backward_job *job, const backward_scratch *s, int64_t batch, int64_t kv_head, int64_t key,
                      int64_t keys) {
    const tl_attention *call = job->call;
    const int64_t *to_k = call->dk_strides, *to_v = call->dv_strides;
    T *dk = job->dk + batch * to_k[0] + kv_head * to_k[1] + key * to_k[2];
    T *dv = job->dv + batch * to_v[0] + kv_head * to_v[1] + key * to_v[2];
    write_rows(dk, to_k[2], s->dk + key * s->d, s->d, keys, call->d);
    write_rows(dv, to_v[2], s->dv + key * s->d_v, s->d_v, keys, call->dv);
}

static void add_rows(T *to, const T *from, int64_t n) {
    for (int64_t i = 0; i < n; i += W) v_store(to + i, v_load(to + i) + v_load(from + i)); /* n: a multiple of W */
}

/* Fetch where the gradients of this head go, then what the next one reads; each list ends where it would be at once. */
static void backward_next(const backward_job *job, backward_scratch *s, int64_t unit, int64_t head, int64_t end) {
    const tl_attention *call = job->call;
    int64_t batch = unit / call->kv_heads, kv_head = unit % call->kv_heads, group = call->heads / call->kv_heads;
    const int64_t *to_q = call->dq_strides, *to_k = call->dk_strides, *to_v = call->dv_strides;
    fetch_list *next = &s->next;
    *next = (fetch_list){.left = 0};
    fetch_add(next, job->dq + batch * to_q[0] + head * to_q[1], to_q[2], call->tq, call->d);
    int last = (head + 1) % group == 0;
    if (last) {
        fetch_add(next, job->dk + batch * to_k[0] + kv_head * to_k[1], to_k[2], call->tk, call->d);
        fetch_add(next, job->dv + batch * to_v[0] + kv_head * to_v[1], to_v[2], call->tk, call->dv);
        unit++, batch = unit / call->kv_heads, kv_head = unit % call->kv_heads;
    }
    head = (head + 1) % call->heads;
    if (unit < end) {
        const int64_t *qs = call->q_strides, *ks = call->k_strides, *vs = call->v_strides, *os = call->do_strides;
        fetch_add(next, job->q + batch * qs[0] + head * qs[1], qs[2], call->tq, call->d);
        fetch_add(next, job->dout + batch * os[0] + head * os[1], os[2], call->tq, call->dv);
        fetch_add(next, job->o + (batch * call->tq * call->heads + head) * call->dv, call->heads * call->dv, call->tq,
                  call->dv);
        if (last) {
            fetch_add(next, job->k + batch * ks[0] + kv_head * ks[1], ks[2], call->tk, call->d);
            fetch_add(next, job->v + batch * vs[0] + kv_head * vs[1], vs[2], call->tk, call->dv);
        }
    }
    fetch_begin(next, call, s->tq / TILE_PANEL * s->tk / TILE_STRIP / 2);
}

/* Everything of key/value heads begin .. end - 1. */
static void head_range(void *context, int64_t unit, int64_t end) {
    backward_job *job = context;
    const tl_attention *call = job->call;
    backward_scratch s;
    if (backward_alloc(job, &s)) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    int64_t group = call->heads / call->kv_heads;
    for (; unit < end; unit++) {
        int64_t batch = unit / call->kv_heads, kv_head = unit % call->kv_heads;
        backward_keys(job, &s, batch, kv_head);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            backward_queries(job, &s, batch, head);
            backward_next(job, &s, unit, head, end);
            for (int64_t chunk = 0; chunk < job->chunks; chunk++) {
                chunk_gradients(job, &s, batch, head, chunk, chunk ? s.chunk : s.dq);
                if (chunk) add_rows(s.dq, s.chunk, s.tq * s.d);
            }
            write_dq(job, batch, head, s.dq, s.d);
        }
        write_dkv(job, &s, batch, kv_head, 0, call->tk);
    }
    tl_free(s.memory);
}

/* dk, dv and a part of dq from chunks begin .. end - 1, counted over all key/value heads. */
static void chunk_range(void *context, int64_t unit, int64_t end) {
    backward_job *job = context;
    const tl_attention *call = job->call;
    backward_scratch s;
    if (backward_alloc(job, &s)) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    int64_t group = call->heads / call->kv_heads, chunks = job->chunks;
    for (; unit < end; unit++) {
        int64_t chunk = unit % chunks, batch = unit / chunks / call->kv_heads, kv_head = unit / chunks % call->kv_heads;
        backward_keys(job, &s, batch, kv_head);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            backward_queries(job, &s, batch, head);
            T *dq = job->partial + ((batch * call->heads + head) * chunks + chunk) * s.tq * s.d;
            chunk_gradients(job, &s, batch, head, chunk, dq);
        }
        for (int64_t block = job->blocks * chunk / chunks; block < job->blocks * (chunk + 1) / chunks; block++) {
            int64_t key = balanced(block, job->blocks) * TILE_BLOCK;
            write_dkv(job, &s, batch, kv_head, key, at_most(TILE_BLOCK, call->tk - key));
        }
    }
    tl_free(s.memory);
}

/* dq of heads begin .. end - 1 from its parts. */
static void join_range(void *context, int64_t unit, int64_t end) {
    backward_job *job = context;
    const tl_attention *call = job->call;
    int64_t d = round_up(call->d, TILE_WIDTH), size = round_up(call->tq, TILE_BLOCK) * d;
    for (; unit < end; unit++) {
        T *dq = job->partial + unit * job->chunks * size;
        for (int64_t chunk = 1; chunk < job->chunks; chunk++) add_rows(dq, dq + chunk * size, size);
        write_dq(job, unit / call->heads, unit % call->heads, dq, d);
    }
}

static int backward_by_chunks(backward_job *job) {
    const tl_attention *call = job->call;
    int64_t heads = call->batch * call->heads;
    int64_t size = heads * job->chunks * round_up(call->tq, TILE_BLOCK) * round_up(call->d, TILE_WIDTH);
    job->partial = tl_malloc((size_t)size * sizeof(T));
    if (!job->partial) return -1;
    tl_parallel(call->batch * call->kv_heads * job->chunks, 1, chunk_range, job);
    if (!job->failed) tl_parallel(heads, 1, join_range, job);
    tl_free(job->partial);
    return job->failed ? -1 : 0;
}

/* dmask (batch, heads, tq, tk) may be NULL. */
static int FN(attention_grad)(const tl_attention *call, const T *dout, const T *q, const T *k, const T *v, const T *o,
                              const T *lse, const T *slopes, T *dq, T *dk, T *dv, T *dmask) {
    int64_t blocks = (call->tk + TILE_BLOCK - 1) / TILE_BLOCK;
    int64_t chunks = at_least(1, at_most(CHUNKS, blocks / CHUNK_BLOCKS));
    backward_job job = {call, q, k, v, o, lse, dout, slopes, dq, dk, dv, dmask, blocks, chunks, NULL, 0};
    if (dmask) memset(dmask, 0, (size_t)(call->batch * call->heads * call->tq * call->tk) * sizeof(T));
    int64_t pairs = call->batch * call->kv_heads, threads = tl_num_threads();
    if (pairs % threads && pairs < 4 * threads && chunks > 1) return backward_by_chunks(&job);
    int64_t work = (1 + call->heads / call->kv_heads) * (call->tq + 1) * (call->tk + 1) * (call->d + call->dv + 1);
    tl_parallel(pairs, 1 + 8 * TL_GRAIN / work, head_range, &job);
    return job.failed ? -1 : 0;
}
