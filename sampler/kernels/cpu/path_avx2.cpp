// AVX2: products of int16 pairs, which cannot overflow, unlike those of unsigned by signed bytes.
#include "avx2.h"

namespace {

constexpr int VALUE_BYTES = 2;

/// Four inputs a, b, c, d lie as int16 a, c, b, d: the order in which bytes of weights are split.
ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  alignas(64) int32_t lanes[LANES];
  store(lanes, value);
  for (int i = 0; i < 4; ++i) {
    const int32_t* quad = lanes + 4 * i;
    const int16_t order[4] = {
        (int16_t)quad[0], (int16_t)quad[2], (int16_t)quad[1], (int16_t)quad[3]};
    memcpy(to + i * 4 * BLOCK_ROWS * VALUE_BYTES, order, 8);
  }
}

ALWAYS_INLINE void add_pairs(IntPart& sum, __m256i left, __m256i right) {
  sum += (IntPart)_mm256_madd_epi16(left, right);
}

template <int R>
ALWAYS_INLINE void multiply_four(
    Ints (*sums)[R], const uint8_t* weights, const uint8_t* values) {
  const __m256i low_bytes = _mm256_set1_epi16(0xff);
  const __m256i first = _mm256_loadu_si256((const __m256i*)weights);
  const __m256i second = _mm256_loadu_si256((const __m256i*)(weights + 32));
  const __m256i even[2] = {_mm256_and_si256(first, low_bytes), _mm256_and_si256(second, low_bytes)};
  const __m256i odd[2] = {_mm256_srli_epi16(first, 8), _mm256_srli_epi16(second, 8)};
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m256i evens = broadcast_four(values + 8 * r), odds = broadcast_four(values + 8 * r + 4);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      IntPart& sum = sums[0][r].part[half];
      add_pairs(sum, even[half], evens);
      add_pairs(sum, odd[half], odds);
    }
  }
}

}  // namespace

#include "quads.h"

#include "products.h"

#include "forward.h"

const Path AVX2_PATH = {"avx2", VALUE_BYTES, run_forward, probe, couple};
