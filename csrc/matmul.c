/* C = A B (+ bias), packed and register-tiled, after Goto and van de Geijn 2008 and BLIS (Van Zee and van de Geijn 2015).
 *
 * B is copied into panels of NR columns, A into strips of MR rows; a tile of MR x NR sums lives in registers over one
 * block of K. Element (i, j) is always the same chain: fma over k in order within a block of K, blocks added in order.
 * Blocks depend on K alone, so results have the same bits for any number of threads, any row of a batch and any M.
 *
 * Legend: a (M, K) with strides am, ak; b (K, N) with strides bk, bn; c (M, N) with strides cm, 1.
 */

#if defined(TL_AVX512) || defined(__aarch64__)
#define TL_MR 12 /* 24 sums + 2 of B + 1 of A in 32 registers */
#else
#define TL_MR 6 /* 12 + 2 + 1 in 16 */
#endif

enum {
    MR = TL_MR,
    NR = 2 * W,
    KC = TL_DOUBLE ? 256 : 512,
    MC = 96,           /* rows of A packed at once: KC * MC elements stay in L2 */
    NC = 4096,         /* columns of B packed at once, */
    PACKED_B = 1 << 21, /* and elements: 8 MB of L3 */
    A_STRIDE = KC + 16, /* of the rows of a packed strip: no power of two, so that they fall into different sets of L1 */
    SMALL_WORK = 1 << 15, /* multiply-adds below which a thread is not worth its start */
};

typedef struct {
    int64_t M, N, K;
    const T *a, *b, *bias;
    T *c;
    int64_t am, ak, bk, bn, cm;
    int accumulate;
    int64_t k_step; /* size of the blocks of K */
} gemm_job;

/* ---- the tile ---- */

#define TL_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)
#if TL_MR == 12
#define TL_MORE_ROWS(X) X(6) X(7) X(8) X(9) X(10) X(11)
#else
#define TL_MORE_ROWS(X)
#endif
#define TL_ALL_ROWS(X) TL_ROWS(X) TL_MORE_ROWS(X)

typedef void (*gemm_tile)(int64_t k, const T *a, const T *b, T *c, int64_t cm, int64_t cols, int add, const T *bias);

