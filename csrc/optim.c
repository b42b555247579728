/* Optimizer steps in place, PyTorch's formulas; p, g, buf, m, v (n). The gradient used is grad_scale * g; g is not
 * modified. Scalars are prepared in double.
 */
#include "rows.h"

typedef struct {
    const T *g;
    T *p, *m, *v;
    T lr, keep, grad_scale, decay, beta1, beta2, rest1, rest2, eps, root, nesterov, first;
    double *sums;
    int64_t n;
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

/* d = grad_scale g + decay p;  p = keep p;  m = beta1 m + rest1 d;  v = beta2 v + rest2 d d;
 * p -= lr m / (root sqrt(v) + eps), with the bias corrections in lr and root. */
static void adam_range(void *context, int64_t begin, int64_t end) {
    optim_job job = *(optim_job *)context;
    const T *g = job.g + begin;
    T *p = job.p + begin, *m = job.m + begin, *v = job.v + begin;
    ROW_EACH(end - begin) {
        V value = LOAD(p), d = decayed(&job, LOAD(g), value);
        V mean = v_fma(v_splat(job.beta1), LOAD(m), v_splat(job.rest1) * d);
        V square = v_fma(v_splat(job.beta2), LOAD(v), v_splat(job.rest2) * d * d);
        STORE(m, mean);
        STORE(v, square);
        V step = mean / v_fma(v_splat(job.root), v_sqrt(square), v_splat(job.eps));
        STORE(p, v_fma(v_splat(-job.lr), step, value * v_splat(job.keep)));
    }
}

static void FN(adam)(T *p, const T *g, T *m, T *v, int64_t n, double lr, double beta1, double beta2, double eps,
                     double weight_decay, int decoupled, int64_t step, double grad_scale) {
    optim_job job = {.p = p, .g = g, .m = m, .v = v, .beta1 = (T)beta1, .beta2 = (T)beta2, .rest1 = (T)(1.0 - beta1),
                     .rest2 = (T)(1.0 - beta2), .eps = (T)eps, .grad_scale = (T)grad_scale,
                     .keep = decoupled ? (T)(1.0 - lr * weight_decay) : 1, .decay = decoupled ? 0 : (T)weight_decay,
                     .lr = (T)(lr / (1.0 - pow(beta1, (double)step))),
                     .root = (T)(1.0 / sqrt(1.0 - pow(beta2, (double)step)))};
    tl_parallel(n, TL_GRAIN, adam_range, &job);
}

/* Blocks of fixed size, each summed in double by eight interleaved sums; blocks are added in order. */
enum { SQUARES_BLOCK = 8192 };

static void sum_squares_blocks(void *context, int64_t block, int64_t end) {
    const optim_job *job = context;
    for (; block < end; block++) {
        const T *x = job->g + block * SQUARES_BLOCK;
        int64_t n = job->n - block * SQUARES_BLOCK, i = 0;
        if (n > SQUARES_BLOCK) n = SQUARES_BLOCK;
        double sums[8] = {0}, total = 0;
        for (; i + 8 <= n; i += 8)
            for (int lane = 0; lane < 8; lane++) sums[lane] += (double)x[i + lane] * (double)x[i + lane];
        for (; i < n; i++) sums[i & 7] += (double)x[i] * (double)x[i];
        for (int lane = 0; lane < 8; lane++) total += sums[lane];
        job->sums[block] = total;
    }
}

static int FN(sum_squares)(const T *x, int64_t n, double *total) {
    int64_t blocks = (n + SQUARES_BLOCK - 1) / SQUARES_BLOCK;
    double *sums = tl_malloc((size_t)(blocks + 1) * sizeof(double));
    if (!sums) return -1;
    optim_job job = {.g = x, .n = n, .sums = sums};
    tl_parallel(blocks, 4, sum_squares_blocks, &job);
    *total = 0;
    for (int64_t block = 0; block < blocks; block++) *total += sums[block];
    tl_free(sums);
    return 0;
}
