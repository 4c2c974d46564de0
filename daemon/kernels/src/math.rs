//! Elementary functions without branches, so that loops over them become vector code.

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x to about 2 units in the last place, for x from -87.3 to 88.3; beyond these it stays at the value of the end.
/// Cody and Waite's reduction to |r| <= ln(2)/2, then the polynomial of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits of the sum.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let z = fma::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = z - MAGIC;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let p = fma::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = fma::<FMA>(p, r, 8.333_452e-3);
    let p = fma::<FMA>(p, r, 4.166_579_6e-2);
    let p = fma::<FMA>(p, r, 1.666_666_5e-1);
    let p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r * r, r) + 1.0;
    p * f32::from_bits(z.to_bits().wrapping_add(127) << 23)
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

/// `x/2 * (1 + erf(x/sqrt 2))`. The error function is Abramowitz and Stegun's 7.1.26, which is off by at most 1.5e-7; on
/// the negative side its complement is used as it stands, so that nothing cancels.
#[inline(always)]
pub(crate) fn gelu_erf<const FMA: bool>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fma::<FMA>(0.327_591_1, z, 1.0);
    let p = fma::<FMA>(1.061_405_4, t, -1.453_152_1);
    let p = fma::<FMA>(p, t, 1.421_413_8);
    let p = fma::<FMA>(p, t, -0.284_496_72);
    let p = fma::<FMA>(p, t, 0.254_829_6) * t;
    let complement = p * exp::<FMA>(-z * z);
    0.5 * x * if x < 0.0 { complement } else { 2.0 - complement }
}

/// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`, as `x * sigmoid` of twice that.
#[inline(always)]
pub(crate) fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    let inner = fma::<FMA>(x * x * x, 0.044_715, x) * (2.0 * 0.797_884_6);
    x / (1.0 + exp::<FMA>(-inner))
}

/// The largest value, looked for in 16 lanes.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The sum, in 16 lanes: the same order of additions at every level.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().chain(rest).sum()
}

/// The sum of squared distances from `centre`, in 16 lanes.
#[inline(always)]
pub(crate) fn sum_of_squares<const FMA: bool>(x: &[f32], centre: f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = fma::<FMA>(value - centre, value - centre, *lane);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|value| (value - centre) * (value - centre)).sum::<f32>()
}
