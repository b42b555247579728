/* Reductions over the middle axis of (outer, count, inner).
 *
 * Sums are taken in T over blocks of REDUCE_BLOCK elements, blocks are added up in double, chunks of REDUCE_CHUNK likewise: the error
 * does not grow with the length, and the order depends on the shape alone. Long reductions give their chunks to different
 * threads; what a chunk yields and the order in which chunks are joined stay the same.
 */

enum { REDUCE_BLOCK = 64, REDUCE_CHUNK = 4096, REDUCE_COLUMNS = 4 * W };

typedef struct {
    int op;
    const T *x;
    T *y;
    double *partial; /* (outer, chunks, inner) */
    int64_t outer, count, inner, chunks, chunk, tiles;
} reduce_job;

INLINE double reduce_start(int op) {
    return op == TL_REDUCE_PROD ? 1.0 : op == TL_REDUCE_MAX ? -INFINITY : op == TL_REDUCE_MIN ? INFINITY : 0.0;
}

#define TL_MAX_(a, b) ((a) != (a) || (a) > (b) ? (a) : (b))
#define TL_MIN_(a, b) ((a) != (a) || (a) < (b) ? (a) : (b))

INLINE double reduce_join(int op, double a, double b) {
    switch (op) {
    case TL_REDUCE_PROD: return a * b;
    case TL_REDUCE_MAX: return TL_MAX_(a, b);
    case TL_REDUCE_MIN: return TL_MIN_(a, b);
    default: return a + b;
    }
}

INLINE V reduce_vectors(int op, V a, V b) {
    return op == TL_REDUCE_MAX ? v_maximum(a, b) : op == TL_REDUCE_MIN ? v_minimum(a, b) : a + b;
}

/* A run of n elements. Products are taken in double, eight at a time: float would overflow on the way. */
INLINE double reduce_run(int op, const T *x, int64_t n) {
    double total = reduce_start(op);
    int64_t i = 0;
    if (op == TL_REDUCE_PROD) {
        double part[8] = {1, 1, 1, 1, 1, 1, 1, 1};
        for (; i + 8 <= n; i += 8)
            for (int lane = 0; lane < 8; lane++) part[lane] *= x[i + lane];
        for (; i < n; i++) total *= x[i];
        for (int lane = 0; lane < 8; lane++) total *= part[lane];
        return total;
    }
    for (; i + REDUCE_COLUMNS <= n;) {
        V s[4];
        for (int j = 0; j < 4; j++) s[j] = v_load(x + i + j * W);
        i += REDUCE_COLUMNS;
        int64_t end = i + (REDUCE_BLOCK - 1) * REDUCE_COLUMNS;
        for (; i + REDUCE_COLUMNS <= n && i < end; i += REDUCE_COLUMNS)
            for (int j = 0; j < 4; j++) s[j] = reduce_vectors(op, s[j], v_load(x + i + j * W));
        V all = reduce_vectors(op, reduce_vectors(op, s[0], s[1]), reduce_vectors(op, s[2], s[3]));
        double block = op == TL_REDUCE_MAX ? v_hmax(all) : op == TL_REDUCE_MIN ? v_hmin(all) : v_hsum(all);
        total = reduce_join(op, total, block);
    }
    for (; i < n; i++) total = reduce_join(op, total, x[i]);
    return total;
}

static double reduce_any_run(int op, const T *x, int64_t n) {
    switch (op) {
    case TL_REDUCE_PROD: return reduce_run(TL_REDUCE_PROD, x, n);
    case TL_REDUCE_MAX: return reduce_run(TL_REDUCE_MAX, x, n);
    case TL_REDUCE_MIN: return reduce_run(TL_REDUCE_MIN, x, n);
    default: return reduce_run(TL_REDUCE_SUM, x, n);
    }
}

