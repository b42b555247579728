/* Kernels from several threads at once, and forks while they run. */
#define _GNU_SOURCE
#include "harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, KEPT = 12 };

/* The bits of a run in the heap: what any thread gets at any time must be what one thread got alone. */
static uint64_t bits_of(int e, uint64_t seed) {
    run r = {.placement = HEAP, .sweep = -1, .large = seed % 3 == 0, .fill = 0x5a};
    begin(&r, &entries[e], seed);
    if (r.status) fail("no memory");
    uint64_t bits = fingerprint(&r);
    finish(&r);
    return bits;
}

static uint64_t expected[KEPT][MAX_ENTRIES];

static void run_serially(uint64_t seed) {
    tl_set_num_threads(1);
    for (uint64_t number = 0; number < KEPT; number++)
        for (int e = 0; e < entry_count; e++) expected[number][e] = bits_of(e, seed + number);
}

static void run_and_compare(run *random, uint64_t seed) {
    uint64_t number = (uint64_t)draw(random, 0, KEPT - 1);
    int e = (int)draw(random, 0, entry_count - 1);
    if (bits_of(e, seed + number) != expected[number][e]) fail("other bits than alone");
}

/* ---- eight threads ---- */

static atomic_llong cycles_left;
static uint64_t base_seed;

static void *cycle(void *argument) {
    run random = {.state = (uint64_t)(uintptr_t)argument};
    while (atomic_fetch_sub(&cycles_left, 1) > 0) {
        switch (draw(&random, 0, 9)) {
        case 0: tl_set_num_threads((int)draw(&random, 1, 8)); break;
        case 1: tl_set_num_threads(0); break;
        case 2: tl_trim(); break;
        case 3: REQUIRE(tl_live_bytes() >= 0 && tl_cached_bytes() >= 0); break;
        }
        run_and_compare(&random, base_seed);
    }
    return NULL;
}

int64_t with_threads(int64_t cycles, uint64_t seed) {
    base_seed = seed;
    run_serially(seed);
    atomic_store(&cycles_left, cycles);
    pthread_t threads[THREADS];
    for (intptr_t i = 0; i < THREADS; i++) REQUIRE(!pthread_create(&threads[i], NULL, cycle, (void *)(i + 1)));
    for (int i = 0; i < THREADS; i++) REQUIRE(!pthread_join(threads[i], NULL));
    REQUIRE(tl_live_bytes() == 0);
    return cycles;
}

/* ---- forks ---- */

static atomic_int stop;

static void *keep_running(void *argument) {
    run random = {.state = (uint64_t)(uintptr_t)argument};
    while (!atomic_load(&stop)) run_and_compare(&random, base_seed);
    return NULL;
}

/* Some kernels, then the same in a child of this process, `depth` deep. A child that hangs is ended by its alarm. */
static void fork_and_run(run *random, int depth) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (!child) {
        alarm(20);
        tl_set_num_threads(3);
        for (int i = 0; i < 4; i++) run_and_compare(random, base_seed);
        if (depth > 1) fork_and_run(random, depth - 1);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) fail("a child ended by signal %d (%d: it hung)", WTERMSIG(status), SIGALRM);
    if (WEXITSTATUS(status)) fail("a child failed");
}

int64_t with_forks(int64_t rounds, uint64_t seed) {
    base_seed = seed;
    run_serially(seed);
    tl_set_num_threads(3);
    pthread_t threads[2];
    for (intptr_t i = 0; i < 2; i++) REQUIRE(!pthread_create(&threads[i], NULL, keep_running, (void *)(i + 1)));
    run random = {.state = seed};
    for (int64_t round = 0; round < rounds; round++) {
        run_and_compare(&random, base_seed); /* the pool is in use, or was */
        fork_and_run(&random, 2);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++) REQUIRE(!pthread_join(threads[i], NULL));
    return rounds;
}
