/* What attention/ is compared with, on the same register tiles, exp and threads: the textbook order, which stores the
 * T x T scores and probabilities, and FlashAttention-1 (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4).
 *
 * Not here: all that a call can ask for beyond causal intervals, and sizes that don't fill the tiles (see tinyllm.h).
 * Scores are kept as [key][query], as in attention/. Costs count whole panels and blocks.
 */
#include "attention/score.h"

typedef struct {
    const tl_attention *call;
    const T *q, *k, *v, *dout, *o;
    T *s, *p, *out, *m, *l, *dq, *dk, *dv;
    int failed;
} baseline_job;

/* Element 0 of a head, for an operand by strides. */
INLINE int64_t head_at(const tl_attention *call, const int64_t *strides, int64_t pair) {
    return pair / call->heads * strides[0] + pair % call->heads * strides[1];
}

INLINE int64_t output_at(const tl_attention *call, int64_t pair) {
    return (pair / call->heads * call->tq * call->heads + pair % call->heads) * call->dv;
}

/* `keys` rows of scores: c[key][0..TILE_PANEL) = a b, with b (depth, TILE_PANEL). */
static void product_panel(int64_t keys, int64_t depth, const T *a, int64_t a_row, const T *b, T *c, int64_t c_row) {
    for (int64_t j = 0; j < keys; j += TILE_STRIP)
        tile_of(at_most(TILE_STRIP, keys - j), 2)(depth, a + j * a_row, 1, a_row, b, TILE_PANEL, c + j * c_row, c_row,
                                                  NULL);
}

/* c (columns, TILE_PANEL) = v^T p, with p (keys, p_row). */
static void values_panel(int64_t columns, int64_t keys, const T *v, int64_t v_row, const T *p, int64_t p_row, T *c) {
    for (int64_t at = 0; at < columns; at += TILE_STRIP)
        tile_of(at_most(TILE_STRIP, columns - at), 2)(keys, v + at, v_row, 1, p, p_row, c + at * TILE_PANEL,
                                                      TILE_PANEL, NULL);
}

/* ---- naive: matrices of (panels, t, TILE_PANEL), so that a pass over a panel reads in order ---- */

typedef struct {
    int64_t pair, i; /* head, first query */
    T *across;       /* a packed panel */
} naive_panel;

/* Call `work` for the panels begin .. end - 1 of all heads. */
static void naive_panels(baseline_job *job, int64_t begin, int64_t end, void (*work)(baseline_job *, naive_panel)) {
    const tl_attention *call = job->call;
    int64_t panels = call->tq / TILE_PANEL;
    T *across = tl_malloc((size_t)(at_least(call->d, call->dv) * TILE_PANEL) * sizeof(T));
    if (!across) __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
    for (int64_t unit = begin; across && unit < end; unit++)
        work(job, (naive_panel){unit / panels, unit % panels * TILE_PANEL, across});
    tl_free(across);
}

INLINE T *matrix(const baseline_job *job, T *x, naive_panel u) {
    return x + (u.pair * job->call->tq + u.i) * job->call->tk;
}

static void naive_scores(baseline_job *job, naive_panel u) {
    const tl_attention *call = job->call;
    const T *q = job->q + head_at(call, call->q_strides, u.pair) + u.i * call->q_strides[2];
    const T *k = job->k + head_at(call, call->k_strides, u.pair);
    pack_panel_across(u.across, q, call->q_strides[2], TILE_PANEL, call->d, query_scale(call));
    product_panel(call->tk, call->d, k, call->k_strides[2], u.across, matrix(job, job->s, u), TILE_PANEL);
}

