/* Circular functions and their inverses, and powers, on vectors.
 *
 * For float as in simd_math.h. Largest errors in ulp: sin and cos 1.7, tan 4 (beyond 10^6 libm's, lane by lane),
 * asin 2.5, acos 1.5, atan 2, pow 0.8. For double: libm lane by lane.
 */

#if TL_DOUBLE

INLINE V v_sin(V x) { return V_MAP(sin, x); }
INLINE V v_cos(V x) { return V_MAP(cos, x); }
INLINE V v_tan(V x) { return V_MAP(tan, x); }
INLINE V v_asin(V x) { return V_MAP(asin, x); }
INLINE V v_acos(V x) { return V_MAP(acos, x); }
INLINE V v_atan(V x) { return V_MAP(atan, x); }
INLINE V v_pow(V x, V y) { return V_MAP2(pow, x, y); }

#else

/* As many doubles as V has floats. */
typedef double D __attribute__((vector_size(2 * TL_VBYTES)));
INLINE D d_splat(double x) { return x - (D){}; }
INLINE D d_widen(V x) { return __builtin_convertvector(x, D); }
INLINE V d_narrow(D x) { return __builtin_convertvector(x, V); }

/* x = quarter pi/2 + r with |r| < 0.8, in double: pi/2 in two parts, of which the first has 33 bits. */
INLINE V reduce_circle(V x, I *quarter) {
    D wide = d_widen(x), magic = d_splat(6755399441055744.0); /* 1.5 2^52: adding it rounds to an integer */
    D n = (wide * d_splat(0.6366197723675814) + magic) - magic;
    *quarter = __builtin_convertvector(n, I);
    return d_narrow(wide - n * d_splat(1.5707963267341256) - n * d_splat(6.077100506506192e-11));
}

INLINE V sin_small(V r) { /* the sign of r, of a zero too */
    V z = r * r;
    return v_copysign(v_fma(r * z, TL_POLY2(z, -0.000194797831f, 0.00833189394f, -0.166666508f), r), r);
}

INLINE V cos_small(V r) {
    V z = r * r, p = TL_POLY2(z, 2.43896557e-05f, -0.00138869206f, 0.0416666381f);
    return v_fma(z * z, p, v_fma(v_splat(-0.5f), z, v_splat(1.0f)));
}

/* sin(quarter pi/2 + r). */
INLINE V sin_quarters(V r, I quarter) {
    V y = v_select((quarter & 1) != 0, cos_small(r), sin_small(r));
    return (V)((U)y ^ ((U)(quarter & 2) << 30));
}

/* y, but function(x) in lanes where |x| is so large that the reduction would not do. */
INLINE V unless_far(V x, V y, float (*function)(float)) {
    I far = v_abs(x) > v_splat(1e6f);
    if (__builtin_expect(i_any(far), 0))
        for (int lane = 0; lane < (int)W; lane++)
            if (far[lane]) y[lane] = function(x[lane]);
    return y;
}

INLINE V v_sin(V x) {
    I quarter;
    V r = reduce_circle(x, &quarter);
    return unless_far(x, sin_quarters(r, quarter), sinf);
}

INLINE V v_cos(V x) {
    I quarter;
    V r = reduce_circle(x, &quarter);
    return unless_far(x, sin_quarters(r, quarter + 1), cosf);
}

INLINE V v_tan(V x) {
    I quarter;
    V r = reduce_circle(x, &quarter), s = sin_small(r), c = cos_small(r);
    I odd = (quarter & 1) != 0;
    return unless_far(x, v_select(odd, -c, s) / v_select(odd, s, c), tanf);
}

/* asin(t) - t for 0 <= t <= 1/2, z = t^2. */
INLINE V asin_rest(V t, V z) {
    return t * z * TL_POLY4(z, 0.0421661809f, 0.0241795834f, 0.0454703644f, 0.0749529749f, 0.166667521f);
}

