/* Elementwise kernels, reductions, indexing, matmul, random numbers, optimizers. */

/* ---- elementwise.c ---- */

CASE(unary) {
    int64_t n = flat(r), op = draw(r, 0, TL_UNARY_SQUARE);
    const T *x = OWN(special)(r, n);
    CALL(unary)((int)op, x, OWN(output)(r, n, 20), n);
}

CASE(unary_grad) {
    int64_t n = flat(r), op = draw(r, 0, TL_UNARY_SQUARE);
    const T *dy = OWN(input)(r, n), *x = OWN(special)(r, n), *y = OWN(special)(r, n);
    CALL(unary_grad)((int)op, dy, x, y, OWN(output)(r, n, 40), n);
}

CASE(gated) {
    int64_t rows = side(r), cols = length(r), gate_step = cols + draw(r, 0, 3), up_step = cols + draw(r, 0, 3);
    const T *gate = OWN(special)(r, rows && cols ? (rows - 1) * gate_step + cols : 0);
    const T *up = OWN(input)(r, rows && cols ? (rows - 1) * up_step + cols : 0);
    CALL(gated)((int)draw(r, 0, TL_ACT_SILU), rows, cols, gate, gate_step, up, up_step,
                OWN(output)(r, rows * cols, 20));
}

CASE(gated_grad) {
    int64_t rows = side(r), cols = length(r), gate_step = cols + draw(r, 0, 3), up_step = cols + draw(r, 0, 3);
    const T *gate = OWN(special)(r, rows && cols ? (rows - 1) * gate_step + cols : 0);
    const T *up = OWN(input)(r, rows && cols ? (rows - 1) * up_step + cols : 0);
    const T *dy = OWN(input)(r, rows * cols);
    T *dgate = OWN(output)(r, rows * cols, 40), *dup = OWN(output)(r, rows * cols, 40);
    CALL(gated_grad)((int)draw(r, 0, TL_ACT_SILU), rows, cols, dy, gate, gate_step, up, up_step, dgate, dup);
}

/* ---- broadcast.c ---- */

/* A shape of up to four axes, the last one as long as a length. */
static int OWN(shape_of)(run *r, int64_t *shape) {
    int ndim = (int)draw(r, r->sweep >= 0, 4);
    for (int d = 0; d < ndim; d++) shape[d] = d == ndim - 1 ? length(r) : draw(r, 0, 9) ? draw(r, 1, 5) : 0;
    if (r->large && ndim > 1) shape[0] = side(r);
    return ndim;
}

static int64_t OWN(product)(int ndim, const int64_t *shape) {
    int64_t n = 1;
    for (int d = 0; d < ndim; d++) n *= shape[d];
    return n;
}

CASE(binary) {
    int64_t dims[12], op = draw(r, 0, TL_BINARY_ATAN2);
    int ndim = OWN(shape_of)(r, dims);
    strides_of(r, ndim, dims, dims + ndim, 1);
    strides_of(r, ndim, dims, dims + 2 * ndim, 1);
    const T *a = OWN(strided)(r, ndim, dims, dims + ndim), *b = OWN(strided)(r, ndim, dims, dims + 2 * ndim);
    CALL(binary)((int)op, ndim, dims_of(r, 3 * ndim, dims), a, b, OWN(output)(r, OWN(product)(ndim, dims), 0));
}

CASE(binary_flat) {
    int64_t n = flat(r), sa = draw(r, 0, 1), sb = draw(r, 0, 1), op = draw(r, 0, TL_BINARY_ATAN2);
    const T *a = OWN(special)(r, sa ? n : 1), *b = OWN(special)(r, sb ? n : 1);
    CALL(binary_flat)((int)op, n, a, sa, b, sb, OWN(output)(r, n, 0));
}

CASE(compare) {
    int64_t dims[12], op = draw(r, 0, TL_COMPARE_LOGICAL_XOR);
    int ndim = OWN(shape_of)(r, dims);
    strides_of(r, ndim, dims, dims + ndim, 1);
    strides_of(r, ndim, dims, dims + 2 * ndim, 1);
    const T *a = OWN(strided)(r, ndim, dims, dims + ndim), *b = OWN(strided)(r, ndim, dims, dims + 2 * ndim);
    uint8_t *out = reserve(r, (size_t)OWN(product)(ndim, dims), 1, 0, 0);
    CALL(compare)((int)op, ndim, dims_of(r, 3 * ndim, dims), a, b, out);
}

CASE(where) {
    int64_t dims[16], first;
    int ndim = OWN(shape_of)(r, dims);
    for (int o = 1; o < 4; o++) strides_of(r, ndim, dims, dims + o * ndim, 1);
    int64_t bytes = OWN(extent)(ndim, dims, dims + ndim, &first);
    const uint8_t *cond = booleans(r, bytes) + first;
    const T *a = OWN(strided)(r, ndim, dims, dims + 2 * ndim), *b = OWN(strided)(r, ndim, dims, dims + 3 * ndim);
    CALL(where)(ndim, dims_of(r, 4 * ndim, dims), cond, a, b, OWN(output)(r, OWN(product)(ndim, dims), 0));
}

