/* Choose one compiled set of kernels when the library is loaded: the widest that the CPU and the system both support. */
#include "dispatch.h"

#include <string.h>

void tl_fill_generic_f32(tl_table *);
void tl_fill_generic_f64(tl_table *);
#if defined(__x86_64__)
void tl_fill_avx2_f32(tl_table *);
void tl_fill_avx2_f64(tl_table *);
void tl_fill_avx512_f32(tl_table *);
void tl_fill_avx512_f64(tl_table *);
#endif
#if defined(__aarch64__)
void tl_fill_neon_f32(tl_table *);
void tl_fill_neon_f64(tl_table *);
#endif

enum { GENERIC, NEON, AVX2, AVX512, SETS };
static const char *const names[SETS] = {"generic", "neon", "avx2", "avx512"};
static tl_table tables[SETS];
static int active = GENERIC;

const tl_table *tl_active = &tables[GENERIC];

/* __builtin_cpu_supports also asks XGETBV whether the system saves the wide registers. */
static int runs(int set) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (set == AVX2) return avx2;
    if (set == AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#if defined(__aarch64__)
    if (set == NEON) return 1; /* part of the architecture */
#endif
    return set == GENERIC;
}

static int find(const char *name) {
    for (int set = 0; set < SETS; set++)
        if (!strcmp(name, names[set])) return runs(set) ? set : -1;
    return -1;
}

__attribute__((constructor)) static void choose(void) {
    tl_fill_generic_f32(&tables[GENERIC]);
    tl_fill_generic_f64(&tables[GENERIC]);
#if defined(__x86_64__)
    /* The fill functions are themselves compiled for their set. */
    if (runs(AVX2)) tl_fill_avx2_f32(&tables[AVX2]), tl_fill_avx2_f64(&tables[AVX2]);
    if (runs(AVX512)) tl_fill_avx512_f32(&tables[AVX512]), tl_fill_avx512_f64(&tables[AVX512]);
#endif
#if defined(__aarch64__)
    tl_fill_neon_f32(&tables[NEON]);
    tl_fill_neon_f64(&tables[NEON]);
#endif
    for (int set = 0; set < SETS; set++)
        if (runs(set)) active = set;
    tl_active = &tables[active];
}

const char *tl_isa(void) { return names[active]; }

int tl_has_isa(const char *name) { return find(name) >= 0; }

int tl_use_isa(const char *name) {
    int set = find(name);
    if (set < 0) return -1;
    active = set;
    tl_active = &tables[set];
    return 0;
}
