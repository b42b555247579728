/* The kernels for any CPU, 16-byte vectors: SSE2 on x86-64, NEON on aarch64, float. */
#define TL_ISA generic
#define TL_VBYTES 16
#define TL_DOUBLE 0
#include "families.h"