static void naive_softmax(baseline_job *job, naive_panel u) {
    const tl_attention *call = job->call;
    query_panel panel;
    panel_intervals(call, u.pair / call->heads, u.i, &panel);
    score_rule rule = {call, NULL, 0, 1};
    for (int v = 0; v < 2; v++) {
        T *s = matrix(job, job->s, u) + v * W, *p = matrix(job, job->p, u) + v * W;
        tile_scores(&rule, &panel, v, u.i + v * W, 0, call->tk, s, TILE_PANEL, NULL);
        V top = v_splat(-(T)INFINITY), total = v_zero();
        for (int64_t j = 0; j < call->tk; j++) top = v_max(v_load(s + j * TILE_PANEL), top);
        for (int64_t j = 0; j < call->tk; j++) {
            V x = tile_exp2(v_load(s + j * TILE_PANEL) - top);
            v_store(p + j * TILE_PANEL, x);
            total += x;
        }
        for (int64_t j = 0; j < call->tk; j++) v_store(p + j * TILE_PANEL, v_load(p + j * TILE_PANEL) / total);
    }
}

static void naive_values(baseline_job *job, naive_panel u) {
    const tl_attention *call = job->call;
    const T *v = job->v + head_at(call, call->v_strides, u.pair);
    T *o = job->out + output_at(call, u.pair) + u.i * call->heads * call->dv;
    values_panel(call->dv, call->tk, v, call->v_strides[2], matrix(job, job->p, u), TILE_PANEL, u.across);
    for (int half = 0; half < 2; half++)
        unpack_across(o + half * W * call->heads * call->dv, call->heads * call->dv, u.across + half * W, W, call->dv,
                      v_splat(1));
}

/* ds = scale p (dp - rowsum(p dp)), in the place of dp = v do^T. */
static void naive_score_gradients(baseline_job *job, naive_panel u) {
    const tl_attention *call = job->call;
    const T *dout = job->dout + head_at(call, call->do_strides, u.pair) + u.i * call->do_strides[2];
    const T *v = job->v + head_at(call, call->v_strides, u.pair);
    pack_panel_across(u.across, dout, call->do_strides[2], TILE_PANEL, call->dv, (T)call->scale);
    product_panel(call->tk, call->dv, v, call->v_strides[2], u.across, matrix(job, job->s, u), TILE_PANEL);
    for (int half = 0; half < 2; half++) {
        T *ds = matrix(job, job->s, u) + half * W;
        const T *p = matrix(job, job->p, u) + half * W;
        V sum = v_zero();
        for (int64_t j = 0; j < call->tk; j++)
            sum = v_fma(v_load(p + j * TILE_PANEL), v_load(ds + j * TILE_PANEL), sum);
        for (int64_t j = 0; j < call->tk; j++)
            v_store(ds + j * TILE_PANEL, v_load(p + j * TILE_PANEL) * (v_load(ds + j * TILE_PANEL) - sum));
    }
}

static void naive_query_gradients(baseline_job *job, naive_panel u) {
    const tl_attention *call = job->call;
    const T *k = job->k + head_at(call, call->k_strides, u.pair), *ds = matrix(job, job->s, u);
    T *dq = job->dq + head_at(call, call->dq_strides, u.pair) + u.i * call->dq_strides[2];
    for (int64_t r = 0; r < TILE_PANEL; r += TILE_STRIP)
        tile_columns(at_most(TILE_STRIP, TILE_PANEL - r), call->d, call->tk, ds + r, TILE_PANEL, 1, k,
                     call->k_strides[2], dq + r * call->dq_strides[2], call->dq_strides[2], NULL);
}

/* dk and dv of TILE_PANEL keys: u.i counts keys here. */
static void naive_key_gradients(baseline_job *job, naive_panel u) {
    const tl_attention *call = job->call;
    const T *q = job->q + head_at(call, call->q_strides, u.pair);
    const T *dout = job->dout + head_at(call, call->do_strides, u.pair);
    int64_t q_row = call->q_strides[2], dout_row = call->do_strides[2], k_row = call->dk_strides[2];
    int64_t v_row = call->dv_strides[2];
    T *dk = job->dk + head_at(call, call->dk_strides, u.pair), *dv = job->dv + head_at(call, call->dv_strides, u.pair);
    const V ones[2] = {v_splat(1), v_splat(1)};
    for (int64_t r = 0, j = u.i; r < TILE_PANEL; r += TILE_STRIP, j += TILE_STRIP)
        for (int64_t i = 0; i < call->tq; i += TILE_PANEL) {
            int64_t rows = at_most(TILE_STRIP, TILE_PANEL - r);
            int64_t at = (u.pair * call->tq + i) * call->tk + j * TILE_PANEL;
            const V *factor = i ? ones : NULL;
            tile_columns(rows, call->dv, TILE_PANEL, job->p + at, 1, TILE_PANEL, dout + i * dout_row, dout_row,
                         dv + j * v_row, v_row, factor);
            tile_columns(rows, call->d, TILE_PANEL, job->s + at, 1, TILE_PANEL, q + i * q_row, q_row, dk + j * k_row,
                         k_row, factor);
        }
}

