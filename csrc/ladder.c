/* Kernels to learn from, and a yardstick: the engine calls none of them. docs/ladder.md climbs them rung by rung. */

/* ---- matrix product: c (M, N) = a (M, K) b (K, N), all contiguous; each rung adds one idea to the one before ---- */

typedef struct {
    int64_t M, N, K;
    const T *a, *b;
    T *c;
    int failed;
} product;

/* Where a rung is to do one thing at a time, the compiler must not make vectors of it: it leaves loops around it alone. */
#define ONE_AT_A_TIME __asm__ volatile("")

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rung 1, naive: the definition. b is read down its columns, a new cache line for every number. */
static void matmul_naive(product *p) {
    for (int64_t i = 0; i < p->M; i++)
        for (int64_t j = 0; j < p->N; j++) {
            T sum = 0;
            for (int64_t k = 0; k < p->K; k++) {
                sum += p->a[i * p->K + k] * p->b[k * p->N + j];
                ONE_AT_A_TIME;
            }
            p->c[i * p->N + j] = sum;
        }
}

static void zero_product(product *p) { memset(p->c, 0, (size_t)(p->M * p->N) * sizeof(T)); }

/* Rung 2, order of loops: the same multiply-adds, but b and c are read along their rows. */
static void matmul_order(product *p) {
    zero_product(p);
    for (int64_t i = 0; i < p->M; i++)
        for (int64_t k = 0; k < p->K; k++) {
            T x = p->a[i * p->K + k];
            for (int64_t j = 0; j < p->N; j++) {
                p->c[i * p->N + j] += x * p->b[k * p->N + j];
                ONE_AT_A_TIME;
            }
        }
}

/* c[0..n-1] += x b[0..n-1], W at a time. */
INLINE void add_scaled(T x, const T *b, T *c, int64_t n) {
    V xs = v_splat(x);
    int64_t j = 0;
    for (; j + W <= n; j += W) v_store(c + j, v_fma(xs, v_load(b + j), v_load(c + j)));
    if (j < n) v_store_n(c + j, v_fma(xs, v_load_n(b + j, n - j), v_load_n(c + j, n - j)), n - j);
}

/* Rung 3, vectors: one instruction for W multiply-adds. */
static void matmul_vector(product *p) {
    zero_product(p);
    for (int64_t i = 0; i < p->M; i++)
        for (int64_t k = 0; k < p->K; k++) add_scaled(p->a[i * p->K + k], p->b + k * p->N, p->c + i * p->N, p->N);
}

enum { BLOCK_K = 64, BLOCK_N = 4096 / sizeof(T) };

/* Rows m0..m1-1 and columns n0..n1-1 of rung 4. */
static void blocked_part(product *p, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    for (int64_t k0 = 0; k0 < p->K; k0 += BLOCK_K)
        for (int64_t j = n0; j < n1; j += BLOCK_N)
            for (int64_t i = m0; i < m1; i++)
                for (int64_t k = k0; k < lesser(k0 + BLOCK_K, p->K); k++)
                    add_scaled(p->a[i * p->K + k], p->b + k * p->N + j, p->c + i * p->N + j, lesser(BLOCK_N, n1 - j));
}

/* Rung 4, blocks: a part of b that fits into L2 is used for every row of a before the next part is fetched. */
static void matmul_blocked(product *p) {
    zero_product(p);
    blocked_part(p, 0, p->M, 0, p->N);
}

/* Rung 5, register tile: TILE_M x TILE_N sums stay in registers for a whole block of K. */
enum { TILE_M = 6, TILE_N = 2 * W, TILE_K = 512 };

/* c (TILE_M, TILE_N) += a (TILE_M, k) b (k, TILE_N), with steps between their rows. All loops over i are unrolled, so that
 * the sums are registers: in an array whose index is a variable they would be memory. */
