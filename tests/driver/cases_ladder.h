/* Kernels of ladder.c. */

CASE(ladder_matmul) {
    int64_t M = side(r), N = length(r), K = side(r);
    const T *a = OWN(input)(r, M * K), *b = OWN(input)(r, K * N);
    r->status |= CALL(ladder_matmul)((int)draw(r, 0, TL_RUNG_THREADED), M, N, K, a, b, OWN(output)(r, M * N, (double)K));
}

CASE(fma_peak) {
    int64_t steps = draw(r, 1, 9), n = length(r);
    CALL(fma_peak)(steps, n, OWN(output)(r, n, 100));
}
