/* Attention forward in FlashAttention-2's order (Dao 2023, arXiv:2307.08691): query panels outside, key blocks inside,
 * online softmax (Milakov and Gimelshein 2018), sums kept unnormalised, one division at the end, and only
 * lse = max + log(sum) saved for backward. A few panels pass a key block before the next one, so that keys and values
 * of long sequences come from far away once for all of them.
 *
 * q (batch, heads, tq, d), k (batch, kv_heads, tk, d), v (batch, kv_heads, tk, dv) by strides, last axis contiguous;
 * o (batch, tq, heads, dv), lse (batch, heads, tq).
 */
#include "fetch.h"
#include "keep.h"
#include "score.h"

enum { PAGE = 4096, IN_PLACE_QUERIES = 128 }; /* so few that each key is met a few times only, as in decoding */
enum { PANEL_GROUP = 16 };                    /* panels that pass a key block together */

typedef struct {
    const tl_attention *call;
    const T *q, *k, *v, *slopes;
    T *o, *lse;
    int64_t panels;
    int failed;
} forward_job;

/* The softmax of one vector of queries so far: LOG2E times the largest score, and the sum of exp(score - max). */
typedef struct {
    V max, total;
} online;

typedef struct {
    int64_t first; /* query */
    query_panel sees;
    online state[2];
    T *q, *o; /* (d, panel), (dv, panel) */
} forward_panel;

/* One head's keys and values, and what a group of its panels needs. */
typedef struct {
    const T *k, *v;
    int64_t k_row, v_row;           /* from one key to the next */
    T *k_copy, *v_copy, *q, *p, *o; /* q and o of a group, p (keys of a block, panel) */
    int64_t tk, dv;                 /* padded to units */
    fetch_list next;
    tl_attention_cost cost;
} forward_scratch;

/* Scores of n keys, an even number, become exp(score - max); gives what earlier sums are to be multiplied by. */
static V online_softmax(T *p, int64_t n, online *s) {
    V top = s->max, other = top, even = v_zero(), odd = v_zero();
    for (int64_t r = 0; r < n; r += 2) {
        top = v_max(v_load(p + r * TILE_PANEL), top);
        other = v_max(v_load(p + (r + 1) * TILE_PANEL), other);
    }
    top = v_max(other, top);
    V shift = v_select(top == v_splat(-(T)INFINITY), v_zero(), top);
    for (int64_t r = 0; r < n; r += 2, p += 2 * TILE_PANEL) {
        V a = tile_exp2(v_load(p) - shift), b = tile_exp2(v_load(p + TILE_PANEL) - shift);
        v_store(p, a);
        v_store(p + TILE_PANEL, b);
        even += a;
        odd += b;
    }
    V factor = tile_exp2(s->max - shift);
    s->total = s->total * factor + (even + odd);
    s->max = top;
    return factor;
}

static void drop(const tl_attention *call, int64_t batch, int64_t head, int64_t i, int64_t j, int64_t n, T *p) {
    I kept[TILE_BLOCK + 3];
    keep_keys(call, keep_from(call, batch, head, i, j), n, keep_threshold(call->dropout), kept);
    for (int64_t r = 0; r < n; r++, p += TILE_PANEL) v_store(p, v_select(kept[r], v_load(p), v_zero()));
}

/* o += p^T v over the keys begin .. end - 1 of a block, for `w` vectors from vector v on. */
static void add_values(forward_scratch *s, const forward_panel *panel, int64_t block, int64_t begin, int64_t end,
                       int v, int w, V *factor) {
    if (begin >= end) return;
    for (int64_t c = 0; c < s->dv; c += TILE_STRIP) {
        fetch(&s->next);
        tile_of(at_most(TILE_STRIP, s->dv - c), w)(
            end - begin, s->v + (block + begin) * s->v_row + c, s->v_row, 1, s->p + begin * TILE_PANEL + v * W,
            TILE_PANEL, panel->o + c * TILE_PANEL + v * W, TILE_PANEL, factor + v);
    }
    for (int i = v; i < v + w; i++) factor[i] = v_splat(1);
}

