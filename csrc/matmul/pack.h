/* Copies of A and B in the order in which the tile reads them. */

/* b (k, cols <= NR) into to (k, NR), zeros beyond cols. */
static void pack_panel(const T *b, int64_t bk, int64_t bn, int64_t k, int64_t cols, T *to) {
    if (bn == 1) {
        int64_t n0 = cols < (int)W ? cols : (int)W, n1 = cols - n0;
        if (cols == NR) {
            for (int64_t p = 0; p < k; p++, b += bk, to += NR) {
                v_store(to, v_load(b));
                v_store(to + W, v_load(b + W));
            }
        } else {
            for (int64_t p = 0; p < k; p++, b += bk, to += NR) {
                v_store(to, v_load_n(b, n0));
                v_store(to + W, v_load_n(b + W, n1));
            }
        }
        return;
    }
    if (bk == 1) {
        for (int64_t j = 0; j < NR; j += W) {
            for (int64_t p = 0; p < k; p += W) {
                V x[W];
                int64_t n = k - p < (int)W ? k - p : (int)W;
                for (int i = 0; i < (int)W; i++) {
                    const T *from = b + (j + i) * bn + p;
                    x[i] = j + i >= cols ? v_zero() : n == (int)W ? v_load(from) : v_load_n(from, n);
                }
                v_transpose(x);
                for (int64_t i = 0; i < n; i++) v_store(to + (p + i) * NR + j, x[i]);
            }
        }
        return;
    }
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = 0; j < NR; j++) to[p * NR + j] = j < cols ? b[p * bk + j * bn] : 0;
}

/* Rows of a (rows, k) into strips of MR rows; gives the size of a strip. Strips have room for one vector beyond. */
static int64_t pack_strips(const gemm_job *g, const T *a, int64_t rows, int64_t k, int kmajor, T *to) {
    if (kmajor) {
        for (int64_t i = 0; i < rows; i += MR, to += MR * k) {
            int64_t h = rows - i < MR ? rows - i : MR;
            const T *from = a + i;
            for (int64_t p = 0; p < k; p++, from += g->ak)
                for (int64_t r = 0; r < h; r++) to[p * MR + r] = from[r];
        }
        return MR * k;
    }
    for (int64_t i = 0; i < rows; i++) {
        const T *from = a + i * g->am;
        T *row = to + i * A_STRIDE;
        if (g->ak == 1)
            memcpy(row, from, (size_t)k * sizeof(T));
        else
            for (int64_t p = 0; p < k; p++) row[p] = from[p * g->ak];
    }
    return (int64_t)MR * A_STRIDE;
}
