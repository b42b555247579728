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
#include "block.h"

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
