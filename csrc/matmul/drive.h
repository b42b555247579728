/* The loops around the tile, and how threads share them. */

/* ---- one block of K: where its A and B lie, copied or in place ---- */

typedef struct {
    const T *at;
    int64_t step, strip; /* step of the tile; from one strip of rows to the next */
} gemm_strips;

static int64_t block_end(const gemm_job *g, int64_t k, int64_t k1) { return k + g->k_step < k1 ? k + g->k_step : k1; }

/* Rows m .. m + rows - 1 of A; copied to `to` unless it is NULL. */
static gemm_strips strips_of(const gemm_job *g, int64_t m, int64_t rows, int64_t k, int64_t depth, T *to) {
    const T *a = g->a + m * g->am + k * g->ak;
    if (!to) return (gemm_strips){a, g->kmajor ? g->ak : g->am, g->kmajor ? MR : MR * g->am};
    if (g->kmajor)
        pack_strips_kmajor(a, g->ak, rows, g->M - m - rows, depth, to);
    else
        pack_strips_rows(a, g->am, g->ak, rows, depth, to);
    return (gemm_strips){to, g->kmajor ? MR : A_STRIDE, MR * A_STRIDE};
}

/* Rows m .. m + rows - 1 of c, columns n .. n + cols - 1, cols <= NR. */
static void column_of_tiles(const gemm_job *g, gemm_strips a, int64_t m, int64_t rows, int64_t k, int64_t depth,
                            const T *b, int64_t b_step, int64_t n, int64_t cols) {
    for (int64_t i = 0; i < rows; i += MR, a.at += a.strip)
        tile_and_epilogue(g, k, depth, a.at, a.step, b, b_step, m + i, rows - i < MR ? rows - i : MR, n, cols);
}

/* A is read in place, but where its steps along k are long or its lines fall into the same few sets of L1; and, stored
 * transposed, where a strip's lines, far apart as they are, are read for so many panels that a copy pays, or by a tile
 * of 6 rows, which comes back to a line too late to find it in L1. */
static int a_in_place(const gemm_job *g) {
    if (g->kmajor) return g->ak <= 128 || (MR > 6 && g->N < 8 * NR && g->ak * sizeof(T) % ALIASING != 0);
    return g->ak == 1 && g->am * sizeof(T) % ALIASING != 0;
}

/* ---- many rows: B is packed, then every thread takes rows ---- */

typedef struct {
    const gemm_job *g;
    int64_t k0, k1, n0, n1; /* this part of B */
    int64_t panels;
    T *packed; /* block of K, panel, k, column; NULL: each thread packs its own */
    int failed;
} gemm_part;

static T *packed_panel(const gemm_part *part, int64_t k, int64_t depth, int64_t panel) {
    return part->packed + (k - part->k0) * part->panels * NR + panel * depth * NR;
}

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

static int64_t packed_size(const gemm_part *part) { return part->panels * NR * (part->k1 - part->k0); }

/* Where all of B stays in L2, a strip of A in L1 meets every panel before the next strip does, and c is written row by
 * row. A kmajor A is slower to read than a panel of B, and 6 rows are too few for one. */
static int64_t rows_at_once(const gemm_part *part) {
    return spreads(part->g->kmajor) && packed_size(part) <= SMALL_PART ? MR : MC;
}

static void some_rows(const gemm_part *part, int64_t m0, int64_t m1, T *strips_copy) {
    const gemm_job *g = part->g;
    int64_t most = rows_at_once(part);
    for (int64_t m = m0; m < m1; m += most) {
        int64_t rows = m1 - m < most ? m1 - m : most;
        for (int64_t k = part->k0; k < part->k1; k = block_end(g, k, part->k1)) {
            int64_t depth = block_end(g, k, part->k1) - k;
            gemm_strips strips = strips_of(g, m, rows, k, depth, strips_copy);
            for (int64_t panel = 0; panel < part->panels; panel++) {
                int64_t n = part->n0 + panel * NR, cols = part->n1 - n < NR ? part->n1 - n : NR;
                column_of_tiles(g, strips, m, rows, k, depth, packed_panel(part, k, depth, panel), NR, n, cols);
            }
        }
    }
}

