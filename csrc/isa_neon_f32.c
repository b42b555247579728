/* The kernels for NEON with its fused multiply-add, 16-byte vectors, float. */
#if defined(__aarch64__)
#define TL_NEON 1
#define TL_ISA neon
#define TL_VBYTES 16
#define TL_DOUBLE 0
#include "families.h"
#endif
