/* One small vector vocabulary, for one element type T and one vector width: kernels are written in it once.
 *
 * How to write a kernel
 *   - Declare it in tinyllm.h: TL_KERNEL(void, name, const T *x, T *y, int64_t n); that is the template line, float and
 *     double come from it. Define FN(name) in a family file with the same arguments, and include that file in families.h.
 *     Everything else in a family file is static.
 *   - V is a vector of W elements of T; I and U are vectors of signed and unsigned integers as wide as T. Operators work
 *     on vectors (+ - * / < == & << ...): a comparison gives an I whose lanes are all ones or all zeros.
 *   - Loop over full vectors, then treat the tail with the same operations under v_load_n / v_store_n, so that an
 *     element's result does not depend on where it sits:
 *         for (; i + W <= n; i += W) v_store(y + i, f(v_load(x + i)));
 *         if (i < n) v_store_n(y + i, f(v_load_n(x + i, n - i)), n - i);
 *   - Parallel: put the arguments in a struct and call tl_parallel(items, grain, range_function, &arguments) (pool.h). Ranges
 *     may be cut anywhere, so each item's result must depend on the item alone: never split a reduction between ranges.
 *     TL_GRAIN elements of cheap work are worth a thread.
 *   - Scratch: tl_malloc(bytes) / tl_free (64-byte aligned, warm, about 50 ns), in the range function for scratch per
 *     thread. A kernel that allocates has an int result and gives -1 when tl_malloc gave NULL.
 *   - No FMA appears unless written as v_fma: the compiler is told not to contract.
 *
 * Built on GCC's vector extensions, with intrinsics only where those have no operation. Without TL_AVX2, TL_AVX512 or
 * TL_NEON everything is plain vector C, for any width.
 */

typedef T V __attribute__((vector_size(TL_VBYTES)));
typedef T V_unaligned __attribute__((vector_size(TL_VBYTES), aligned(sizeof(T)), may_alias));
#if TL_DOUBLE
typedef int64_t lane_int;
typedef uint64_t lane_uint;
#else
typedef int32_t lane_int;
typedef uint32_t lane_uint;
#endif
typedef lane_int I __attribute__((vector_size(TL_VBYTES)));
typedef lane_uint U __attribute__((vector_size(TL_VBYTES)));

enum { W = TL_VBYTES / sizeof(T), TL_GRAIN = 16384 };

#define INLINE static inline __attribute__((always_inline, unused))

/* The name of an intrinsic for T: MM(256, add) is _mm256_add_ps or _mm256_add_pd. */
#if TL_DOUBLE
#define TL_TYPED(name) name##_pd
#else
#define TL_TYPED(name) name##_ps
#endif

/* ---- load, store, splat ---- */

INLINE V v_splat(T x) { return x - (V){}; } /* x - 0 keeps the sign of a zero and every NaN */
INLINE V v_zero(void) { return (V){}; }
INLINE I i_splat(lane_int x) { return x + (I){}; }
INLINE V v_load(const T *p) { return *(const V_unaligned *)p; }
INLINE void v_store(T *p, V x) { *(V_unaligned *)p = x; }

#if defined(TL_AVX2)
/* All ones in the first n lanes. */
INLINE I i_first(int64_t n) {
    static const lane_int window[2 * W] = {
#if TL_DOUBLE
        -1, -1, -1, -1
#else
        -1, -1, -1, -1, -1, -1, -1, -1
#endif
    };
    I mask;
    memcpy(&mask, window + W - n, sizeof mask);
    return mask;
}
#endif

/* The first n lanes, 0 <= n <= W; the others are zero on load and left alone in memory on store. */
INLINE V v_load_n(const T *p, int64_t n) {
#if defined(TL_AVX512) && TL_DOUBLE
    return (V)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif defined(TL_AVX512)
    return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_maskload)(p, (__m256i)i_first(n));
#else
    V x = {};
    for (int64_t i = 0; i < n; i++) x[i] = p[i];
    return x;
#endif
}

INLINE void v_store_n(T *p, V x, int64_t n) {
#if defined(TL_AVX512) && TL_DOUBLE
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)x);
#elif defined(TL_AVX512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#elif defined(TL_AVX2)
    TL_TYPED(_mm256_maskstore)(p, (__m256i)i_first(n), x);
#else
    for (int64_t i = 0; i < n; i++) p[i] = x[i];
#endif
}

/* ---- arithmetic ---- */

