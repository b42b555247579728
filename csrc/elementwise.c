/* Elementwise kernels: one line an operation, vector expression beside vector expression.
 *
 * Ranges of a thread are cut anywhere: an element's result depends on that element alone.
 */

/* ---- y = f(x) ---- */

INLINE V x_sign(V x) {
    V one = v_splat(1);
    return v_select(x > v_zero(), one, v_select(x < v_zero(), -one, x));
}

INLINE V x_softplus(V x) { return v_log1p(v_exp(-v_abs(x))) + v_max(v_zero(), x); }

/* x cdf(x) = max(0, x) - |x| cdf(-|x|). */
INLINE V x_gelu(V x) {
    V a = v_min(v_splat(NORMAL_END), v_abs(x)), decay, tail = v_normal_tail(a, &decay);
    return v_fnma(a, tail, v_max(v_zero(), x));
}

/* d/dx x cdf(x) = cdf(x) + x pdf(x), which at -x is 1 minus what it is at x; 1/sqrt(2 pi) = 0.3989... */
INLINE V x_gelu_slope(V x) {
    V a = v_min(v_splat(NORMAL_END), v_abs(x)), decay, tail = v_normal_tail(a, &decay);
    V below = v_fnma(a * v_splat((T)0.39894228040143267794), decay, tail);
    return v_select(x > v_zero(), v_splat(1) - below, below);
}

/* 2 sqrt(2/pi) (x + 0.044715 x^3), Hendrycks and Gimpel 2016, section 2. (1 + tanh u) / 2 is sigmoid(2u), which keeps the
 * digits of the negative tail. */
INLINE V x_gelu_tanh_inner(V x) {
    V cubic = v_fma(x * x, v_splat((T)0.044715), v_splat(1));
    return v_splat((T)1.59576912160573071176) * x * cubic;
}

INLINE V x_gelu_tanh(V x) { return x * v_sigmoid(x_gelu_tanh_inner(x)); }

INLINE V x_gelu_tanh_slope(V x) {
    x = v_max(v_splat(-40), v_min(v_splat(40), x)); /* beyond it is 0 or 1, and x^3 would overflow */
    V s = v_sigmoid(x_gelu_tanh_inner(x)), one = v_splat(1);
    V inner = v_splat((T)1.59576912160573071176) * v_fma(x * x, v_splat((T)0.134145), one);
    return v_fma(x * s * (one - s), inner, s);
}

INLINE V x_silu(V x) { return x * v_sigmoid(x); }

INLINE V x_silu_slope(V x) {
    V s = v_sigmoid(x), one = v_splat(1);
    return s * v_fma(x, one - s, one);
}

INLINE V x_mish_slope(V x) {
    V t = v_tanh(x_softplus(x));
    return v_fma(x * (v_splat(1) - t * t), v_sigmoid(x), t);
}

INLINE V x_clip6(V x) { return v_min(v_splat(6), v_max(v_zero(), x)); }
INLINE V x_leaky(V x, V y) { return v_select(x > v_zero(), y, v_splat((T)0.01) * y); }

