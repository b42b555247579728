/* C = A B and what follows it, packed and register-tiled, after Goto and van de Geijn 2008 and BLIS (Van Zee and van de
 * Geijn 2015).
 *
 * B is copied into panels of NR columns, A into strips of MR rows; a tile of MR x NR sums lives in registers over one
 * block of K. Element (i, j) is always the same chain: fma over k in order within a block of K, blocks added in order.
 * Blocks depend on K alone, so results have the same bits for any number of threads, any row of a batch and any M.
 */

#include "job.h"
#include "tile.h"
#include "pack.h"
#include "epilogue.h"

/* ---- many rows: pack B together, then every thread takes rows ---- */

typedef struct {
    const gemm_job *g;
    int64_t k0, k1, n0, n1; /* this part of B */
    int64_t panels;
    T *packed; /* block of K, panel, k, column */
    int failed;
} gemm_part;

static T *packed_panel(const gemm_part *part, int64_t k, int64_t depth, int64_t panel) {
    return part->packed + (k - part->k0) * part->panels * NR + panel * depth * NR;
}

static int64_t block_end(const gemm_job *g, int64_t k, int64_t k1) { return k + g->k_step < k1 ? k + g->k_step : k1; }

static void pack_b_range(void *context, int64_t begin, int64_t end) {
    gemm_part *part = context;
    const gemm_job *g = part->g;
    for (int64_t k = part->k0; k < part->k1; k = block_end(g, k, part->k1)) {
        int64_t depth = block_end(g, k, part->k1) - k;
        for (int64_t panel = begin; panel < end; panel++) {
            int64_t n = part->n0 + panel * NR, cols = part->n1 - n < NR ? part->n1 - n : NR;
            pack_panel(g->b + k * g->bk + n * g->bn, g->bk, g->bn, depth, cols, packed_panel(part, k, depth, panel));
        }
    }
}

static void rows_range(void *context, int64_t begin, int64_t end) {
    gemm_part *part = context;
    const gemm_job *g = part->g;
    int64_t m0 = begin * MR, m1 = end * MR < g->M ? end * MR : g->M;
    int kmajor = g->am == 1 && g->ak != 1;
    const gemm_tile *tiles = kmajor ? tiles_kmajor : tiles_rows;
    T *strips = tl_malloc(((size_t)MC * A_STRIDE + W) * sizeof(T));
    if (!strips) {
        part->failed = 1;
        return;
    }
    for (int64_t m = m0; m < m1; m += MC) {
        int64_t rows = m1 - m < MC ? m1 - m : MC;
        for (int64_t k = part->k0; k < part->k1; k = block_end(g, k, part->k1)) {
            int64_t depth = block_end(g, k, part->k1) - k;
            int64_t strip = pack_strips(g, g->a + m * g->am + k * g->ak, rows, depth, kmajor, strips);
            for (int64_t panel = 0; panel < part->panels; panel++) {
                int64_t n = part->n0 + panel * NR, cols = part->n1 - n < NR ? part->n1 - n : NR;
                const T *b = packed_panel(part, k, depth, panel);
                const T *a = strips;
                for (int64_t i = 0; i < rows; i += MR, a += strip) {
                    int64_t h = rows - i < MR ? rows - i : MR;
                    tile_and_epilogue(g, tiles[h - 1], k, depth, a, b, m + i, h, n, cols);
                }
            }
        }
    }
    tl_free(strips);
}

static int64_t grain_for(int64_t work_per_item) { return 1 + SMALL_WORK / (work_per_item + 1); }