CASE(add) {
    int64_t n = flat(r);
    const T *src = OWN(special)(r, n);
    CALL(add)(OWN(inout)(r, n, 0, -2), src, n);
}

CASE(copy) {
    int64_t dims[12], first;
    int ndim = OWN(shape_of)(r, dims);
    strides_of(r, ndim, dims, dims + ndim, 1);
    strides_of(r, ndim, dims, dims + 2 * ndim, 0);
    const T *from = OWN(strided)(r, ndim, dims, dims + ndim);
    int64_t n = OWN(extent)(ndim, dims, dims + 2 * ndim, &first);
    T *to = OWN(inout)(r, n, 0, -2); /* gaps keep what they hold */
    CALL(copy)(ndim, dims_of(r, 3 * ndim, dims), from, to + first);
}

/* ---- reduce.c ---- */

CASE(reduce) {
    int64_t outer = side(r), count = length(r) + 1, inner = draw(r, 0, 1) ? 1 : draw(r, 0, 70);
    if (r->large) count = draw(r, 0, 1) ? draw(r, 4000, 9000) : draw(r, 60000, 70000), outer = draw(r, 1, 3);
    if (r->large) inner = draw(r, 1, 2);
    const T *x = OWN(input)(r, outer * count * inner);
    T *y = OWN(output)(r, outer * inner, (double)count);
    r->status |= CALL(reduce)((int)draw(r, 0, TL_REDUCE_MIN), x, y, outer, count, inner);
}

CASE(arg_reduce) {
    int64_t outer = side(r), count = length(r) + 1, inner = draw(r, 0, 1) ? 1 : draw(r, 0, 9);
    const T *x = OWN(special)(r, outer * count * inner);
    int64_t *y = reserve(r, (size_t)(outer * inner) * sizeof *y, 1, 0, 0);
    CALL(arg_reduce)((int)draw(r, 0, 1), x, y, outer, count, inner);
}

CASE(cumsum) {
    int64_t outer = side(r), count = draw(r, 0, 40), inner = length(r);
    const T *x = OWN(input)(r, outer * count * inner);
    CALL(cumsum)(x, OWN(output)(r, outer * count * inner, (double)count), outer, count, inner);
}

/* ---- index.c ---- */

CASE(take) {
    int64_t rows = draw(r, 1, 9), n = side(r), width = length(r);
    const T *x = OWN(special)(r, rows * width);
    const int64_t *ids = indices(r, n, 0, rows);
    CALL(take)(x, ids, OWN(output)(r, n * width, 0), n, width);
}

CASE(take_grad) {
    int64_t rows = draw(r, 1, 9), n = side(r), width = length(r);
    const T *dy = OWN(input)(r, n * width);
    const int64_t *ids = indices(r, n, 0, rows);
    r->status |= CALL(take_grad)(dy, ids, OWN(output)(r, rows * width, (double)n), n, rows, width);
}

CASE(gather) {
    int64_t outer = side(r), n = draw(r, 1, 9), count = length(r), inner = draw(r, 1, 5);
    const T *x = OWN(special)(r, outer * n * inner);
    const int64_t *index = indices(r, outer * count * inner, 0, n);
    CALL(gather)(x, index, OWN(output)(r, outer * count * inner, 0), outer, n, count, inner);
}

CASE(gather_grad) {
    int64_t outer = side(r), n = draw(r, 1, 9), count = length(r), inner = draw(r, 1, 5);
    const T *dy = OWN(input)(r, outer * count * inner);
    const int64_t *index = indices(r, outer * count * inner, 0, n);
    T *dx = OWN(output)(r, outer * n * inner, (double)count);
    r->status |= CALL(gather_grad)(dy, index, dx, outer, n, count, inner);
}

/* ---- matmul.c ---- */

/* Strides of a matrix in row-major or column-major order, with or without a gap; gives its extent. */
static int64_t OWN(matrix)(run *r, int64_t rows, int64_t cols, int64_t *down, int64_t *along) {
    int64_t gap = draw(r, 0, 3) ? 0 : draw(r, 1, 9);
    if (draw(r, 0, 1)) *along = 1, *down = cols + gap;
    else *down = 1, *along = rows + gap;
    return rows && cols ? (rows - 1) * *down + (cols - 1) * *along + 1 : 0;
}

/* What follows a product of n elements; without beta c is only written. */
static void OWN(epilogue)(run *r, tl_epilogue *e, int64_t n, double terms) {
    e->alpha = draw(r, 0, 1) ? 1 : 0.5, e->beta = (double)draw(r, 0, 2) / 2, e->act = (int)draw(r, -1, TL_ACT_SILU);
    if (e->beta != 0 && draw(r, 0, 1)) e->add = OWN(input)(r, n);
    if (e->act < 0) return;
    if (draw(r, 0, 1)) {
        e->grad_of = OWN(input)(r, n);
        e->value = OWN(maybe_output)(r, n, terms);
    } else {
        e->pre = OWN(maybe_output)(r, n, terms);
    }
}

