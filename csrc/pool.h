/* One pool of threads for all kernels; see pool.c. */
#ifndef TL_POOL_H
#define TL_POOL_H

#include <stdint.h>

/* Works on items begin..end-1; must not depend on how the range was cut. */
typedef void (*tl_range)(void *context, int64_t begin, int64_t end);

/* Cut 0..n-1 into one contiguous range per thread, each of at least `grain` items, and wait until all are done. Runs on
 * the calling thread alone when there is too little work, when called from inside a range, or while another thread uses
 * the pool. */
void tl_parallel(int64_t n, int64_t grain, tl_range work, void *context);

/* Inside a range: which of the pool's threads this is, the caller being 0. Elsewhere -1. */
int tl_thread(void);

enum { TL_MAX_THREADS = 256 };

#endif
