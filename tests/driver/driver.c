/* Every kernel of tinyllm.h from plain C: for sanitizers, valgrind, guard pages, other processors.
 *
 *     driver check CASES SEED [ISA...]    each kernel on CASES drawn inputs: every set against the generic one
 *     driver sweep SEED [ISA...]          the same for lengths 0, 1, ... 257
 *     driver record FILE CASES SEED       write what the first set gives
 *     driver match FILE CASES SEED        hold all sets to what another machine's driver wrote
 *     driver faults CASES SEED            every allocation of every kernel fails in turn, once and for good
 *     driver threads CYCLES SEED          eight threads that call kernels and resize the pool
 *     driver forks ROUNDS SEED            forks while another thread is inside a kernel
 *
 * The first of ISA... is what the others are compared with; without any, all that this machine runs. With DRIVER_HEAP
 * in the environment buffers come from malloc, for tools that watch it, instead of ending at inaccessible pages. Prints
 * the number of kernel runs. Exit code 0 if all went well.
 */
#include "harness.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void strides_of(run *r, int ndim, const int64_t *shape, int64_t *strides, int repeats) {
    int64_t step = draw(r, 0, 3) ? 1 : draw(r, 2, 3);
    int fortran = draw(r, 0, 3) == 0;
    for (int i = 0; i < ndim; i++) {
        int d = fortran ? i : ndim - 1 - i;
        int repeated = repeats && !draw(r, 0, 3), reversed = !draw(r, 0, 7);
        strides[d] = repeated ? 0 : reversed ? -step : step;
        if (!repeated) step *= shape[d];
        if (!draw(r, 0, 5)) step += draw(r, 1, 3);
    }
}

#define T float
#define DTYPE f32
#include "cases.h"
#undef T
#undef DTYPE
#define T double
#define DTYPE f64
#include "cases.h"
#undef T
#undef DTYPE

entry entries[MAX_ENTRIES];
int entry_count;

static void add_entry(const char *name, void (*run)(struct run *r)) {
    REQUIRE(entry_count < MAX_ENTRIES);
    entries[entry_count++] = (entry){name, run};
}

/* From the TL_KERNEL lines of tinyllm.h: what has no case does not compile. */
static void fill_entries(void) {
#define TL_KERNEL(result, name, ...) add_entry(#name "_f32", case_##name##_f32)
#include "tinyllm.h"
#define TL_KERNEL(result, name, ...) add_entry(#name "_f64", case_##name##_f64)
#include "tinyllm.h"
}

/* ---- sets against each other ---- */

static const char *sets[8];
static int set_count;
static int on_heap;

/* The outputs of a run, as they were. */
typedef struct {
    int count;
    buffer outputs[MAX_BUFFERS];
} outputs;

static outputs keep(const run *r) {
    outputs kept = {0};
    for (int i = 0; i < r->count; i++) {
        if (!r->buffers[i].is_output) continue;
        buffer *copy = &kept.outputs[kept.count++];
        *copy = r->buffers[i];
        copy->data = malloc(copy->bytes + 1);
        REQUIRE(copy->data);
        memcpy(copy->data, r->buffers[i].data, copy->bytes);
    }
    return kept;
}

static void forget(outputs *kept) {
    for (int i = 0; i < kept->count; i++) free(kept->outputs[i].data);
}

static double element(const buffer *b, const void *data, size_t i) {
    if (b->is_float == sizeof(float)) return ((const float *)data)[i];
    return ((const double *)data)[i];
}

static void compare_buffers(const buffer *expected, const void *got, int number) {
    if (!expected->is_float) {
        if (memcmp(expected->data, got, expected->bytes)) fail("output %d differs", number);
        return;
    }
    for (size_t i = 0; i < expected->bytes / (size_t)expected->is_float; i++) {
        double a = element(expected, expected->data, i), b = element(expected, got, i);
        if (a == b || (isnan(a) && isnan(b))) continue;
        if (!(fabs(a - b) <= expected->bound * (1 + fabs(a))))
            fail("output %d, element %zu: %.9g, expected %.9g within %.3g", number, i, b, a, expected->bound);
    }
}

