#define _GNU_SOURCE
#include "harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local const char *current = "";
static _Thread_local uint64_t current_seed;
static char *slots[MAX_BUFFERS]; /* each SLOT_BYTES between two inaccessible pages */

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "driver: %s, %s, seed %llu: ", current, tl_isa(), (unsigned long long)current_seed);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    fflush(NULL);
    _exit(1);
}

uint64_t next(run *r) {
    uint64_t z = r->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

int64_t draw(run *r, int64_t low, int64_t high) {
    return low + (int64_t)(next(r) % (uint64_t)(high - low + 1));
}

int64_t length(run *r) {
    if (r->sweep >= 0) return r->sweep;
    return draw(r, 0, 3) ? draw(r, 0, 40) : draw(r, 41, 257);
}

int64_t flat(run *r) { return r->large ? draw(r, 40000, 90000) : length(r); }

int64_t side(run *r) { return r->large ? draw(r, 150, 300) : draw(r, 0, 12); }

static char *slot(int index) {
    if (!slots[index]) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *memory = mmap(NULL, SLOT_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        REQUIRE(!mprotect(memory + page, SLOT_BYTES, PROT_READ | PROT_WRITE));
        slots[index] = memory + page;
    }
    return slots[index];
}

void *reserve(run *r, size_t bytes, int is_output, int is_float, double bound) {
    REQUIRE(r->count < MAX_BUFFERS && bytes <= SLOT_BYTES);
    char *data;
    if (r->placement == HEAP) {
        data = malloc(bytes);
        REQUIRE(data || !bytes);
    } else {
        data = slot(r->count) + (r->placement == BEFORE_GUARD ? SLOT_BYTES - bytes : 0);
    }
    if (is_output && bytes) memset(data, r->fill, bytes);
    r->buffers[r->count++] = (buffer){data, NULL, bytes, is_output, is_float, bound};
    return data;
}

void seal(run *r, const void *data) {
    for (int i = 0; i < r->count; i++) {
        buffer *b = &r->buffers[i];
        if (b->data != data || b->is_output || b->before || !b->bytes) continue;
        b->before = malloc(b->bytes);
        REQUIRE(b->before);
        memcpy(b->before, data, b->bytes);
    }
}

int64_t *indices(run *r, int64_t n, int64_t low, int64_t high) {
    int64_t *ids = reserve(r, (size_t)n * sizeof *ids, 0, 0, 0);
    for (int64_t i = 0; i < n; i++) ids[i] = draw(r, low, high - 1);
    seal(r, ids);
    return ids;
}

uint8_t *booleans(run *r, int64_t n) {
    uint8_t *x = reserve(r, (size_t)n, 0, 0, 0);
    for (int64_t i = 0; i < n; i++) x[i] = draw(r, 0, 3) != 0;
    seal(r, x);
    return x;
}

int64_t *dims_of(run *r, int n, const int64_t *values) {
    int64_t *dims = reserve(r, (size_t)n * sizeof *dims, 0, 0, 0);
    memcpy(dims, values, (size_t)n * sizeof *dims);
    seal(r, dims);
    return dims;
}

void begin(run *r, const entry *e, uint64_t seed) {
    current = e->name;
    current_seed = seed;
    r->state = seed;
    r->count = r->status = 0;
    e->run(r);
}

void finish(run *r) {
    for (int i = 0; i < r->count; i++) {
        buffer *b = &r->buffers[i];
        if (b->before && memcmp(b->before, b->data, b->bytes)) fail("input %d was changed", i);
        free(b->before);
        if (r->placement == HEAP) free(b->data);
    }
    r->count = 0;
}

uint64_t fingerprint(const run *r) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < r->count; i++) {
        const unsigned char *data = r->buffers[i].data;
        for (size_t at = 0; r->buffers[i].is_output && at < r->buffers[i].bytes; at++)
            hash = (hash ^ data[at]) * 0x100000001b3u;
    }
    return hash;
}