/* Above 1/2 by asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)). */
INLINE V v_asin(V x) {
    V a = v_abs(x), z = v_select(a > v_splat(0.5f), (v_splat(1.0f) - a) * v_splat(0.5f), a * a);
    V t = v_select(a > v_splat(0.5f), v_sqrt(z), a), y = t + asin_rest(t, z);
    y = v_select(a > v_splat(0.5f), v_splat(1.57079637f) - (y + y), y);
    return v_copysign(y, x);
}

INLINE V v_acos(V x) {
    V a = v_abs(x), z = v_select(a > v_splat(0.5f), (v_splat(1.0f) - a) * v_splat(0.5f), a * a);
    V t = v_select(a > v_splat(0.5f), v_sqrt(z), a), y = t + asin_rest(t, z);
    V near = v_splat(1.57079637f) - v_copysign(y, x), twice = y + y;
    return v_select(a > v_splat(0.5f), v_select(x < v_zero(), v_splat(3.14159274f) - twice, twice), near);
}

/* Above 1 by atan(a) = pi/2 - atan(1/a). */
INLINE V v_atan(V x) {
    V a = v_abs(x), t = v_select(a > v_splat(1.0f), v_splat(1.0f) / a, a), z = t * t;
    V p = TL_POLY8(z, -0.00179345964f, 0.0109138787f, -0.031176487f, 0.0579562262f, -0.0840337053f, 0.109521583f,
                   -0.142642364f, 0.199985474f, -0.333332986f);
    V y = v_fma(t * z, p, t);
    return v_copysign(v_select(a > v_splat(1.0f), v_splat(1.57079637f) - y, y), x);
}

/* log2(1 + f) = s P(s^2), s = f / (2 + f), to 2^-37. */
INLINE D log2_wide(V f) {
    D wide = d_widen(f), s = wide / (wide + d_splat(2.0)), z = s * s;
    D p = d_splat(0.34072796780093093) * z + d_splat(0.41167282927579692);
    p = (p * z + d_splat(0.57708358322567955)) * z + d_splat(0.96179667335031742);
    return s * (p * z + d_splat(2.8853900817900799));
}

/* 2^g on |g| <= 1/2, to 2^-34. */
INLINE D exp2_wide(D g) {
    D p = d_splat(1.5196142874254475e-5) * g + d_splat(0.00015466757704993072);
    p = (p * g + d_splat(0.0013333935121594232)) * g + d_splat(0.0096180381270978325);
    p = (p * g + d_splat(0.055504103658989198)) * g + d_splat(0.24022651066602322);
    return (p * g + d_splat(0.69314718070456522)) * g + d_splat(1.0);
}

/* x^y = 2^(y log2 |x|) in double, so that what a float can hold comes out exactly. */
INLINE V v_pow(V x, V y) {
    V e, f = log_reduce(v_abs(x), &e), zero = v_zero();
    D exponent = d_widen(y) * (d_widen(e) + log2_wide(f));
    V n = v_round(v_max(v_splat(-200.0f), v_min(v_splat(200.0f), d_narrow(exponent))));
    I inside = v_abs(n) < v_splat(200.0f); /* beyond, 2^n is 0 or infinite whatever remains */
    V rest = v_select(inside, d_narrow(exp2_wide(exponent - d_widen(n))), v_splat(1.0f));
    V power = scale_by_pow2(rest, n);
    /* Of a negative x: negative for odd y, NaN unless y is an integer. */
    V half = y * v_splat(0.5f);
    V negative = v_select(v_trunc(half) != half, -power, power);
    negative = v_select(v_trunc(y) != y, v_splat(NAN), negative);
    power = v_select(x < zero, negative, power);
    I rare = (x == zero) | ~(v_abs(x) < v_splat(INFINITY)) | ~(v_abs(y) < v_splat(INFINITY));
    if (__builtin_expect(i_any(rare), 0))
        for (int lane = 0; lane < (int)W; lane++)
            if (rare[lane]) power[lane] = powf(x[lane], y[lane]);
    return power;
}

#endif
