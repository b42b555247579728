/* Uniform and normal numbers and dropout, from counters (philox.h). Element i of the output is element base + i of the
 * stream, so that any slice on any thread has the same numbers.
 */
#include "philox.h"

enum { RANDOM_CHUNK = 1024 }; /* elements a time, so that the words stay in L1; a multiple of 4 */

typedef struct {
    const T *x;
    T *out, scale;
    uint64_t base, stream;
    uint32_t key[2];
    int32_t threshold;
} random_job;

/* Run `body` over elements i .. i + n - 1 of the range, whose words are w[0] .. w[n - 1]. */
#define RANDOM_EACH(job, i, end, ...)                                                                        \
    for (; i < end; i += RANDOM_CHUNK) {                                                                     \
        uint32_t buffer[RANDOM_CHUNK + PHILOX_SLACK] __attribute__((aligned(64)));                           \
        int64_t n = end - i < RANDOM_CHUNK ? end - i : RANDOM_CHUNK;                                         \
        const uint32_t *w = philox_elements(buffer, (job)->base + (uint64_t)i, n, (job)->key, (job)->stream); \
        __VA_ARGS__                                                                                           \
    }

static void uniform_range(void *context, int64_t i, int64_t end) {
    const random_job *job = context;
    RANDOM_EACH(job, i, end, {
        T *out = job->out + i;
        for (int64_t e = 0; e < n; e++) out[e] = (T)(int32_t)(w[e] >> 8) * (T)5.9604644775390625e-8; /* 2^-24 */
    })
}

static void FN(uniform)(T *out, int64_t n, uint32_t seed, uint32_t step, uint64_t stream, uint64_t base) {
    random_job job = {.out = out, .key = {seed, step}, .stream = stream, .base = base};
    tl_parallel(n, TL_GRAIN, uniform_range, &job);
}

/* Box-Muller over words (0, 1) and (2, 3) of a block: r = sqrt(-2 log((w0 + 1) / 2^32)), a = 2 pi w1 / 2^32; r cos(a)
 * is the even element, r sin(a) the odd one. */
#if TL_DOUBLE
static void normals(const uint32_t *w, double *out, int64_t n) {
    for (int64_t i = 0; i < n; i += 2) {
        double radius = sqrt(-2.0 * log(((double)w[i] + 1.0) * 0x1p-32));
        double angle = 6.283185307179586476925 * ((double)w[i + 1] * 0x1p-32);
        out[i] = radius * cos(angle);
        out[i + 1] = radius * sin(angle);
    }
}
#else
/* -log((w + 1) / 2^32); above 1/2 as log1p of what lacks to 1, so that no digit is lost. */
INLINE V exponential(U w) {
    I upper = (I)w < 0;
    V part = __builtin_convertvector((I)(w ^ (U)upper), V) * v_splat(0x1p-32f), one = v_splat(1.0f);
    V u = v_select(upper, one - part, part + v_splat(0x1p-32f)), d = one - u, y = -v_log(u);
    return v_select(upper, v_select(d == v_zero(), part, y * (part / d)), y);
}

/* Lanes work in pairs on the same two words: one makes the cosine, sin(a + pi/2), the other the sine. */
static void normals(const uint32_t *w, float *out, int64_t n) {
    Q low = q_splat(0xffffffffu);
    I cosine = (i_lanes() & 1) == 0;
    for (int64_t i = 0; i < n; i += W) {
        Q words = *(const Q_unaligned *)(w + i);
        U first = (U)((words & low) | (words << 32)), second = (U)((words >> 32) | (words & ~low));
        U quarter = (second + (U)i_splat(1 << 29)) >> 30;
        V angle = __builtin_convertvector((I)(second - (quarter << 30)), V) * v_splat(1.46291808e-9f); /* 2 pi / 2^32 */
        V sine = sin_quarters(angle, (I)quarter - cosine);
        v_store(out + i, v_sqrt(v_splat(2.0f) * exponential(first)) * sine);
    }
}
#endif

static void normal_range(void *context, int64_t i, int64_t end) {
    const random_job *job = context;
    uint32_t buffer[RANDOM_CHUNK + PHILOX_STEP + PHILOX_SLACK] __attribute__((aligned(64)));
    T values[RANDOM_CHUNK + PHILOX_STEP];
    for (; i < end; i += RANDOM_CHUNK) {
        int64_t n = end - i < RANDOM_CHUNK ? end - i : RANDOM_CHUNK;
        uint64_t first = job->base + (uint64_t)i;
        int64_t odd = (int64_t)(first & 1), whole = n + odd; /* start with a whole pair */
        normals(philox_elements(buffer, first - (uint64_t)odd, whole, job->key, job->stream), values, whole);
        memcpy(job->out + i, values + odd, (size_t)n * sizeof(T));
    }
}

static void FN(normal)(T *out, int64_t n, uint32_t seed, uint32_t step, uint64_t stream, uint64_t base) {
    random_job job = {.out = out, .key = {seed, step}, .stream = stream, .base = base};
    tl_parallel(n, TL_DOUBLE ? TL_GRAIN / 16 : TL_GRAIN / 2, normal_range, &job);
}

static void dropout_range(void *context, int64_t i, int64_t end) {
    const random_job *job = context;
    RANDOM_EACH(job, i, end, {
        const T *x = job->x + i;
        T *out = job->out + i, scale = job->scale;
        int32_t threshold = job->threshold;
        for (int64_t e = 0; e < n; e++) {
            T kept = x[e] * scale;
            out[e] = (int32_t)(w[e] >> 8) >= threshold ? kept : 0;
        }
    })
}

static void FN(dropout)(const T *x, T *out, int64_t n, double p, uint32_t seed, uint32_t step, uint64_t stream,
                        uint64_t base) {
    random_job job = {.x = x, .out = out, .key = {seed, step}, .stream = stream, .base = base,
                      .scale = p < 1 ? (T)(1.0 / (1.0 - p)) : 0, .threshold = keep_threshold(p)};
    tl_parallel(n, TL_GRAIN / 2, dropout_range, &job);
}