/* c[0..h-1][0..cols-1] (+)= a b (+ bias). Inlined with h, row and step known, so every sum is a register. */
INLINE void tile_body(const int h, const int64_t row, const int64_t step, int64_t k, const T *a, const T *b, T *c,
                      int64_t cm, int64_t cols, int add, const T *bias) {
#define TL_ZERO(i) V s##i = v_zero(), t##i = v_zero();
    TL_ALL_ROWS(TL_ZERO)
#undef TL_ZERO
#pragma GCC unroll 4
    for (int64_t p = 0; p < k; p++) {
        V b0 = v_load(b), b1 = v_load(b + W);
#define TL_MULTIPLY(i)                   \
    if (i < h) {                         \
        V x = v_splat(a[i * row]);       \
        s##i = v_fma(x, b0, s##i);       \
        t##i = v_fma(x, b1, t##i);       \
    }
        TL_ALL_ROWS(TL_MULTIPLY)
#undef TL_MULTIPLY
        a += step;
        b += NR;
    }
    if (cols == NR) {
        V bias0 = v_zero(), bias1 = v_zero();
        if (bias) bias0 = v_load(bias), bias1 = v_load(bias + W);
#define TL_WRITE(i)                                                          \
    if (i < h) {                                                             \
        T *to = c + i * cm;                                                  \
        if (add) s##i += v_load(to), t##i += v_load(to + W);                 \
        if (bias) s##i += bias0, t##i += bias1;                              \
        v_store(to, s##i);                                                   \
        v_store(to + W, t##i);                                               \
    }
        TL_ALL_ROWS(TL_WRITE)
#undef TL_WRITE
    } else {
        int64_t n0 = cols < (int)W ? cols : (int)W, n1 = cols - n0;
        V bias0 = v_zero(), bias1 = v_zero();
        if (bias) bias0 = v_load_n(bias, n0), bias1 = v_load_n(bias + W, n1);
#define TL_WRITE(i)                                                                      \
    if (i < h) {                                                                         \
        T *to = c + i * cm;                                                              \
        if (add) s##i += v_load_n(to, n0), t##i += v_load_n(to + W, n1);                 \
        if (bias) s##i += bias0, t##i += bias1;                                          \
        v_store_n(to, s##i, n0);                                                         \
        v_store_n(to + W, t##i, n1);                                                     \
    }
        TL_ALL_ROWS(TL_WRITE)
#undef TL_WRITE
    }
}

/* Strips of rows keep A_STRIDE between rows; strips of a transposed A are k-major with MR rows together. */
#define TL_TILE(i)                                                                                                   \
    static __attribute__((noinline)) void tile_rows_##i(int64_t k, const T *a, const T *b, T *c, int64_t cm,         \
                                                        int64_t cols, int add, const T *bias) {                      \
        tile_body(i + 1, A_STRIDE, 1, k, a, b, c, cm, cols, add, bias);                                              \
    }                                                                                                                \
    static __attribute__((noinline)) void tile_kmajor_##i(int64_t k, const T *a, const T *b, T *c, int64_t cm,       \
                                                          int64_t cols, int add, const T *bias) {                    \
        tile_body(i + 1, 1, MR, k, a, b, c, cm, cols, add, bias);                                                    \
    }
TL_ALL_ROWS(TL_TILE)
#undef TL_TILE

#define TL_ENTRY(i) tile_rows_##i,
static const gemm_tile tiles_rows[] = {TL_ALL_ROWS(TL_ENTRY)};
#undef TL_ENTRY
#define TL_ENTRY(i) tile_kmajor_##i,
static const gemm_tile tiles_kmajor[] = {TL_ALL_ROWS(TL_ENTRY)};
#undef TL_ENTRY

/* ---- packing ---- */

/* b (k, cols <= NR) into to (k, NR), zeros beyond cols. */
static void pack_panel(const T *b, int64_t bk, int64_t bn, int64_t k, int64_t cols, T *to) {
    if (bn == 1) {
        int64_t n0 = cols < (int)W ? cols : (int)W, n1 = cols - n0;
        if (cols == NR) {
            for (int64_t p = 0; p < k; p++, b += bk, to += NR) {
                v_store(to, v_load(b));
                v_store(to + W, v_load(b + W));
            }
        } else {
            for (int64_t p = 0; p < k; p++, b += bk, to += NR) {
                v_store(to, v_load_n(b, n0));
                v_store(to + W, v_load_n(b + W, n1));
            }
        }
        return;
    }
    if (bk == 1) {
        for (int64_t j = 0; j < NR; j += W) {
            for (int64_t p = 0; p < k; p += W) {
                V x[W];
                int64_t n = k - p < (int)W ? k - p : (int)W;
                for (int i = 0; i < (int)W; i++) {
                    const T *from = b + (j + i) * bn + p;
                    x[i] = j + i >= cols ? v_zero() : n == (int)W ? v_load(from) : v_load_n(from, n);
                }
                v_transpose(x);
                for (int64_t i = 0; i < n; i++) v_store(to + (p + i) * NR + j, x[i]);
            }
        }
        return;
    }
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = 0; j < NR; j++) to[p * NR + j] = j < cols ? b[p * bk + j * bn] : 0;
}

/* Rows of a (rows, k) into strips of MR rows; gives the size of a strip. Strips have room for one vector beyond. */
static int64_t pack_strips(const gemm_job *g, const T *a, int64_t rows, int64_t k, int kmajor, T *to) {
    if (kmajor) {
        for (int64_t i = 0; i < rows; i += MR, to += MR * k) {
            int64_t h = rows - i < MR ? rows - i : MR;
            const T *from = a + i;
            for (int64_t p = 0; p < k; p++, from += g->ak)
                for (int64_t r = 0; r < h; r++) to[p * MR + r] = from[r];
        }
        return MR * k;
    }
    for (int64_t i = 0; i < rows; i++) {
        const T *from = a + i * g->am;
        T *row = to + i * A_STRIDE;
        if (g->ak == 1)
            memcpy(row, from, (size_t)k * sizeof(T));
        else
            for (int64_t p = 0; p < k; p++) row[p] = from[p * g->ak];
    }
    return (int64_t)MR * A_STRIDE;
}

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
            int add = k > 0 || g->accumulate;
            for (int64_t panel = 0; panel < part->panels; panel++) {
                int64_t n = part->n0 + panel * NR, cols = part->n1 - n < NR ? part->n1 - n : NR;
                const T *b = packed_panel(part, k, depth, panel);
                const T *bias = g->bias && k + depth == g->K ? g->bias + n : NULL;
                const T *a = strips;
                for (int64_t i = 0; i < rows; i += MR, a += strip) {
                    int64_t h = rows - i < MR ? rows - i : MR;
                    tiles[h - 1](depth, a, b, g->c + (m + i) * g->cm + n, g->cm, cols, add, bias);
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
            gemm_part part = {g, k, k + k_part < g->K ? k + k_part : g->K, n, n + NC < g->N ? n + NC : g->N, 0, packed, 0};
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
        int add = k > 0 || g->accumulate;
        for (int64_t panel = begin; panel < end; panel++) {
            int64_t n = panel * NR, cols = g->N - n < NR ? g->N - n : NR;
            pack_panel(g->b + k * g->bk + n * g->bn, g->bk, g->bn, depth, cols, panel_b);
            const T *bias = g->bias && k + depth == g->K ? g->bias + n : NULL;
            const T *a = strips;
            for (int64_t i = 0; i < g->M; i += MR, a += strip) {
                int64_t h = g->M - i < MR ? g->M - i : MR;
                tiles[h - 1](depth, a, panel_b, g->c + i * g->cm + n, g->cm, cols, add, bias);
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

/* An empty sum: zero, or what is accumulated into, and the bias. */
static void gemm_nothing(const gemm_job *g) {
    for (int64_t i = 0; i < g->M; i++)
        for (int64_t j = 0; j < g->N; j++) {
            T *to = g->c + i * g->cm + j;
            *to = (g->accumulate ? *to : 0) + (g->bias ? g->bias[j] : 0);
        }
}

static int gemm(gemm_job g) {
    if (g.M <= 0 || g.N <= 0) return 0;
    if (g.K <= 0) {
        gemm_nothing(&g);
        return 0;
    }
    if (g.N == 1 && g.cm == 1 && !g.bias) { /* a column: its transpose is a row, with the same sums */
        gemm_job row = {1, g.M, g.K, g.b, g.a, NULL, g.c, g.bn, g.bk, g.ak, g.am, g.M, g.accumulate, 0};
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
        g.a += w.at[0];
        g.b += w.at[1];
        g.c += w.at[2];
        if (gemm(g)) job->failed = 1;
        nest_advance(&job->batch, &w, 1);
    }
}

static int FN(matmul)(int batch_dims, const int64_t *batch, int64_t M, int64_t N, int64_t K, const T *a, int64_t am,
                      int64_t ak, const T *b, int64_t bk, int64_t bn, const T *bias, T *c, int64_t cm, int accumulate) {
    gemm_batch job = {{M, N, K, a, b, bias, c, am, ak, bk, bn, cm, accumulate, 0}, {0}, 0};
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
