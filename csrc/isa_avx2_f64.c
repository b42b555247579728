/* The kernels for AVX2 with FMA, 32-byte vectors, double. */
#if defined(__x86_64__)
#define TL_AVX2 1
#ifndef __clang__
#pragma GCC target("avx2,fma,prfchw")
#endif
#define TL_ISA avx2
#define TL_VBYTES 32
#define TL_DOUBLE 1
#include "families.h"
#endif