#define NAIVE_RANGE(name)                                                       \
    static void name##_range(void *context, int64_t begin, int64_t end) {       \
        naive_panels(context, begin, end, name);                                \
    }
NAIVE_RANGE(naive_scores)
NAIVE_RANGE(naive_softmax)
NAIVE_RANGE(naive_values)
NAIVE_RANGE(naive_score_gradients)
NAIVE_RANGE(naive_query_gradients)
NAIVE_RANGE(naive_key_gradients)
#undef NAIVE_RANGE

static int naive_run(baseline_job *job, const tl_range *phases, int count) {
    int64_t units = job->call->batch * job->call->heads * (job->call->tq / TILE_PANEL);
    for (int i = 0; i < count && !job->failed; i++) tl_parallel(units, 1, phases[i], job);
    return job->failed ? -1 : 0;
}

static int FN(attention_naive)(const tl_attention *call, const T *q, const T *k, const T *v, T *s, T *p, T *o) {
    static const tl_range phases[] = {naive_scores_range, naive_softmax_range, naive_values_range};
    baseline_job job = {.call = call, .q = q, .k = k, .v = v, .s = s, .p = p, .out = o};
    int64_t pairs = call->batch * call->heads, matrix = call->tq * call->tk;
    int64_t operands = call->tq * (2 * call->d + call->dv);
    /* Operands are read once a product: their blocks stay near, the matrices cannot. */
    tl_attention_cost cost = {0, pairs * matrix, 0, pairs * matrix, pairs * (operands + 2 * matrix),
                              pairs * (2 * matrix + call->tq * call->dv)};
    add_cost(call, &cost);
    return naive_run(&job, phases, 3);
}

static int FN(attention_naive_grad)(const tl_attention *call, const T *dout, const T *q, const T *k, const T *v,
                                    const T *p, T *ds, T *dq, T *dk, T *dv) {
    static const tl_range phases[] = {naive_score_gradients_range, naive_query_gradients_range,
                                      naive_key_gradients_range};
    baseline_job job = {.call = call, .q = q, .k = k, .v = v, .dout = dout, .s = ds, .p = (T *)p, .dq = dq, .dk = dk,
                        .dv = dv};
    return naive_run(&job, phases, 3);
}

/* ---- FlashAttention-1: key blocks outside, query panels inside, m, l and O in memory and O always normalised ---- */

typedef struct {
    T *q, *o, *p, *next; /* (panels, d, panel), (panels, dv, panel), scores of a block, its share of O */
    tl_attention_cost cost;
} flash1_scratch;

/* Algorithm 1, lines 10 to 12, for one vector of queries and n keys: scores become exp(score - their own max), m and l
 * are brought up to date, and O is to become keep O + take (p v). */
static void flash1_softmax(T *p, int64_t n, T *m, T *l, V *keep, V *take) {
    V top = v_splat(-(T)INFINITY), sum = v_zero(), old = v_load(m);
    for (int64_t j = 0; j < n; j++) top = v_max(v_load(p + j * TILE_PANEL), top);
    V shift = v_select(top == v_splat(-(T)INFINITY), v_zero(), top);
    for (int64_t j = 0; j < n; j++) {
        V x = tile_exp2(v_load(p + j * TILE_PANEL) - shift);
        v_store(p + j * TILE_PANEL, x);
        sum += x;
    }
    V both = v_max(old, top), was = tile_exp2(old - both) * v_load(l), is = tile_exp2(top - both);
    V total = was + is * sum;
    *keep = was / total;
    *take = is / total;
    v_store(m, both);
    v_store(l, total);
}

