/* Attention forward and backward: one drawn call, with everything that may change the scores. */

typedef struct {
    tl_attention call;
    const T *q, *k, *v, *dout, *slopes;
    T *o, *lse;
} OWN(attention_arrays);

/* (batch, rows, heads, width) with the heads side by side, as projections leave them. */
static const T *OWN(heads_of)(run *r, int64_t batch, int64_t rows, int64_t heads, int64_t width, int64_t *strides) {
    strides[0] = rows * heads * width, strides[1] = width, strides[2] = heads * width;
    return OWN(input)(r, batch * rows * heads * width);
}

/* A gradient in the same layout; where there are gaps between the rows they keep what they hold. */
static T *OWN(gradient_of)(run *r, int64_t batch, int64_t rows, int64_t heads, int64_t width, int64_t *strides,
                           double terms) {
    int64_t gap = draw(r, 0, 1) ? 0 : draw(r, 1, 9), row = heads * width + gap;
    strides[0] = rows * row, strides[1] = width, strides[2] = row;
    return gap ? OWN(inout)(r, batch * rows * row, terms, -2) : OWN(output)(r, batch * rows * row, terms);
}

static void OWN(masks)(run *r, tl_attention *c) {
    int64_t kind = draw(r, 0, 3), lanes = draw(r, 0, 1) ? 1 : c->batch;
    if (kind) {
        int64_t *lo = reserve(r, (size_t)(lanes * c->tq) * sizeof *lo, 0, 0, 0);
        int64_t *hi = reserve(r, (size_t)(lanes * c->tq) * sizeof *hi, 0, 0, 0);
        for (int64_t i = 0; i < lanes * c->tq; i++) {
            hi[i] = kind == 3 ? draw(r, -2, c->tk + 3) : i % c->tq + 1 + c->tk - c->tq;
            lo[i] = kind == 3 ? draw(r, -2, c->tk + 3) : kind == 2 ? hi[i] - 7 : 0;
        }
        seal(r, lo), seal(r, hi);
        c->lo = kind == 1 ? NULL : lo, c->hi = hi;
        c->lo_stride = c->hi_stride = lanes == 1 ? 0 : c->tq;
    }
    kind = draw(r, 0, 3);
    if (kind < 2) return;
    const int64_t shape[4] = {c->batch, c->heads, c->tq, c->tk};
    int64_t size = 1;
    for (int d = 3; d >= 0; d--) {
        int repeats = draw(r, 0, 2) == 0;
        c->mask_strides[d] = repeats ? 0 : size;
        if (!repeats) size *= shape[d];
    }
    c->mask_is_bool = kind == 2;
    c->mask = kind == 2 ? (const void *)booleans(r, size) : (const void *)OWN(input)(r, size);
}

/* The arrays of a call, and what forward makes of them. */
static OWN(attention_arrays) OWN(attend)(run *r) {
    OWN(attention_arrays) x = {0};
    tl_attention *c = &x.call;
    c->batch = draw(r, 0, 9) ? draw(r, 1, 2) : 0, c->kv_heads = draw(r, 1, 2), c->heads = c->kv_heads * draw(r, 1, 3);
    c->d = draw(r, 1, 40), c->dv = draw(r, 1, 40), c->tq = draw(r, 0, 20), c->tk = draw(r, 0, 20);
    if (r->large) c->tq = c->tk = draw(r, 90, 200);
    else if (r->sweep < 0 && !draw(r, 0, 5)) c->tk = draw(r, 0, 600);
    else switch (draw(r, 0, 3)) {
    case 0: c->tq = length(r); break;
    case 1: c->tk = length(r); break;
    case 2: c->d = length(r) + 1; break;
    default: c->dv = length(r) + 1;
    }
    x.q = OWN(heads_of)(r, c->batch, c->tq, c->heads, c->d, c->q_strides);
    x.k = OWN(heads_of)(r, c->batch, c->tk, c->kv_heads, c->d, c->k_strides);
    x.v = OWN(heads_of)(r, c->batch, c->tk, c->kv_heads, c->dv, c->v_strides);
    OWN(masks)(r, c);
    c->scale = 1 / sqrt((double)c->d);
    c->softcap = draw(r, 0, 2) ? 0 : 2;
    c->dropout = draw(r, 0, 2) ? 0 : 0.3;
    c->key[0] = (uint32_t)next(r), c->key[1] = 5, c->stream = next(r), c->base = next(r) >> 24;
    if (!draw(r, 0, 2)) x.slopes = OWN(range)(r, c->heads, 0, 0.2);
    double terms = 4 * (double)(c->tk + c->d) + 50;
    x.o = OWN(output)(r, c->batch * c->tq * c->heads * c->dv, terms);
    x.lse = OWN(output)(r, c->batch * c->heads * c->tq, terms);
    r->status |= CALL(attention)(c, x.q, x.k, x.v, x.slopes, x.o, x.lse);
    return x;
}

CASE(attention) { OWN(attend)(r); }