static void compare(const outputs *expected, const run *r) {
    int number = 0;
    for (int i = 0; i < r->count; i++) {
        if (!r->buffers[i].is_output) continue;
        REQUIRE(number < expected->count && expected->outputs[number].bytes == r->buffers[i].bytes);
        compare_buffers(&expected->outputs[number], r->buffers[i].data, number);
        number++;
    }
}

/* One case in every set, twice: at both kinds of edge and with different numbers of threads, which must not change a
 * bit. `expected` is filled by the first set unless it came from elsewhere. */
static int64_t run_sets(const entry *e, uint64_t seed, int64_t sweep, int large, outputs *expected) {
    int64_t runs = 0;
    for (int set = 0; set < set_count; set++) {
        REQUIRE(!tl_use_isa(sets[set]));
        uint64_t bits = 0;
        for (int again = 0; again < 2; again++, runs++) {
            run r = {.placement = on_heap ? HEAP : again ? AFTER_GUARD : BEFORE_GUARD, .sweep = sweep, .large = large};
            r.fill = (unsigned char)(0x5a + 37 * runs);
            tl_set_num_threads(again ? 3 : 1 + (int)(seed % 2));
            begin(&r, e, seed);
            if (r.status) fail("no memory");
            if (again && fingerprint(&r) != bits) fail("other bits on the second run");
            bits = fingerprint(&r);
            if (!expected->count) *expected = keep(&r);
            else compare(expected, &r);
            finish(&r);
            if (on_heap) tl_trim(); /* workspace, too, is new memory each time */
        }
    }
    return runs;
}

static uint64_t seed_of(uint64_t seed, int64_t number) { return seed * 1000003u + (uint64_t)number; }

static int64_t check(int64_t cases, uint64_t seed) {
    int64_t runs = 0;
    for (int64_t number = 0; number < cases; number++) {
        for (int e = 0; e < entry_count; e++) {
            outputs expected = {0};
            runs += run_sets(&entries[e], seed_of(seed, number), -1, number % 10 == 9, &expected);
            forget(&expected);
        }
    }
    return runs;
}

static int64_t sweep(uint64_t seed) {
    int64_t runs = 0;
    for (int64_t n = 0; n <= 257; n++) {
        for (int e = 0; e < entry_count; e++) {
            outputs expected = {0};
            runs += run_sets(&entries[e], seed_of(seed, n), n, 0, &expected);
            forget(&expected);
        }
    }
    return runs;
}

/* ---- machines against each other ---- */

static int64_t record(FILE *file, int64_t cases, uint64_t seed) {
    for (int64_t number = 0; number < cases; number++) {
        for (int e = 0; e < entry_count; e++) {
            run r = {.placement = HEAP, .sweep = -1, .fill = 0x5a};
            begin(&r, &entries[e], seed_of(seed, number));
            for (int i = 0; i < r.count; i++) {
                const buffer *b = &r.buffers[i];
                if (b->is_output) REQUIRE(fwrite(b->data, 1, b->bytes, file) == b->bytes);
            }
            finish(&r);
        }
    }
    return cases * entry_count;
}

static int64_t match(FILE *file, int64_t cases, uint64_t seed) {
    int64_t runs = 0;
    for (int64_t number = 0; number < cases; number++) {
        for (int e = 0; e < entry_count; e++) {
            run r = {.placement = HEAP, .sweep = -1};
            begin(&r, &entries[e], seed_of(seed, number));
            outputs expected = keep(&r);
            finish(&r);
            for (int i = 0; i < expected.count; i++) {
                const buffer *b = &expected.outputs[i];
                REQUIRE(fread(b->data, 1, b->bytes, file) == b->bytes);
            }
            runs += run_sets(&entries[e], seed_of(seed, number), -1, 0, &expected);
            forget(&expected);
        }
    }
    return runs;
}