/* Keys of one block for one panel. */
static void forward_block(const forward_job *job, forward_scratch *s, forward_panel *panel, const score_rule *rule,
                          int64_t batch, int64_t head, int64_t block) {
    const tl_attention *call = job->call;
    int64_t n = at_most(TILE_BLOCK, s->tk - block), begin[2], end[2], met = 0;
    for (int v = 0; v < 2; v++) met_keys(&panel->sees, v, block, n, &begin[v], &end[v]);
    for (int64_t r = at_most(begin[0], begin[1]); r < n; r += TILE_STRIP) {
        int in0 = begin[0] <= r && r < end[0], in1 = begin[1] <= r && r < end[1];
        if (!in0 && !in1) continue;
        int64_t rows = at_most(TILE_STRIP, at_least(in0 ? end[0] : 0, in1 ? end[1] : 0) - r), v = in0 ? 0 : W;
        met += rows;
        fetch(&s->next);
        tile_of(rows, in0 + in1)(call->d, s->k + (block + r) * s->k_row, 1, s->k_row, panel->q + v, TILE_PANEL,
                                 s->p + r * TILE_PANEL + v, TILE_PANEL, NULL);
    }
    if (call->cost) count(&s->cost, met > 0, 0, 0, 0, met * (call->d + call->dv), 0);
    V factor[2] = {v_splat(1), v_splat(1)};
    for (int v = 0; v < 2; v++) {
        if (begin[v] == end[v]) continue;
        int64_t i = panel->first + v * W, j = block + begin[v], keys = end[v] - begin[v];
        T *p = s->p + begin[v] * TILE_PANEL + v * W;
        tile_scores(rule, &panel->sees, v, i, j, keys, p, TILE_PANEL, NULL);
        factor[v] = online_softmax(p, keys, &panel->state[v]);
        if (call->dropout > 0) drop(call, batch, head, i, j, keys, p);
        if (call->cost) count(&s->cost, 0, (keys + 1) * W, call->dv * W, 0, 0, 0);
    }
    /* Keys that one vector meets before or after the other are its own business. */
    int64_t from = at_least(begin[0], begin[1]), to = at_most(end[0], end[1]);
    if (from >= to) {
        for (int v = 0; v < 2; v++) add_values(s, panel, block, begin[v], end[v], v, 1, factor);
        return;
    }
    for (int v = 0; v < 2; v++) add_values(s, panel, block, begin[v], from, v, 1, factor);
    add_values(s, panel, block, from, to, 0, 2, factor);
    for (int v = 0; v < 2; v++) add_values(s, panel, block, to, end[v], v, 1, factor);
}

/* Sums over the total, as rows. */
static void write_outputs(const forward_job *job, forward_scratch *s, const forward_panel *panel, int64_t batch,
                          int64_t head) {
    const tl_attention *call = job->call;
    T raise = call->dropout > 0 && call->dropout < 1 ? (T)(1.0 / (1.0 - call->dropout)) : 1;
    for (int v = 0; v < 2; v++) {
        int64_t i = panel->first + v * W, rows = at_most(W, call->tq - i);
        if (rows <= 0) break;
        if (call->cost) count(&s->cost, 0, 0, 0, W, rows * call->d, rows * (call->dv + 1));
        V total = panel->state[v].total, share = v_select(total == v_zero(), v_zero(), v_splat(raise) / total);
        V lse = v_fma(panel->state[v].max, v_splat(LN2), v_log(total));
        row_store(job->lse + (batch * call->heads + head) * call->tq + i, lse, rows);
        T *o = job->o + ((batch * call->tq + i) * call->heads + head) * call->dv;
        unpack_across(o, call->heads * call->dv, panel->o + v * W, rows, call->dv, share);
    }
}

