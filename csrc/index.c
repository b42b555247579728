/* Rows and elements by index, and the sums that are their gradients.
 *
 * Gradients add in the order of the input, in double, and each element of the result belongs to one thread: the same
 * bits for any number of threads, however often an index occurs.
 */

/* ---- y = x[ids] ---- */

typedef struct {
    const T *x;
    const int64_t *ids;
    T *y;
    int64_t width;
} take_job;

static void take_range(void *context, int64_t begin, int64_t end) {
    const take_job *job = context;
    for (int64_t i = begin; i < end; i++)
        memcpy(job->y + i * job->width, job->x + job->ids[i] * job->width, (size_t)job->width * sizeof(T));
}

static void FN(take)(const T *x, const int64_t *ids, T *y, int64_t n, int64_t width) {
    take_job job = {x, ids, y, width};
    tl_parallel(n, 1 + TL_GRAIN / (width + 1), take_range, &job);
}

/* ---- its gradient: positions are sorted by id (stable, by counting), then every row of dx is one sum ---- */

enum { TAKE_COLUMNS = 512 };

typedef struct {
    const T *dy;
    const int64_t *start, *order; /* row r adds dy[order[start[r]..start[r + 1] - 1]] */
    T *dx;
    int64_t rows, width;
} take_grad_job;

INLINE void take_grad_row(const take_grad_job *job, int64_t row) {
    const int64_t *order = job->order, stop = job->start[row + 1];
    for (int64_t column = 0; column < job->width; column += TAKE_COLUMNS) {
        int64_t width = job->width - column < TAKE_COLUMNS ? job->width - column : TAKE_COLUMNS;
        double total[TAKE_COLUMNS];
        for (int64_t j = 0; j < width; j++) total[j] = 0;
        for (int64_t i = job->start[row]; i < stop; i++) {
            const T *dy = job->dy + order[i] * job->width + column;
            const T *next = job->dy + order[i + 1 < stop ? i + 1 : i] * job->width + column;
            for (int64_t j = 0; j < width; j += 64 / (int64_t)sizeof(T)) __builtin_prefetch(next + j);
            for (int64_t j = 0; j < width; j++) total[j] += dy[j];
        }
        T *dx = job->dx + row * job->width + column;
        for (int64_t j = 0; j < width; j++) dx[j] = (T)total[j];
    }
}

/* Work is counted in terms to add and rows to write, so that threads share it however often an id occurs: row r lies at
 * start[r] + r. A range does the rows that lie in it. */
static void take_grad_range(void *context, int64_t begin, int64_t end) {
    const take_grad_job *job = context;
    int64_t row = 0;
    for (int64_t above = job->rows; row < above;) {
        int64_t middle = row + (above - row) / 2;
        if (job->start[middle] + middle < begin) row = middle + 1;
        else above = middle;
    }
    for (; row < job->rows && job->start[row] + row < end; row++) take_grad_row(job, row);
}

static int FN(take_grad)(const T *dy, const int64_t *ids, T *dx, int64_t n, int64_t rows, int64_t width) {
    if (rows == 0 || width == 0) return 0;
    int64_t *start = tl_malloc((size_t)(rows + 1 + n) * sizeof(int64_t)), *order = start + rows + 1;
    if (!start) return -1;
    memset(start, 0, (size_t)(rows + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < n; i++) start[ids[i] + 1]++;
    for (int64_t r = 0; r < rows; r++) start[r + 1] += start[r];
    /* Filling moves start[r] to the end of row r, which is where row r + 1 began. */
    for (int64_t i = 0; i < n; i++) order[start[ids[i]]++] = i;
    memmove(start + 1, start, (size_t)rows * sizeof(int64_t));
    start[0] = 0;
    take_grad_job job = {dy, start, order, dx, rows, width};
    tl_parallel(n + rows, 1 + TL_GRAIN / width, take_grad_range, &job);
    tl_free(start);
    return 0;
}

/* ---- y[o, j, i] = x[o, index[o, j, i], i] ---- */

typedef struct {
    const T *x;
    const int64_t *index;
    T *y;
    int64_t n, count, inner;
    int failed;
} gather_job;

static void gather_range(void *context, int64_t begin, int64_t end) {
    const gather_job *job = context;
    int64_t size = job->count * job->inner;
    for (int64_t o = begin; o < end; o++) {
        const T *x = job->x + o * job->n * job->inner;
        for (int64_t e = o * size, i = 0; e < (o + 1) * size; e++) {
            job->y[e] = x[job->index[e] * job->inner + i];
            if (++i == job->inner) i = 0;
        }
    }
}

static void FN(gather)(const T *x, const int64_t *index, T *y, int64_t outer, int64_t n, int64_t count, int64_t inner) {
    gather_job job = {x, index, y, n, count, inner, 0};
    tl_parallel(outer, 1 + TL_GRAIN / (count * inner + 1), gather_range, &job);
}

static void gather_grad_range(void *context, int64_t begin, int64_t end) {
    gather_job *job = context;
    int64_t size = job->count * job->inner, slab = job->n * job->inner;
    if (job->count == 1) { /* nothing is added up, as in the loss of one class a row */
        memset(job->y + begin * slab, 0, (size_t)((end - begin) * slab) * sizeof(T));
        for (int64_t o = begin; o < end; o++)
            for (int64_t i = 0; i < job->inner; i++)
                job->y[o * slab + job->index[o * job->inner + i] * job->inner + i] += job->x[o * job->inner + i];
        return;
    }
    double *total = tl_malloc((size_t)slab * sizeof(double));
    if (!total) {
        __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (int64_t o = begin; o < end; o++) {
        memset(total, 0, (size_t)slab * sizeof(double));
        for (int64_t e = o * size, i = 0; e < (o + 1) * size; e++) {
            total[job->index[e] * job->inner + i] += job->x[e];
            if (++i == job->inner) i = 0;
        }
        for (int64_t e = 0; e < slab; e++) job->y[o * slab + e] = (T)total[e];
    }
    tl_free(total);
}

static int FN(gather_grad)(const T *dy, const int64_t *index, T *dx, int64_t outer, int64_t n, int64_t count,
                           int64_t inner) {
    gather_job job = {dy, index, dx, n, count, inner, 0};
    tl_parallel(outer, 1 + TL_GRAIN / ((n + count) * inner + 1), gather_grad_range, &job);
    return job.failed ? -1 : 0;
}
