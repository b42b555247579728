/* Block sizes, and what all parts of a product know about it.
 *
 * Legend: a (M, K) with strides am, ak; b (K, N) with strides bk, bn; c (M, N) with strides cm, 1.
 */

#if defined(TL_AVX512) || defined(__aarch64__)
#define TL_MR 12 /* 24 sums + 2 of B + 1 of A in 32 registers */
#else
#define TL_MR 6 /* 12 + 2 + 1 in 16 */
#endif

enum {
    MR = TL_MR,
    NR = 2 * W,
    KC = TL_DOUBLE ? 256 : 512,
    MC = 96,               /* rows of A between which a panel of B is read again: KC * MC elements stay in L2 */
    NC = 4096,             /* columns of B packed at once, */
    PACKED_B = 1 << 21,    /* and elements: 8 MB of L3 */
    SMALL_B = 1 << 17,     /* elements that a thread rather packs alone than waits for another, */
    SMALL_B_ROWS = 32,     /* if it has so many rows to use them for: what another core wrote is slow to come */
    SMALL_C = 1 << 20,     /* elements of a C that comes back from L2 for the next block of K: then B is packed */
    SMALL_PART = 1 << 18,  /* by so few elements that it stays in L2, too */
    SMALL_A = 768 * 512,   /* elements of a block of A that are read again for every panel of B: about L2 */
    A_STRIDE = KC + 16,    /* between the rows of a strip: no power of two, they fall into different sets of L1 */
    SMALL_WORK = 1 << 17,  /* multiply-adds below which a thread is not worth its start */
    ROWS_UNIT = 4,         /* rows are dealt out to threads by so many */
    FEW = 4,               /* rows at most for which a B stored transposed is read in place, so many columns at once: */
    FEW_COLUMNS = W < 16 ? NR : W, /* with more than 16, columns a power of two apart would push others out of L1 */
    LINE = 64 / sizeof(T),
    LINES = (NR + LINE - 1) / LINE, /* of a row of a tile */
    ALIASING = 4096,       /* bytes: lines that far apart fall into one set of L1 */
};

/* What becomes of a finished part of c while it is in L1 (epilogue.h). */
typedef void (*gemm_finish)(int64_t rows, int64_t cols, T *c, int64_t cm, T *pre, const T *h, T *value, int64_t step);

typedef struct {
    int64_t M, N, K;
    const T *a, *b, *bias;
    T *c;
    int64_t am, ak, bk, bn, cm;
    int kmajor; /* A is read with its rows side by side: it is stored transposed */
    int across; /* B is read with its columns along k: it is stored transposed, and rows are few */
    T alpha, beta;
    const T *add; /* NULL where beta is 0 */
    int64_t add_step;
    gemm_finish finish; /* NULL: c is the result */
    T *pre, *value;     /* these and h have c's shape and are contiguous */
    const T *h;
    int64_t k_step; /* size of the blocks of K */
} gemm_job;
