/* Where memory comes from: segments from the system, cut into chunks. For memory.c alone, which holds its lock around
 * every call.
 *
 * Writing 100 MB of fresh pages costs ten times what writing warm ones does, so memory is never given back to the
 * system while there is use for it. Segments from the system are cut into chunks that lie one after another; a freed
 * chunk joins its free neighbours, and a request takes the smallest that fits and leaves the rest. A training step asks
 * for the same sizes again and again, so what it holds stays near the most that is in use at once.
 *
 * A free chunk is warm (its pages were written; it counts as cached) or cold (the system has not given its pages yet,
 * or has them back). Warm and cold don't join, and cold is touched only where nothing warm fits. What waits is bounded:
 * before cold memory is taken, warm chunks of more than the most that was ever in use are chilled.
 *
 * What another core wrote is slow to come: some 25 us for the 64 kB that a thread packs a matrix into. So each thread of
 * the pool keeps the largest workspace that it had inside a range, up to KEPT_MOST bytes, and gets it again.
 *
 * A chunk starts with a header of 64 bytes, so what is handed out keeps the alignment of a cache line.
 */
#include "pool.h"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define FORBID(p, bytes) ASAN_POISON_MEMORY_REGION(p, bytes)
#define ALLOW(p, bytes) ASAN_UNPOISON_MEMORY_REGION(p, bytes)
#else
#define FORBID(p, bytes) ((void)0)
#define ALLOW(p, bytes) ((void)0)
#endif

enum { HEADER = 64, BINS = 384, SEGMENTS = 128, TRIES = 64, PAGE = 4096, KEPT_MOST = 4 << 20 };
static const size_t SEGMENT = (size_t)64 << 20, HUGE_PAGE = (size_t)2 << 20, LEAST = 512;
static const uint64_t MARK = 0x74696e796c6c6d21u;

enum state { USED, WARM, COLD };

typedef struct chunk {
    size_t size;                 /* header included, a multiple of 64; 0 ends a segment */
    struct chunk *below;         /* the neighbour before it, NULL for the first of a segment */
    int state, kind, owner;      /* owner: the thread that it is a workspace of, -1 for none */
    size_t asked;                /* bytes that memory.c's counters hold for it */
    uint64_t mark;               /* MARK while in use */
    struct chunk *next, *prev;   /* in its list, while free */
} chunk;

static struct { char *start; size_t size; } segments[SEGMENTS];
static int segment_count;
static chunk *bins[BINS], *cold;
static chunk *kept[TL_MAX_THREADS];
static int64_t most, cached; /* bytes: in use at once so far, by memory.c's count; in chunks that wait */

static chunk *above(chunk *c) { return (chunk *)((char *)c + c->size); }

/* Bin b holds sizes from (8 + b % 8) << (b / 8) units of 64 bytes on: eight bins to a doubling. */
static int bin_of(size_t size) {
    size_t units = size >> 6;
    int shift = 63 - __builtin_clzll((unsigned long long)units) - 3;
    return shift * 8 + (int)(units >> shift) - 8;
}

static chunk **list_of(chunk *c) { return c->state == COLD ? &cold : &bins[bin_of(c->size)]; }

static void put(chunk *c, enum state state) {
    c->state = state;
    c->mark = 0;
    if (state == WARM) cached += (int64_t)c->size;
    chunk **list = list_of(c);
    c->prev = NULL;
    c->next = *list;
    if (*list) (*list)->prev = c;
    *list = c;
}

static void unlink_chunk(chunk *c) {
    if (c->state == WARM) cached -= (int64_t)c->size;
    if (c->prev) c->prev->next = c->next;
    else *list_of(c) = c->next;
    if (c->next) c->next->prev = c->prev;
}

/* The first `size` bytes of c, in no list, stay c; the rest, where it is worth a header, becomes free. */
static void cut(chunk *c, size_t size, enum state rest_state) {
    if (c->size < size + LEAST) return;
    chunk *rest = (chunk *)((char *)c + size);
    ALLOW(rest, HEADER);
    rest->size = c->size - size;
    rest->below = c;
    c->size = size;
    above(rest)->below = rest;
    put(rest, rest_state);
}

/* c and the free neighbour behind it become one; neither is in a list. */
static void join(chunk *c, chunk *behind) {
    c->size += behind->size;
    above(c)->below = c;
}

/* c, in no list, becomes free, one with its neighbours in that state. */
static void put_joined(chunk *c, enum state state) {
    if (c->below && c->below->state == state) {
        chunk *below = c->below;
        unlink_chunk(below);
        join(below, c);
        c = below;
    }
    if (above(c)->state == state) {
        unlink_chunk(above(c));
        join(c, above(c));
    }
    put(c, state);
}

static chunk *smallest(chunk *list, size_t size) {
    chunk *best = NULL;
    for (int tries = 0; list && tries < TRIES; list = list->next, tries++)
        if (list->size >= size && (!best || list->size < best->size)) best = list;
    return best;
}

