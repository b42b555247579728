/* Every exported kernel, declared once. tinyllm/backend/_build.py reads this file for cffi; dispatch.h builds from it
 * the table of each instruction set.
 *
 * TL_KERNEL(result, name, arguments) declares tl_<name>_f32 with T = float and tl_<name>_f64 with T = double. Kernels
 * with an int result return 0, or -1 when memory ran out; the others cannot fail. Nothing is checked here that Python
 * has checked: shapes, dtypes and index ranges are right.
 *
 * Arrays are C-contiguous unless strides are given; strides count elements. Outputs are overwritten and don't overlap
 * inputs, unless the declaration says otherwise. Pointers that may be NULL say so.
 */
#ifndef TINYLLM_H
#define TINYLLM_H

#include <stddef.h>
#include <stdint.h>

/* Memory (memory.c): 64-byte aligned, never zeroed, thread safe; freed memory is kept warm for the next request. */
enum tl_kind {
    TL_KIND_WORKSPACE, TL_KIND_ACTIVATION, TL_KIND_PARAMETER, TL_KIND_GRADIENT, TL_KIND_OPTIMIZER,
    TL_KIND_COMMUNICATION, TL_KINDS
};
void *tl_malloc(size_t bytes);
void tl_free(void *block);
/* For arrays: counted as the kind that this thread's tl_set_scope was last given (it returns the one before). */
void *tl_malloc_array(size_t bytes);
int tl_set_scope(int kind);
/* Count a block as another kind, if it is of the kind `from` or that is -1. Gives 1 if it changes; 0 also for memory
 * that is not from here. */
int tl_retag(const void *block, int from, int kind);
/* Of all kinds together, and of one. */
int64_t tl_live_bytes(void);
int64_t tl_peak_bytes(void);
int64_t tl_live_kind(int kind);
int64_t tl_peak_kind(int kind);
int64_t tl_cached_bytes(void);
void tl_reset_peak(void);
void tl_trim(void);

/* For tests: after `successes` more allocations one fails, and with forever all that follow; -1: none. tl_failed counts
 * those that failed since. */
void tl_fail_after(int64_t successes, int forever);
int64_t tl_failed(void);

/* Threads (pool.c). For tests: with fail, the system starts no more of them, as under a limit on processes. */
int tl_num_threads(void);
void tl_set_num_threads(int n);
void tl_fail_threads(int fail);

/* Instruction sets (dispatch.c): generic, neon, avx2, avx512. tl_use_isa gives 0, or -1 where this machine lacks it. */
const char *tl_isa(void);
int tl_has_isa(const char *name);
int tl_use_isa(const char *name);

/* Operations, numbered; Python asks for them by name. Their formulas are in elementwise.c. */
enum tl_unary_op {
    TL_UNARY_NEG, TL_UNARY_ABS, TL_UNARY_SIGN, TL_UNARY_EXP, TL_UNARY_EXPM1, TL_UNARY_LOG, TL_UNARY_LOG1P,
    TL_UNARY_LOG2, TL_UNARY_SQRT, TL_UNARY_RSQRT, TL_UNARY_RECIPROCAL, TL_UNARY_SIN, TL_UNARY_COS,
    TL_UNARY_TAN, TL_UNARY_TANH, TL_UNARY_SINH, TL_UNARY_COSH, TL_UNARY_ASIN, TL_UNARY_ACOS, TL_UNARY_ATAN,
    TL_UNARY_SIGMOID, TL_UNARY_ERF, TL_UNARY_FLOOR, TL_UNARY_CEIL, TL_UNARY_ROUND, TL_UNARY_TRUNC,
    TL_UNARY_RELU, TL_UNARY_GELU, TL_UNARY_GELU_TANH, TL_UNARY_SILU, TL_UNARY_SOFTPLUS, TL_UNARY_MISH,
    TL_UNARY_ELU, TL_UNARY_LEAKY_RELU, TL_UNARY_RELU6, TL_UNARY_HARDSWISH, TL_UNARY_HARDSIGMOID,
    TL_UNARY_SQUARE
};
enum tl_act { TL_ACT_SIGMOID, TL_ACT_RELU, TL_ACT_GELU, TL_ACT_GELU_TANH, TL_ACT_SILU };
enum tl_binary_op {
    TL_BINARY_ADD, TL_BINARY_SUB, TL_BINARY_MUL, TL_BINARY_DIV, TL_BINARY_POW, TL_BINARY_MAXIMUM,
    TL_BINARY_MINIMUM, TL_BINARY_FMOD, TL_BINARY_REMAINDER, TL_BINARY_FLOOR_DIVIDE, TL_BINARY_ATAN2
};
enum tl_compare_op {
    TL_COMPARE_EQ, TL_COMPARE_NE, TL_COMPARE_LT, TL_COMPARE_LE, TL_COMPARE_GT, TL_COMPARE_GE,
    TL_COMPARE_LOGICAL_AND, TL_COMPARE_LOGICAL_OR, TL_COMPARE_LOGICAL_XOR
};
enum tl_reduce_op { TL_REDUCE_SUM, TL_REDUCE_MEAN, TL_REDUCE_PROD, TL_REDUCE_MAX, TL_REDUCE_MIN };

