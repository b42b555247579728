/* The table of kernels: one per instruction set, filled by the isa_*.c files; tl_active is the one in use. */
#ifndef TL_DISPATCH_H
#define TL_DISPATCH_H

#include "tinyllm.h"

typedef struct {
#define T float
#define TL_KERNEL(result, name, ...) result (*name##_f32)(__VA_ARGS__)
#include "tinyllm.h"
#undef T
#define T double
#define TL_KERNEL(result, name, ...) result (*name##_f64)(__VA_ARGS__)
#include "tinyllm.h"
#undef T
} tl_table;

extern const tl_table *tl_active;

#endif
