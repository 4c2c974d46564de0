// What lies between the matrix products of the U-Net, forward and backward, for training on a CPU with AVX-512 and bf16.
// Activations are bf16 with the channels innermost; sums, gains and gradients of gains are f32. `fused.py` compiles and calls this.
// Channel counts are multiples of 16. Everything runs on the calling thread: training runs one process per core.
#include <immintrin.h>
#include <cstdint>
#include <cstring>
#include <vector>

typedef uint16_t bf;
typedef __m512 V;

static inline V ld(const bf* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
static inline void st(bf* p, V v) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh(v)); }
static inline V ldf(const float* p) { return _mm512_loadu_ps(p); }
static inline void stf(float* p, V v) { _mm512_storeu_ps(p, v); }
static inline V all(float x) { return _mm512_set1_ps(x); }
static inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }

static inline V vexp(V x) {
  x = _mm512_max_ps(_mm512_min_ps(x, all(80.f)), all(-80.f));
  V n = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)), 8);
  V r = fma(n, all(-0.693147181f), x);
  V p = fma(r, all(1.f / 120), all(1.f / 24));
  p = fma(p, r, all(1.f / 6));
  p = fma(p, r, all(0.5f));
  p = fma(p, r, all(1.f));
  p = fma(p, r, all(1.f));
  return _mm512_scalef_ps(p, n);
}
static inline V sigmoid(V z) { return _mm512_div_ps(all(1.f), _mm512_add_ps(all(1.f), vexp(_mm512_sub_ps(all(0.f), z)))); }

