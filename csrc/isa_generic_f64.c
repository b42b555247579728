/* The kernels for any CPU, 16-byte vectors: SSE2 on x86-64, NEON on aarch64, double. */
#define TL_ISA generic
#define TL_VBYTES 16
#define TL_DOUBLE 1
#include "families.h"
