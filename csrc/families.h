/* Compiles every family of kernels once, for the element type T and the instruction set that the including isa_*.c
 * file names. Each family is a plain C file that defines FN(name) for its TL_KERNEL lines; everything else in it is
 * static, so one translation unit per (instruction set, dtype) keeps names apart. */
#include "dispatch.h"
#include "pool.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(TL_AVX2) || defined(TL_AVX512)
#include <immintrin.h>
#endif
#if defined(TL_NEON)
#include <arm_neon.h>
#endif

/* clang knows no #pragma GCC target. */
#if defined(__clang__) && defined(TL_AVX2)
#pragma clang attribute push(__attribute__((target("avx2,fma,prfchw"))), apply_to = function)
#elif defined(__clang__) && defined(TL_AVX512)
#define TL_AVX512_TARGET "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prfchw"
#pragma clang attribute push(__attribute__((target(TL_AVX512_TARGET))), apply_to = function)
#endif

#if TL_DOUBLE
#define T double
#define TL_DTYPE f64
#else
#define T float
#define TL_DTYPE f32
#endif

#define TL_PASTE_(a, b, c, d) a##b##_##c##_##d
#define TL_PASTE(a, b, c, d) TL_PASTE_(a, b, c, d)
#define FN(name) TL_PASTE(tl_, name, TL_ISA, TL_DTYPE)

#define TL_KERNEL(result, name, ...) static result FN(name)(__VA_ARGS__)
#include "tinyllm.h"

#include "simd.h"

#include "nest.h"
#include "elementwise.c"
#include "broadcast.c"
#include "reduce.c"
#include "index.c"
#include "matmul/matmul.c"
#include "rows.c"
#include "loss.c"
#include "attention/forward.c"
#include "attention/backward.c"
#include "baseline.c"
#include "random.c"
#include "optim.c"
#include "ladder.c"

#define TL_FIELD_(name, dtype) name##_##dtype
#define TL_FIELD(name, dtype) TL_FIELD_(name, dtype)

void FN(fill)(tl_table *table);
void FN(fill)(tl_table *table) {
#define TL_KERNEL(result, name, ...) table->TL_FIELD(name, TL_DTYPE) = FN(name)
#include "tinyllm.h"
}

#if defined(__clang__) && (defined(TL_AVX2) || defined(TL_AVX512))
#pragma clang attribute pop
#endif