static void start_panel(const forward_job *job, const forward_scratch *s, forward_panel *panel, int64_t batch,
                        int64_t head) {
    const tl_attention *call = job->call;
    const T *q = job->q + batch * call->q_strides[0] + head * call->q_strides[1] + panel->first * call->q_strides[2];
    pack_panel_across(panel->q, q, call->q_strides[2], call->tq - panel->first, call->d, query_scale(call));
    memset(panel->o, 0, (size_t)(s->dv * TILE_PANEL) * sizeof(T));
    panel_intervals(call, batch, panel->first, &panel->sees);
    for (int v = 0; v < 2; v++) panel->state[v] = (online){v_splat(-(T)INFINITY), v_zero()};
}

/* `n` panels of a head, from number `index` on in the balanced order. */
static void forward_group(const forward_job *job, forward_scratch *s, int64_t batch, int64_t head, int64_t index,
                          int64_t n) {
    const tl_attention *call = job->call;
    score_rule rule = rule_of(call, job->slopes, batch, head);
    forward_panel panels[PANEL_GROUP];
    int64_t least = call->tk, most = 0;
    for (int64_t i = 0; i < n; i++) {
        forward_panel *panel = &panels[i];
        panel->first = balanced(index + i, job->panels) * TILE_PANEL;
        panel->q = s->q + i * call->d * TILE_PANEL, panel->o = s->o + i * s->dv * TILE_PANEL;
        start_panel(job, s, panel, batch, head);
        for (int v = 0; v < 2; v++)
            if (panel->sees.begin[v] < panel->sees.end[v])
                least = at_most(least, panel->sees.begin[v]), most = at_least(most, panel->sees.end[v]);
    }
    for (int64_t block = least / TILE_BLOCK * TILE_BLOCK; block < most; block += TILE_BLOCK)
        for (int64_t i = 0; i < n; i++) forward_block(job, s, &panels[i], &rule, batch, head, block);
    for (int64_t i = 0; i < n; i++) write_outputs(job, s, &panels[i], batch, head);
}

/* Keys and values are read where they are while copying them would cost more than rows far apart do, and as long as
 * no tile reads past their end. */
static int keys_in_place(const tl_attention *call) {
    int whole = call->tk % TILE_UNIT == 0 && call->dv % TILE_UNIT == 0;
    return whole && (call->tk <= IN_PLACE_KEYS || call->tq <= IN_PLACE_QUERIES);
}

static void forward_keys(const forward_job *job, forward_scratch *s, int64_t batch, int64_t kv_head) {
    const tl_attention *call = job->call;
    const int64_t *ks = call->k_strides, *vs = call->v_strides;
    s->k = job->k + batch * ks[0] + kv_head * ks[1], s->v = job->v + batch * vs[0] + kv_head * vs[1];
    s->k_row = ks[2], s->v_row = vs[2];
    if (keys_in_place(call)) return;
    s->k = pack_rows(s->k_copy, round_up(call->d, TILE_WIDTH), s->tk, s->k, ks[2], call->tk, call->d);
    s->v = pack_rows(s->v_copy, round_up(call->dv, TILE_WIDTH), s->tk, s->v, vs[2], call->tk, call->dv);
    s->k_row = round_up(call->d, TILE_WIDTH), s->v_row = round_up(call->dv, TILE_WIDTH);
}

/* Fetch where the outputs of the head `pair` go, then the queries of the next one, and its keys and values if they are
 * others, if there is a next one. */
