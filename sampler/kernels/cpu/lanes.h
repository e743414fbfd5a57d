// Sixteen lanes of float or int32, the same arithmetic on every machine.
//
// A path defines LANE_BYTES, the width of its vector registers. Sixteen lanes are then one, two or
// four registers, but what is computed, and in which order, does not depend on it: elementwise IEEE
// operations, no fused multiply-add, and sums over lanes in one fixed tree. That is why all paths
// give the same bits. Knows no network.
//
// Everything here has internal linkage: code that was compiled for a wide machine must never be
// merged with code for a narrow one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr int LANES = 16;
constexpr int PART = LANE_BYTES / 4;
constexpr int PARTS = LANES / PART;

typedef float FloatPart __attribute__((vector_size(LANE_BYTES)));
typedef int32_t IntPart __attribute__((vector_size(LANE_BYTES)));

struct Ints {
  IntPart part[PARTS];
};

struct Floats {
  FloatPart part[PARTS];
};

#define EACH_PART _Pragma("GCC unroll 4") for (int i = 0; i < PARTS; ++i)
#define ALWAYS_INLINE inline __attribute__((always_inline))

ALWAYS_INLINE Floats load(const float* from) {
  Floats x;
  memcpy(&x, from, sizeof x);
  return x;
}
ALWAYS_INLINE Ints load(const int32_t* from) {
  Ints x;
  memcpy(&x, from, sizeof x);
  return x;
}
ALWAYS_INLINE void store(float* to, const Floats& x) { memcpy(to, &x, sizeof x); }
ALWAYS_INLINE void store(int32_t* to, const Ints& x) { memcpy(to, &x, sizeof x); }