/* What an attention kernel did: blocks of scores that it computed, and numbers of elements. The words are what it reads
 * and writes of operands, results and state that lie outside the block in hand (the "slow memory" of arXiv:2205.14135). */
typedef struct {
    int64_t blocks, exponentials, rescaled, divisions, words_read, words_written;
} tl_attention_cost;

/* Rungs of the matrix product (ladder.c). */
enum tl_rung {
    TL_RUNG_NAIVE, TL_RUNG_ORDER, TL_RUNG_VECTOR, TL_RUNG_BLOCKED, TL_RUNG_TILE, TL_RUNG_PACKED, TL_RUNG_THREADED
};

/* One call of attention (attention/): sizes, strides in elements of (batch, head, row) with the last axis contiguous, and
 * what changes the scores. lo and hi (batch or 1, tq) may be NULL, their stride over the batch is 0 where there is one row;
 * mask, T or bytes, may be NULL. dropout = 0 draws nothing. Forward adds to the cost, unless NULL. */
typedef struct {
    int64_t batch, heads, kv_heads, tq, tk, d, dv;
    int64_t q_strides[3], k_strides[3], v_strides[3];
    int64_t do_strides[3], dq_strides[3], dk_strides[3], dv_strides[3]; /* of attention_grad */
    const int64_t *lo, *hi;
    int64_t lo_stride, hi_stride;
    const void *mask;
    int mask_is_bool;
    int64_t mask_strides[4];
    double scale, softcap, dropout;
    uint32_t key[2];
    uint64_t stream, base;
    tl_attention_cost *cost;
} tl_attention;

/* What follows a product in matmul (matmul/): z = alpha a b + beta add + bias. With act, a tl_act or -1 for none, c = act(z)
 * and pre = z, or, where there is grad_of, c = z act'(grad_of) and value = act(grad_of). add, pre, grad_of and value are
 * contiguous, of the whole batch's shape (..., M, N), and may be NULL (add: c itself); value may be grad_of. */
typedef struct {
    double alpha, beta;
    int act;
    const void *add, *grad_of;
    void *pre, *value;
} tl_epilogue;

#endif

#ifdef TL_KERNEL

/* ---- elementwise.c ---- */

/* y[i] = op(x[i]); y may be x. */
TL_KERNEL(void, unary, int op, const T *x, T *y, int64_t n);

/* dx[i] = dy[i] * op'(x[i]); x or y is NULL where the formula doesn't use it; dx may be dy. */
TL_KERNEL(void, unary_grad, int op, const T *dy, const T *x, const T *y, T *dx, int64_t n);

/* y = act(gate) up over (rows, cols), with a step between the rows of gate and of up. */
TL_KERNEL(void, gated, int act, int64_t rows, int64_t cols, const T *gate, int64_t gate_step, const T *up,
          int64_t up_step, T *y);
TL_KERNEL(void, gated_grad, int act, int64_t rows, int64_t cols, const T *dy, const T *gate, int64_t gate_step,
          const T *up, int64_t up_step, T *dgate, T *dup);

/* ---- broadcast.c: dims is the shape, then the strides of each operand but the contiguous result ---- */