CASE(matmul) {
    int64_t M = side(r), N = side(r), K = length(r), am, ak, bk, bn;
    if (draw(r, 0, 1)) M = length(r), K = draw(r, 0, 9) ? draw(r, 1, 30) : 0;
    else if (draw(r, 0, 1)) N = length(r), K = draw(r, 1, 600);
    int64_t count = r->large ? 1 : draw(r, 1, 3), batch[4] = {count};
    int64_t a_size = OWN(matrix)(r, M, K, &am, &ak), b_size = OWN(matrix)(r, K, N, &bk, &bn);
    int64_t cm = N + (draw(r, 0, 3) ? 0 : draw(r, 1, 5)), c_size = M && N ? (M - 1) * cm + N : 0;
    batch[1] = draw(r, 0, 1) ? a_size : 0, batch[2] = draw(r, 0, 1) ? b_size : 0, batch[3] = c_size;
    const T *a = OWN(input)(r, batch[1] ? count * a_size : a_size);
    const T *b = OWN(input)(r, batch[2] ? count * b_size : b_size);
    const T *bias = OWN(maybe)(r, N);
    double terms = 40 + 4 * (double)K;
    tl_epilogue epilogue = {.alpha = 1, .act = -1};
    int follows = draw(r, 0, 2) != 0, reads = 0;
    if (follows) OWN(epilogue)(r, &epilogue, count * M * N, terms), reads = epilogue.beta != 0 && !epilogue.add;
    T *c = cm == N && !reads ? OWN(output)(r, count * c_size, terms) : OWN(inout)(r, count * c_size, terms, -2);
    r->status |= CALL(matmul)(1, dims_of(r, 4, batch), M, N, K, a, am, ak, b, bk, bn, bias, c, cm,
                             follows ? &epilogue : NULL);
}

/* ---- random.c ---- */

CASE(uniform) {
    int64_t n = flat(r);
    uint64_t seed = next(r), stream = next(r), base = next(r) >> (seed & 63);
    CALL(uniform)(OWN(output)(r, n, 0), n, (uint32_t)seed, 5, stream, base);
}

CASE(normal) {
    int64_t n = flat(r);
    uint64_t seed = next(r), stream = next(r), base = next(r) >> (seed & 63);
    CALL(normal)(OWN(output)(r, n, 0), n, (uint32_t)seed, 5, stream, base);
}

CASE(dropout) {
    int64_t n = flat(r);
    const T *x = OWN(special)(r, n);
    uint64_t seed = next(r), stream = next(r), base = next(r) >> (seed & 63);
    CALL(dropout)(x, OWN(output)(r, n, 0), n, (double)(seed % 5) / 4, (uint32_t)seed, 5, stream, base);
}

/* ---- optim.c ---- */

CASE(sgd) {
    int64_t n = flat(r);
    const T *g = OWN(input)(r, n);
    T *p = OWN(inout)(r, n, 20, -2), *buf = draw(r, 0, 1) ? OWN(inout)(r, n, 20, -2) : NULL;
    int nesterov = (int)draw(r, 0, 1), first = (int)draw(r, 0, 1);
    CALL(sgd)(p, g, buf, n, 0.1, 0.9, 0.2, 0.1, nesterov, first, 0.3);
}

/* Up to three tensors: their sizes, and arrays of pointers to them. */

static int64_t *OWN(sizes)(run *r, int64_t count) {
    int64_t *n = reserve(r, (size_t)count * sizeof *n, 0, 0, 0);
    for (int64_t t = 0; t < count; t++) n[t] = flat(r);
    seal(r, n);
    return n;
}

static const T **OWN(inputs)(run *r, int64_t count, const int64_t *n) {
    const T **x = reserve(r, (size_t)count * sizeof *x, 0, 0, 0);
    for (int64_t t = 0; t < count; t++) x[t] = OWN(input)(r, n[t]);
    seal(r, x);
    return x;
}

static T **OWN(inouts)(run *r, int64_t count, const int64_t *n, double low) {
    T **x = reserve(r, (size_t)count * sizeof *x, 0, 0, 0);
    for (int64_t t = 0; t < count; t++) x[t] = OWN(inout)(r, n[t], 200, low);
    seal(r, x);
    return x;
}

CASE(adam) {
    int64_t count = draw(r, 0, 3), *n = OWN(sizes)(r, count), *step = indices(r, count, 1, 10);
    const T **g = OWN(inputs)(r, count, n);
    T **p = OWN(inouts)(r, count, n, -2), **m = OWN(inouts)(r, count, n, -2), **v = OWN(inouts)(r, count, n, 0);
    int decoupled = (int)draw(r, 0, 1);
    CALL(adam)(count, p, g, m, v, n, step, 0.1, 0.9, 0.99, 1e-3, 0.1, decoupled, 0.3);
}

CASE(sum_squares) {
    int64_t count = draw(r, 0, 3), *n = OWN(sizes)(r, count);
    const T **x = OWN(inputs)(r, count, n);
    double *totals = reserve(r, (size_t)count * sizeof *totals, 1, sizeof *totals, FLT_EPSILON);
    r->status |= CALL(sum_squares)(count, x, n, totals);
}