/* Key block x query panel. */
static void flash1_block(const baseline_job *job, flash1_scratch *s, int64_t pair, int64_t i, int64_t j, int64_t n) {
    const tl_attention *call = job->call;
    const T *k = job->k + head_at(call, call->k_strides, pair) + j * call->k_strides[2];
    const T *v = job->v + head_at(call, call->v_strides, pair) + j * call->v_strides[2];
    query_panel panel;
    panel_intervals(call, pair / call->heads, i, &panel);
    if (at_most(panel.begin[0], panel.begin[1]) >= j + n || at_least(panel.end[0], panel.end[1]) <= j) return;
    product_panel(n, call->d, k, call->k_strides[2], s->q + i * call->d, s->p, TILE_PANEL);
    score_rule rule = {call, NULL, 0, 1};
    V keep[2], take[2];
    for (int half = 0; half < 2; half++) {
        int64_t at = i + half * W, state = pair * call->tq + at;
        tile_scores(&rule, &panel, half, at, j, n, s->p + half * W, TILE_PANEL, NULL);
        flash1_softmax(s->p + half * W, n, job->m + state, job->l + state, &keep[half], &take[half]);
    }
    values_panel(call->dv, n, v, call->v_strides[2], s->p, TILE_PANEL, s->next);
    T *o = s->o + i * call->dv;
    for (int64_t c = 0; c < call->dv * TILE_PANEL; c += W)
        v_store(o + c, v_load(o + c) * keep[c / W % 2] + v_load(s->next + c) * take[c / W % 2]);
    if (call->cost)
        count(&s->cost, 1, TILE_PANEL * (n + 2), 2 * TILE_PANEL * call->dv, 2 * TILE_PANEL,
              TILE_PANEL * (call->d + call->dv + 2), TILE_PANEL * (call->dv + 2));
}

static void flash1_range(void *context, int64_t pair, int64_t end) {
    baseline_job *job = context;
    const tl_attention *call = job->call;
    int64_t t = call->tq, q_size = t * call->d, o_size = t * call->dv, p_size = TILE_BLOCK * TILE_PANEL;
    flash1_scratch s = {.q = tl_malloc((size_t)(q_size + o_size + p_size + call->dv * TILE_PANEL) * sizeof(T))};
    if (!s.q) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    s.o = s.q + q_size, s.p = s.o + o_size, s.next = s.p + p_size;
    for (; pair < end; pair++) {
        const T *q = job->q + head_at(call, call->q_strides, pair);
        memset(s.o, 0, (size_t)o_size * sizeof(T));
        for (int64_t i = 0; i < t; i++) job->m[pair * t + i] = -(T)INFINITY, job->l[pair * t + i] = 0;
        for (int64_t i = 0; i < t; i += TILE_PANEL)
            pack_panel_across(s.q + i * call->d, q + i * call->q_strides[2], call->q_strides[2], TILE_PANEL, call->d,
                              query_scale(call));
        for (int64_t j = 0; j < t; j += TILE_BLOCK) {
            int64_t n = at_most(TILE_BLOCK, t - j);
            if (call->cost) count(&s.cost, 0, 0, 0, 0, n * (call->d + call->dv), 0);
            for (int64_t i = 0; i < t; i += TILE_PANEL) flash1_block(job, &s, pair, i, j, n);
        }
        for (int64_t i = 0; i < t; i++) job->m[pair * t + i] *= LN2;
        T *o = job->out + output_at(call, pair);
        int64_t row = call->heads * call->dv;
        for (int64_t i = 0; i < t; i += W)
            unpack_across(o + i * row, row, s.o + i / TILE_PANEL * TILE_PANEL * call->dv + i % TILE_PANEL, W, call->dv,
                          v_splat(1));
    }
    add_cost(call, &s.cost);
    tl_free(s.q);
}

static int FN(attention_flash1)(const tl_attention *call, const T *q, const T *k, const T *v, T *o, T *m, T *l) {
    baseline_job job = {.call = call, .q = q, .k = k, .v = v, .out = o, .m = m, .l = l};
    tl_parallel(call->batch * call->heads, 1, flash1_range, &job);
    return job.failed ? -1 : 0;
}

