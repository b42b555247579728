/* Softmax family and normalisation over the last axis. x, y, dy, dx (rows, columns); mean, rstd, lse (rows); w, b
 * (columns), may be NULL. A row is one thread's work; everything is overwritten.
 */
#include "rows.h"

typedef struct {
    const T *x, *y, *dy, *w, *b, *mean, *rstd;
    T *out, *out_mean, *out_rstd, *partial;
    int64_t rows, columns, chunk;
    T eps;
    int failed;
} row_job;

/* ---- softmax ---- */

/* exp(x - top) into y, and its sum. */
static T exp_row(const T *x, T top, T *y, int64_t n) {
    V shift = v_splat(top), sum = v_zero();
    ROW_EACH(n) {
        V e = v_exp(LOAD(x) - shift);
        STORE(y, e);
        sum += v_keep(e, left, v_zero());
    }
    return v_hsum(sum);
}

static T sum_exp(const T *x, T top, int64_t n) {
    V shift = v_splat(top), sum = v_zero();
    ROW_EACH(n) sum += v_keep(v_exp(LOAD(x) - shift), left, v_zero());
    return v_hsum(sum);
}

/* log(sum(exp(x))): inf if there is an inf, -inf for a row of -inf. */
static T logsumexp_row(const T *x, int64_t n) {
    T top = row_max(x, n);
    T shift = isinf(top) ? 0 : top;
    return LIBM(log)(sum_exp(x, shift, n)) + shift;
}

static void softmax_rows(void *context, int64_t row, int64_t end) {
    row_job job = *(row_job *)context;
    for (int64_t n = job.columns; row < end; row++) {
        const T *x = job.x + row * n;
        T *y = job.out + row * n;
        V share = v_splat(1 / exp_row(x, row_max(x, n), y, n));
        ROW_EACH(n) STORE(y, LOAD(y) * share);
    }
}

static void FN(softmax)(const T *x, T *y, int64_t rows, int64_t columns) {
    row_job job = {.x = x, .out = y, .columns = columns};
    tl_parallel(rows, row_grain(columns), softmax_rows, &job);
}

static void softmax_grad_rows(void *context, int64_t row, int64_t end) {
    row_job job = *(row_job *)context;
    for (int64_t n = job.columns; row < end; row++) {
        const T *dy = job.dy + row * n, *y = job.y + row * n;
        T *dx = job.out + row * n;
        V dot = v_splat(ROW_SUM(n, LOAD(dy) * LOAD(y)));
        ROW_EACH(n) STORE(dx, LOAD(y) * (LOAD(dy) - dot));
    }
}

static void FN(softmax_grad)(const T *dy, const T *y, T *dx, int64_t rows, int64_t columns) {
    row_job job = {.dy = dy, .y = y, .out = dx, .columns = columns};
    tl_parallel(rows, row_grain(columns), softmax_grad_rows, &job);
}

static void log_softmax_rows(void *context, int64_t row, int64_t end) {
    row_job job = *(row_job *)context;
    for (int64_t n = job.columns; row < end; row++) {
        const T *x = job.x + row * n;
        T *y = job.out + row * n, top = row_max(x, n);
        V shift = v_splat(top), log_sum = v_splat(LIBM(log)(sum_exp(x, top, n)));
        ROW_EACH(n) STORE(y, LOAD(x) - shift - log_sum);
    }
}

static void FN(log_softmax)(const T *x, T *y, int64_t rows, int64_t columns) {
    row_job job = {.x = x, .out = y, .columns = columns};
    tl_parallel(rows, row_grain(columns), log_softmax_rows, &job);
}

static void log_softmax_grad_rows(void *context, int64_t row, int64_t end) {
    row_job job = *(row_job *)context;
    for (int64_t n = job.columns; row < end; row++) {
        const T *dy = job.dy + row * n, *y = job.y + row * n;
        T *dx = job.out + row * n;
        V total = v_splat(ROW_SUM(n, LOAD(dy)));
        ROW_EACH(n) STORE(dx, LOAD(dy) - v_exp(LOAD(y)) * total);
    }
}

static void FN(log_softmax_grad)(const T *dy, const T *y, T *dx, int64_t rows, int64_t columns) {
    row_job job = {.dy = dy, .y = y, .out = dx, .columns = columns};
    tl_parallel(rows, row_grain(columns), log_softmax_grad_rows, &job);
}

static void logsumexp_rows(void *context, int64_t row, int64_t end) {
    row_job job = *(row_job *)context;
    for (; row < end; row++) job.out[row] = logsumexp_row(job.x + row * job.columns, job.columns);
}

static void FN(logsumexp)(const T *x, T *lse, int64_t rows, int64_t columns) {
    row_job job = {.x = x, .out = lse, .columns = columns};
    tl_parallel(rows, row_grain(columns), logsumexp_rows, &job);
}

/* ---- normalisation: LayerNorm, and RMSNorm where mean is NULL ---- */