TL_KERNEL(void, binary, int op, int ndim, const int64_t *dims, const T *a, const T *b, T *out);
/* n elements, with strides 1 or 0. */
TL_KERNEL(void, binary_flat, int op, int64_t n, const T *a, int64_t sa, const T *b, int64_t sb, T *out);
TL_KERNEL(void, compare, int op, int ndim, const int64_t *dims, const T *a, const T *b, uint8_t *out);
TL_KERNEL(void, where, int ndim, const int64_t *dims, const uint8_t *cond, const T *a, const T *b, T *out);
/* dst += src. */
TL_KERNEL(void, add, T *dst, const T *src, int64_t n);
/* to = from: both have strides in dims, from's first. */
TL_KERNEL(void, copy, int ndim, const int64_t *dims, const T *from, T *to);

/* ---- reduce.c: x (outer, count, inner), reduced over count >= 1 into (outer, inner) ---- */

TL_KERNEL(int, reduce, int op, const T *x, T *y, int64_t outer, int64_t count, int64_t inner);
/* The first index of the largest (or smallest) element; NaN counts as both. */
TL_KERNEL(void, arg_reduce, int smallest, const T *x, int64_t *y, int64_t outer, int64_t count, int64_t inner);
/* Running sums over count; y has the shape of x. */
TL_KERNEL(void, cumsum, const T *x, T *y, int64_t outer, int64_t count, int64_t inner);

/* ---- index.c ---- */

/* y (n, width) = rows ids[0..n-1] of x. */
TL_KERNEL(void, take, const T *x, const int64_t *ids, T *y, int64_t n, int64_t width);
/* dx (rows, width): row r is the sum of the rows i of dy (n, width) with ids[i] == r. */
TL_KERNEL(int, take_grad, const T *dy, const int64_t *ids, T *dx, int64_t n, int64_t rows, int64_t width);
/* x (outer, n, inner), index and y (outer, count, inner): y[o, j, i] = x[o, index[o, j, i], i]. */
TL_KERNEL(void, gather, const T *x, const int64_t *index, T *y, int64_t outer, int64_t n, int64_t count, int64_t inner);
/* dx (outer, n, inner): dx[o, index[o, j, i], i] += dy[o, j, i] from zero. */
TL_KERNEL(int, gather_grad, const T *dy, const int64_t *index, T *dx, int64_t outer, int64_t n, int64_t count,
          int64_t inner);

/* ---- matmul/ ---- */

/* c (..., M, N) = a (..., M, K) b (..., K, N) + bias (N,) or NULL, and an epilogue or NULL. Strides: am, ak, bk, bn, cm; the
 * columns of c have stride 1. batch: shape of the batch, then the strides of a, b and c over it (0: broadcast). */
TL_KERNEL(int, matmul, int batch_dims, const int64_t *batch, int64_t M, int64_t N, int64_t K, const T *a, int64_t am,
          int64_t ak, const T *b, int64_t bk, int64_t bn, const T *bias, T *c, int64_t cm, const tl_epilogue *epilogue);

/* ---- rows.c: x (rows, columns); w, b (columns) may be NULL; mean, rstd, lse (rows) ---- */

TL_KERNEL(void, softmax, const T *x, T *y, int64_t rows, int64_t columns);
TL_KERNEL(void, softmax_grad, const T *dy, const T *y, T *dx, int64_t rows, int64_t columns);
TL_KERNEL(void, log_softmax, const T *x, T *y, int64_t rows, int64_t columns);
TL_KERNEL(void, log_softmax_grad, const T *dy, const T *y, T *dx, int64_t rows, int64_t columns);
TL_KERNEL(void, logsumexp, const T *x, T *lse, int64_t rows, int64_t columns);
TL_KERNEL(void, layer_norm, const T *x, const T *w, const T *b, double eps, T *y, T *mean, T *rstd, int64_t rows,
          int64_t columns);
TL_KERNEL(void, rms_norm, const T *x, const T *w, double eps, T *y, T *rstd, int64_t rows, int64_t columns);

/* dx, dw, db may be NULL where not wanted. */
TL_KERNEL(int, layer_norm_grad, const T *dy, const T *x, const T *w, const T *mean, const T *rstd, T *dx, T *dw, T *db,
          int64_t rows, int64_t columns);
TL_KERNEL(int, rms_norm_grad, const T *dy, const T *x, const T *w, const T *rstd, T *dx, T *dw, int64_t rows,
          int64_t columns);