/* p and ds of a block of keys and queries, all of it; what attention_grad saves itself is done again for each block: D,
 * and the division by l. */
static void flash1_gradient_block(const baseline_job *job, backward_job *later, backward_scratch *s, int64_t pair,
                                  int64_t first, int64_t key) {
    const tl_attention *call = job->call;
    int64_t keys = at_most(TILE_BLOCK, call->tk - key), queries = at_most(TILE_BLOCK, call->tq - first);
    score_rule rule = {call, NULL, 0, 1};
    for (int64_t i = first; i < first + queries; i += TILE_PANEL) {
        T *p = s->p + (i - first), *ds = s->ds + (i - first);
        product_panel(keys, call->d, s->k + key * s->k_row, s->k_row, s->q_across + i * call->d, p, TILE_BLOCK);
        product_panel(keys, call->dv, s->v + key * s->v_row, s->v_row, s->dout_across + i * call->dv, ds, TILE_BLOCK);
        for (int half = 0; half < 2; half++, p += W, ds += W) {
            int64_t at = i + half * W;
            pack_levels(later, s, pair / call->heads, pair % call->heads, at, (T)call->scale);
            tile_scores(&rule, &s->panels[i / TILE_PANEL], half, at, key, keys, p, TILE_BLOCK, NULL);
            V m = v_load(s->shift + at), level = v_load(s->level + at);
            V share = v_splat(1) / v_load(job->l + pair * call->tq + at);
            for (int64_t j = 0; j < keys; j++) {
                V prob = tile_exp2(v_load(p + j * TILE_BLOCK) - m) * share;
                v_store(p + j * TILE_BLOCK, prob);
                v_store(ds + j * TILE_BLOCK, prob * (v_load(ds + j * TILE_BLOCK) - level));
            }
        }
    }
    for (int64_t strip = 0; strip * TILE_STRIP < keys; strip++) s->met[strip][0] = 0, s->met[strip][1] = queries;
}

static void flash1_grad_range(void *context, int64_t pair, int64_t end) {
    baseline_job *job = context;
    const tl_attention *call = job->call;
    backward_job later = {.call = call, .q = job->q, .k = job->k, .v = job->v, .o = job->o, .lse = job->m, .chunks = 1,
                          .dout = job->dout, .dq = job->dq, .dk = job->dk, .dv = job->dv};
    const V ones[2] = {v_splat(1), v_splat(1)};
    backward_scratch s;
    if (backward_alloc(&later, &s)) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (; pair < end; pair++) {
        int64_t batch = pair / call->heads, head = pair % call->heads;
        backward_keys(&later, &s, batch, head);
        backward_queries(&later, &s, batch, head);
        memset(s.dq, 0, (size_t)(s.tq * s.d) * sizeof(T));
        for (int64_t key = 0; key < call->tk; key += TILE_BLOCK)
            for (int64_t first = 0; first < call->tq; first += TILE_BLOCK) {
                if (call->hi && first + TILE_BLOCK <= key) continue; /* causal */
                flash1_gradient_block(job, &later, &s, pair, first, key);
                add_key_gradients(&s, first, key, ones);
                add_query_gradients(call, &s, first, key, s.dq, ones);
            }
        write_dq(&later, batch, head, s.dq, s.d);
        write_dkv(&later, &s, batch, head, 0, call->tk);
    }
    tl_free(s.memory);
}

static int FN(attention_flash1_grad)(const tl_attention *call, const T *dout, const T *q, const T *k, const T *v,
                                     const T *o, const T *m, const T *l, T *dq, T *dk, T *dv) {
    baseline_job job = {.call = call, .q = q, .k = k, .v = v, .dout = dout, .o = o, .m = (T *)m, .l = (T *)l, .dq = dq,
                        .dk = dk, .dv = dv};
    tl_parallel(call->batch * call->heads, 1, flash1_grad_range, &job);
    return job.failed ? -1 : 0;
}