static chunk *take_warm(size_t size) {
    chunk *c = NULL;
    for (int bin = bin_of(size); bin < BINS && !c; bin++) c = smallest(bins[bin], size);
    if (!c) return NULL;
    unlink_chunk(c);
    cut(c, size, WARM);
    return c;
}

/* Give the whole pages of a warm chunk back; the header's stay. */
static void chill(chunk *c) {
    unlink_chunk(c);
    char *begin = (char *)(((uintptr_t)c + HEADER + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
    char *end = (char *)((uintptr_t)above(c) & ~(uintptr_t)(PAGE - 1));
    if (end > begin) madvise(begin, (size_t)(end - begin), MADV_DONTNEED);
    put_joined(c, COLD);
}

/* What a thread keeps counts as cached. */
static chunk *take_kept(int owner) {
    chunk *c = kept[owner];
    if (c) cached -= (int64_t)c->size;
    kept[owner] = NULL;
    return c;
}

/* The larger one of c and what its owner keeps is kept, the other becomes free. */
static void keep(chunk *c) {
    chunk *other = take_kept(c->owner);
    if (other && other->size > c->size) {
        chunk *larger = other;
        other = c;
        c = larger;
    }
    if (other) put_joined(other, WARM);
    kept[c->owner] = c;
    cached += (int64_t)c->size;
}

/* Chill warm chunks, the largest first, until no more than `limit` bytes are cached; those that threads keep only if
 * nothing may be. */
static void chill_to(int64_t limit) {
    for (int i = 0; i < TL_MAX_THREADS && limit == 0; i++) {
        chunk *c = take_kept(i);
        if (c) put_joined(c, WARM);
    }
    for (int bin = BINS - 1; bin >= 0 && cached > limit; bin--)
        while (bins[bin] && cached > limit) chill(bins[bin]);
}

static chunk *take_cold(size_t size) {
    chunk *best = NULL;
    size_t best_size = 0;
    for (chunk *c = cold; c; c = c->next) {
        size_t with_below = c->size + (c->below && c->below->state == WARM ? c->below->size : 0);
        if (with_below >= size && (!best || with_below < best_size)) best = c, best_size = with_below;
    }
    if (!best) return NULL;
    unlink_chunk(best);
    if (best->below && best->below->state == WARM) {
        chunk *below = best->below;
        unlink_chunk(below);
        join(below, best);
        best = below;
    }
    cut(best, size, COLD);
    return best;
}

/* In pages of 2 MB where the system has them: a training step walks through more small ones than the core has places
 * for. */
static void *map(size_t bytes) {
    char *start = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    start += -(uintptr_t)start % HUGE_PAGE;
#ifdef MADV_HUGEPAGE
    madvise(start, bytes, MADV_HUGEPAGE);
#endif
    return start;
}

/* A segment for a chunk of `size`: as large as all before it, so that there are few; else just large enough. */
static int grow(size_t size) {
    size_t least = (size + 2 * HEADER + PAGE - 1) & ~(size_t)(PAGE - 1), bytes = SEGMENT;
    if (segment_count == SEGMENTS) return 0;
    for (int i = 0; i < segment_count; i++) bytes += segments[i].size;
    if (bytes < least) bytes = least;
    chunk *c = map(bytes);
    if (!c && !(c = map(bytes = least))) return 0;
    segments[segment_count].start = (char *)c;
    segments[segment_count++].size = bytes;
    c->size = bytes - HEADER;
    c->below = NULL;
    *above(c) = (chunk){.below = c, .state = USED};
    FORBID((char *)c + HEADER, c->size - HEADER);
    put(c, COLD);
    return 1;
}

static chunk *take(size_t size, int owner) {
    if (owner >= 0 && kept[owner] && kept[owner]->size >= size) return take_kept(owner);
    chunk *c = take_warm(size);
    if (c) return c;
    chill_to(most);
    if ((c = take_cold(size))) return c;
    if (!grow(size)) {
        chill_to(0);
        if ((c = take_cold(size)) || !grow(size)) return c;
    }
    return take_cold(size);
}

static void give_back(chunk *c) {
    FORBID((char *)c + HEADER, c->size - HEADER);
    c->mark = 0;
    if (c->owner >= 0 && c->size <= KEPT_MOST)
        keep(c);
    else
        put_joined(c, WARM);
}

/* The chunk in use that hands out `pointer`, NULL for memory of others. */
static chunk *owned(const void *pointer) {
    const char *p = pointer;
    for (int i = 0; i < segment_count; i++) {
        if (p < segments[i].start + HEADER || p >= segments[i].start + segments[i].size || (uintptr_t)p % 64) continue;
        chunk *c = (chunk *)(p - HEADER);
        return c->state == USED && c->mark == MARK ? c : NULL;
    }
    return NULL;
}