#define TL_UNARY(X)                                                        \
    X(NEG, -x)                                                             \
    X(ABS, v_abs(x))                                                       \
    X(SIGN, x_sign(x))                                                     \
    X(EXP, v_exp(x))                                                       \
    X(EXPM1, v_expm1(x))                                                   \
    X(LOG, v_log(x))                                                       \
    X(LOG1P, v_log1p(x))                                                   \
    X(LOG2, v_log2(x))                                                     \
    X(SQRT, v_sqrt(x))                                                     \
    X(RSQRT, v_splat(1) / v_sqrt(x))                                       \
    X(RECIPROCAL, v_splat(1) / x)                                          \
    X(SIN, v_sin(x))                                                       \
    X(COS, v_cos(x))                                                       \
    X(TAN, v_tan(x))                                                       \
    X(TANH, v_tanh(x))                                                     \
    X(SINH, v_sinh(x))                                                     \
    X(COSH, v_cosh(x))                                                     \
    X(ASIN, v_asin(x))                                                     \
    X(ACOS, v_acos(x))                                                     \
    X(ATAN, v_atan(x))                                                     \
    X(SIGMOID, v_sigmoid(x))                                               \
    X(ERF, v_erf(x))                                                       \
    X(FLOOR, v_floor(x))                                                   \
    X(CEIL, v_ceil(x))                                                     \
    X(ROUND, v_round(x))                                                   \
    X(TRUNC, v_trunc(x))                                                   \
    X(RELU, v_max(v_zero(), x))                                            \
    X(GELU, x_gelu(x))                                                     \
    X(GELU_TANH, x_gelu_tanh(x))                                           \
    X(SILU, x_silu(x))                                                     \
    X(SOFTPLUS, x_softplus(x))                                             \
    X(MISH, x * v_tanh(x_softplus(x)))                                     \
    X(ELU, v_select(x > v_zero(), x, v_expm1(x)))                          \
    X(LEAKY_RELU, x_leaky(x, x))                                           \
    X(RELU6, x_clip6(x))                                                   \
    X(HARDSWISH, x * (x_clip6(x + v_splat(3)) / v_splat(6)))                \
    X(HARDSIGMOID, x_clip6(x + v_splat(3)) / v_splat(6))                   \
    X(SQUARE, x * x)

typedef struct {
    const T *dy, *x, *y;
    T *out;
} unary_job;

#define TL_DEFINE(name, expression)                                               \
    static void unary_##name(void *context, int64_t i, int64_t end) {             \
        unary_job job = *(unary_job *)context;                                    \
        for (; i + (int)W <= end; i += W) {                                       \
            V x = v_load(job.x + i);                                              \
            v_store(job.out + i, expression);                                     \
        }                                                                         \
        if (i < end) {                                                            \
            V x = v_load_n(job.x + i, end - i);                                   \
            v_store_n(job.out + i, expression, end - i);                          \
        }                                                                         \
    }
TL_UNARY(TL_DEFINE)
#undef TL_DEFINE

static void FN(unary)(int op, const T *x, T *y, int64_t n) {
#define TL_ENTRY(name, expression) [TL_UNARY_##name] = unary_##name,
    static const tl_range table[] = {TL_UNARY(TL_ENTRY)};
#undef TL_ENTRY
    unary_job job = {NULL, x, NULL, y};
    tl_parallel(n, TL_GRAIN, table[op], &job);
}

/* ---- dx = dy f'(x): which of x and y a line reads is GRAD_NEEDS of the reference backend ---- */

