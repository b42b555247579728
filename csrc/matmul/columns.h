/* Columns of a matrix that is stored by rows, as vectors.
 *
 * Rows meet in a vector as they are loaded, 16 bytes of each, so that shuffles stay within 16 bytes: half of those that
 * transposing W whole vectors takes, and few registers.
 */

enum { SHORT = 16 / sizeof(T) };

#if TL_DOUBLE
#define TL_PART(i) _mm_loadu_pd(p + (i) * step)
#else
#define TL_PART(i) _mm_loadu_ps(p + (i) * step)
#endif
#if defined(TL_AVX512) && TL_DOUBLE
#define TL_INSERT(y, i, place) _mm512_insertf64x2(y, TL_PART(i), place)
#define TL_PARTS(i) \
    TL_INSERT(TL_INSERT(TL_INSERT(_mm512_castpd128_pd512(TL_PART(i)), i + 2, 1), i + 4, 2), i + 6, 3)
#define TL_MM(name) _mm512_##name
#elif defined(TL_AVX512)
#define TL_INSERT(y, i, place) _mm512_insertf32x4(y, TL_PART(i), place)
#define TL_PARTS(i) \
    TL_INSERT(TL_INSERT(TL_INSERT(_mm512_castps128_ps512(TL_PART(i)), i + 4, 1), i + 8, 2), i + 12, 3)
#define TL_MM(name) _mm512_##name
#elif defined(TL_AVX2) && TL_DOUBLE
#define TL_PARTS(i) _mm256_insertf128_pd(_mm256_castpd128_pd256(TL_PART(i)), TL_PART(i + 2), 1)
#define TL_MM(name) _mm256_##name
#elif defined(TL_AVX2)
#define TL_PARTS(i) _mm256_insertf128_ps(_mm256_castps128_ps256(TL_PART(i)), TL_PART(i + 4), 1)
#define TL_MM(name) _mm256_##name
#endif

/* x[j] is column j of the W x SHORT matrix at p, whose rows lie `step` apart. */
INLINE void load_columns(const T *p, int64_t step, V x[SHORT]) {
#if defined(TL_MM) && TL_DOUBLE
    V y0 = (V)TL_PARTS(0), y1 = (V)TL_PARTS(1);
    x[0] = (V)TL_MM(unpacklo_pd)(y0, y1);
    x[1] = (V)TL_MM(unpackhi_pd)(y0, y1);
#elif defined(TL_MM)
    typedef double pairs __attribute__((vector_size(TL_VBYTES)));
    V y0 = (V)TL_PARTS(0), y1 = (V)TL_PARTS(1), y2 = (V)TL_PARTS(2), y3 = (V)TL_PARTS(3);
    pairs low01 = (pairs)TL_MM(unpacklo_ps)(y0, y1), low23 = (pairs)TL_MM(unpacklo_ps)(y2, y3);
    pairs high01 = (pairs)TL_MM(unpackhi_ps)(y0, y1), high23 = (pairs)TL_MM(unpackhi_ps)(y2, y3);
    x[0] = (V)TL_MM(unpacklo_pd)(low01, low23);
    x[1] = (V)TL_MM(unpackhi_pd)(low01, low23);
    x[2] = (V)TL_MM(unpacklo_pd)(high01, high23);
    x[3] = (V)TL_MM(unpackhi_pd)(high01, high23);
#else
    for (int i = 0; i < (int)W; i++) x[i] = v_load(p + i * step);
    v_transpose(x);
#endif
}
