/* What a thread turns to next, fetched into its cache row by row while products run. Rows of a head lie a page apart
 * where heads are last in memory, which no prefetching of the machine's own foresees, and a thread that packs a cold
 * head waits for memory: a sixth of the time at T = 256.
 */
#ifndef TL_FETCH_H
#define TL_FETCH_H

#include "tile.h"

enum {
    FETCH_PARTS = 8,
    FETCH_MOST = 1 << 20, /* bytes: a cache of its own holds no more */
    FETCH_FROM = 1 << 21  /* bytes of q, k and v: smaller calls find theirs in the cache, from the op before */
};

typedef struct {
    struct {
        const T *at;
        int64_t row, rows, width; /* elements from one row to the next, rows left, elements of one */
    } parts[FETCH_PARTS];
    int64_t left, pace; /* rows of all parts; how many at a time */
    int part, count;
} fetch_list;

INLINE void fetch_add(fetch_list *list, const T *first, int64_t row, int64_t rows, int64_t width) {
    list->parts[list->count].at = first, list->parts[list->count].row = row;
    list->parts[list->count].rows = rows, list->parts[list->count++].width = width;
    list->left += rows;
}

/* Begin with what was added, in about `steps` steps, unless there is nothing to gain. */
INLINE void fetch_begin(fetch_list *list, const tl_attention *call, int64_t steps) {
    int64_t size = sizeof(T), elements = 0, queries = call->batch * call->heads * call->tq;
    for (int i = 0; i < list->count; i++) elements += list->parts[i].rows * list->parts[i].width;
    int64_t all = queries * call->d + call->batch * call->kv_heads * call->tk * (call->d + call->dv);
    if (elements * size > FETCH_MOST || all * size < FETCH_FROM) list->left = 0;
    list->pace = list->left / at_least(steps, 1) + 1;
}

/* One step. */
INLINE void fetch(fetch_list *list) {
    for (int64_t n = at_most(list->pace, list->left); n > 0; n--, list->left--) {
        while (!list->parts[list->part].rows) list->part++;
        const T *row = list->parts[list->part].at;
        for (int64_t at = 0; at < list->parts[list->part].width; at += (int64_t)(64 / sizeof(T)))
            __builtin_prefetch(row + at, 0, 2);
        list->parts[list->part].at += list->parts[list->part].row;
        list->parts[list->part].rows--;
    }
}

#endif