#define TL_UNARY_GRAD(X)                                                                     \
    X(NEG, NONE, -dy)                                                                        \
    X(ABS, IN, dy * x_sign(x))                                                               \
    X(SIGN, NONE, dy * v_zero())                                                             \
    X(EXP, OUT, dy * y)                                                                      \
    X(EXPM1, OUT, dy * (y + one))                                                            \
    X(LOG, IN, dy / x)                                                                       \
    X(LOG1P, IN, dy / (x + one))                                                             \
    X(LOG2, IN, dy / (x * v_splat((T)0.69314718055994530942)))                               \
    X(SQRT, OUT, dy / (y + y))                                                               \
    X(RSQRT, OUT, v_splat((T)-0.5) * dy * y * y * y)                                         \
    X(RECIPROCAL, OUT, -dy * y * y)                                                          \
    X(SIN, IN, dy * v_cos(x))                                                                \
    X(COS, IN, -dy * v_sin(x))                                                               \
    X(TAN, OUT, dy * v_fma(y, y, one))                                                       \
    X(TANH, OUT, dy * (one - y * y))                                                         \
    X(SINH, IN, dy * v_cosh(x))                                                              \
    X(COSH, IN, dy * v_sinh(x))                                                              \
    X(ASIN, IN, dy / v_sqrt(one - x * x))                                                    \
    X(ACOS, IN, -dy / v_sqrt(one - x * x))                                                   \
    X(ATAN, IN, dy / v_fma(x, x, one))                                                       \
    X(SIGMOID, OUT, dy * y * (one - y))                                                      \
    X(ERF, IN, dy * v_splat((T)1.12837916709551257390) * v_exp(-x * x))                      \
    X(FLOOR, NONE, dy * v_zero())                                                            \
    X(CEIL, NONE, dy * v_zero())                                                             \
    X(ROUND, NONE, dy * v_zero())                                                            \
    X(TRUNC, NONE, dy * v_zero())                                                            \
    X(RELU, OUT, v_select(y <= v_zero(), v_zero(), dy))                                      \
    X(GELU, IN, dy * x_gelu_slope(x))                                                        \
    X(GELU_TANH, IN, dy * x_gelu_tanh_slope(x))                                              \
    X(SILU, IN, dy * x_silu_slope(x))                                                        \
    X(SOFTPLUS, IN, dy * v_sigmoid(x))                                                       \
    X(MISH, IN, dy * x_mish_slope(x))                                                        \
    X(ELU, OUT, v_select(y > v_zero(), dy, dy * (y + one)))                                  \
    X(LEAKY_RELU, OUT, x_leaky(y, dy))                                                       \
    X(RELU6, OUT, v_select((y <= v_zero()) | (y >= v_splat(6)), v_zero(), dy))               \
    X(HARDSWISH, IN, x_hardswish_grad(dy, x))                                                \
    X(HARDSIGMOID, IN, v_select((x <= v_splat(-3)) | (x >= v_splat(3)), v_zero(), dy / v_splat(6))) \
    X(SQUARE, IN, dy * (x + x))

INLINE V x_hardswish_grad(V dy, V x) {
    V middle = dy * (x / v_splat(3) + v_splat((T)0.5));
    return v_select(x <= v_splat(-3), v_zero(), v_select(x < v_splat(3), middle, dy));
}

#define TL_READS_NONE_X 0
#define TL_READS_NONE_Y 0
#define TL_READS_IN_X 1
#define TL_READS_IN_Y 0
#define TL_READS_OUT_X 0
#define TL_READS_OUT_Y 1