/* ---- without memory ---- */

/* Allocation after allocation fails, once or with all that follow, until the kernel asks for no more of them. A kernel
 * says that it failed, leaves its inputs alone and returns its workspace; the next call is right. */
static int64_t fail_in_turn(const entry *e, uint64_t seed, int large, uint64_t bits) {
    int64_t runs = 0;
    for (int forever = 0; forever < 2; forever++) {
        for (int64_t successes = 0;; successes++, runs++) {
            run r = {.placement = HEAP, .sweep = -1, .large = large, .fill = 0x5a};
            tl_fail_after(successes, forever);
            begin(&r, e, seed);
            int64_t failed = tl_failed();
            tl_fail_after(-1, 0);
            if (failed && !r.status) fail("allocation %lld failed, and nobody heard of it", (long long)successes);
            int right = !r.status && fingerprint(&r) == bits;
            if (!failed && !right) fail("wrong after %lld failures", (long long)successes);
            finish(&r);
            if (tl_live_bytes()) fail("%lld bytes are lost", (long long)tl_live_bytes());
            if (!failed) break;
        }
    }
    return runs;
}

static int64_t faults(int64_t cases, uint64_t seed) {
    int64_t runs = 0;
    for (int64_t number = 0; number < cases; number++) {
        for (int e = 0; e < entry_count; e++) {
            for (int set = 0; set < set_count; set++) {
                REQUIRE(!tl_use_isa(sets[set]));
                run r = {.placement = HEAP, .sweep = -1, .large = number % 2 == 1, .fill = 0x5a};
                tl_set_num_threads(1 + (int)(number % 4));
                begin(&r, &entries[e], seed_of(seed, number));
                uint64_t bits = fingerprint(&r);
                finish(&r);
                runs += fail_in_turn(&entries[e], seed_of(seed, number), r.large, bits);
            }
        }
    }
    return runs;
}

static FILE *opened(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    REQUIRE(file);
    return file;
}

static void choose_sets(int count, char **names) {
    static const char *const known[] = {"generic", "neon", "avx2", "avx512"};
    for (int i = 0; i < count; i++) {
        if (!tl_has_isa(names[i])) fail("this machine lacks %s", names[i]);
        sets[set_count++] = names[i];
    }
    for (int i = 0; i < 4 && !count; i++)
        if (tl_has_isa(known[i])) sets[set_count++] = known[i];
    tl_use_isa(sets[0]);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    int file = !strcmp(mode, "record") || !strcmp(mode, "match"), numbers = strcmp(mode, "sweep") ? 2 : 1;
    if (argc < 2 + file + numbers) {
        fprintf(stderr, "what to run, and how often: see driver.c\n");
        return 2;
    }
    int64_t count = atoll(argv[2 + file]);
    uint64_t seed = (uint64_t)atoll(argv[1 + file + numbers]);
    on_heap = getenv("DRIVER_HEAP") != NULL;
    fill_entries();
    choose_sets(argc - 2 - file - numbers, argv + 2 + file + numbers);
    int64_t runs = 0;
    if (!strcmp(mode, "check")) runs = check(count, seed);
    else if (!strcmp(mode, "sweep")) runs = sweep(seed);
    else if (!strcmp(mode, "record")) runs = record(opened(argv[2], "wb"), count, seed);
    else if (!strcmp(mode, "match")) runs = match(opened(argv[2], "rb"), count, seed);
    else if (!strcmp(mode, "faults")) runs = faults(count, seed);
    else if (!strcmp(mode, "threads")) runs = with_threads(count, seed);
    else if (!strcmp(mode, "forks")) runs = with_forks(count, seed);
    else fail("no mode is called %s", mode);
    tl_trim();
    printf("%lld runs", (long long)runs);
    for (int set = 0; set < set_count; set++) printf(" %s", sets[set]);
    printf("\n");
    return 0;
}
