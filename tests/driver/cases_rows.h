/* Kernels over rows: softmax and its kin, norms, cross-entropy. */

#define ROWS_CASE(name)                                                                \
    CASE(name) {                                                                       \
        int64_t rows = side(r), columns = length(r);                                   \
        const T *x = OWN(range)(r, rows * columns, -6, 6);                             \
        CALL(name)(x, OWN(output)(r, rows * columns, (double)columns), rows, columns); \
    }
ROWS_CASE(softmax)
ROWS_CASE(log_softmax)
#undef ROWS_CASE

#define ROWS_CASE(name)                                                                     \
    CASE(name) {                                                                            \
        int64_t rows = side(r), columns = length(r);                                        \
        const T *dy = OWN(input)(r, rows * columns), *y = OWN(input)(r, rows * columns);    \
        CALL(name)(dy, y, OWN(output)(r, rows * columns, 8 * (double)columns), rows, columns); \
    }
ROWS_CASE(softmax_grad)
ROWS_CASE(log_softmax_grad)
#undef ROWS_CASE

CASE(logsumexp) {
    int64_t rows = side(r), columns = length(r);
    const T *x = OWN(range)(r, rows * columns, -6, 6);
    CALL(logsumexp)(x, OWN(output)(r, rows, (double)columns), rows, columns);
}

CASE(layer_norm) {
    int64_t rows = side(r), columns = length(r);
    double terms = 4 * (double)columns;
    const T *x = OWN(range)(r, rows * columns, -1, 3), *w = OWN(maybe)(r, columns), *b = OWN(maybe)(r, columns);
    T *y = OWN(output)(r, rows * columns, terms), *mean = OWN(output)(r, rows, terms);
    T *rstd = OWN(output)(r, rows, terms);
    CALL(layer_norm)(x, w, b, 1e-2, y, mean, rstd, rows, columns);
}

CASE(rms_norm) {
    int64_t rows = side(r), columns = length(r);
    double terms = 4 * (double)columns;
    const T *x = OWN(range)(r, rows * columns, -1, 3), *w = OWN(maybe)(r, columns);
    T *y = OWN(output)(r, rows * columns, terms), *rstd = OWN(output)(r, rows, terms);
    CALL(rms_norm)(x, w, 1e-2, y, rstd, rows, columns);
}

CASE(layer_norm_grad) {
    int64_t rows = side(r), columns = length(r);
    double terms = 8 * (double)(columns + rows);
    const T *dy = OWN(input)(r, rows * columns), *x = OWN(input)(r, rows * columns), *w = OWN(maybe)(r, columns);
    const T *mean = OWN(range)(r, rows, -1, 1), *rstd = OWN(range)(r, rows, 0.5, 2);
    T *dx = OWN(maybe_output)(r, rows * columns, terms), *dw = OWN(maybe_output)(r, columns, terms);
    T *db = OWN(maybe_output)(r, columns, terms);
    r->status |= CALL(layer_norm_grad)(dy, x, w, mean, rstd, dx, dw, db, rows, columns);
}

CASE(rms_norm_grad) {
    int64_t rows = side(r), columns = length(r);
    double terms = 8 * (double)(columns + rows);
    const T *dy = OWN(input)(r, rows * columns), *x = OWN(input)(r, rows * columns), *w = OWN(maybe)(r, columns);
    const T *rstd = OWN(range)(r, rows, 0.5, 2);
    T *dx = OWN(maybe_output)(r, rows * columns, terms), *dw = OWN(maybe_output)(r, columns, terms);
    r->status |= CALL(rms_norm_grad)(dy, x, w, rstd, dx, dw, rows, columns);
}

/* A class for every row, or -100, which is ignored. */
static int64_t *OWN(targets)(run *r, int64_t rows, int64_t classes) {
    int64_t *targets = reserve(r, (size_t)rows * sizeof *targets, 0, 0, 0);
    for (int64_t i = 0; i < rows; i++) targets[i] = draw(r, 0, 4) ? draw(r, 0, classes - 1) : -100;
    seal(r, targets);
    return targets;
}

CASE(cross_entropy) {
    int64_t rows = side(r), classes = length(r) + 1;
    const T *logits = OWN(range)(r, rows * classes, -6, 6);
    const T *weight = draw(r, 0, 1) ? OWN(range)(r, classes, 0.1, 2) : NULL;
    const int64_t *targets = OWN(targets)(r, rows, classes);
    T *loss = OWN(output)(r, rows, 8 * (double)classes), *lse = OWN(output)(r, rows, (double)classes);
    double smoothing = (double)draw(r, 0, 1) / 10;
    CALL(cross_entropy)(logits, targets, weight, -100, smoothing, loss, lse, rows, classes);
}

CASE(cross_entropy_grad) {
    int64_t rows = side(r), classes = length(r) + 1;
    const T *logits = OWN(range)(r, rows * classes, -6, 6);
    const T *weight = draw(r, 0, 1) ? OWN(range)(r, classes, 0.1, 2) : NULL;
    const int64_t *targets = OWN(targets)(r, rows, classes);
    const T *lse = OWN(range)(r, rows, 5, 8), *dloss = OWN(input)(r, rows);
    T *dlogits = OWN(output)(r, rows * classes, 4 * (double)classes);
    double smoothing = (double)draw(r, 0, 1) / 10;
    CALL(cross_entropy_grad)(dloss, logits, targets, lse, weight, -100, smoothing, dlogits, rows, classes);
}
