/* A caching allocator with counters.
 *
 * Writing 100 MB of fresh pages costs ten times what writing warm ones does, so blocks are never given back to the
 * system while there is use for them: a freed block waits in the list of its size class. Classes grow by an eighth, a
 * request takes the smallest waiting block of its own class or of the next few. When the system has no more memory the
 * waiting blocks are released and the request is tried again.
 *
 * A block starts with a header of 64 bytes, so what is handed out keeps the alignment of a cache line.
 */
#define _GNU_SOURCE
#include "tinyllm.h"

#include <pthread.h>
#include <stdlib.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

enum { ALIGN = 64, CLASSES = 400, LOOK_AHEAD = 3 };

typedef struct header {
    size_t asked;           /* bytes that the counters hold for it */
    int size_class;
    struct header *next;    /* in the list of its class, while free */
} header;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static header *waiting[CLASSES];
static int64_t live, peak, cached;
static int64_t fuse, failed;    /* for tests: allocations left until one fails, 0: none will; how many have failed */
static int stays_blown;

/* Class c holds (8 + c % 8) << (c / 8) units of 64 bytes: 512 bytes is class 0. */
static size_t class_bytes(int size_class) { return (size_t)(8 + size_class % 8) << (size_class / 8) << 6; }

static int class_of(size_t bytes) {
    size_t units = (bytes + 63) >> 6;
    if (units <= 8) return 0;
    int shift = 63 - __builtin_clzll((unsigned long long)(units - 1)) - 3;
    int size_class = shift * 8 + (int)((units - 1) >> shift) - 8 + 1;
    return size_class;
}

static void release_waiting(void) {
    for (int c = 0; c < CLASSES; c++) {
        while (waiting[c]) {
            header *block = waiting[c];
            waiting[c] = block->next;
            free(block);
        }
    }
    cached = 0;
}

static header *fresh(int size_class) {
    size_t bytes = class_bytes(size_class) + ALIGN;
    header *block = aligned_alloc(ALIGN, bytes);
    if (!block) {
        release_waiting();
        block = aligned_alloc(ALIGN, bytes);
    }
    if (block) block->size_class = size_class;
    return block;
}

/* Under AddressSanitizer the first `bytes` of a block may be touched, and none while it waits. (To the tool alone a
 * block is in use until the system has it back, and as long as its class.) */
static void open_to(header *block, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    char *payload = (char *)block + ALIGN;
    __asan_unpoison_memory_region(payload, bytes);
    __asan_poison_memory_region(payload + bytes, class_bytes(block->size_class) - bytes);
#else
    (void)block, (void)bytes;
#endif
}

/* Whether this allocation is the one that a test wants to fail. */
static int blows(void) {
    if (--fuse > 0) return 0;
    if (stays_blown) fuse = 1;
    failed++;
    return 1;
}

void *tl_malloc(size_t bytes) {
    if (bytes > (size_t)1 << 46) return NULL;
    int size_class = class_of(bytes);
    header *block = NULL;
    pthread_mutex_lock(&lock);
    if (__builtin_expect(fuse != 0, 0) && blows()) {
        pthread_mutex_unlock(&lock);
        return NULL;
    }
    for (int c = size_class; c <= size_class + LOOK_AHEAD && !block; c++) {
        if ((block = waiting[c])) {
            waiting[c] = block->next;
            cached -= (int64_t)class_bytes(c);
        }
    }
    if (!block) block = fresh(size_class);
    if (block) {
        block->asked = bytes;
        open_to(block, bytes);
        live += (int64_t)bytes;
        if (live > peak) peak = live;
    }
    pthread_mutex_unlock(&lock);
    return block ? (char *)block + ALIGN : NULL;
}

void tl_free(void *pointer) {
    if (!pointer) return;
    header *block = (header *)((char *)pointer - ALIGN);
    pthread_mutex_lock(&lock);
    live -= (int64_t)block->asked;
    open_to(block, 0);
    block->next = waiting[block->size_class];
    waiting[block->size_class] = block;
    cached += (int64_t)class_bytes(block->size_class);
    pthread_mutex_unlock(&lock);
}

static int64_t read_counter(const int64_t *counter) {
    pthread_mutex_lock(&lock);
    int64_t value = *counter;
    pthread_mutex_unlock(&lock);
    return value;
}

void tl_fail_after(int64_t successes, int forever) {
    pthread_mutex_lock(&lock);
    fuse = successes < 0 ? 0 : successes + 1;
    stays_blown = forever;
    failed = 0;
    pthread_mutex_unlock(&lock);
}

int64_t tl_failed(void) { return read_counter(&failed); }
int64_t tl_live_bytes(void) { return read_counter(&live); }
int64_t tl_peak_bytes(void) { return read_counter(&peak); }
int64_t tl_cached_bytes(void) { return read_counter(&cached); }

void tl_reset_peak(void) {
    pthread_mutex_lock(&lock);
    peak = live;
    pthread_mutex_unlock(&lock);
}

void tl_trim(void) {
    pthread_mutex_lock(&lock);
    release_waiting();
    pthread_mutex_unlock(&lock);
}

/* A fork must not copy the lists while another thread changes them, nor the lock while it is held. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }
