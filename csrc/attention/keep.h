/* Dropout of probabilities that lie as [key][query]: words of Philox for W queries at a time.
 *
 * The entry (b, h, i, j) has word base + ((b H + h) Tq + i) Tk + j of the stream: four keys of a query are one block. A
 * lane works on the block of its own query, and the four words of the lanes are four rows of scores: nothing is
 * shuffled. Where Tk or base is no multiple of four, a query's keys begin within a block, and each lane takes its words
 * from two blocks in a row.
 */
#ifndef TL_KEEP_H
#define TL_KEEP_H

#include "../philox.h"
#include "tile.h"

enum { KEEP_PARTS = W / QW }; /* vectors of counters for W queries: even and odd ones where T is float */

typedef struct {
    Q block[KEEP_PARTS]; /* of each query's next keys */
    I skip;              /* words of it that come before them */
    int shifted;         /* some lane's skip is not 0 */
} keep_lanes;

/* The W queries from i on, from key j on. */
INLINE keep_lanes keep_from(const tl_attention *call, int64_t batch, int64_t head, int64_t i, int64_t j) {
    keep_lanes k;
    uint64_t row = (uint64_t)((batch * call->heads + head) * call->tq + i);
    k.shifted = 0;
    for (int lane = 0; lane < (int)W; lane++) {
        uint64_t element = call->base + (row + (uint64_t)lane) * (uint64_t)call->tk + (uint64_t)j;
        k.block[lane % KEEP_PARTS][lane / KEEP_PARTS] = element >> 2;
        k.skip[lane] = (lane_int)(element & 3);
        k.shifted |= (int)(element & 3);
    }
    return k;
}

/* Words of the four elements of each lane's block, then on to the next block. */
INLINE void keep_words(const tl_attention *call, keep_lanes *k, U words[4]) {
    Q low = q_splat(0xffffffffu), c[KEEP_PARTS][4];
#pragma GCC unroll 2
    for (int part = 0; part < KEEP_PARTS; part++) {
        c[part][0] = k->block[part], c[part][1] = k->block[part] >> 32;
        c[part][2] = q_splat(call->stream & 0xffffffffu), c[part][3] = q_splat(call->stream >> 32);
        k->block[part] += q_splat(1);
    }
#pragma GCC unroll 10
    for (uint32_t round = 0; round < 10; round++) {
        Q key0 = q_splat(call->key[0] + round * 0x9E3779B9u), key1 = q_splat(call->key[1] + round * 0xBB67AE85u);
#pragma GCC unroll 2
        for (int part = 0; part < KEEP_PARTS; part++) {
            Q *x = c[part], p0 = q_mul_low(x[0], q_splat(0xD2511F53u)), p1 = q_mul_low(x[2], q_splat(0xCD9E8D57u));
            x[0] = (p1 >> 32) ^ x[1] ^ key0;
            x[2] = (p0 >> 32) ^ x[3] ^ key1;
            x[1] = p1;
            x[3] = p0;
        }
    }
#pragma GCC unroll 4
    for (int word = 0; word < 4; word++) {
        Q even = c[0][word] & low;
        words[word] = (U)(KEEP_PARTS == 2 ? even | c[KEEP_PARTS - 1][word] << 32 : even);
    }
}

/* kept[r] = all ones where key first + r of the lane's query is kept, for n keys rounded up to four. */
static void keep_keys(const tl_attention *call, keep_lanes k, int64_t n, int32_t threshold, I *kept) {
    U words[8];
    I least = i_splat(threshold);
    if (k.shifted) keep_words(call, &k, words + 4);
    for (int64_t r = 0; r < n; r += 4) {
        if (k.shifted) {
            memcpy(words, words + 4, 4 * sizeof(U));
            keep_words(call, &k, words + 4);
            for (int word = 0; word < 4; word++) {
                U x = words[word];
                for (int skip = 1; skip < 4; skip++) {
                    I here = k.skip == i_splat(skip);
                    x = ((U)here & words[word + skip]) | (~(U)here & x);
                }
                kept[r + word] = (I)(x >> 8) >= least;
            }
        } else {
            keep_words(call, &k, words);
#pragma GCC unroll 4
            for (int word = 0; word < 4; word++) kept[r + word] = (I)(words[word] >> 8) >= least;
        }
    }
}

#endif
