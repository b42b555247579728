/* One case per kernel of tinyllm.h, for the type T: sizes and values from the run, one call. driver.c builds its table
 * from the TL_KERNEL lines, so a kernel without a case here does not compile.
 *
 * CASE(name) begins a case; CALL(name) is the kernel in the instruction set in use. Bounds count units in the last
 * place: 8, and two for every number that goes into a result.
 */
#define CASE(name) static void TL_GLUE(case_##name, DTYPE)(run * r)
#define CALL(name) tl_active->TL_GLUE(name, DTYPE)
#define TL_GLUE_(a, b) a##_##b
#define TL_GLUE(a, b) TL_GLUE_(a, b)
#define OWN(name) TL_GLUE(name, DTYPE)

/* ---- arrays ---- */

static void OWN(fill)(run *r, T *x, int64_t n, double low, double high) {
    for (int64_t i = 0; i < n; i++) x[i] = (T)(low + (high - low) * (double)(next(r) >> 40) * 0x1p-24);
}

static T *OWN(range)(run *r, int64_t n, double low, double high) {
    T *x = reserve(r, (size_t)n * sizeof(T), 0, sizeof(T), 0);
    OWN(fill)(r, x, n, low, high);
    seal(r, x);
    return x;
}

static T *OWN(input)(run *r, int64_t n) { return OWN(range)(r, n, -2, 2); }

/* As often as not with zeros, infinities, NaN, denormals and large numbers in it. */
static T *OWN(special)(run *r, int64_t n) {
    static const T values[] = {0, -(T)0.0, INFINITY, -INFINITY, NAN, (T)1e-40, (T)-1e-40, (T)3e38, (T)-3e38,
                               1, -1, 100, -100};
    T *x = reserve(r, (size_t)n * sizeof(T), 0, sizeof(T), 0);
    OWN(fill)(r, x, n, -4, 4);
    int often = (int)draw(r, 0, 1);
    for (int64_t i = 0; i < n && often; i++)
        if (!draw(r, 0, 5)) x[i] = values[draw(r, 0, (int64_t)(sizeof values / sizeof *values) - 1)];
    seal(r, x);
    return x;
}

static T *OWN(maybe)(run *r, int64_t n) { return draw(r, 0, 1) ? OWN(input)(r, n) : NULL; }

/* An output of n elements, each of which sums `terms` numbers. */
static T *OWN(output)(run *r, int64_t n, double terms) {
    double bound = (sizeof(T) == 4 ? FLT_EPSILON : DBL_EPSILON) * (8 + 2 * terms);
    return reserve(r, (size_t)n * sizeof(T), 1, sizeof(T), bound);
}

/* One that the kernel also reads. */
static T *OWN(inout)(run *r, int64_t n, double terms, double low) {
    T *x = OWN(output)(r, n, terms);
    OWN(fill)(r, x, n, low, 2);
    return x;
}

static T *OWN(maybe_output)(run *r, int64_t n, double terms) { return draw(r, 0, 2) ? OWN(output)(r, n, terms) : NULL; }

/* Elements between the first and the last of an array with these strides, and where in between the first lies. */
static int64_t OWN(extent)(int ndim, const int64_t *shape, const int64_t *strides, int64_t *first) {
    int64_t before = 0, after = 0;
    for (int d = 0; d < ndim; d++) {
        if (!shape[d]) return *first = 0;
        if (strides[d] < 0) before -= (shape[d] - 1) * strides[d];
        else after += (shape[d] - 1) * strides[d];
    }
    *first = before;
    return before + after + 1;
}

/* Strides over shape: C or Fortran order, with gaps, reversed and (where `repeats`) broadcast axes. */
static void strides_of(run *r, int ndim, const int64_t *shape, int64_t *strides, int repeats);

static T *OWN(strided)(run *r, int ndim, const int64_t *shape, const int64_t *strides) {
    int64_t first, n = OWN(extent)(ndim, shape, strides, &first);
    return OWN(special)(r, n) + first;
}

#include "cases_flat.h"
#include "cases_rows.h"
#include "cases_attention.h"
#include "cases_ladder.h"

#undef CASE
#undef CALL
#undef OWN
#undef TL_GLUE
#undef TL_GLUE_
