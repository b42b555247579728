/* Transcendental functions on vectors.
 *
 * For float: polynomials fitted by reweighted least squares (relative error, 40-digit arithmetic), over the full range:
 * overflow, denormal results, infinities and NaN come out as libm's do. Largest errors in ulp, held by the tests:
 * exp 1.1, expm1 1.7, log 1, log1p 2.5, log2 1.5, tanh 1.5, sinh 1.8, cosh 1.6, sigmoid 2.5, erf 1.5; x normal_cdf(x)
 * 7 down to x = -12.8, and 0 from -12.875 on, where the tail would soon be denormal.
 * For double: libm lane by lane. float64 is there for checking, it has no speed bar.
 */

#if TL_DOUBLE

INLINE V v_exp(V x) { return V_MAP(exp, x); }
INLINE V v_expm1(V x) { return V_MAP(expm1, x); }
INLINE V v_log(V x) { return V_MAP(log, x); }
INLINE V v_log1p(V x) { return V_MAP(log1p, x); }
INLINE V v_tanh(V x) { return V_MAP(tanh, x); }
INLINE V v_erf(V x) { return V_MAP(erf, x); }
INLINE V v_log2(V x) { return V_MAP(log2, x); }
INLINE V v_cosh(V x) { return V_MAP(cosh, x); }
INLINE V v_sinh(V x) { return V_MAP(sinh, x); }

#else

/* Horner's rule, highest power first. */
#define TL_POLY2(x, a, b, c) v_fma(v_fma(v_splat(a), x, v_splat(b)), x, v_splat(c))
#define TL_POLY3(x, a, b, c, d) v_fma(TL_POLY2(x, a, b, c), x, v_splat(d))
#define TL_POLY4(x, a, b, c, d, e) v_fma(TL_POLY3(x, a, b, c, d), x, v_splat(e))
#define TL_POLY5(x, a, b, c, d, e, f) v_fma(TL_POLY4(x, a, b, c, d, e), x, v_splat(f))
#define TL_POLY6(x, a, b, c, d, e, f, g) v_fma(TL_POLY5(x, a, b, c, d, e, f), x, v_splat(g))
#define TL_POLY7(x, a, b, c, d, e, f, g, h) v_fma(TL_POLY6(x, a, b, c, d, e, f, g), x, v_splat(h))
#define TL_POLY8(x, a, b, c, d, e, f, g, h, i) v_fma(TL_POLY7(x, a, b, c, d, e, f, g, h), x, v_splat(i))

INLINE V v_pow2(I n) { return (V)((n + 127) << 23); } /* 2^n, -126 <= n <= 127 */

/* x = n ln2 + r with |r| <= ln2 / 2 (Cody and Waite: ln2 in two parts, n * high is exact). */
INLINE V reduce_exp(V x, V *r) {
    V n = v_round(x * v_splat(1.44269504f));
    *r = v_fma(n, v_splat(-0.693359375f), x);
    *r = v_fma(n, v_splat(2.12194440e-4f), *r);
    return n;
}

/* e^r - 1 on |r| <= ln2 / 2. */
INLINE V expm1_small(V r) {
    V p = TL_POLY4(r, 0.00139517116f, 0.00836959947f, 0.0416661873f, 0.166665122f, 0.5f);
    return v_fma(r * r, p, r);
}

/* y 2^n for an integer n from -252 to 254, rounded once. */
INLINE V scale_by_pow2(V y, V n) {
#if defined(TL_AVX512)
    return (V)_mm512_scalef_ps((__m512)y, (__m512)n);
#else
    I whole = __builtin_convertvector(n, I), half = whole >> 1; /* in two steps, as 2^n may be denormal or overflow */
    return y * v_pow2(half) * v_pow2(whole - half);
#endif
}

INLINE V v_exp(V x) {
    V r, n = reduce_exp(v_max(v_splat(-104.0f), v_min(v_splat(89.0f), x)), &r); /* keeps NaN: it comes second */
    return scale_by_pow2(v_splat(1.0f) + expm1_small(r), n);
}