INLINE void tile_product(int64_t k, const T *a, int64_t a_step, const T *b, int64_t b_step, T *c, int64_t c_step) {
    V left[TILE_M], right[TILE_M];
#pragma GCC unroll 6
    for (int i = 0; i < TILE_M; i++) left[i] = right[i] = v_zero();
    for (int64_t l = 0; l < k; l++) {
        V b0 = v_load(b + l * b_step), b1 = v_load(b + l * b_step + W);
#pragma GCC unroll 6
        for (int i = 0; i < TILE_M; i++) {
            V x = v_splat(a[i * a_step + l]);
            left[i] = v_fma(x, b0, left[i]);
            right[i] = v_fma(x, b1, right[i]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < TILE_M; i++) {
        v_store(c + i * c_step, v_load(c + i * c_step) + left[i]);
        v_store(c + i * c_step + W, v_load(c + i * c_step + W) + right[i]);
    }
}

static void matmul_tile(product *p) {
    zero_product(p);
    int64_t M = p->M - p->M % TILE_M, N = p->N - p->N % TILE_N;
    for (int64_t k = 0; k < p->K; k += TILE_K)
        for (int64_t j = 0; j < N; j += TILE_N)
            for (int64_t i = 0; i < M; i += TILE_M)
                tile_product(lesser(TILE_K, p->K - k), p->a + i * p->K + k, p->K, p->b + k * p->N + j, p->N,
                             p->c + i * p->N + j, p->N);
    blocked_part(p, M, p->M, 0, N); /* what no tile fits into goes by the rung below */
    blocked_part(p, 0, p->M, N, p->N);
}

/* Rows m0..m1-1 of rung 6: the columns of b under a tile are copied, so that they lie together. */
static void packed_rows(product *p, int64_t m0, int64_t m1) {
    int64_t N = p->N - p->N % TILE_N, m = m1 - (m1 - m0) % TILE_M;
    T *panel = tl_malloc(TILE_K * TILE_N * sizeof(T));
    if (!panel) {
        __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (int64_t k0 = 0; k0 < p->K; k0 += TILE_K)
        for (int64_t j = 0; j < N; j += TILE_N) {
            int64_t depth = lesser(TILE_K, p->K - k0);
            for (int64_t k = 0; k < depth; k++)
                memcpy(panel + k * TILE_N, p->b + (k0 + k) * p->N + j, TILE_N * sizeof(T));
            for (int64_t i = m0; i < m; i += TILE_M)
                tile_product(depth, p->a + i * p->K + k0, p->K, panel, TILE_N, p->c + i * p->N + j, p->N);
        }
    tl_free(panel);
    blocked_part(p, m, m1, 0, N);
    blocked_part(p, m0, m1, N, p->N);
}

/* Rung 6, packing. */
static void matmul_packed(product *p) {
    zero_product(p);
    packed_rows(p, 0, p->M);
}

static void threaded_range(void *context, int64_t begin, int64_t end) {
    product *p = context;
    packed_rows(p, begin * TILE_M, lesser(end * TILE_M, p->M));
}

/* Rung 7, threads: each takes whole tiles of rows, so every sum is made in the same order as by one thread. */
static void matmul_threaded(product *p) {
    zero_product(p);
    tl_parallel((p->M + TILE_M - 1) / TILE_M, 1, threaded_range, p);
}

static int FN(ladder_matmul)(int rung, int64_t M, int64_t N, int64_t K, const T *a, const T *b, T *c) {
    static void (*const rungs[])(product *) = {matmul_naive, matmul_order,  matmul_vector,  matmul_blocked,
                                               matmul_tile,  matmul_packed, matmul_threaded};
    product p = {M, N, K, a, b, c, 0};
    rungs[rung](&p);
    return p.failed ? -1 : 0;
}

/* ---- the yardstick: as many multiply-adds as the machine can do ---- */

/* A multiply-add takes some four cycles and two can start in each, so eight independent chains keep the units busy;
 * without FMA a chain is a multiplication and an addition, six cycles. Twelve do for both, and fit sixteen registers. */
#define PEAK_CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

typedef struct {
    int64_t steps;
    T x, y; /* numbers that the compiler does not know */
    T *out;
} peak_job;

static void peak_range(void *context, int64_t begin, int64_t end) {
    peak_job *job = context;
    V x = v_splat(job->x), y = v_splat(job->y);
    for (int64_t i = begin; i < end; i++) {
#define START(c) V s##c = v_splat((T)c);
        PEAK_CHAINS(START)
#undef START
        for (int64_t step = 0; step < job->steps; step++) {
#define MULTIPLY_ADD(c) s##c = v_fma(s##c, x, y);
            PEAK_CHAINS(MULTIPLY_ADD)
#undef MULTIPLY_ADD
        }
        V sum = v_zero();
#define COLLECT(c) sum += s##c;
        PEAK_CHAINS(COLLECT)
#undef COLLECT
        job->out[i] = v_hsum(sum) / W;
    }
}

static double FN(fma_peak)(int64_t steps, int64_t n, T *out) {
    peak_job job = {steps, (T)0.5, (T)0.25, out};
    tl_parallel(n, 1, peak_range, &job);
    return 2.0 * 12 * W * (double)steps * (double)n;
}