static void norm_rows(void *context, int64_t row, int64_t end) {
    row_job job = *(row_job *)context;
    const T *w = job.w, *b = job.b;
    for (int64_t n = job.columns; row < end; row++) {
        const T *x = job.x + row * n;
        T *y = job.out + row * n, mean = job.out_mean ? ROW_SUM(n, LOAD(x)) / (T)n : 0;
        V center = v_splat(mean);
        T variance = ROW_SUM(n, ({
            V d = v_keep(LOAD(x) - center, left, v_zero());
            d * d;
        })) / (T)n;
        T rstd = 1 / LIBM(sqrt)(variance + job.eps);
        V scale = v_splat(rstd);
        ROW_EACH(n) {
            V normal = (LOAD(x) - center) * scale;
            if (w) normal *= LOAD(w);
            if (b) normal += LOAD(b);
            STORE(y, normal);
        }
        if (job.out_mean) job.out_mean[row] = mean;
        job.out_rstd[row] = rstd;
    }
}

static void FN(layer_norm)(const T *x, const T *w, const T *b, double eps, T *y, T *mean, T *rstd, int64_t rows,
                           int64_t columns) {
    row_job job = {.x = x, .w = w, .b = b, .eps = (T)eps, .out = y, .out_mean = mean, .out_rstd = rstd,
                   .columns = columns};
    tl_parallel(rows, row_grain(columns), norm_rows, &job);
}

static void FN(rms_norm)(const T *x, const T *w, double eps, T *y, T *rstd, int64_t rows, int64_t columns) {
    row_job job = {.x = x, .w = w, .eps = (T)eps, .out = y, .out_rstd = rstd, .columns = columns};
    tl_parallel(rows, row_grain(columns), norm_rows, &job);
}

/* dx = rstd * (g - mean(g) - n * mean(g * n)), g = dy * w, n = (x - mean) * rstd; RMSNorm has no mean(g) term. dw
 * and db are added to, where they are not NULL. Two passes over the row, the second in L1. */
static void norm_grad_row(const row_job *job, int64_t row, T *restrict dw, T *restrict db) {
    int64_t n = job->columns;
    const T *x = job->x + row * n, *dy = job->dy + row * n, *w = job->w;
    T *restrict dx = job->out ? job->out + row * n : NULL;
    V center = v_splat(job->mean ? job->mean[row] : 0), scale = v_splat(job->rstd[row]);
    V dots = v_zero(), total = v_zero();
    if (dx) ROW_EACH(n) {
        V g = w ? LOAD(dy) * LOAD(w) : LOAD(dy);
        dots += g * ((LOAD(x) - center) * scale);
        total += g;
    }
    V dot = v_splat(v_hsum(dots) / (T)n), level = v_splat(job->mean ? v_hsum(total) / (T)n : 0);
    ROW_EACH(n) {
        V g = LOAD(dy), normal = (LOAD(x) - center) * scale;
        if (dw) STORE(dw, LOAD(dw) + g * normal);
        if (db) STORE(db, LOAD(db) + g);
        if (dx) STORE(dx, scale * ((w ? g * LOAD(w) : g) - level - normal * dot));
    }
}

/* One chunk of rows: dx, and this chunk's sums for dw and db into its own rows of `partial`. Chunks depend on the shape
 * alone and are added in order, so the bits don't depend on the threads. */
static void norm_grad_chunks(void *context, int64_t chunk, int64_t end) {
    const row_job *job = context;
    int64_t n = job->columns;
    for (; chunk < end; chunk++) {
        T *dw = job->partial ? job->partial + 2 * chunk * n : NULL, *db = dw ? dw + n : NULL;
        if (dw) memset(dw, 0, 2 * (size_t)n * sizeof(T));
        int64_t stop = (chunk + 1) * job->chunk < job->rows ? (chunk + 1) * job->chunk : job->rows;
        for (int64_t row = chunk * job->chunk; row < stop; row++) norm_grad_row(job, row, dw, db);
    }
}

enum { LEAST_CHUNK = 32, MOST_CHUNKS = 64 };

/* dx, dw, db may be NULL where not wanted. */
static int norm_grad(row_job *job, T *dw, T *db) {
    int64_t n = job->columns;
    job->chunk = (job->rows + MOST_CHUNKS - 1) / MOST_CHUNKS;
    if (job->chunk < LEAST_CHUNK) job->chunk = LEAST_CHUNK;
    int64_t chunks = (job->rows + job->chunk - 1) / job->chunk;
    if (dw || db) {
        job->partial = tl_malloc((size_t)(2 * chunks * n + 1) * sizeof(T));
        if (!job->partial) return -1;
    }
    tl_parallel(chunks, row_grain(n * job->chunk), norm_grad_chunks, job);
    for (int which = 0; which < 2; which++) {
        T *sum = which ? db : dw;
        if (!sum) continue;
        memset(sum, 0, (size_t)n * sizeof(T));
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            const T *part = job->partial + (2 * chunk + which) * n;
            ROW_EACH(n) STORE(sum, LOAD(sum) + LOAD(part));
        }
    }
    tl_free(job->partial);
    return 0;
}

static int FN(layer_norm_grad)(const T *dy, const T *x, const T *w, const T *mean, const T *rstd, T *dx, T *dw, T *db,
                               int64_t rows, int64_t columns) {
    row_job job = {.dy = dy, .x = x, .w = w, .mean = mean, .rstd = rstd, .out = dx, .rows = rows, .columns = columns};
    return norm_grad(&job, dw, db);
}

static int FN(rms_norm_grad)(const T *dy, const T *x, const T *w, const T *rstd, T *dx, T *dw, int64_t rows,
                             int64_t columns) {
    row_job job = {.dy = dy, .x = x, .w = w, .rstd = rstd, .out = dx, .rows = rows, .columns = columns};
    return norm_grad(&job, dw, NULL);
}