static int gemm_by_rows(const gemm_job *g) {
    int64_t columns = g->N < NC ? (g->N + NR - 1) / NR * NR : NC;
    int64_t blocks = PACKED_B / (columns * g->k_step);
    int64_t k_part = (blocks < 1 ? 1 : blocks) * g->k_step;
    if (k_part > g->K) k_part = g->K;
    T *packed = tl_malloc((size_t)(columns * k_part) * sizeof(T));
    if (!packed) return -1;
    int failed = 0;
    for (int64_t n = 0; n < g->N; n += NC) {
        for (int64_t k = 0; k < g->K; k += k_part) {
            gemm_part part = {.g = g, .packed = packed, .k0 = k, .n0 = n};
            part.k1 = k + k_part < g->K ? k + k_part : g->K;
            part.n1 = n + NC < g->N ? n + NC : g->N;
            int64_t depth = part.k1 - k, width = part.n1 - n;
            part.panels = (width + NR - 1) / NR;
            tl_parallel(part.panels, 1 + TL_GRAIN / (depth * NR + 1), pack_b_range, &part);
            tl_parallel((g->M + MR - 1) / MR, grain_for(MR * depth * width), rows_range, &part);
            failed |= part.failed;
        }
    }
    tl_free(packed);
    return failed ? -1 : 0;
}

/* ---- few rows: every thread packs and uses its own panels of B ---- */

typedef struct {
    const gemm_job *g;
    int failed;
} gemm_columns;

static void columns_range(void *context, int64_t begin, int64_t end) {
    gemm_columns *job = context;
    const gemm_job *g = job->g;
    int kmajor = g->am == 1 && g->ak != 1;
    const gemm_tile *tiles = kmajor ? tiles_kmajor : tiles_rows;
    int64_t padded = (g->M + MR - 1) / MR * MR;
    T *strips = tl_malloc(((size_t)padded * A_STRIDE + W + (size_t)KC * NR) * sizeof(T));
    if (!strips) {
        job->failed = 1;
        return;
    }
    T *panel_b = strips + padded * A_STRIDE + W;
    for (int64_t k = 0; k < g->K; k = block_end(g, k, g->K)) {
        int64_t depth = block_end(g, k, g->K) - k;
        int64_t strip = pack_strips(g, g->a + k * g->ak, g->M, depth, kmajor, strips);
        for (int64_t panel = begin; panel < end; panel++) {
            int64_t n = panel * NR, cols = g->N - n < NR ? g->N - n : NR;
            pack_panel(g->b + k * g->bk + n * g->bn, g->bk, g->bn, depth, cols, panel_b);
            const T *a = strips;
            for (int64_t i = 0; i < g->M; i += MR, a += strip) {
                int64_t h = g->M - i < MR ? g->M - i : MR;
                tile_and_epilogue(g, tiles[h - 1], k, depth, a, panel_b, i, h, n, cols);
            }
        }
    }
    tl_free(strips);
}

static int gemm_by_columns(const gemm_job *g) {
    gemm_columns job = {g, 0};
    tl_parallel((g->N + NR - 1) / NR, grain_for(g->M * g->K * NR), columns_range, &job);
    return job.failed ? -1 : 0;
}

static int gemm(gemm_job g) {
    if (g.M <= 0 || g.N <= 0) return 0;
    if (g.K <= 0) {
        epilogue_alone(&g);
        return 0;
    }
    if (g.N == 1 && g.cm == 1 && !g.bias && g.add_step == 1) { /* a column: its transpose is a row, with the same sums */
        gemm_job row = g;
        row.M = 1, row.N = g.M, row.cm = row.add_step = g.M;
        row.a = g.b, row.am = g.bn, row.ak = g.bk;
        row.b = g.a, row.bk = g.ak, row.bn = g.am;
        g = row;
    }
    int64_t blocks = (g.K + KC - 1) / KC;
    g.k_step = (g.K + blocks - 1) / blocks;
    int64_t strips = (g.M + MR - 1) / MR;
    int few = g.M <= MC && (strips < 2 * tl_num_threads() || strips <= 2);
    return few ? gemm_by_columns(&g) : gemm_by_rows(&g);
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
        if (gemm(g)) job->failed = 1;
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