static void forward_next(const forward_job *job, forward_scratch *s, int64_t pair, int last) {
    const tl_attention *call = job->call;
    const int64_t *qs = call->q_strides, *ks = call->k_strides, *vs = call->v_strides;
    int64_t group = call->heads / call->kv_heads, kv = pair / group, row = call->heads * call->dv;
    int64_t batch = pair / call->heads, head = pair % call->heads;
    s->next = (fetch_list){.left = 0};
    fetch_add(&s->next, job->o + (batch * call->tq * call->heads + head) * call->dv, row, call->tq, call->dv);
    if (!last) {
        pair++, batch = pair / call->heads, head = pair % call->heads;
        fetch_add(&s->next, job->q + batch * qs[0] + head * qs[1], qs[2], call->tq, call->d);
    }
    if (!last && pair / group != kv) {
        fetch_add(&s->next, job->k + batch * ks[0] + head / group * ks[1], ks[2], call->tk, call->d);
        fetch_add(&s->next, job->v + batch * vs[0] + head / group * vs[1], vs[2], call->tk, call->dv);
    }
    /* half of the tiles of a head where all is seen: some see less */
    fetch_begin(&s->next, call, job->panels * (s->tk + s->tk / TILE_BLOCK * s->dv) / TILE_STRIP / 2);
}

/* Panels that pass a key block together: as many as there are where a head's keys and values lie farther away than a
 * cache of its own, one at a time where they don't, which leaves more of L1 to them. */
static int64_t panel_group(const forward_job *job) {
    const tl_attention *call = job->call;
    int far = call->tk * (call->d + call->dv) * (int64_t)sizeof(T) > FETCH_MOST;
    return far ? at_most(PANEL_GROUP, job->panels) : 1;
}

static void forward_range(void *context, int64_t unit, int64_t end) {
    forward_job *job = context;
    const tl_attention *call = job->call;
    forward_scratch s = {.tk = round_up(call->tk, TILE_UNIT), .dv = round_up(call->dv, TILE_UNIT)};
    int64_t copied = keys_in_place(call) ? 0 : s.tk, group = panel_group(job);
    int64_t sizes[] = {copied * round_up(call->d, TILE_WIDTH), copied * round_up(call->dv, TILE_WIDTH),
                       group * call->d * TILE_PANEL, TILE_BLOCK * TILE_PANEL, group * s.dv * TILE_PANEL};
    int64_t total = 0;
    T **parts[] = {&s.k_copy, &s.v_copy, &s.q, &s.p, &s.o};
    for (int part = 0; part < 5; part++) total += round_up(sizes[part], 64);
    /* From a page on: where the parts begin within one decides which of them meet in L1, and a thread whose workspace
     * happened to lie badly took 1.4 times as long. */
    char *memory = tl_malloc((size_t)total * sizeof(T) + PAGE);
    if (!memory) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    T *next = (T *)(memory + (PAGE - (uintptr_t)memory % PAGE) % PAGE);
    for (int part = 0; part < 5; part++) *parts[part] = next, next += round_up(sizes[part], 64);

    for (int64_t packed = -1, started = -1, n; unit < end; unit += n) {
        int64_t pair = unit / job->panels, index = unit % job->panels, batch = pair / call->heads;
        int64_t head = pair % call->heads, kv = pair / (call->heads / call->kv_heads);
        if (kv != packed) forward_keys(job, &s, batch, kv % call->kv_heads);
        if (pair != started) forward_next(job, &s, pair, (pair + 1) * job->panels >= end);
        packed = kv, started = pair, n = at_most(group, at_most(job->panels - index, end - unit));
        forward_group(job, &s, batch, head, index, n);
    }
    add_cost(call, &s.cost);
    tl_free(memory);
}

static int FN(attention)(const tl_attention *call, const T *q, const T *k, const T *v, const T *slopes, T *o, T *lse) {
    forward_job job = {call, q, k, v, slopes, o, lse, (call->tq + TILE_PANEL - 1) / TILE_PANEL, 0};
    int64_t work = TILE_PANEL * (call->tk + 1) * (call->d + call->dv + 1);
    tl_parallel(call->batch * call->heads * job.panels, 1 + 8 * TL_GRAIN / work, forward_range, &job);
    return job.failed ? -1 : 0;
}