/* `width` <= REDUCE_COLUMNS columns of n rows, into total. */
INLINE void reduce_tile(int op, const T *x, int64_t n, int64_t inner, int64_t width, double *total) {
    for (int64_t j = 0; j < width; j++) total[j] = reduce_start(op);
    if (op == TL_REDUCE_PROD) {
        for (int64_t r = 0; r < n; r++, x += inner)
            for (int64_t j = 0; j < width; j++) total[j] *= x[j];
        return;
    }
    for (int64_t r = 0; r < n;) {
        int64_t end = r + REDUCE_BLOCK < n ? r + REDUCE_BLOCK : n;
        T block[REDUCE_COLUMNS];
        if (width == REDUCE_COLUMNS) {
            V s[4];
            for (int j = 0; j < 4; j++) s[j] = v_load(x + j * W);
            for (r++, x += inner; r < end; r++, x += inner)
                for (int j = 0; j < 4; j++) s[j] = reduce_vectors(op, s[j], v_load(x + j * W));
            for (int j = 0; j < 4; j++) v_store(block + j * W, s[j]);
        } else {
            for (int64_t j = 0; j < width; j += W) {
                int64_t lanes = width - j < (int)W ? width - j : (int)W;
                V s = v_load_n(x + j, lanes);
                for (int64_t q = 1; q < end - r; q++) s = reduce_vectors(op, s, v_load_n(x + q * inner + j, lanes));
                v_store(block + j, s);
            }
            x += (end - r) * inner;
            r = end;
        }
        for (int64_t j = 0; j < width; j++) total[j] = reduce_join(op, total[j], block[j]);
    }
}

static void reduce_any_tile(int op, const T *x, int64_t n, int64_t inner, int64_t width, double *total) {
    switch (op) {
    case TL_REDUCE_PROD: reduce_tile(TL_REDUCE_PROD, x, n, inner, width, total); return;
    case TL_REDUCE_MAX: reduce_tile(TL_REDUCE_MAX, x, n, inner, width, total); return;
    case TL_REDUCE_MIN: reduce_tile(TL_REDUCE_MIN, x, n, inner, width, total); return;
    default: reduce_tile(TL_REDUCE_SUM, x, n, inner, width, total);
    }
}

INLINE T reduce_finish(const reduce_job *job, double total) {
    return (T)(job->op == TL_REDUCE_MEAN ? total / (double)job->count : total);
}

/* The sum of a chunk, or the result where it is the only one. */
INLINE void reduce_deliver(const reduce_job *job, int64_t o, int64_t chunk, int64_t i, double total) {
    if (job->partial) job->partial[(o * job->chunks + chunk) * job->inner + i] = total;
    else job->y[o * job->inner + i] = reduce_finish(job, total);
}

/* An item is a chunk of rows of one tile of columns of one outer index. */
static void reduce_range(void *context, int64_t begin, int64_t end) {
    const reduce_job *job = context;
    for (int64_t item = begin; item < end; item++) {
        int64_t tile = 0, chunk = 0, o = item;
        if (job->tiles > 1) tile = o % job->tiles, o /= job->tiles; /* a division costs as much as a short row */
        if (job->chunks > 1) chunk = o % job->chunks, o /= job->chunks;
        int64_t first = chunk * job->chunk, column = tile * REDUCE_COLUMNS;
        int64_t rows = job->count - first < job->chunk ? job->count - first : job->chunk;
        int64_t width = job->inner - column < REDUCE_COLUMNS ? job->inner - column : REDUCE_COLUMNS;
        const T *x = job->x + (o * job->count + first) * job->inner + column;
        if (job->inner == 1) {
            reduce_deliver(job, o, chunk, 0, reduce_any_run(job->op, x, rows));
            continue;
        }
        double total[REDUCE_COLUMNS] = {0};
        reduce_any_tile(job->op, x, rows, job->inner, width, total);
        for (int64_t j = 0; j < width; j++) reduce_deliver(job, o, chunk, column + j, total[j]);
    }
}

