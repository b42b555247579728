/* Optimizer steps in place, PyTorch's formulas; p, g, buf, m, v (n). The gradient used is grad_scale * g; g is not
 * modified. Scalars are prepared in double. What takes many tensors works on them as on one long one, so that small
 * tensors don't each cost a launch.
 */
#include "rows.h"

typedef struct {
    const T *g;
    T *p, *m, *v;
    T lr, keep, grad_scale, decay, beta1, beta2, rest1, rest2, eps, root, nesterov, first;
} optim_job;

/* grad_scale g + decay p; without decay a NaN in p stays out of it. */
INLINE V decayed(const optim_job *job, V g, V p) {
    V d = g * v_splat(job->grad_scale);
    return job->decay != 0 ? v_fma(v_splat(job->decay), p, d) : d;
}

/* d = grad_scale g + decay p;  m = beta1 m + rest1 d (m = d on the first step);  p -= lr (m, or d + beta1 m if
 * nesterov). */
static void sgd_range(void *context, int64_t begin, int64_t end) {
    optim_job job = *(optim_job *)context;
    const T *g = job.g + begin;
    T *p = job.p + begin, *m = job.m ? job.m + begin : NULL;
    ROW_EACH(end - begin) {
        V value = LOAD(p), d = decayed(&job, LOAD(g), value);
        if (m) {
            V moved = job.first != 0 ? d : v_fma(v_splat(job.beta1), LOAD(m), v_splat(job.rest1) * d);
            STORE(m, moved);
            d = job.nesterov != 0 ? v_fma(v_splat(job.beta1), moved, d) : moved;
        }
        STORE(p, v_fma(v_splat(-job.lr), d, value));
    }
}

static void FN(sgd)(T *p, const T *g, T *buf, int64_t n, double lr, double momentum, double dampening,
                    double weight_decay, int nesterov, int first, double grad_scale) {
    optim_job job = {.p = p, .g = g, .m = buf, .lr = (T)lr, .beta1 = (T)momentum, .rest1 = (T)(1.0 - dampening),
                     .decay = (T)weight_decay, .nesterov = (T)nesterov, .first = (T)first, .grad_scale = (T)grad_scale};
    tl_parallel(n, TL_GRAIN, sgd_range, &job);
}

/* The elements begin .. end of `count` tensors of n[t] elements laid one after another, tensor by tensor: `visit` with
 * `t`, and `from` and `to` within it. */
#define EACH_TENSOR(count, n, begin, end, visit)                                    \
    for (int64_t t = 0, start = 0; t < (count) && start < (end); start += (n)[t++]) { \
        int64_t from = (begin) > start ? (begin) - start : 0;                       \
        int64_t to = (end) - start < (n)[t] ? (end) - start : (n)[t];               \
        if (from < to) visit;                                                       \
    }

typedef struct {
    T *const *p, *const *m, *const *v;
    const T *const *g;
    const int64_t *n, *step;
    int64_t count;
    double lr, beta1, beta2, eps, weight_decay, grad_scale;
    int decoupled;
} adam_job;

/* d = grad_scale g + decay p;  p = keep p;  m = beta1 m + rest1 d;  v = beta2 v + rest2 d d;
 * p -= lr m / (root sqrt(v) + eps), with the bias corrections in lr and root. */
static void adam_part(const adam_job *all, int64_t t, int64_t from, int64_t to) {
    double beta1 = all->beta1, beta2 = all->beta2, step = (double)all->step[t];
    double keep = all->decoupled ? 1.0 - all->lr * all->weight_decay : 1.0;
    optim_job job = {.beta1 = (T)beta1, .beta2 = (T)beta2, .rest1 = (T)(1.0 - beta1), .rest2 = (T)(1.0 - beta2),
                     .eps = (T)all->eps, .grad_scale = (T)all->grad_scale, .keep = (T)keep,
                     .decay = all->decoupled ? 0 : (T)all->weight_decay,
                     .lr = (T)(all->lr / (1.0 - pow(beta1, step))), .root = (T)(1.0 / sqrt(1.0 - pow(beta2, step)))};
    const T *g = all->g[t] + from;
    T *p = all->p[t] + from, *m = all->m[t] + from, *v = all->v[t] + from;
    ROW_EACH(to - from) {
        V value = LOAD(p), d = decayed(&job, LOAD(g), value);
        V mean = v_fma(v_splat(job.beta1), LOAD(m), v_splat(job.rest1) * d);
        V square = v_fma(v_splat(job.beta2), LOAD(v), v_splat(job.rest2) * d * d);
        STORE(m, mean);
        STORE(v, square);
        V update = mean / v_fma(v_splat(job.root), v_sqrt(square), v_splat(job.eps));
        STORE(p, v_fma(v_splat(-job.lr), update, value * v_splat(job.keep)));
    }
}