static void rows_range(void *context, int64_t begin, int64_t end) {
    gemm_part *shared = context, part = *shared;
    int64_t m0 = begin * ROWS_UNIT, m1 = end * ROWS_UNIT < part.g->M ? end * ROWS_UNIT : part.g->M;
    int64_t most = rows_at_once(&part);
    int64_t own_a = a_in_place(part.g) ? 0 : strips_size(m1 - m0 < most ? m1 - m0 : most);
    int64_t own_b = part.packed ? 0 : packed_size(&part);
    T *own = own_a + own_b ? tl_malloc((size_t)(own_a + own_b) * sizeof(T)) : NULL;
    if (own_a + own_b && !own) {
        __atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    if (own_b) {
        part.packed = own + own_a;
        pack_b_range(&part, 0, part.panels);
    }
    some_rows(&part, m0, m1, own_a ? own : NULL);
    tl_free(own);
}

static int64_t grain_for(int64_t work_per_item) { return 1 + SMALL_WORK / (work_per_item + 1); }

/* Whether B is so small that a thread rather packs all of it than waits for another. */
static int packed_alone(const gemm_job *g) {
    int64_t columns = (g->N + NR - 1) / NR * NR;
    return g->K * columns <= SMALL_B && g->N <= NC && g->M >= SMALL_B_ROWS * (int64_t)tl_num_threads();
}

static int gemm_by_rows(const gemm_job *g) {
    int64_t columns = g->N < NC ? (g->N + NR - 1) / NR * NR : NC;
    int64_t blocks = (g->M * g->N <= SMALL_C ? SMALL_PART : PACKED_B) / (columns * g->k_step);
    int64_t k_part = (blocks < 1 ? 1 : blocks) * g->k_step;
    if (k_part > g->K) k_part = g->K;
    int alone = packed_alone(g);
    T *packed = alone ? NULL : tl_malloc((size_t)(columns * k_part) * sizeof(T));
    if (!packed && !alone) return -1;
    int failed = 0;
    for (int64_t n = 0; n < g->N; n += NC) {
        for (int64_t k = 0; k < g->K; k += k_part) {
            gemm_part part = {.g = g, .packed = packed, .k0 = k, .n0 = n};
            part.k1 = k + k_part < g->K ? k + k_part : g->K;
            part.n1 = n + NC < g->N ? n + NC : g->N;
            int64_t depth = part.k1 - k, width = part.n1 - n;
            part.panels = (width + NR - 1) / NR;
            if (packed) tl_parallel(part.panels, 1 + TL_GRAIN / (depth * NR + 1), pack_b_range, &part);
            tl_parallel((g->M + ROWS_UNIT - 1) / ROWS_UNIT, grain_for(ROWS_UNIT * depth * width), rows_range, &part);
            failed |= part.failed;
        }
    }
    tl_free(packed);
    return failed ? -1 : 0;
}

/* ---- not so many rows: every thread takes columns, with what it needs of B ---- */

typedef struct {
    const gemm_job *g;
    int failed;
} gemm_columns;

static void columns_range(void *context, int64_t begin, int64_t end) {
    gemm_columns *job = context;
    const gemm_job *g = job->g;
    int b_in_place = g->bn == 1 && (g->M <= MC || (MR > 6 && g->bk * sizeof(T) % ALIASING != 0));
    int in_place = a_in_place(g);
    T few[NR * KC], *copy = NULL;
    if (!in_place) {
        copy = tl_malloc((size_t)strips_size(g->M) * sizeof(T));
        if (!copy) {
            __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
            return;
        }
    }
    for (int64_t k = 0; k < g->K; k = block_end(g, k, g->K)) {
        int64_t depth = block_end(g, k, g->K) - k;
        gemm_strips strips = strips_of(g, 0, g->M, k, depth, copy);
        for (int64_t panel = begin; panel < end; panel++) {
            int64_t n = panel * NR, cols = g->N - n < NR ? g->N - n : NR;
            const T *b = g->b + k * g->bk + n * g->bn;
            if (b_in_place && cols == NR) {
                column_of_tiles(g, strips, 0, g->M, k, depth, b, g->bk, n, cols);
            } else {
                pack_panel(b, g->bk, g->bn, depth, cols, few);
                column_of_tiles(g, strips, 0, g->M, k, depth, few, NR, n, cols);
            }
        }
    }
    tl_free(copy);
}

static int gemm_by_columns(const gemm_job *g) {
    gemm_columns job = {g, 0};
    tl_parallel((g->N + NR - 1) / NR, grain_for(g->M * g->K * NR), columns_range, &job);
    return job.failed ? -1 : 0;
}

/* ---- few rows, B stored transposed: B is read once, where it lies ---- */

static void few_range(void *context, int64_t begin, int64_t end) {
    const gemm_job *g = context;
    T a_copy[FEW * A_STRIDE], last[NR * KC];
    for (int64_t n = begin * FEW_COLUMNS; n < end * FEW_COLUMNS && n < g->N; n += FEW_COLUMNS) {
        int64_t cols = g->N - n < FEW_COLUMNS ? g->N - n : FEW_COLUMNS;
        for (int64_t k = 0; k < g->K; k = block_end(g, k, g->K)) {
            int64_t depth = block_end(g, k, g->K) - k;
            gemm_strips strips = strips_of(g, 0, g->M, k, depth, g->ak == 1 ? NULL : a_copy);
            const T *b = g->b + k + n * g->bn;
            if (cols == FEW_COLUMNS) {
                column_of_tiles(g, strips, 0, g->M, k, depth, b, g->bn, n, cols);
            } else {
                pack_panel(b, 1, g->bn, depth, cols, last);
                column_of_tiles(g, strips, 0, g->M, k, depth, last, NR, n, cols);
            }
        }
    }
}

static void gemm_few(gemm_job g) {
    g.across = 1, g.kmajor = 0;
    /* Memory sets the pace: a thread is worth its start for less work than elsewhere. */
    tl_parallel((g.N + FEW_COLUMNS - 1) / FEW_COLUMNS, 1 + TL_GRAIN / (g.K * FEW_COLUMNS), few_range, &g);
}

/* All of A is read for every panel: it should be small, and the panels should go round. */
static int suits_columns(const gemm_job *g) {
    if (g->M <= 2 * MR) return 1;
    /* Rows of A that a thread wrote in the op before are in its own cache. Of a kmajor A it reads a part of each row, a
     * smaller one than all of it if that is dealt out. */
    if (g->M > g->N && g->M >= 4 * MC && packed_alone(g) && (!g->kmajor || tl_num_threads() > 1)) return 0;
    int64_t panels = (g->N + NR - 1) / NR, threads = tl_num_threads();
    return g->M * g->k_step <= SMALL_A && (g->M <= MC || a_in_place(g)) &&
           (panels % threads == 0 || panels >= 4 * threads);
}