/* e^(-a^2/2) for 0 <= a < 13, where it is normal, as if a^2 were not rounded. n ends in the low bits of a sum with
 * 1.5 * 2^23, and q is a^2 + 2 n ln2. */
INLINE V exp_of_half_square(V a) {
    V magic = v_splat(12582912.0f), square = a * a;
    V shifted = v_fma(square, v_splat(-0.721347520f), magic), n = shifted - magic;
#if defined(TL_AVX512) || defined(TL_AVX2) || defined(TL_NEON)
    V q = v_fma(a, a, n * v_splat(1.38671875f)); /* n times the first part of 2 ln2 is exact */
#else
    /* Without FMA by halves of 12 bits, whose products are exact (Dekker 1971). */
    V high = (V)((I)a & i_splat(~0xfff)), low = a - high;
    V lost = ((high * high - square) + (high + high) * low) + low * low;
    V q = square + n * v_splat(1.38671875f) + lost;
#endif
    q = v_fma(n, v_splat(-4.24388880e-4f), q);
    V e = TL_POLY6(q, 2.1479385e-05f, -0.00026152987f, 0.002604352f, -0.020833148f, 0.12499997f, -0.5f, 1.0f);
    return (V)((U)e + ((U)shifted << 23));
}

INLINE V v_expm1(V x) {
    V r, c = v_max(v_splat(-30.0f), v_min(v_splat(89.0f), x));
    I n = __builtin_convertvector(reduce_exp(c, &r), I), half = n >> 1;
    V up = v_pow2(half), rest = v_pow2(n - half), p = expm1_small(r);
    /* 2^n (p + 1) - 1 = 2^n p + (2^n - 1); for large n the last term would overflow before the sum does. */
    V small = v_fma(up * rest, p, up * rest - v_splat(1.0f));
    V large = (v_splat(1.0f) + p) * up * rest - v_splat(1.0f);
    V y = v_select(n > i_splat(64), large, small);
    return v_select(x == v_zero(), x, y); /* the sign of a zero */
}

/* x = (1 + f) 2^e with sqrt(1/2) <= 1 + f < sqrt(2), for positive x. */
INLINE V log_reduce(V x, V *e) {
    I denormal = x < v_splat(1.17549435e-38f);
    V scaled = v_select(denormal, x * v_splat(8388608.0f), x); /* 2^23 */
    I bits = (I)((U)scaled - (U)i_splat(0x3f3504f3)); /* wraps for negative numbers, which end as NaN in log_ends */
    *e = __builtin_convertvector((bits >> 23) - (denormal & i_splat(23)), V);
    return (V)((bits & i_splat(0x7fffff)) + i_splat(0x3f3504f3)) - v_splat(1.0f);
}

/* log(1 + f) - f + f^2/2. */
INLINE V log_rest(V f) {
    V p = TL_POLY7(f, -0.0763220862f, 0.127608299f, -0.131606475f, 0.14201887f, -0.166233256f, 0.200012207f,
                   -0.250008225f, 0.333333313f);
    return f * (f * f) * p;
}

INLINE V log_ends(V x, V y) {
    V infinite = v_splat(INFINITY);
    y = v_select(x == infinite, x, y);
    y = v_select(x == v_zero(), -infinite, y);
    return v_select((x < v_zero()) | v_isnan(x), v_splat(NAN), y);
}

INLINE V v_log(V x) {
    V e, f = log_reduce(x, &e);
    V y = v_fma(e, v_splat(-2.12194440e-4f), log_rest(f));
    y = v_fma(v_splat(-0.5f), f * f, y) + f;
    return log_ends(x, v_fma(e, v_splat(0.693359375f), y));
}

/* log2(e) is 1 and 0.4427: the product with the first part is exact. */
INLINE V v_log2(V x) {
    V e, f = log_reduce(x, &e), part = v_splat(0.442695041f);
    V rest = v_fma(v_splat(-0.5f), f * f, log_rest(f));
    V y = v_fma(f, part, v_fma(rest, part, rest));
    return log_ends(x, (y + f) + e);
}