/* ---- loss.c: logits (rows, classes); targets, loss, lse (rows); weight (classes) may be NULL ---- */

TL_KERNEL(void, cross_entropy, const T *logits, const int64_t *targets, const T *weight, int64_t ignore_index,
          double smoothing, T *loss, T *lse, int64_t rows, int64_t classes);
/* dlogits may be logits. */
TL_KERNEL(void, cross_entropy_grad, const T *dloss, const T *logits, const int64_t *targets, const T *lse,
          const T *weight, int64_t ignore_index, double smoothing, T *dlogits, int64_t rows, int64_t classes);

/* ---- attention/: o (batch, tq, heads, dv); lse (batch, heads, tq); the others by the strides of the call ---- */

/* slopes (heads) may be NULL. */
TL_KERNEL(int, attention, const tl_attention *call, const T *q, const T *k, const T *v, const T *slopes, T *o, T *lse);

/* dmask (batch, heads, tq, tk) may be NULL. */
TL_KERNEL(int, attention_grad, const tl_attention *call, const T *dout, const T *q, const T *k, const T *v, const T *o,
          const T *lse, const T *slopes, T *dq, T *dk, T *dv, T *dmask);

/* ---- baseline.c: the kernels that attention is compared with, where all there is to a call is its sizes, strides,
 * scale and causal intervals. As many heads of k and v as of q, tq = tk a multiple of 32, d and dv of 16; gradients by
 * strides, o (batch, t, heads, dv), s and p (batch, heads, t, t) in panels of queries, m and l (batch, heads, t). ---- */

/* Scores s and probabilities p as whole matrices. */
TL_KERNEL(int, attention_naive, const tl_attention *call, const T *q, const T *k, const T *v, T *s, T *p, T *o);
/* ds: room for another matrix. */
TL_KERNEL(int, attention_naive_grad, const tl_attention *call, const T *dout, const T *q, const T *k, const T *v,
          const T *p, T *ds, T *dq, T *dk, T *dv);
/* FlashAttention-1; m are the largest scores, l the sums of exp(score - m). */
TL_KERNEL(int, attention_flash1, const tl_attention *call, const T *q, const T *k, const T *v, T *o, T *m, T *l);
TL_KERNEL(int, attention_flash1_grad, const tl_attention *call, const T *dout, const T *q, const T *k, const T *v,
          const T *o, const T *m, const T *l, T *dq, T *dk, T *dv);

/* ---- random.c: out[i] is element base + i of the stream ---- */

TL_KERNEL(void, uniform, T *out, int64_t n, uint32_t seed, uint32_t step, uint64_t stream, uint64_t base);
TL_KERNEL(void, normal, T *out, int64_t n, uint32_t seed, uint32_t step, uint64_t stream, uint64_t base);
TL_KERNEL(void, dropout, const T *x, T *out, int64_t n, double p, uint32_t seed, uint32_t step, uint64_t stream,
          uint64_t base);

/* ---- optim.c: p, buf, m, v (n) are updated in place; buf may be NULL ---- */

TL_KERNEL(void, sgd, T *p, const T *g, T *buf, int64_t n, double lr, double momentum, double dampening,
          double weight_decay, int nesterov, int first, double grad_scale);
/* count tensors: of each its pointers, its number of elements, and its step. */
TL_KERNEL(void, adam, int64_t count, T *const *p, const T *const *g, T *const *m, T *const *v, const int64_t *n,
          const int64_t *step, double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled,
          double grad_scale);
/* The sum of squares of each of count tensors. */
TL_KERNEL(int, sum_squares, int64_t count, const T *const *x, const int64_t *n, double *totals);

/* ---- ladder.c: for docs/ladder.md and the benchmarks, not for the engine ---- */

/* c (M, N) = a (M, K) b (K, N), as well as the rung can. */
TL_KERNEL(int, ladder_matmul, int rung, int64_t M, int64_t N, int64_t K, const T *a, const T *b, T *c);

/* n times `steps` rounds of independent multiply-adds, dealt out to the threads; gives the floating-point operations made.
 * out (n) keeps the compiler from leaving them out. */
TL_KERNEL(double, fma_peak, int64_t steps, int64_t n, T *out);

#undef TL_KERNEL
#endif
