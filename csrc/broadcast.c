/* Kernels over two or three operands of one shape and any strides: arithmetic, comparisons, where, copy.
 *
 * A row is a run of the innermost loop (nest.h). Rows with operand strides of 1 or 0 are done in vectors, which covers
 * equal shapes, scalars, and bias-like and column-like broadcasts; others go element by element.
 */

/* ---- out = f(a, b) ---- */

typedef void (*binary_row)(const T *a, int64_t sa, const T *b, int64_t sb, T *out, int64_t n);

INLINE V x_load(const T *p, int64_t stride, int64_t i, int64_t n) {
    if (stride == 0) return v_splat(*p);
    if (stride == 1) return n >= (int)W ? v_load(p + i) : v_load_n(p + i, n);
    V x = v_zero();
    for (int64_t lane = 0; lane < (n < (int)W ? n : (int)W); lane++) x[lane] = p[(i + lane) * stride];
    return x;
}

/* Python's remainder has the sign of b, floor_divide goes with it: a == floor_divide(a, b) * b + remainder(a, b). In
 * double for both types, so that float's quotient is not rounded twice. */
INLINE T x_remainder(T a, T b) {
    double r = fmod(a, b);
    if (r == 0) return (T)copysign(0.0, b);
    return (T)((b < 0) != (r < 0) ? r + b : r);
}

INLINE T x_floor_divide(T a, T b) {
    if (b == 0) return a / b;
    double r = fmod(a, b), q = ((double)a - r) / b;
    if (r != 0 && (b < 0) != (r < 0)) q -= 1;
    if (q == 0) return (T)copysign(0.0, (double)a / b);
    double whole = floor(q);
    return (T)(q - whole > 0.5 ? whole + 1 : whole);
}

#define TL_BINARY(X)                                   \
    X(ADD, x + y)                                      \
    X(SUB, x - y)                                      \
    X(MUL, x * y)                                      \
    X(DIV, x / y)                                      \
    X(POW, v_pow(x, y))                                \
    X(MAXIMUM, v_maximum(x, y))                        \
    X(MINIMUM, v_minimum(x, y))                        \
    X(FMOD, V_MAP2(LIBM(fmod), x, y))                  \
    X(REMAINDER, V_MAP2(x_remainder, x, y))            \
    X(FLOOR_DIVIDE, V_MAP2(x_floor_divide, x, y))      \
    X(ATAN2, V_MAP2(LIBM(atan2), x, y))

#define TL_DEFINE(name, expression)                                                                          \
    INLINE void binary_loop_##name(const T *a, int64_t sa, const T *b, int64_t sb, T *out, int64_t n) {      \
        int64_t i = 0;                                                                                       \
        for (; i + (int)W <= n; i += W) {                                                                    \
            V x = x_load(a, sa, i, W), y = x_load(b, sb, i, W);                                              \
            v_store(out + i, expression);                                                                    \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            V x = x_load(a, sa, i, n - i), y = x_load(b, sb, i, n - i);                                      \
            v_store_n(out + i, expression, n - i);                                                           \
        }                                                                                                    \
    }                                                                                                        \
    static void binary_##name(const T *a, int64_t sa, const T *b, int64_t sb, T *out, int64_t n) {           \
        if (sa == 1 && sb == 1) binary_loop_##name(a, 1, b, 1, out, n);                                      \
        else if (sa == 1 && sb == 0) binary_loop_##name(a, 1, b, 0, out, n);                                 \
        else if (sa == 0 && sb == 1) binary_loop_##name(a, 0, b, 1, out, n);                                 \
        else binary_loop_##name(a, sa, b, sb, out, n);                                                       \
    }
TL_BINARY(TL_DEFINE)
TL_DEFINE(CUBE, x * y * y)
#undef TL_DEFINE

/* Squares and cubes are what pow is mostly asked for. */
static void binary_power(const T *a, int64_t sa, const T *b, int64_t sb, T *out, int64_t n) {
    if (sb == 0 && *b == 2)
        binary_MUL(a, sa, a, sa, out, n);
    else if (sb == 0 && *b == 3)
        binary_CUBE(a, sa, a, sa, out, n);
    else
        binary_POW(a, sa, b, sb, out, n);
}

typedef struct {
    nest n;
    binary_row row;
    const T *a, *b;
    T *out;
} binary_job;

INLINE void binary_nest_row(const void *context, const int64_t *at, const int64_t *s, int64_t position, int64_t n) {
    const binary_job *job = context;
    job->row(job->a + at[0], s[0], job->b + at[1], s[1], job->out + position, n);
}

static void binary_range(void *job, int64_t begin, int64_t end) {
    nest_rows(&((binary_job *)job)->n, begin, end, binary_nest_row, job);
}

static binary_row binary_row_of(int op) {
#define TL_ENTRY(name, expression) [TL_BINARY_##name] = binary_##name,
    static const binary_row table[] = {TL_BINARY(TL_ENTRY)};
#undef TL_ENTRY
    return op == TL_BINARY_POW ? binary_power : table[op];
}

