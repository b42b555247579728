/* What a case of the driver stands on: numbers drawn from a seed, and buffers whose ends are watched.
 *
 * A run is one call of one kernel. Its buffers lie, as `placement` says, exactly before an inaccessible page, exactly
 * after one, or in malloc's memory, where a sanitizer or valgrind watches. Inputs must be as they were after the call;
 * outputs are kept for comparison, with the bound that each element may differ by from another instruction set.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include "dispatch.h"

enum placement { BEFORE_GUARD, AFTER_GUARD, HEAP };
enum { MAX_BUFFERS = 24, MAX_ENTRIES = 256, SLOT_BYTES = 1 << 24 };

typedef struct {
    void *data, *before; /* before: the bytes of an input when it was made */
    size_t bytes;
    int is_output, is_float; /* is_float: sizeof the element, 0 for integers and bytes */
    double bound;
} buffer;

typedef struct run {
    uint64_t state;
    enum placement placement;
    unsigned char fill;  /* of outputs before the call: what a kernel forgets to write differs between runs */
    int64_t sweep;       /* the length under test, or -1 for a random one */
    int large;           /* sizes that are worth several threads */
    int count, status;   /* status: what kernels with a result gave, or-ed */
    buffer buffers[MAX_BUFFERS];
} run;

/* The run's next number, of splitmix64. */
uint64_t next(run *r);

/* A whole number in low .. high. */
int64_t draw(run *r, int64_t low, int64_t high);

/* The length of a vector or row: 0 .. 257 alone, the one under test in a sweep. */
int64_t length(run *r);

/* Elements of a flat array: a length, or enough for several threads. */
int64_t flat(run *r);

/* Another size: 0 .. 12, or enough for several threads beside a length. */
int64_t side(run *r);

/* Memory for `bytes` bytes; data of an output lives until the run is over. */
void *reserve(run *r, size_t bytes, int is_output, int is_float, double bound);

/* Remember what an input holds, once it is filled. */
void seal(run *r, const void *data);

int64_t *indices(run *r, int64_t n, int64_t low, int64_t high); /* low <= i < high */
uint8_t *booleans(run *r, int64_t n);
int64_t *dims_of(run *r, int n, const int64_t *values);

/* Say what went wrong, for which run, and end with exit code 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define REQUIRE(condition) \
    ((condition) ? (void)0 : fail("%s:%d: %s", __FILE__, __LINE__, #condition))

typedef struct {
    const char *name;
    void (*run)(run *r);
} entry;

extern entry entries[MAX_ENTRIES]; /* one per kernel and type */
extern int entry_count;

/* Modes, each over all kernels of the library. They give the number of runs. */
int64_t with_threads(int64_t cycles, uint64_t seed);
int64_t with_forks(int64_t rounds, uint64_t seed);

void begin(run *r, const entry *e, uint64_t seed);
void finish(run *r); /* checks inputs, and frees what lies in the heap */
uint64_t fingerprint(const run *r); /* of the bits of all outputs */

#endif