/* log(1 + x): with u = 1 + x rounded, log(u) x / (u - 1) corrects the rounding (Goldberg 1991, theorem 4). */
INLINE V v_log1p(V x) {
    V u = v_splat(1.0f) + x, d = u - v_splat(1.0f);
    V y = v_log(u) * (x / d);
    y = v_select(d == v_zero(), x, y);
    return v_select(x == v_splat(INFINITY), x, y);
}

/* e^x / 2, which overflows later than e^x. */
INLINE V half_exp(V x) {
    V r, n = reduce_exp(v_min(v_splat(90.0f), x), &r);
    return scale_by_pow2(v_splat(1.0f) + expm1_small(r), n - v_splat(1.0f));
}

INLINE V v_cosh(V x) {
    V h = half_exp(v_abs(x));
    return h + v_splat(0.25f) / h;
}

INLINE V v_sinh(V x) {
    V a = v_abs(x), z = x * x, h = half_exp(a);
    V near = v_fma(a * z, TL_POLY3(z, 2.81695202e-06f, 0.000198361595f, 0.0083333496f, 0.166666672f), a);
    return v_copysign(v_select(a < v_splat(1.0f), near, h - v_splat(0.25f) / h), x);
}

INLINE V v_tanh(V x) {
    V a = v_abs(x), z = x * x;
    V p = TL_POLY4(z, -0.0056039053f, 0.0205517113f, -0.053714104f, 0.133311525f, -0.333332717f);
    V near = v_fma(x * z, p, x);
    V far = v_splat(1.0f) - v_splat(2.0f) / (v_exp(a + a) + v_splat(1.0f));
    return v_copysign(v_select(a < v_splat(0.625f), near, far), x);
}

/* Below 0.92 an odd polynomial, above it 1 - exp(log erfc), itself a polynomial; 1 from 4 on. */
INLINE V v_erf(V x) {
    V a = v_abs(x), z = x * x;
    V p = TL_POLY5(z, -0.000597689359f, 0.00499098003f, -0.0267655663f, 0.112818025f, -0.376124948f, 0.128379151f);
    V near = v_fma(x, p, x);
    V t = v_min(v_splat(4.0f), a);
    V q = TL_POLY6(t, 0.000195938264f, -0.00304322666f, 0.0222269557f, -0.103931665f, -0.637182176f, -1.12767565f,
                   -0.000195666522f);
    V far = v_splat(1.0f) - v_exp(q);
    return v_copysign(v_select(a < v_splat(0.92f), near, far), x);
}

#endif

/* 1 / (1 + e^-x), through e^-|x| so that neither side overflows. */
INLINE V v_sigmoid(V x) {
    V e = v_exp(-v_abs(x)), one = v_splat(1);
    return v_select(x < v_zero(), e, one) / (one + e);
}

/* The tail of the standard normal distribution, cdf(-a) for 0 <= a <= NORMAL_END, and e^(-a^2/2) beside it (the density
 * is that times 1/sqrt(2 pi)). For float it is that exponential times Mills' ratio, a quotient of polynomials with positive
 * coefficients, so the far tail keeps its digits; at the end, before it would be denormal, it is 0. */
#define NORMAL_END (TL_DOUBLE ? (T)40 : (T)12.875)
INLINE V v_normal_tail(V a, V *decay) {
#if TL_DOUBLE
    *decay = v_exp(v_splat(-0.5) * a * a);
    return v_splat(0.5) * V_MAP(erfc, v_splat(0.70710678118654752440) * a);
#else
    *decay = exp_of_half_square(a);
    V p = TL_POLY4(a, 0.00402067788f, 0.03998762f, 0.18131718f, 0.435700655f, 0.5f);
    V q = TL_POLY5(a, 0.010078202f, 0.100241482f, 0.464407772f, 1.19452798f, 1.66928625f, 1.0f);
    return v_select(a < v_splat(NORMAL_END), p / q * *decay, v_zero());
#endif
}