static void FN(binary)(int op, int ndim, const int64_t *dims, const T *a, const T *b, T *out) {
    binary_job job = {nest_of(ndim, dims, 2), binary_row_of(op), a, b, out};
    tl_parallel(nest_size(&job.n), TL_GRAIN, binary_range, &job);
}

typedef struct {
    binary_row row;
    const T *a, *b;
    int64_t sa, sb;
    T *out;
} binary_flat_job;

static void binary_flat_range(void *context, int64_t begin, int64_t end) {
    const binary_flat_job *job = context;
    job->row(job->a + begin * job->sa, job->sa, job->b + begin * job->sb, job->sb, job->out + begin, end - begin);
}

static void FN(binary_flat)(int op, int64_t n, const T *a, int64_t sa, const T *b, int64_t sb, T *out) {
    binary_flat_job job = {binary_row_of(op), a, b, sa, sb, out};
    tl_parallel(n, TL_GRAIN, binary_flat_range, &job);
}

/* ---- out = a < b and its kin, as bytes ---- */

typedef void (*compare_row)(const T *a, int64_t sa, const T *b, int64_t sb, uint8_t *out, int64_t n);

#define TL_COMPARE(X)                          \
    X(EQ, x == y)                              \
    X(NE, x != y)                              \
    X(LT, x < y)                               \
    X(LE, x <= y)                              \
    X(GT, x > y)                               \
    X(GE, x >= y)                              \
    X(LOGICAL_AND, (x != 0) & (y != 0))        \
    X(LOGICAL_OR, (x != 0) | (y != 0))         \
    X(LOGICAL_XOR, (x != 0) ^ (y != 0))

#define TL_DEFINE(name, expression)                                                                          \
    INLINE void compare_loop_##name(const T *a, int64_t sa, const T *b, int64_t sb, uint8_t *restrict out, int64_t n) { \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            T x = a[i * sa], y = b[i * sb];                                                                  \
            out[i] = expression;                                                                             \
        }                                                                                                    \
    }                                                                                                        \
    static void compare_##name(const T *a, int64_t sa, const T *b, int64_t sb, uint8_t *out, int64_t n) {    \
        if (sa == 1 && sb == 1) compare_loop_##name(a, 1, b, 1, out, n);                                     \
        else if (sa == 1 && sb == 0) compare_loop_##name(a, 1, b, 0, out, n);                                \
        else compare_loop_##name(a, sa, b, sb, out, n);                                                      \
    }
TL_COMPARE(TL_DEFINE)
#undef TL_DEFINE

typedef struct {
    nest n;
    compare_row row;
    const T *a, *b;
    uint8_t *out;
} compare_job;

INLINE void compare_nest_row(const void *context, const int64_t *at, const int64_t *s, int64_t position, int64_t n) {
    const compare_job *job = context;
    job->row(job->a + at[0], s[0], job->b + at[1], s[1], job->out + position, n);
}

static void compare_range(void *job, int64_t begin, int64_t end) {
    nest_rows(&((compare_job *)job)->n, begin, end, compare_nest_row, job);
}

static void FN(compare)(int op, int ndim, const int64_t *dims, const T *a, const T *b, uint8_t *out) {
#define TL_ENTRY(name, expression) [TL_COMPARE_##name] = compare_##name,
    static const compare_row table[] = {TL_COMPARE(TL_ENTRY)};
#undef TL_ENTRY
    compare_job job = {nest_of(ndim, dims, 2), table[op], a, b, out};
    tl_parallel(nest_size(&job.n), TL_GRAIN, compare_range, &job);
}

/* ---- out = cond ? a : b ---- */

typedef struct {
    nest n;
    const uint8_t *cond;
    const T *a, *b;
    T *out;
} where_job;

INLINE void where_row(const uint8_t *cond, int64_t sc, const T *a, int64_t sa, const T *b, int64_t sb,
                      T *restrict out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        T x = a[i * sa], y = b[i * sb];
        out[i] = cond[i * sc] ? x : y;
    }
}

INLINE void where_nest_row(const void *context, const int64_t *at, const int64_t *s, int64_t position, int64_t n) {
    const where_job *job = context;
    const uint8_t *cond = job->cond + at[0];
    const T *a = job->a + at[1], *b = job->b + at[2];
    T *out = job->out + position;
    if (s[0] == 1 && s[1] == 1 && s[2] == 1) where_row(cond, 1, a, 1, b, 1, out, n);
    else if (s[0] == 1 && s[1] == 1 && s[2] == 0) where_row(cond, 1, a, 1, b, 0, out, n);
    else if (s[0] == 1 && s[1] == 0 && s[2] == 1) where_row(cond, 1, a, 0, b, 1, out, n);
    else where_row(cond, s[0], a, s[1], b, s[2], out, n);
}

