/* Kernels to learn from, and the yardstick: not called by the engine. docs/ladder.md climbs them. */

/* ---- the peak: as many multiply-adds as the machine can do ---- */

/* A multiply-add takes some four cycles and two can start in each, so eight independent chains keep the units busy;
 * without FMA a chain is a multiplication and an addition, six cycles. Twelve do for both, and fit sixteen registers. */
#define PEAK_CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

typedef struct {
    int64_t steps;
    T *out;
} peak_job;

static void peak_range(void *context, int64_t begin, int64_t end) {
    peak_job *job = context;
    V x = v_splat((T)0.5), y = v_splat((T)0.25);
    __asm__ volatile("" : "+x"(x), "+x"(y));
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
        job->out[i] = v_hsum(sum);
    }
}

static double FN(fma_peak)(int64_t steps, int64_t n, T *out) {
    peak_job job = {steps, out};
    tl_parallel(n, 1, peak_range, &job);
    return 2.0 * 12 * W * (double)steps * (double)n;
}
