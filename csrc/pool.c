/* The thread pool: a static partition, started lazily, safe after fork.
 *
 * A launch raises `generation`; workers that see it within SPIN_NS start at once (an empty fork-join costs under a
 * microsecond that way, and some hundred through a condition variable), later ones are woken from `wake`. SPIN_NS spans
 * what lies between the launches of a small model's step, 5 to 120 us of Python, and holds a core no longer than that
 * after the last. The caller does the first range itself, then waits for the others, yielding after a bounded spin: on a
 * machine shared with other work pure spinning would keep the worker that it waits for from running.
 *
 * Nothing here depends on timing: which thread does which range is fixed by the range's number. A second caller at the
 * same time runs on its own thread alone, with the same results, because kernels don't depend on the partition.
 */
#define _GNU_SOURCE
#include "pool.h"
#include "tinyllm.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NS = 200000, SPINS_PER_LOOK = 64 };

static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_int wanted;        /* threads in all, the caller included; 0: not asked yet */
static int started;              /* workers that exist, under `busy` */
static atomic_flag busy = ATOMIC_FLAG_INIT;
static atomic_uint generation;
static atomic_int sleepers;
static atomic_int no_threads;    /* for tests: the system makes no more threads */
static _Thread_local int number = -1; /* of this thread inside a range, else -1 */

/* The launch in progress: written before `generation` is raised, read after it was seen. */
static struct {
    tl_range work;
    void *context;
    int64_t n;
    int parts;
} job;
static atomic_int unfinished;

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* CPUs that the cgroup's quota pays for, or a large number: a container with 2 CPUs of quota on a 64-core machine would
 * otherwise be throttled by its own threads. */
static int quota_cpus(void) {
    double quota = -1, period = -1;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file) {
        if (fscanf(file, "%lf %lf", &quota, &period) != 2) quota = -1;
        fclose(file);
    } else if ((file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
        if (fscanf(file, "%lf", &quota) != 1) quota = -1;
        fclose(file);
        if ((file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r"))) {
            if (fscanf(file, "%lf", &period) != 1) period = -1;
            fclose(file);
        }
    }
    if (quota <= 0 || period <= 0) return TL_MAX_THREADS;
    int cpus = (int)((quota + period - 1) / period);
    return cpus < 1 ? 1 : cpus;
}

static int default_threads(void) {
    const char *text = getenv("TINYLLM_NUM_THREADS");
    int n = text ? atoi(text) : 0;
    if (n < 1) {
#if defined(__linux__)
        cpu_set_t set;
        n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
#else
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
#endif
        int paid = quota_cpus();
        if (n > paid) n = paid;
    }
    return n < 1 ? 1 : n > TL_MAX_THREADS ? TL_MAX_THREADS : n;
}

int tl_num_threads(void) {
    int n = atomic_load_explicit(&wanted, memory_order_relaxed);
    if (n == 0) atomic_store(&wanted, n = default_threads());
    return n;
}

void tl_set_num_threads(int n) {
    atomic_store(&wanted, n < 1 ? default_threads() : n > TL_MAX_THREADS ? TL_MAX_THREADS : n);
}

int tl_thread(void) { return number; }

void tl_fail_threads(int fail) { atomic_store(&no_threads, fail); }

static void run_part(int part) {
    int64_t begin = job.n * part / job.parts, end = job.n * (part + 1) / job.parts;
    job.work(job.context, begin, end);
}

static void *worker(void *argument) {
    int part = (int)(intptr_t)argument & 0xffff;
    unsigned seen = (unsigned)((uintptr_t)argument >> 16);
    number = part;
    for (;;) {
        int64_t until = now_ns() + SPIN_NS;
        while (atomic_load_explicit(&generation, memory_order_acquire) == seen) {
            for (int i = 0; i < SPINS_PER_LOOK && atomic_load_explicit(&generation, memory_order_acquire) == seen; i++)
                pause_cpu();
            if (now_ns() < until) continue;
            pthread_mutex_lock(&sleep_lock);
            atomic_fetch_add(&sleepers, 1);
            while (atomic_load(&generation) == seen) pthread_cond_wait(&wake, &sleep_lock);
            atomic_fetch_sub(&sleepers, 1);
            pthread_mutex_unlock(&sleep_lock);
        }
        seen++;
        if (part < job.parts) run_part(part);
        atomic_fetch_sub_explicit(&unfinished, 1, memory_order_release);
    }
    return NULL;
}

/* Workers up to `n` threads in all; gives the number of threads that exist. Fewer than asked is not an error. */
static int ensure_started(int n) {
    while (started < n - 1) {
        pthread_t thread;
        uintptr_t argument = ((uintptr_t)atomic_load(&generation) << 16) | (uintptr_t)(started + 1);
        if (atomic_load(&no_threads) || pthread_create(&thread, NULL, worker, (void *)argument)) break;
        pthread_detach(thread);
        started++;
    }
    return started + 1 < n ? started + 1 : n;
}

/* The child of a fork has no workers: it starts its own when it needs them. */
static void forget_workers(void) {
    pthread_mutex_init(&sleep_lock, NULL);
    pthread_cond_init(&wake, NULL);
    started = 0;
    atomic_store(&sleepers, 0);
    atomic_store(&unfinished, 0);
    atomic_flag_clear(&busy);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }

void tl_parallel(int64_t n, int64_t grain, tl_range work, void *context) {
    if (n <= 0) return;
    int64_t most = grain > 1 ? (n + grain - 1) / grain : n;
    int parts = tl_num_threads();
    if (parts > most) parts = (int)most;
    if (parts <= 1 || number >= 0 || atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) {
        work(context, 0, n);
        return;
    }
    parts = ensure_started(parts);
    job.work = work;
    job.context = context;
    job.n = n;
    job.parts = parts;
    atomic_store_explicit(&unfinished, started, memory_order_relaxed);
    atomic_fetch_add(&generation, 1);
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&sleep_lock);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&sleep_lock);
    }
    number = 0;
    run_part(0);
    number = -1;
    int64_t until = now_ns() + SPIN_NS;
    while (atomic_load_explicit(&unfinished, memory_order_acquire)) {
        for (int i = 0; i < SPINS_PER_LOOK && atomic_load_explicit(&unfinished, memory_order_acquire); i++) pause_cpu();
        if (now_ns() >= until) sched_yield();
    }
    atomic_flag_clear_explicit(&busy, memory_order_release);
}