static int FN(reduce)(int op, const T *x, T *y, int64_t outer, int64_t count, int64_t inner) {
    reduce_job job = {op, x, y, NULL, outer, count, inner, 1, 1, 1};
    job.chunk = inner == 1 ? (int64_t)REDUCE_CHUNK * 16 : REDUCE_CHUNK;
    job.chunks = (count + job.chunk - 1) / job.chunk;
    job.tiles = (inner + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS;
    if (job.chunks > 1) {
        job.partial = tl_malloc((size_t)(outer * job.chunks * inner) * sizeof(double));
        if (!job.partial) return -1;
    }
    int64_t rows = count < job.chunk ? count : job.chunk, columns = inner < REDUCE_COLUMNS ? inner : REDUCE_COLUMNS;
    tl_parallel(outer * job.chunks * job.tiles, 1 + TL_GRAIN / (rows * columns + 1), reduce_range, &job);
    if (!job.partial) return 0;
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            double total = reduce_start(op);
            for (int64_t c = 0; c < job.chunks; c++)
                total = reduce_join(op, total, job.partial[(o * job.chunks + c) * inner + i]);
            y[o * inner + i] = reduce_finish(&job, total);
        }
    }
    tl_free(job.partial);
    return 0;
}

/* ---- argmax, argmin ---- */

typedef struct {
    int smallest;
    const T *x;
    int64_t *y;
    int64_t count, inner;
} arg_job;

static void arg_range(void *context, int64_t begin, int64_t end) {
    const arg_job *job = context;
    for (int64_t item = begin; item < end && job->inner == 1; item++) { /* what it is, by vectors, then where */
        const T *x = job->x + item * job->count;
        T best = (T)reduce_any_run(job->smallest ? TL_REDUCE_MIN : TL_REDUCE_MAX, x, job->count);
        int64_t at = 0;
        while (x[at] != best && x[at] == x[at]) at++;
        job->y[item] = at;
    }
    for (int64_t item = begin; item < end && job->inner > 1; item++) {
        const T *x = job->x + item / job->inner * job->count * job->inner + item % job->inner;
        T best = x[0];
        int64_t at = 0;
        for (int64_t i = 1; i < job->count && best == best; i++) {
            T value = x[i * job->inner];
            if ((job->smallest ? value < best : value > best) || value != value) {
                best = value;
                at = i;
            }
        }
        job->y[item] = at;
    }
}

static void FN(arg_reduce)(int smallest, const T *x, int64_t *y, int64_t outer, int64_t count, int64_t inner) {
    arg_job job = {smallest, x, y, count, inner};
    tl_parallel(outer * inner, 1 + TL_GRAIN / (count + 1), arg_range, &job);
}

/* ---- running sums, in double ---- */

typedef struct {
    const T *x;
    T *y;
    int64_t count, inner, tiles;
} cumsum_job;

static void cumsum_range(void *context, int64_t begin, int64_t end) {
    const cumsum_job *job = context;
    for (int64_t item = begin; item < end; item++) {
        int64_t column = item % job->tiles * REDUCE_COLUMNS, start = item / job->tiles * job->count * job->inner + column;
        int64_t width = job->inner - column < REDUCE_COLUMNS ? job->inner - column : REDUCE_COLUMNS;
        double total[REDUCE_COLUMNS] = {0}, sum = 0;
        if (job->inner == 1) { /* a row: the sum stays in a register */
            for (int64_t r = start; r < start + job->count; r++) job->y[r] = (T)(sum += job->x[r]);
            continue;
        }
        for (int64_t r = 0; r < job->count; r++) {
            for (int64_t j = 0; j < width; j++) {
                total[j] += job->x[start + r * job->inner + j];
                job->y[start + r * job->inner + j] = (T)total[j];
            }
        }
    }
}

static void FN(cumsum)(const T *x, T *y, int64_t outer, int64_t count, int64_t inner) {
    cumsum_job job = {x, y, count, inner, (inner + REDUCE_COLUMNS - 1) / REDUCE_COLUMNS};
    tl_parallel(outer * job.tiles, 1 + TL_GRAIN / (count * REDUCE_COLUMNS + 1), cumsum_range, &job);
}