ALWAYS_INLINE Floats splat(float value) {
  Floats x;
  EACH_PART x.part[i] = value - FloatPart{};  // compilers drop - 0, but not + 0
  return x;
}
ALWAYS_INLINE Ints splat(int32_t value) {
  Ints x;
  EACH_PART x.part[i] = value - IntPart{};
  return x;
}
/// The low halves of all lanes, next to each other.
ALWAYS_INLINE void narrow(int16_t* to, const Ints& x) {
  typedef int16_t ShortPart __attribute__((vector_size(LANE_BYTES / 2)));
  EACH_PART {
    const ShortPart part = __builtin_convertvector(x.part[i], ShortPart);
    memcpy(to + i * PART, &part, sizeof part);
  }
}
/// Sixteen bfloat16.
ALWAYS_INLINE Floats load_short(const uint8_t* from) {
  typedef uint16_t ShortPart __attribute__((vector_size(LANE_BYTES / 2)));
  typedef uint32_t WidePart __attribute__((vector_size(LANE_BYTES)));
  Floats x;
  EACH_PART {
    ShortPart part;
    memcpy(&part, from + i * sizeof part, sizeof part);
    x.part[i] = (FloatPart)(__builtin_convertvector(part, WidePart) << 16);
  }
  return x;
}
/// 0, 1, … 15.
ALWAYS_INLINE Ints lane_numbers() {
  alignas(64) const int32_t numbers[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(numbers);
}

#define ELEMENTWISE(Type, op)                              \
  ALWAYS_INLINE Type operator op(const Type& a, const Type& b) { \
    Type x;                                                \
    EACH_PART x.part[i] = a.part[i] op b.part[i];          \
    return x;                                              \
  }
ELEMENTWISE(Floats, +)
ELEMENTWISE(Floats, -)
ELEMENTWISE(Floats, *)
ELEMENTWISE(Floats, /)
ELEMENTWISE(Ints, +)
ELEMENTWISE(Ints, -)
ELEMENTWISE(Ints, &)
ELEMENTWISE(Ints, |)
#undef ELEMENTWISE

ALWAYS_INLINE Floats max(const Floats& a, const Floats& b) {
  Floats x;
  EACH_PART x.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return x;
}
ALWAYS_INLINE Floats abs(const Floats& a) {
  Floats x;
  EACH_PART x.part[i] = (FloatPart)((IntPart)a.part[i] & 0x7fffffff);
  return x;
}
/// All bits set where a < b.
ALWAYS_INLINE Ints less(const Ints& a, const Ints& b) {
  Ints x;
  EACH_PART x.part[i] = a.part[i] < b.part[i];
  return x;
}
ALWAYS_INLINE Ints greater(const Floats& a, const Floats& b) {
  Ints x;
  EACH_PART x.part[i] = a.part[i] > b.part[i];
  return x;
}
ALWAYS_INLINE Floats choose(const Ints& mask, const Floats& yes, const Floats& no) {
  Floats x;
  EACH_PART x.part[i] =
      (FloatPart)(((IntPart)yes.part[i] & mask.part[i]) | ((IntPart)no.part[i] & ~mask.part[i]));
  return x;
}
ALWAYS_INLINE Ints choose(const Ints& mask, const Ints& yes, const Ints& no) {
  Ints x;
  EACH_PART x.part[i] = (yes.part[i] & mask.part[i]) | (no.part[i] & ~mask.part[i]);
  return x;
}
ALWAYS_INLINE Floats to_floats(const Ints& a) {
  Floats x;
  EACH_PART x.part[i] = __builtin_convertvector(a.part[i], FloatPart);
  return x;
}

/// Adding this moves a float's integer part into its lowest bits, rounded to nearest, ties to even.
constexpr float ROUNDER = 12582912.0f;

/// Nearest integers of floats below 2^22 in magnitude.
ALWAYS_INLINE Ints rounded(const Floats& a) {
  Ints x;
  EACH_PART {
    const FloatPart moved = a.part[i] + ROUNDER;
    x.part[i] = (IntPart)moved - (IntPart)(FloatPart{} + ROUNDER);
  }
  return x;
}

/// e^x, relative error below 2e-7 (the degree-6 polynomial of Cephes expf); x is clamped to ±87.
ALWAYS_INLINE Floats exponential(const Floats& a) {
  Floats x;
  EACH_PART {
    FloatPart v = a.part[i];
    v = v > -87.0f ? v : FloatPart{} - 87.0f;
    v = v < 87.0f ? v : FloatPart{} + 87.0f;
    const FloatPart moved = v * 1.44269504f + ROUNDER;
    const FloatPart n = moved - ROUNDER;
    const FloatPart f = (v - n * 0.693359375f) + n * 2.12194440e-4f;
    FloatPart p = f * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + f + 1.0f;
    const IntPart exponent = ((IntPart)moved - (IntPart)(FloatPart{} + ROUNDER)) << 23;
    x.part[i] = (FloatPart)((IntPart)p + exponent);
  }
  return x;
}

/// Lane i of the result is lane i + `by` of `a`, around the end.
template <int by, class Part>
ALWAYS_INLINE Part turned(const Part& a) {
#if defined(__clang__)
  Part x;
  for (int i = 0; i < PART; ++i) x[i] = a[(i + by) % PART];
  return x;
#else
  IntPart from;
  for (int i = 0; i < PART; ++i) from[i] = (i + by) % PART;
  return __builtin_shuffle(a, from);
#endif
}
/// All lanes folded by `combine`: 8 with 8, 4 with 4, 2 with 2, 1 with 1.
template <class Lanes, class Combine>
ALWAYS_INLINE auto folded(const Lanes& a, const Combine& combine) {
  Lanes x = a;
  for (int count = PARTS / 2; count > 0; count /= 2) {
    for (int i = 0; i < count; ++i) x.part[i] = combine(x.part[i], x.part[i + count]);
  }
  auto one = x.part[0];
  if constexpr (PART > 8) one = combine(one, turned<8>(one));
  if constexpr (PART > 4) one = combine(one, turned<4>(one));
  one = combine(one, turned<2>(one));
  one = combine(one, turned<1>(one));
  return one[0];
}
ALWAYS_INLINE float sum(const Floats& a) {
  return folded(a, [](const FloatPart& x, const FloatPart& y) { return x + y; });
}
ALWAYS_INLINE int32_t sum(const Ints& a) {
  return folded(a, [](const IntPart& x, const IntPart& y) { return x + y; });
}
ALWAYS_INLINE float highest(const Floats& a) {
  return folded(a, [](const FloatPart& x, const FloatPart& y) { return x > y ? x : y; });
}

}  // namespace