static void where_range(void *job, int64_t begin, int64_t end) {
    nest_rows(&((where_job *)job)->n, begin, end, where_nest_row, job);
}

static void FN(where)(int ndim, const int64_t *dims, const uint8_t *cond, const T *a, const T *b, T *out) {
    where_job job = {nest_of(ndim, dims, 3), cond, a, b, out};
    tl_parallel(nest_size(&job.n), TL_GRAIN, where_range, &job);
}

/* ---- dst += src ---- */

typedef struct {
    T *dst;
    const T *src;
} add_job;

static void add_range(void *context, int64_t begin, int64_t end) {
    add_job *job = context;
    binary_ADD(job->dst + begin, 1, job->src + begin, 1, job->dst + begin, end - begin);
}

static void FN(add)(T *dst, const T *src, int64_t n) {
    add_job job = {dst, src};
    tl_parallel(n, TL_GRAIN, add_range, &job);
}

/* ---- to = from, both strided ---- */

enum { COPY_TILE = 2 * W };

typedef struct {
    nest n;
    const T *from;
    T *to;
} copy_job;

INLINE void copy_nest_row(const void *context, const int64_t *at, const int64_t *s, int64_t position, int64_t n) {
    const copy_job *job = context;
    const T *from = job->from + at[0];
    T *to = job->to + at[1];
    (void)position;
    if (s[0] == 1 && s[1] == 1)
        memcpy(to, from, (size_t)n * sizeof(T));
    else
        for (int64_t i = 0; i < n; i++) to[i * s[1]] = from[i * s[0]];
}

static void copy_range(void *job, int64_t begin, int64_t end) {
    nest_rows(&((copy_job *)job)->n, begin, end, copy_nest_row, job);
}

/* The last two loops are a transposition: source rows run along the first, target rows along the second. In square tiles
 * both sides use whole cache lines. Items are tiles of rows of the target, over all outer loops. */
static void copy_transposed(void *context, int64_t begin, int64_t end) {
    const copy_job *job = context;
    nest outer = job->n;
    int last = outer.ndim - 1;
    int64_t rows = outer.shape[last - 1], cols = outer.shape[last], tiles = (rows + COPY_TILE - 1) / COPY_TILE;
    int64_t from_col = outer.stride[0][last], to_row = outer.stride[1][last - 1];
    outer.ndim -= 2;
    for (int64_t item = begin; item < end; item++) {
        walk w = nest_at(&outer, item / tiles);
        int64_t r0 = item % tiles * COPY_TILE, r1 = r0 + COPY_TILE < rows ? r0 + COPY_TILE : rows;
        const T *from = job->from + w.at[0];
        T *to = job->to + w.at[1];
        for (int64_t c0 = 0; c0 < cols; c0 += W) {
            int64_t n = cols - c0 < (int)W ? cols - c0 : (int)W;
            for (int64_t r = r0; r < r1; r += W) {
                int64_t m = r1 - r < (int)W ? r1 - r : (int)W;
                V x[W];
                for (int i = 0; i < (int)W; i++)
                    x[i] = i >= n ? v_zero() : m == (int)W ? v_load(from + (c0 + i) * from_col + r)
                                                           : v_load_n(from + (c0 + i) * from_col + r, m);
                v_transpose(x);
                for (int64_t i = 0; i < m; i++)
                    if (n == (int)W) v_store(to + (r + i) * to_row + c0, x[i]);
                    else v_store_n(to + (r + i) * to_row + c0, x[i], n);
            }
        }
    }
}

static void FN(copy)(int ndim, const int64_t *dims, const T *from, T *to) {
    copy_job job = {nest_of(ndim, dims, 2), from, to};
    int64_t size = nest_size(&job.n);
    if (size == 0) return;
    int last = job.n.ndim - 1;
    /* Bring the loop along which the source is contiguous next to the last one. */
    if (last >= 1 && job.n.stride[1][last] == 1 && job.n.stride[0][last] != 1) {
        for (int d = 0; d < last; d++) {
            if (job.n.stride[0][d] != 1 || job.n.shape[d] < (int)W) continue;
            nest n = job.n;
            for (int e = d; e < last - 1; e++) {
                n.shape[e] = job.n.shape[e + 1];
                for (int o = 0; o < 2; o++) n.stride[o][e] = job.n.stride[o][e + 1];
            }
            n.shape[last - 1] = job.n.shape[d];
            for (int o = 0; o < 2; o++) n.stride[o][last - 1] = job.n.stride[o][d];
            job.n = n;
            int64_t rows = n.shape[last - 1], cols = n.shape[last];
            int64_t items = size / (rows * cols) * ((rows + COPY_TILE - 1) / COPY_TILE);
            tl_parallel(items, 1 + TL_GRAIN / (cols * COPY_TILE), copy_transposed, &job);
            return;
        }
    }
    tl_parallel(size, TL_GRAIN, copy_range, &job);
}
