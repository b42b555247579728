/* The kernels for any CPU, 16-byte vectors of plain C, double. */
#define TL_ISA generic
#define TL_VBYTES 16
#define TL_DOUBLE 1
#include "families.h"