#define TL_DEFINE(name, needs, expression)                                            \
    static void unary_grad_##name(void *context, int64_t i, int64_t end) {            \
        unary_job job = *(unary_job *)context;                                        \
        V one __attribute__((unused)) = v_splat(1);                                   \
        for (; i < end; i += W) {                                                     \
            int64_t n = end - i;                                                      \
            V x = v_zero(), y = v_zero(), dy;                                         \
            if (n >= (int)W) {                                                        \
                dy = v_load(job.dy + i);                                              \
                if (TL_READS_##needs##_X) x = v_load(job.x + i);                      \
                if (TL_READS_##needs##_Y) y = v_load(job.y + i);                      \
                v_store(job.out + i, expression);                                     \
            } else {                                                                  \
                dy = v_load_n(job.dy + i, n);                                         \
                if (TL_READS_##needs##_X) x = v_load_n(job.x + i, n);                 \
                if (TL_READS_##needs##_Y) y = v_load_n(job.y + i, n);                 \
                v_store_n(job.out + i, expression, n);                                \
            }                                                                         \
            (void)x, (void)y;                                                         \
        }                                                                             \
    }
TL_UNARY_GRAD(TL_DEFINE)
#undef TL_DEFINE

static void FN(unary_grad)(int op, const T *dy, const T *x, const T *y, T *dx, int64_t n) {
#define TL_ENTRY(name, needs, expression) [TL_UNARY_##name] = unary_grad_##name,
    static const tl_range table[] = {TL_UNARY_GRAD(TL_ENTRY)};
#undef TL_ENTRY
    unary_job job = {dy, x, y, dx};
    tl_parallel(n, TL_GRAIN, table[op], &job);
}

/* ---- y = act(gate) up, the gated linear units of Shazeer 2020 ---- */

typedef struct {
    const T *dy, *gate, *up;
    T *y, *dgate, *dup;
    int64_t cols, gate_step, up_step;
} gated_job;

/* act, its value, its slope (v is the value). */
#define TL_ACT(X)                                              \
    X(SIGMOID, v_sigmoid(x), v * (v_splat(1) - v))             \
    X(RELU, v_max(v_zero(), x), v_select(v <= v_zero(), v_zero(), v_splat(1))) \
    X(GELU, x_gelu(x), x_gelu_slope(x))                        \
    X(GELU_TANH, x_gelu_tanh(x), x_gelu_tanh_slope(x))         \
    X(SILU, x_silu(x), x_silu_slope(x))

#define TL_DEFINE(name, value, slope)                                                                       \
    static void gated_##name(void *context, int64_t row, int64_t end) {                                     \
        gated_job job = *(gated_job *)context;                                                              \
        for (; row < end; row++) {                                                                          \
            const T *gate = job.gate + row * job.gate_step, *up = job.up + row * job.up_step;               \
            T *y = job.y + row * job.cols;                                                                  \
            int64_t i = 0, n = job.cols;                                                                    \
            for (; i + (int)W <= n; i += W) {                                                               \
                V x = v_load(gate + i);                                                                     \
                v_store(y + i, (value) * v_load(up + i));                                                   \
            }                                                                                               \
            if (i < n) {                                                                                    \
                V x = v_load_n(gate + i, n - i);                                                            \
                v_store_n(y + i, (value) * v_load_n(up + i, n - i), n - i);                                 \
            }                                                                                               \
        }                                                                                                   \
    }                                                                                                       \
    static void gated_grad_##name(void *context, int64_t row, int64_t end) {                                \
        gated_job job = *(gated_job *)context;                                                              \
        for (; row < end; row++) {                                                                          \
            const T *gate = job.gate + row * job.gate_step, *up = job.up + row * job.up_step;               \
            const T *dy = job.dy + row * job.cols;                                                          \
            T *dgate = job.dgate + row * job.cols, *dup = job.dup + row * job.cols;                         \
            for (int64_t i = 0; i < job.cols; i += W) {                                                     \
                int64_t n = job.cols - i < (int)W ? job.cols - i : (int)W;                                  \
                int whole = n == (int)W;                                                                    \
                V x = whole ? v_load(gate + i) : v_load_n(gate + i, n), v = value;                          \
                V g = whole ? v_load(dy + i) : v_load_n(dy + i, n);                                         \
                V u = whole ? v_load(up + i) : v_load_n(up + i, n);                                         \
                V dx = g * u * (slope);                                                                     \
                if (whole) {                                                                                \
                    v_store(dgate + i, dx);                                                                 \
                    v_store(dup + i, g * v);                                                                \
                } else {                                                                                    \
                    v_store_n(dgate + i, dx, n);                                                            \
                    v_store_n(dup + i, g * v, n);                                                           \
                }                                                                                           \
            }                                                                                               \
        }                                                                                                   \
    }
TL_ACT(TL_DEFINE)
#undef TL_DEFINE

static void FN(gated)(int act, int64_t rows, int64_t cols, const T *gate, int64_t gate_step, const T *up,
                      int64_t up_step, T *y) {
#define TL_ENTRY(name, value, slope) [TL_ACT_##name] = gated_##name,
    static const tl_range table[] = {TL_ACT(TL_ENTRY)};
#undef TL_ENTRY
    gated_job job = {NULL, gate, up, y, NULL, NULL, cols, gate_step, up_step};
    tl_parallel(rows, 1 + TL_GRAIN / (cols + 1), table[act], &job);
}

static void FN(gated_grad)(int act, int64_t rows, int64_t cols, const T *dy, const T *gate, int64_t gate_step,
                           const T *up, int64_t up_step, T *dgate, T *dup) {
#define TL_ENTRY(name, value, slope) [TL_ACT_##name] = gated_grad_##name,
    static const tl_range table[] = {TL_ACT(TL_ENTRY)};
#undef TL_ENTRY
    gated_job job = {dy, gate, up, NULL, dgate, dup, cols, gate_step, up_step};
    tl_parallel(rows, 1 + TL_GRAIN / (cols + 1), table[act], &job);
}
