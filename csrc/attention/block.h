/* One block of attention's backward: what a thread holds of a head, packed, and p, ds and the three products of a block
 * of keys and a block of queries. The formulas are at the head of backward.c.
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