static void adam_range(void *context, int64_t begin, int64_t end) {
    const adam_job *job = context;
    EACH_TENSOR(job->count, job->n, begin, end, adam_part(job, t, from, to))
}

static void FN(adam)(int64_t count, T *const *p, const T *const *g, T *const *m, T *const *v, const int64_t *n,
                     const int64_t *step, double lr, double beta1, double beta2, double eps, double weight_decay,
                     int decoupled, double grad_scale) {
    adam_job job = {.count = count, .p = p, .g = g, .m = m, .v = v, .n = n, .step = step, .lr = lr, .beta1 = beta1,
                    .beta2 = beta2, .eps = eps, .weight_decay = weight_decay, .decoupled = decoupled,
                    .grad_scale = grad_scale};
    int64_t elements = 0;
    for (int64_t t = 0; t < count; t++) elements += n[t];
    tl_parallel(elements, TL_GRAIN, adam_range, &job);
}

/* Blocks of fixed size, each summed in double by interleaved sums; a tensor's blocks are added in order. */
enum { SQUARES_BLOCK = 8192, SQUARES_SUMS = 32 };

typedef struct {
    const T *const *x;
    const int64_t *n, *blocks;  /* elements and blocks of each tensor */
    int64_t count;
    double *sums;
} squares_job;

static double sum_squares_block(const T *x, int64_t n) {
    double sums[SQUARES_SUMS] = {0}, total = 0;
    int64_t i = 0;
    for (; i + SQUARES_SUMS <= n; i += SQUARES_SUMS)
        for (int lane = 0; lane < SQUARES_SUMS; lane++) sums[lane] += (double)x[i + lane] * (double)x[i + lane];
    for (; i < n; i++) sums[i % SQUARES_SUMS] += (double)x[i] * (double)x[i];
    for (int lane = 0; lane < SQUARES_SUMS; lane++) total += sums[lane];
    return total;
}

static void sum_squares_part(const squares_job *job, int64_t t, int64_t from, int64_t to, double *sums) {
    for (int64_t block = from; block < to; block++) {
        int64_t start = block * SQUARES_BLOCK, left = job->n[t] - start;
        sums[block] = sum_squares_block(job->x[t] + start, left < SQUARES_BLOCK ? left : SQUARES_BLOCK);
    }
}

static void sum_squares_range(void *context, int64_t begin, int64_t end) {
    const squares_job *job = context;
    EACH_TENSOR(job->count, job->blocks, begin, end, sum_squares_part(job, t, from, to, job->sums + start))
}

static int FN(sum_squares)(int64_t count, const T *const *x, const int64_t *n, double *totals) {
    int64_t all = 0;
    for (int64_t t = 0; t < count; t++) all += (n[t] + SQUARES_BLOCK - 1) / SQUARES_BLOCK;
    double *sums = tl_malloc((size_t)all * sizeof(double) + (size_t)count * sizeof(int64_t));
    if (!sums) return -1;
    int64_t *blocks = (int64_t *)(sums + all);
    for (int64_t t = 0; t < count; t++) blocks[t] = (n[t] + SQUARES_BLOCK - 1) / SQUARES_BLOCK;
    squares_job job = {.x = x, .n = n, .blocks = blocks, .count = count, .sums = sums};
    tl_parallel(all, 4, sum_squares_range, &job);
    const double *next = sums;
    for (int64_t t = 0; t < count; t++) {
        totals[t] = 0;
        for (int64_t block = 0; block < blocks[t]; block++) totals[t] += *next++;
    }
    tl_free(sums);
    return 0;
}
