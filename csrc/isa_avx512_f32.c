/* The kernels for AVX-512 (F, BW, DQ, VL), 64-byte vectors, float. */
#if defined(__x86_64__)
#define TL_AVX512 1
#ifndef __clang__
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prfchw")
#endif
#define TL_ISA avx512
#define TL_VBYTES 64
#define TL_DOUBLE 0
#include "families.h"
#endif
