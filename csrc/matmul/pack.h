/* Copies of A and B in the order in which the tile reads them. */

/* b (k, cols <= NR) into to (k, NR), zeros beyond cols. */
static void pack_panel(const T *b, int64_t bk, int64_t bn, int64_t k, int64_t cols, T *to) {
    int64_t n0 = cols < (int)W ? cols : (int)W, n1 = cols - n0;
    if (bn == 1 && cols == NR) {
        for (int64_t p = 0; p < k; p++, b += bk, to += NR) {
            v_store(to, v_load(b));
            v_store(to + W, v_load(b + W));
        }
    } else if (bn == 1) {
        for (int64_t p = 0; p < k; p++, b += bk, to += NR) {
            v_store(to, v_load_n(b, n0));
            v_store(to + W, v_load_n(b + W, n1));
        }
    } else if (bk == 1) {
        for (int64_t p = 0; p < k; p += W) {
            int64_t n = k - p < (int)W ? k - p : (int)W;
            for (int64_t j = 0; j < NR; j += W) {
                V x[W];
                for (int i = 0; i < (int)W; i++) {
                    const T *from = b + (j + i) * bn + p;
                    x[i] = j + i >= cols ? v_zero() : n == (int)W ? v_load(from) : v_load_n(from, n);
                }
                v_transpose(x);
                for (int64_t i = 0; i < n; i++) v_store(to + (p + i) * NR + j, x[i]);
            }
        }
    } else {
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < NR; j++) to[p * NR + j] = j < cols ? b[p * bk + j * bn] : 0;
    }
}

/* Elements that strips of `rows` rows take, and one vector beyond, which packing may write. */
static int64_t strips_size(int64_t rows) { return (rows + MR - 1) / MR * MR * A_STRIDE + W; }

/* The rows of a (rows, k), side by side in memory, into strips of MR that lie MR * A_STRIDE apart. Whole vectors are
 * copied where the matrix has them: what is too much is written over by the next step along k. */
static void pack_strips_kmajor(const T *a, int64_t ak, int64_t rows, int64_t rows_beyond, int64_t k, T *to) {
    enum { MOST = (MR + W - 1) / W * W };
    for (int64_t p = 0; p < k; p++, a += ak, to += MR) {
        T *strip = to;
        int64_t i = 0;
        for (; i < rows && i + MOST <= rows + rows_beyond; i += MR, strip += MR * A_STRIDE)
            for (int64_t j = 0; j < MR; j += W) v_store(strip + j, v_load(a + i + j));
        for (; i < rows; i += MR, strip += MR * A_STRIDE)
            for (int64_t j = 0; j < MR && i + j < rows; j++) strip[j] = a[i + j];
    }
}

/* The rows of a (rows, k) at A_STRIDE. */
static void pack_strips_rows(const T *a, int64_t am, int64_t ak, int64_t rows, int64_t k, T *to) {
    for (int64_t i = 0; i < rows; i++, a += am, to += A_STRIDE) {
        if (ak == 1)
            memcpy(to, a, (size_t)k * sizeof(T));
        else
            for (int64_t p = 0; p < k; p++) to[p] = a[p * ak];
    }
}
