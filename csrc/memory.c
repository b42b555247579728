/* What is in use, by kind; and a fault for tests. Where memory comes from is chunks.h. */
#define _GNU_SOURCE
#include "tinyllm.h"
#include "chunks.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t live[TL_KINDS + 1], peak[TL_KINDS + 1];   /* the last of each is for all kinds together */
static int64_t fuse, failed;    /* for tests: allocations left until one fails, 0: none will; how many have failed */
static int stays_blown;
static _Thread_local int scope = TL_KIND_WORKSPACE;

static void count(int kind, int64_t bytes) {
    const int which[2] = {kind, TL_KINDS};
    for (int i = 0; i < 2; i++) {
        live[which[i]] += bytes;
        if (live[which[i]] > peak[which[i]]) peak[which[i]] = live[which[i]];
    }
    if (live[TL_KINDS] > most) most = live[TL_KINDS];
}

/* Whether this allocation is the one that a test wants to fail. */
static int blows(void) {
    if (--fuse > 0) return 0;
    if (stays_blown) fuse = 1;
    failed++;
    return 1;
}

static void *allocate(size_t bytes, int kind, int owner) {
    if (bytes > (size_t)1 << 46) return NULL;
    size_t size = (bytes + HEADER + 63) & ~(size_t)63;
    if (size < LEAST) size = LEAST;
    chunk *c = NULL;
    pthread_mutex_lock(&lock);
    if (__builtin_expect(fuse == 0, 1) || !blows()) c = take(size, owner);
    if (c) {
        c->state = USED;
        c->mark = MARK;
        c->asked = bytes;
        c->kind = kind;
        c->owner = owner;
        count(kind, (int64_t)bytes);
    }
    pthread_mutex_unlock(&lock);
    if (!c) return NULL;
    ALLOW((char *)c + HEADER, bytes);
    return (char *)c + HEADER;
}

void *tl_malloc(size_t bytes) { return allocate(bytes, TL_KIND_WORKSPACE, tl_thread()); }
void *tl_malloc_array(size_t bytes) { return allocate(bytes, scope, -1); }

void tl_free(void *pointer) {
    if (!pointer) return;
    chunk *c = (chunk *)((char *)pointer - HEADER);
    pthread_mutex_lock(&lock);
    count(c->kind, -(int64_t)c->asked);
    give_back(c);
    pthread_mutex_unlock(&lock);
}

int tl_set_scope(int kind) {
    int before = scope;
    scope = kind;
    return before;
}

int tl_retag(const void *pointer, int from, int kind) {
    pthread_mutex_lock(&lock);
    chunk *c = owned(pointer);
    int changes = c && c->kind != kind && (from < 0 || c->kind == from);
    if (changes) {
        count(c->kind, -(int64_t)c->asked);
        count(c->kind = kind, (int64_t)c->asked);
    }
    pthread_mutex_unlock(&lock);
    return changes;
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
int64_t tl_live_bytes(void) { return read_counter(&live[TL_KINDS]); }
int64_t tl_peak_bytes(void) { return read_counter(&peak[TL_KINDS]); }
int64_t tl_live_kind(int kind) { return read_counter(&live[kind]); }
int64_t tl_peak_kind(int kind) { return read_counter(&peak[kind]); }
int64_t tl_cached_bytes(void) { return read_counter(&cached); }

void tl_reset_peak(void) {
    pthread_mutex_lock(&lock);
    for (int kind = 0; kind <= TL_KINDS; kind++) peak[kind] = live[kind];
    pthread_mutex_unlock(&lock);
}

void tl_trim(void) {
    pthread_mutex_lock(&lock);
    chill_to(0);
    pthread_mutex_unlock(&lock);
}

/* A fork must not copy the lists while another thread changes them, nor the lock while it is held. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }
