/* Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") on vectors.
 *
 * Element i of a stream is word i % 4 of block i / 4; a block is a pure function of the key (seed, step) and the
 * counter (block low, block high, stream low, stream high). Each 64-bit lane works on one block: the low half holds a
 * word, the upper half is garbage that the 32 x 32 -> 64 multiply does not read.
 */
#ifndef TL_PHILOX_H
#define TL_PHILOX_H

typedef uint64_t Q __attribute__((vector_size(TL_VBYTES)));
typedef uint64_t Q_unaligned __attribute__((vector_size(TL_VBYTES), aligned(4), may_alias));

enum { QW = TL_VBYTES / 8, PHILOX_STEP = 4 * QW };

/* Product of the low halves of a lane. */
INLINE Q q_mul_low(Q a, Q b) {
#if defined(TL_AVX512)
    return (Q)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(TL_AVX2)
    return (Q)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/* a0 b0 a1 b1 ... of the lower and of the upper half of the lanes: two words of a lane, then the other two. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the two words of a lane are stored in little-endian order"
#endif
#if TL_VBYTES == 16
#define Q_INTERLEAVE_LOW(a, b) V_SHUFFLE(Q, a, b, 0, 2)
#define Q_INTERLEAVE_HIGH(a, b) V_SHUFFLE(Q, a, b, 1, 3)
#elif TL_VBYTES == 32
#define Q_INTERLEAVE_LOW(a, b) V_SHUFFLE(Q, a, b, 0, 4, 1, 5)
#define Q_INTERLEAVE_HIGH(a, b) V_SHUFFLE(Q, a, b, 2, 6, 3, 7)
#else
#define Q_INTERLEAVE_LOW(a, b) V_SHUFFLE(Q, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define Q_INTERLEAVE_HIGH(a, b) V_SHUFFLE(Q, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#endif

INLINE Q q_splat(uint64_t x) { return x + (Q){}; }

/* The words of blocks first .. first + count - 1, in element order. `words` has room for whole vectors: PHILOX_STEP - 4
 * words more. */
static void philox(uint32_t *words, uint64_t first, int64_t count, const uint32_t key[2], uint64_t stream) {
    Q lanes, low = q_splat(0xffffffffu);
    for (int lane = 0; lane < (int)QW; lane++) lanes[lane] = (uint64_t)lane;
    Q stream_low = q_splat(stream & 0xffffffffu), stream_high = q_splat(stream >> 32);
    Q keys[10][2];
    for (uint32_t round = 0; round < 10; round++) {
        keys[round][0] = q_splat(key[0] + round * 0x9E3779B9u);
        keys[round][1] = q_splat(key[1] + round * 0xBB67AE85u);
    }
    for (int64_t block = 0; block < count; block += QW, words += PHILOX_STEP) {
        Q index = q_splat(first + (uint64_t)block) + lanes;
        Q c0 = index, c1 = index >> 32, c2 = stream_low, c3 = stream_high;
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            Q p0 = q_mul_low(c0, q_splat(0xD2511F53u)), p1 = q_mul_low(c2, q_splat(0xCD9E8D57u));
            c0 = (p1 >> 32) ^ c1 ^ keys[round][0];
            c2 = (p0 >> 32) ^ c3 ^ keys[round][1];
            c1 = p1;
            c3 = p0;
        }
        Q pair0 = (c0 & low) | (c1 << 32), pair1 = (c2 & low) | (c3 << 32);
        *(Q_unaligned *)words = Q_INTERLEAVE_LOW(pair0, pair1);
        *(Q_unaligned *)(words + PHILOX_STEP / 2) = Q_INTERLEAVE_HIGH(pair0, pair1);
    }
}

/* Words of elements first .. first + count - 1: fills `buffer`, gives where in it they begin. `buffer` holds
 * count + PHILOX_SLACK words. */
enum { PHILOX_SLACK = PHILOX_STEP + 4 };
INLINE const uint32_t *philox_elements(uint32_t *buffer, uint64_t first, int64_t count, const uint32_t key[2],
                                       uint64_t stream) {
    int64_t skip = (int64_t)(first & 3);
    philox(buffer, first >> 2, (skip + count + 3) >> 2, key, stream);
    return buffer + skip;
}

/* uniform(word) >= p as a comparison of 24-bit integers: keep the element iff word >> 8 >= this. */
INLINE int32_t keep_threshold(double p) { return (int32_t)ceil(p * 16777216.0); }

#endif
