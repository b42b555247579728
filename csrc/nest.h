/* Nested loops over operands of one shape and different strides, with as few loops as the strides allow. */

enum { NEST_DIMS = 64, NEST_OPERANDS = 3 };

typedef struct {
    int ndim;
    int64_t shape[NEST_DIMS], stride[NEST_OPERANDS][NEST_DIMS];
} nest;

/* A position: its index in every loop, and the offset it means in every operand. */
typedef struct {
    int64_t index[NEST_DIMS], at[NEST_OPERANDS];
} walk;

/* From dims = shape, then the strides of each operand (ndim numbers each): loops of one step are dropped, loops that run
 * on into the next one are joined. */
static nest nest_of(int ndim, const int64_t *dims, int operands) {
    nest n;
    n.ndim = 0;
    memset(n.stride, 0, sizeof n.stride);
    for (int d = 0; d < ndim; d++) {
        if (dims[d] == 1) continue;
        int joins = n.ndim > 0;
        for (int o = 0; o < operands && joins; o++)
            joins = n.stride[o][n.ndim - 1] == dims[d] * dims[(o + 1) * ndim + d];
        int to = joins ? n.ndim - 1 : n.ndim++;
        n.shape[to] = joins ? n.shape[to] * dims[d] : dims[d];
        for (int o = 0; o < operands; o++) n.stride[o][to] = dims[(o + 1) * ndim + d];
    }
    return n;
}

static int64_t nest_size(const nest *n) {
    int64_t size = 1;
    for (int d = 0; d < n->ndim; d++) size *= n->shape[d];
    return size;
}

static walk nest_at(const nest *n, int64_t position) {
    walk w;
    memset(w.at, 0, sizeof w.at);
    for (int d = n->ndim - 1; d >= 0; d--) {
        w.index[d] = position % n->shape[d];
        position /= n->shape[d];
        for (int o = 0; o < NEST_OPERANDS; o++) w.at[o] += w.index[d] * n->stride[o][d];
    }
    return w;
}

/* Go on by `steps` in the innermost loop, which must not pass its end, and carry. */
static void nest_advance(const nest *n, walk *w, int64_t steps) {
    for (int d = n->ndim - 1; d >= 0; d--) {
        w->index[d] += steps;
        for (int o = 0; o < NEST_OPERANDS; o++) w->at[o] += steps * n->stride[o][d];
        if (w->index[d] < n->shape[d]) return;
        w->index[d] = 0;
        for (int o = 0; o < NEST_OPERANDS; o++) w->at[o] -= n->shape[d] * n->stride[o][d];
        steps = 1;
    }
}

/* What a kernel does with n items from `position` on: where they start in every operand, and the steps there. */
typedef void (*nest_row)(const void *job, const int64_t *at, const int64_t *stride, int64_t position, int64_t n);

/* Items begin .. end - 1 as runs of the innermost loop. Inlined, so that `row` is no call through a pointer. */
INLINE void nest_rows(const nest *n, int64_t begin, int64_t end, nest_row row, const void *job) {
    int last = n->ndim - 1;
    int64_t stride[NEST_OPERANDS];
    for (int o = 0; o < NEST_OPERANDS; o++) stride[o] = last < 0 ? 0 : n->stride[o][last];
    walk w = nest_at(n, begin);
    while (begin < end) {
        int64_t run = last < 0 ? 1 : n->shape[last] - w.index[last];
        if (run > end - begin) run = end - begin;
        row(job, w.at, stride, begin, run);
        nest_advance(n, &w, run);
        begin += run;
    }
}
