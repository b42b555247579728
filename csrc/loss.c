/* Cross-entropy, one row a time. logits, dlogits (rows, classes); targets, loss, lse, dloss (rows); weight (classes),
 * may be NULL. With s the smoothing, w the weights, lp = logits - lse:
 *     loss = -(1 - s) w[t] lp[t] - s/C sum_c w[c] lp[c]
 * and 0 where target == ignore_index, whatever the logits are.
 */
#include "rows.h"

typedef struct {
    const T *logits, *weight, *dloss, *lse;
    const int64_t *targets;
    T *out, *out_lse;
    int64_t classes, ignore_index;
    T smoothing, total_weight;
} loss_job;

static void cross_entropy_rows(void *context, int64_t row, int64_t end) {
    loss_job job = *(loss_job *)context;
    const T *w = job.weight;
    for (int64_t n = job.classes; row < end; row++) {
        const T *x = job.logits + row * n;
        T lse = logsumexp_row(x, n), loss = 0;
        int64_t target = job.targets[row];
        if (target != job.ignore_index) {
            loss = -(1 - job.smoothing) * (w ? w[target] : 1) * (x[target] - lse);
            if (job.smoothing != 0) {
                V shift = v_splat(lse);
                T spread = ROW_SUM(n, ({
                    V lp = v_keep(LOAD(x) - shift, left, v_zero());
                    w ? LOAD(w) * lp : lp;
                }));
                loss -= job.smoothing / (T)n * spread;
            }
        }
        job.out[row] = loss;
        job.out_lse[row] = lse;
    }
}

static void FN(cross_entropy)(const T *logits, const int64_t *targets, const T *weight, int64_t ignore_index,
                              double smoothing, T *loss, T *lse, int64_t rows, int64_t classes) {
    loss_job job = {.logits = logits, .weight = weight, .targets = targets, .out = loss, .out_lse = lse,
                    .classes = classes, .ignore_index = ignore_index, .smoothing = (T)smoothing};
    tl_parallel(rows, row_grain(classes), cross_entropy_rows, &job);
}

/* dlogits[c] = dloss ((1 - s) w[t] (p[c] - [c == t]) + s/C (p[c] sum(w) - w[c])), p = exp(logits - lse). */
static void cross_entropy_grad_rows(void *context, int64_t row, int64_t end) {
    loss_job job = *(loss_job *)context;
    const T *w = job.weight;
    for (int64_t n = job.classes; row < end; row++) {
        const T *x = job.logits + row * n;
        T *dx = job.out + row * n;
        int64_t target = job.targets[row];
        if (target == job.ignore_index) {
            memset(dx, 0, (size_t)n * sizeof(T));
            continue;
        }
        T own = job.dloss[row] * (1 - job.smoothing) * (w ? w[target] : 1);
        T spread = job.dloss[row] * job.smoothing / (T)n;
        V shift = v_splat(job.lse[row]), own_v = v_splat(own);
        V total = v_splat(job.total_weight), part = v_splat(spread);
        if (job.smoothing != 0) {
            ROW_EACH(n) {
                V p = v_exp(LOAD(x) - shift);
                STORE(dx, own_v * p + part * (p * total - (w ? LOAD(w) : v_splat(1))));
            }
            dx[target] -= own;
        } else {
            T at_target = own * (v_exp(v_splat(x[target]) - shift)[0] - 1); /* before dx is written, which may be x */
            ROW_EACH(n) STORE(dx, own_v * v_exp(LOAD(x) - shift));
            dx[target] = at_target;
        }
    }
}

static void FN(cross_entropy_grad)(const T *dloss, const T *logits, const int64_t *targets, const T *lse,
                                   const T *weight, int64_t ignore_index, double smoothing, T *dlogits, int64_t rows,
                                   int64_t classes) {
    loss_job job = {.logits = logits, .weight = weight, .dloss = dloss, .lse = lse, .targets = targets, .out = dlogits,
                    .classes = classes, .ignore_index = ignore_index, .smoothing = (T)smoothing};
    job.total_weight = weight ? ROW_SUM(classes, LOAD(weight)) : (T)classes;
    tl_parallel(rows, row_grain(classes), cross_entropy_grad_rows, &job);
}