/* a * b + c, rounded once where the machine has it; twice in the generic set, as the baseline of x86-64 has no FMA. */
INLINE V v_fma(V a, V b, V c) {
#if defined(TL_AVX512)
    return (V)TL_TYPED(_mm512_fmadd)(a, b, c);
#elif defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_fmadd)(a, b, c);
#elif defined(TL_NEON) && TL_DOUBLE
    return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#elif defined(TL_NEON)
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

INLINE V v_fnma(V a, V b, V c) { return v_fma(-a, b, c); } /* c - a * b */

/* Lanes of a where the mask is set, of b elsewhere. */
INLINE V v_select(I mask, V a, V b) {
#if defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_blendv)(b, a, (V)mask);
#else
    return (V)((mask & (I)a) | (~mask & (I)b));
#endif
}

INLINE I v_isnan(V x) { return x != x; }
INLINE V v_abs(V x) { return (V)((I)x & (I)((U)i_splat(-1) >> 1)); }
INLINE V v_sign_of(V x) { return (V)((I)x & (I)((U)i_splat(1) << (8 * sizeof(T) - 1))); } /* the sign bit alone */
INLINE V v_copysign(V x, V sign) { return (V)((I)v_abs(x) | (I)v_sign_of(sign)); }

/* a < b ? a : b and a > b ? a : b: the second argument where either is NaN. */
INLINE V v_min(V a, V b) {
#if defined(TL_AVX512)
    return (V)TL_TYPED(_mm512_min)(a, b);
#elif defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_min)(a, b);
#else
    return v_select(a < b, a, b);
#endif
}

INLINE V v_max(V a, V b) {
#if defined(TL_AVX512)
    return (V)TL_TYPED(_mm512_max)(a, b);
#elif defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_max)(a, b);
#else
    return v_select(a > b, a, b);
#endif
}

/* NaN where either is NaN. */
INLINE V v_minimum(V a, V b) { return v_select(v_isnan(a), a, v_min(a, b)); }
INLINE V v_maximum(V a, V b) { return v_select(v_isnan(a), a, v_max(a, b)); }

INLINE V v_sqrt(V x) {
#if defined(TL_AVX512)
    return (V)TL_TYPED(_mm512_sqrt)(x);
#elif defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_sqrt)(x);
#else
    for (int i = 0; i < (int)W; i++) x[i] = TL_DOUBLE ? (T)sqrt(x[i]) : (T)sqrtf((float)x[i]);
    return x;
#endif
}

/* To the nearest integer, halves to even. */
INLINE V v_round(V x) {
#if defined(TL_AVX512)
    return (V)TL_TYPED(_mm512_roundscale)(x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(TL_AVX2)
    return (V)TL_TYPED(_mm256_round)(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    /* Adding 2^(mantissa bits) leaves no bits below one; larger numbers are integers already. */
    V big = v_splat(TL_DOUBLE ? (T)4503599627370496.0 : (T)8388608.0f), a = v_abs(x);
    return v_select(a < big, v_copysign((a + big) - big, x), x);
#endif
}

INLINE V v_floor(V x) {
    V r = v_round(x);
    return v_copysign(v_select(r > x, r - v_splat(1), r), x);
}

INLINE V v_ceil(V x) { return -v_floor(-x); }
INLINE V v_trunc(V x) { return v_copysign(v_floor(v_abs(x)), x); }

/* Lanes of a and b by constant numbers that count through both; `index` is a type of as many integers, as wide. GCC
 * before 12 has only the older builtin. */
#if defined(__clang__) || __GNUC__ >= 12
#define V_SHUFFLE(index, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define V_SHUFFLE(index, a, b, ...) __builtin_shuffle(a, b, (index){__VA_ARGS__})
#endif

/* ---- across lanes: the order is fixed, halves are folded onto each other ---- */

/* Lanes exchanged at a distance of 8, 4, 2 and 1. */
#if TL_VBYTES / (TL_DOUBLE ? 8 : 4) == 2
#define TL_SWAP1(x) V_SHUFFLE(I, x, x, 1, 0)
#elif TL_VBYTES / (TL_DOUBLE ? 8 : 4) == 4
#define TL_SWAP2(x) V_SHUFFLE(I, x, x, 2, 3, 0, 1)
#define TL_SWAP1(x) V_SHUFFLE(I, x, x, 1, 0, 3, 2)
#elif TL_VBYTES / (TL_DOUBLE ? 8 : 4) == 8
#define TL_SWAP4(x) V_SHUFFLE(I, x, x, 4, 5, 6, 7, 0, 1, 2, 3)
#define TL_SWAP2(x) V_SHUFFLE(I, x, x, 2, 3, 0, 1, 6, 7, 4, 5)
#define TL_SWAP1(x) V_SHUFFLE(I, x, x, 1, 0, 3, 2, 5, 4, 7, 6)
#else
#define TL_SWAP8(x) V_SHUFFLE(I, x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#define TL_SWAP4(x) V_SHUFFLE(I, x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define TL_SWAP2(x) V_SHUFFLE(I, x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define TL_SWAP1(x) V_SHUFFLE(I, x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#endif

INLINE V v_add(V a, V b) { return a + b; }

INLINE T fold(V x, V (*join)(V, V)) {
#if defined(TL_SWAP8)
    x = join(x, TL_SWAP8(x));
#endif
#if defined(TL_SWAP4)
    x = join(x, TL_SWAP4(x));
#endif
#if defined(TL_SWAP2)
    x = join(x, TL_SWAP2(x));
#endif
    return join(x, TL_SWAP1(x))[0];
}

INLINE T v_hsum(V x) { return fold(x, v_add); }
INLINE T v_hmax(V x) { return fold(x, v_maximum); } /* NaN if any lane is NaN */
INLINE T v_hmin(V x) { return fold(x, v_minimum); }

/* The libm function for T: LIBM(sin) is sin or sinf. */
#if TL_DOUBLE
#define LIBM(name) name
#else
#define LIBM(name) name##f
#endif

/* Whether any lane of a mask is set. */
INLINE int i_any(I mask) {
#if defined(TL_AVX512) && TL_DOUBLE
    return _mm512_movepi64_mask((__m512i)mask) != 0;
#elif defined(TL_AVX512)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(TL_AVX2)
    return TL_TYPED(_mm256_movemask)((V)mask) != 0;
#else
    lane_int any = 0;
    for (int i = 0; i < (int)W; i++) any |= mask[i];
    return any != 0;
#endif
}

/* One scalar function, lane by lane. */
#define V_MAP(function, x)                                             \
    ({                                                                 \
        V mapped_ = (x);                                               \
        for (int lane_ = 0; lane_ < (int)W; lane_++) mapped_[lane_] = function(mapped_[lane_]); \
        mapped_;                                                       \
    })

#define V_MAP2(function, x, y)                                         \
    ({                                                                 \
        V mapped_;                                                     \
        for (int lane_ = 0; lane_ < (int)W; lane_++) mapped_[lane_] = function(x[lane_], y[lane_]); \
        mapped_;                                                       \
    })

/* Transpose the W x W matrix whose rows are x: log2(W) perfect shuffles of its rows. */
#if TL_VBYTES / (TL_DOUBLE ? 8 : 4) == 2
#define TL_LOW(a, b) V_SHUFFLE(I, a, b, 0, 2)
#define TL_HIGH(a, b) V_SHUFFLE(I, a, b, 1, 3)
#elif TL_VBYTES / (TL_DOUBLE ? 8 : 4) == 4
#define TL_LOW(a, b) V_SHUFFLE(I, a, b, 0, 4, 1, 5)
#define TL_HIGH(a, b) V_SHUFFLE(I, a, b, 2, 6, 3, 7)
#elif TL_VBYTES / (TL_DOUBLE ? 8 : 4) == 8
#define TL_LOW(a, b) V_SHUFFLE(I, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define TL_HIGH(a, b) V_SHUFFLE(I, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define TL_LOW(a, b) V_SHUFFLE(I, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define TL_HIGH(a, b) V_SHUFFLE(I, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif

INLINE void v_transpose(V x[W]) {
    V y[W];
#if defined(TL_AVX2) && !TL_DOUBLE
    /* Within 128-bit lanes first, one instruction each; the shuffles below take two across lanes. */
    for (int i = 0; i < 8; i += 2) {
        y[i] = (V)_mm256_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = (V)_mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        x[i] = (V)_mm256_shuffle_ps(y[i], y[i + 2], 0x44);
        x[i + 1] = (V)_mm256_shuffle_ps(y[i], y[i + 2], 0xee);
        x[i + 2] = (V)_mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
        x[i + 3] = (V)_mm256_shuffle_ps(y[i + 1], y[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        y[i] = (V)_mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
        y[i + 4] = (V)_mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) x[i] = y[i];
#else
#pragma GCC unroll 4
    for (int pass = (int)W; pass > 1; pass /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < (int)W / 2; i++) {
            y[2 * i] = TL_LOW(x[i], x[i + W / 2]);
            y[2 * i + 1] = TL_HIGH(x[i], x[i + W / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < (int)W; i++) x[i] = y[i];
    }
#endif
}

#include "simd_math.h"
#include "simd_trig.h"
