/* C = A B and what follows it, packed and register-tiled, after Goto and van de Geijn 2008 and BLIS (Van Zee and van de
 * Geijn 2015).
 *
 * B is copied into panels of NR columns, A into strips of MR rows; a tile of MR x NR sums lives in registers over one
 * block of K. Element (i, j) is always the same chain: fma over k in order within a block of K, blocks added in order.
 * Blocks depend on K alone, so results have the same bits for any number of threads, any row of a batch and any M.
 * That costs one row times a B stored transposed (the forward of a layer) its dot products along the rows of B, which
 * are other sums: columns of B are made in registers instead, at up to 60 GB/s a core where dot products reach 85.
 */

#include "job.h"
#include "columns.h"
#include "tile.h"
#include "pack.h"
#include "epilogue.h"
#include "drive.h"

static int gemm(gemm_job g) {
    if (g.M <= 0 || g.N <= 0) return 0;
    if (g.K <= 0) {
        epilogue_alone(&g);
        return 0;
    }
    /* A column: its transpose is a row, with the same sums. */
    if (g.N == 1 && g.cm == 1 && !g.bias && g.add_step == 1) {
        gemm_job row = g;
        row.M = 1, row.N = g.M, row.cm = row.add_step = g.M;
        row.a = g.b, row.am = g.bn, row.ak = g.bk;
        row.b = g.a, row.bk = g.ak, row.bn = g.am;
        g = row;
    }
    int64_t blocks = (g.K + KC - 1) / KC;
    g.k_step = (g.K + blocks - 1) / blocks;
    g.kmajor = g.am == 1 && g.ak != 1;
    if (g.M <= FEW && g.bk == 1 && g.bn != 1) {
        gemm_few(g);
        return 0;
    }
    return suits_columns(&g) ? gemm_by_columns(&g) : gemm_by_rows(&g);
}

/* ---- batches ---- */

typedef struct {
    gemm_job g;
    nest batch;
    int failed;
} gemm_batch;

static void batch_range(void *context, int64_t begin, int64_t end) {
    gemm_batch *job = context;
    walk w = nest_at(&job->batch, begin);
    for (int64_t i = begin; i < end; i++) {
        gemm_job g = job->g;
        int64_t at = i * g.M * g.N;
        g.a += w.at[0];
        g.b += w.at[1];
        if (g.add) g.add += g.add == g.c ? w.at[2] : at;
        g.c += w.at[2];
        if (g.h) g.h += at;
        if (g.pre) g.pre += at;
        if (g.value) g.value += at;
        if (gemm(g)) __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        nest_advance(&job->batch, &w, 1);
    }
}

static void set_epilogue(gemm_job *g, const tl_epilogue *e) {
    g->alpha = (T)e->alpha, g->beta = (T)e->beta;
    if (e->beta != 0) g->add = e->add ? e->add : g->c;
    g->finish = finish_of(e);
    g->pre = e->pre, g->value = e->value, g->h = e->grad_of;
}

static int FN(matmul)(int batch_dims, const int64_t *batch, int64_t M, int64_t N, int64_t K, const T *a, int64_t am,
                      int64_t ak, const T *b, int64_t bk, int64_t bn, const T *bias, T *c, int64_t cm,
                      const tl_epilogue *epilogue) {
    gemm_batch job = {.g = {.M = M, .N = N, .K = K, .a = a, .b = b, .bias = bias, .c = c, .alpha = 1}};
    job.g.am = am, job.g.ak = ak, job.g.bk = bk, job.g.bn = bn, job.g.cm = cm;
    if (epilogue) set_epilogue(&job.g, epilogue);
    job.batch = nest_of(batch_dims, batch, 3);
    nest *n = &job.batch;
    /* One B for a run of the batch: more rows of the same product, if they lie in order. */
    while (n->ndim > 0) {
        int last = n->ndim - 1;
        if (n->stride[1][last] != 0) break;
        if (job.g.M == 1) job.g.am = n->stride[0][last], job.g.cm = n->stride[2][last];
        if (n->stride[0][last] != job.g.M * job.g.am || n->stride[2][last] != job.g.M * job.g.cm) break;
        job.g.M *= n->shape[last];
        n->ndim--;
    }
    job.g.add_step = job.g.add == c ? job.g.cm : N;
    int64_t count = nest_size(n);
    if (count == 0) return 0;
    int64_t work = job.g.M * N * K;
    /* Few large products are cut inside, many or small ones are dealt out whole. */
    if (count < tl_num_threads() || work > 64 * SMALL_WORK)
        for (int64_t i = 0; i < count; i++) batch_range(&job, i, i + 1);
    else
        tl_parallel(count, grain_for(work), batch_range, &job);
    return job.failed ? -1 : 0;
}
