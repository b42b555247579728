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

/* Memory (memory.c): 64-byte aligned, never zeroed, thread safe; freed blocks are kept warm for the next request. */
void *tl_malloc(size_t bytes);
void tl_free(void *block);
int64_t tl_live_bytes(void);
int64_t tl_peak_bytes(void);
int64_t tl_cached_bytes(void);
void tl_reset_peak(void);
void tl_trim(void);

/* Threads (pool.c). */
int tl_num_threads(void);
void tl_set_num_threads(int n);

/* Instruction sets (dispatch.c): generic, avx2, avx512. tl_use_isa gives 0, or -1 where this machine lacks it. */
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

#endif

#ifdef TL_KERNEL

/* ---- elementwise.c ---- */

/* y[i] = op(x[i]); y may be x. */
TL_KERNEL(void, unary, int op, const T *x, T *y, int64_t n);

/* dx[i] = dy[i] * op'(x[i]); x or y is NULL where the formula doesn't use it; dx may be dy. */
TL_KERNEL(void, unary_grad, int op, const T *dy, const T *x, const T *y, T *dx, int64_t n);

#undef TL_KERNEL
#endif