extern "C" {

// y = silu(group_norm(x)) (silu: 1) or group_norm(x) (0); stats: mean and 1/deviation for each sample and group
void gn_forward(const bf* x, bf* y, float* stats, const float* w, const float* b, int64_t n, int64_t hw, int64_t c, int64_t g, float eps, int64_t silu) {
  std::vector<float> s1(c), s2(c), scale(c), shift(c);
  int64_t cg = c / g;
  for (int64_t i = 0; i < n; i++, x += hw * c, y += hw * c, stats += 2 * g) {
    for (int64_t k = 0; k < c; k += 16) {
      V a = all(0), q = all(0);
      for (int64_t p = 0; p < hw; p++) {
        V v = ld(x + p * c + k);
        a = _mm512_add_ps(a, v);
        q = fma(v, v, q);
      }
      stf(&s1[k], a);
      stf(&s2[k], q);
    }
    for (int64_t j = 0; j < g; j++) {
      float a = 0, q = 0;
      for (int64_t k = j * cg; k < (j + 1) * cg; k++) a += s1[k], q += s2[k];
      float mean = a / (hw * cg), var = q / (hw * cg) - mean * mean, r = 1 / __builtin_sqrtf((var > 0 ? var : 0) + eps);
      stats[2 * j] = mean, stats[2 * j + 1] = r;
      for (int64_t k = j * cg; k < (j + 1) * cg; k++) scale[k] = r * w[k], shift[k] = b[k] - mean * scale[k];
    }
    for (int64_t p = 0; p < hw; p++)
      for (int64_t k = 0; k < c; k += 16) {
        V z = fma(ld(x + p * c + k), ldf(&scale[k]), ldf(&shift[k]));
        st(y + p * c + k, silu ? _mm512_mul_ps(z, sigmoid(z)) : z);
      }
  }
}

void gn_backward(const bf* dy, const bf* x, const float* stats, const float* w, const float* b, bf* dx, float* dw, float* db, int64_t n, int64_t hw, int64_t c, int64_t g, int64_t silu) {
  std::vector<float> sa(c), sb(c), scale(c), shift(c), k2(c), k3(c), dz(hw * c);
  int64_t cg = c / g;
  for (int64_t i = 0; i < n; i++, x += hw * c, dx += hw * c, dy += hw * c, stats += 2 * g) {
    for (int64_t k = 0; k < c; k++) {
      int64_t j = k / cg;
      scale[k] = stats[2 * j + 1] * w[k], shift[k] = b[k] - stats[2 * j] * scale[k];
    }
    for (int64_t k = 0; k < c; k += 16) {
      V a = all(0), q = all(0), sc = ldf(&scale[k]), sh = ldf(&shift[k]);
      for (int64_t p = 0; p < hw; p++) {
        V v = ld(x + p * c + k), d = ld(dy + p * c + k);
        if (silu) {
          V z = fma(v, sc, sh), s = sigmoid(z);
          d = _mm512_mul_ps(d, _mm512_mul_ps(s, fma(z, _mm512_sub_ps(all(1.f), s), all(1.f))));
        }
        stf(&dz[p * c + k], d);
        a = _mm512_add_ps(a, d);
        q = fma(d, v, q);
      }
      stf(&sa[k], a);
      stf(&sb[k], q);
    }
    for (int64_t j = 0; j < g; j++) {
      float mean = stats[2 * j], r = stats[2 * j + 1], a = 0, q = 0, m = 1.f / (hw * cg);
      for (int64_t k = j * cg; k < (j + 1) * cg; k++) {
        a += w[k] * sa[k], q += w[k] * sb[k];
        dw[k] += (sb[k] - mean * sa[k]) * r, db[k] += sa[k];
      }
      float c2 = (a * mean - q) * r * r * r * m, c3 = -c2 * mean - a * r * m;
      for (int64_t k = j * cg; k < (j + 1) * cg; k++) k2[k] = c2, k3[k] = c3;
    }
    for (int64_t p = 0; p < hw; p++)
      for (int64_t k = 0; k < c; k += 16)
        st(dx + p * c + k, fma(ldf(&dz[p * c + k]), ldf(&scale[k]), fma(ld(x + p * c + k), ldf(&k2[k]), ldf(&k3[k]))));
  }
}

// rows of d values; stride: values from one row to the next
void rms_forward(const bf* x, bf* y, float* r, const float* w, int64_t n, int64_t d, int64_t stride, float eps) {
  for (int64_t i = 0; i < n; i++, x += stride, y += d) {
    V q = all(0);
    for (int64_t k = 0; k < d; k += 16) {
      V v = ld(x + k);
      q = fma(v, v, q);
    }
    float s = r[i] = 1 / __builtin_sqrtf(_mm512_reduce_add_ps(q) / d + eps);
    for (int64_t k = 0; k < d; k += 16) st(y + k, _mm512_mul_ps(_mm512_mul_ps(ld(x + k), all(s)), ldf(w + k)));
  }
}

void rms_backward(const bf* dy, const bf* x, const float* r, const float* w, bf* dx, float* dw, int64_t n, int64_t d, int64_t stride) {
  for (int64_t i = 0; i < n; i++, x += stride, dx += d, dy += d) {
    V a = all(0);
    V s = all(r[i]);
    for (int64_t k = 0; k < d; k += 16) {
      V t = _mm512_mul_ps(ld(dy + k), ld(x + k));
      a = fma(t, ldf(w + k), a);
      stf(dw + k, fma(t, s, ldf(dw + k)));
    }
    V m = all(-_mm512_reduce_add_ps(a) * r[i] * r[i] * r[i] / d);
    for (int64_t k = 0; k < d; k += 16) st(dx + k, fma(_mm512_mul_ps(ld(dy + k), ldf(w + k)), s, _mm512_mul_ps(m, ld(x + k))));
  }
}

// depthwise 3x3 with padding 1; k: 9 x c
void dw_forward(const bf* x, bf* y, const float* k, int64_t n, int64_t h, int64_t w, int64_t c) {
  for (int64_t i = 0; i < n; i++, x += h * w * c, y += h * w * c)
    for (int64_t o = 0; o < c; o += 16)
      for (int64_t r = 0; r < h; r++)
        for (int64_t q = 0; q < w; q++) {
          V a = all(0);
          for (int64_t t = 0; t < 9; t++) {
            int64_t rr = r + t / 3 - 1, qq = q + t % 3 - 1;
            if (rr >= 0 && rr < h && qq >= 0 && qq < w) a = fma(ld(x + (rr * w + qq) * c + o), ldf(k + t * c + o), a);
          }
          st(y + (r * w + q) * c + o, a);
        }
}

void dw_backward(const bf* dy, const bf* x, const float* k, bf* dx, float* dk, int64_t n, int64_t h, int64_t w, int64_t c) {
  for (int64_t o = 0; o < c; o += 16) {
    V g[9], kk[9];
    for (int64_t t = 0; t < 9; t++) g[t] = all(0), kk[t] = ldf(k + t * c + o);
    for (int64_t i = 0; i < n; i++) {
      const bf *xi = x + i * h * w * c + o, *di = dy + i * h * w * c + o;
      bf* oi = dx + i * h * w * c + o;
      for (int64_t r = 0; r < h; r++)
        for (int64_t q = 0; q < w; q++) {  // this input meets tap t of the output at (r - ty, q - tx)
          V a = all(0), v = ld(xi + (r * w + q) * c);
          for (int64_t t = 0; t < 9; t++) {
            int64_t rr = r - (t / 3 - 1), qq = q - (t % 3 - 1);
            if (rr < 0 || rr >= h || qq < 0 || qq >= w) continue;
            V d = ld(di + (rr * w + qq) * c);
            a = fma(d, kk[t], a);
            g[t] = fma(d, v, g[t]);
          }
          st(oi + (r * w + q) * c, a);
        }
    }
    for (int64_t t = 0; t < 9; t++) stf(dk + t * c + o, g[t]);
  }
}
}
