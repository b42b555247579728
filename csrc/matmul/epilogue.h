/* What follows a product, done to each tile while it is in L1: scales, activations and their gradients. */

/* act, its value at x, and dy times its slope there (y is the value); the formulas of elementwise.c. */
#define TL_EPILOGUE(X)                                                   \
    X(SIGMOID, v_sigmoid(x), dy * y * (v_splat(1) - y))                  \
    X(RELU, v_max(v_zero(), x), v_select(y <= v_zero(), v_zero(), dy))   \
    X(GELU, x_gelu(x), dy * x_gelu_slope(x))                             \
    X(GELU_TANH, x_gelu_tanh(x), dy * x_gelu_tanh_slope(x))              \
    X(SILU, x_silu(x), dy * x_silu_slope(x))

INLINE V load_upto(const T *p, int64_t n) { return n >= (int)W ? v_load(p) : v_load_n(p, n); }

INLINE void store_upto(T *p, V x, int64_t n) {
    if (n >= (int)W)
        v_store(p, x);
    else
        v_store_n(p, x, n);
}

#define TL_DEFINE(name, act, gradient)                                                                             \
    static void finish_##name(int64_t rows, int64_t cols, T *c, int64_t cm, T *pre, const T *h, T *value,          \
                              int64_t step) {                                                                      \
        (void)h, (void)value;                                                                                      \
        for (int64_t i = 0; i < rows; i++, c += cm) {                                                              \
            for (int64_t j = 0; j < cols; j += W) {                                                                \
                V x = load_upto(c + j, cols - j);                                                                  \
                if (pre) store_upto(pre + i * step + j, x, cols - j);                                              \
                store_upto(c + j, act, cols - j);                                                                  \
            }                                                                                                      \
        }                                                                                                          \
    }                                                                                                              \
    static void finish_grad_##name(int64_t rows, int64_t cols, T *c, int64_t cm, T *pre, const T *h, T *value,     \
                                   int64_t step) {                                                                 \
        (void)pre;                                                                                                 \
        for (int64_t i = 0; i < rows; i++, c += cm) {                                                              \
            for (int64_t j = 0; j < cols; j += W) {                                                                \
                V dy = load_upto(c + j, cols - j), x = load_upto(h + i * step + j, cols - j), y = act;             \
                store_upto(c + j, gradient, cols - j);                                                             \
                if (value) store_upto(value + i * step + j, y, cols - j);                                          \
            }                                                                                                      \
        }                                                                                                          \
    }
TL_EPILOGUE(TL_DEFINE)
#undef TL_DEFINE

static gemm_finish finish_of(const tl_epilogue *e) {
#define TL_ENTRY(name, act, gradient) [TL_ACT_##name] = finish_##name,
    static const gemm_finish forward[] = {TL_EPILOGUE(TL_ENTRY)};
#undef TL_ENTRY
#define TL_ENTRY(name, act, gradient) [TL_ACT_##name] = finish_grad_##name,
    static const gemm_finish backward[] = {TL_EPILOGUE(TL_ENTRY)};
#undef TL_ENTRY
    if (e->act < 0) return NULL;
    return (e->grad_of ? backward : forward)[e->act];
}

static void finish_part(const gemm_job *g, int64_t i, int64_t rows, int64_t n, int64_t cols) {
    int64_t at = i * g->N + n;
    g->finish(rows, cols, g->c + i * g->cm + n, g->cm, g->pre ? g->pre + at : NULL, g->h ? g->h + at : NULL,
              g->value ? g->value + at : NULL, g->N);
}

/* c = alpha sums (+ beta times `from`, in the first block of K; + from = c, in later ones) (+ bias). */
static void scale_tile(const gemm_job *g, const T *sums, const T *from, int64_t from_step, T beta, T *c, int64_t rows,
                       int64_t cols, const T *bias) {
    V alpha = v_splat(g->alpha);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j += W) {
            V x = alpha * v_load(sums + i * NR + j);
            if (from) x = v_fma(v_splat(beta), load_upto(from + i * from_step + j, cols - j), x);
            if (bias) x += load_upto(bias + j, cols - j);
            store_upto(c + i * g->cm + j, x, cols - j);
        }
    }
}

/* What the end of a tile reads or writes, a line or two of each of many rows, comes while its sums are made: by lines
 * along k where fetches are spread, else the most needed of it at once, as a core cannot wait for more. This adds the
 * lines of some rows to `lines` and gives their new end. */
INLINE const T **add_lines(const T **lines, const T *at, int64_t step, int64_t rows, int64_t cols) {
    for (int64_t i = 0; at && i < rows; i++, at += step)
        for (int64_t j = 0; j < cols; j += LINE) *lines++ = at + j;
    return lines;
}

/* One block of K of the part of c at row i, column n, and what follows the last block. */
static void tile_and_epilogue(const gemm_job *g, int64_t k, int64_t depth, const T *a, int64_t a_step, const T *b,
                              int64_t b_step, int64_t i, int64_t rows, int64_t n, int64_t cols) {
    gemm_tile tile = g->across && cols == FEW_COLUMNS ? tile_across(rows) : tile_for(rows, g->kmajor, cols);
    T *c = g->c + i * g->cm + n;
    int last = k + depth == g->K;
    const T *bias = g->bias && last ? g->bias + n : NULL;
    const T *from = k > 0 ? c : g->add ? g->add + i * g->add_step + n : NULL;
    int64_t from_step = k > 0 ? g->cm : g->add_step;
    const T *lines[4 * MR * LINES], **end = lines;
    int64_t at = i * g->N + n, spread = spreads(g->kmajor);
    if (spread || (k == 0 && !g->h)) end = add_lines(end, c, g->cm, rows, cols);
    if (last && g->h) end = add_lines(end, g->h + at, g->N, rows, cols);
    if (spread && from != c) end = add_lines(end, from, from_step, rows, cols);
    if (spread && last && g->pre && !g->h) end = add_lines(end, g->pre + at, g->N, rows, cols);
    if (spread && last && g->value && g->value != g->h) end = add_lines(end, g->value + at, g->N, rows, cols);
    for (const T **line = lines; !spread && line < end; line++) __builtin_prefetch(*line, 1);
    if (g->alpha == 1 && (g->beta == 1 || !g->add)) {
        tile(depth, a, a_step, b, b_step, from, from_step, c, g->cm, cols, bias, lines, end - (end > lines));
    } else {
        T sums[MR * NR];
        tile(depth, a, a_step, b, b_step, NULL, 0, sums, NR, cols > (int)W ? NR : (int)W, NULL, lines,
             end - (end > lines));
        scale_tile(g, sums, from, from_step, k > 0 ? 1 : g->beta, c, rows, cols, bias);
    }
    if (last && g->finish) finish_part(g, i, rows, n, cols);
}

/* An empty sum. */
static void epilogue_alone(const gemm_job *g) {
    for (int64_t i = 0; i < g->M; i++)
        for (int64_t j = 0; j < g->N; j++)
            g->c[i * g->cm + j] = (g->add ? g->beta * g->add[i * g->add_step + j] : 0) + (g->bias ? g->bias[j] : 0);
    if (g->finish) finish_part(g, 0, g->M, 0, g->N);
}