CASE(attention_grad) {
    OWN(attention_arrays) x = OWN(attend)(r);
    tl_attention *c = &x.call;
    double terms = 8 * (4 * (double)(c->tk + c->d) + 50 + (double)(c->heads / c->kv_heads * c->tq));
    x.dout = OWN(heads_of)(r, c->batch, c->tq, c->heads, c->dv, c->do_strides);
    int additive = c->mask && !c->mask_is_bool && draw(r, 0, 1);
    T *dq = OWN(gradient_of)(r, c->batch, c->tq, c->heads, c->d, c->dq_strides, terms);
    T *dk = OWN(gradient_of)(r, c->batch, c->tk, c->kv_heads, c->d, c->dk_strides, terms);
    T *dv = OWN(gradient_of)(r, c->batch, c->tk, c->kv_heads, c->dv, c->dv_strides, terms);
    T *dmask = additive ? OWN(output)(r, c->batch * c->heads * c->tq * c->tk, terms) : NULL;
    r->status |= CALL(attention_grad)(c, x.dout, x.q, x.k, x.v, x.o, x.lse, x.slopes, dq, dk, dv, dmask);
}

/* ---- baseline.c ---- */

typedef struct {
    tl_attention call;
    const T *q, *k, *v;
    T *o;
    double terms;
} OWN(baseline_arrays);

/* Sizes that fill the tiles, full or causal. */
static OWN(baseline_arrays) OWN(baseline)(run *r) {
    OWN(baseline_arrays) x = {0};
    tl_attention *c = &x.call;
    c->batch = draw(r, 1, 2), c->heads = c->kv_heads = draw(r, 1, 3);
    c->d = 16 * draw(r, 1, 3), c->dv = 16 * draw(r, 1, 3);
    c->tq = c->tk = 32 * draw(r, 1, 4), c->scale = 1 / sqrt((double)c->d);
    x.terms = 8 * (4 * (double)(c->tk + c->d) + 50);
    x.q = OWN(heads_of)(r, c->batch, c->tq, c->heads, c->d, c->q_strides);
    x.k = OWN(heads_of)(r, c->batch, c->tk, c->heads, c->d, c->k_strides);
    x.v = OWN(heads_of)(r, c->batch, c->tk, c->heads, c->dv, c->v_strides);
    if (draw(r, 0, 1)) {
        int64_t *hi = reserve(r, (size_t)c->tq * sizeof *hi, 0, 0, 0);
        for (int64_t i = 0; i < c->tq; i++) hi[i] = i + 1;
        seal(r, hi), c->hi = hi;
    }
    x.o = OWN(output)(r, c->batch * c->tq * c->heads * c->dv, x.terms);
    return x;
}

/* Scores or probabilities, in an order that depends on the instruction set: no output to compare. */
static T *OWN(score_matrix)(run *r, const tl_attention *c) {
    return reserve(r, (size_t)(c->batch * c->heads * c->tk * c->tq) * sizeof(T), 0, 0, 0);
}

CASE(attention_naive) {
    OWN(baseline_arrays) x = OWN(baseline)(r);
    T *s = OWN(score_matrix)(r, &x.call), *p = OWN(score_matrix)(r, &x.call);
    r->status |= CALL(attention_naive)(&x.call, x.q, x.k, x.v, s, p, x.o);
}

CASE(attention_naive_grad) {
    OWN(baseline_arrays) x = OWN(baseline)(r);
    tl_attention *c = &x.call;
    T *s = OWN(score_matrix)(r, c), *p = OWN(score_matrix)(r, c);
    const T *dout = OWN(heads_of)(r, c->batch, c->tq, c->heads, c->dv, c->do_strides);
    T *dq = OWN(gradient_of)(r, c->batch, c->tq, c->heads, c->d, c->dq_strides, x.terms);
    T *dk = OWN(gradient_of)(r, c->batch, c->tk, c->heads, c->d, c->dk_strides, x.terms);
    T *dv = OWN(gradient_of)(r, c->batch, c->tk, c->heads, c->dv, c->dv_strides, x.terms);
    r->status |= CALL(attention_naive)(c, x.q, x.k, x.v, s, p, x.o);
    if (!r->status) r->status |= CALL(attention_naive_grad)(c, dout, x.q, x.k, x.v, p, s, dq, dk, dv);
}

CASE(attention_flash1) {
    OWN(baseline_arrays) x = OWN(baseline)(r);
    int64_t rows = x.call.batch * x.call.heads * x.call.tq;
    T *m = OWN(output)(r, rows, x.terms), *l = OWN(output)(r, rows, x.terms);
    r->status |= CALL(attention_flash1)(&x.call, x.q, x.k, x.v, x.o, m, l);
}

CASE(attention_flash1_grad) {
    OWN(baseline_arrays) x = OWN(baseline)(r);
    tl_attention *c = &x.call;
    int64_t rows = c->batch * c->heads * c->tq;
    T *m = OWN(output)(r, rows, x.terms), *l = OWN(output)(r, rows, x.terms);
    const T *dout = OWN(heads_of)(r, c->batch, c->tq, c->heads, c->dv, c->do_strides);
    T *dq = OWN(gradient_of)(r, c->batch, c->tq, c->heads, c->d, c->dq_strides, x.terms);
    T *dk = OWN(gradient_of)(r, c->batch, c->tk, c->heads, c->d, c->dk_strides, x.terms);
    T *dv = OWN(gradient_of)(r, c->batch, c->tk, c->heads, c->dv, c->dv_strides, x.terms);
    r->status |= CALL(attention_flash1)(c, x.q, x.k, x.v, x.o, m, l);
    if (!r->status) r->status |= CALL(attention_flash1_grad)(c, dout, x.q, x.k, x.v, x.o, m, l, dq, dk, dv);
}
