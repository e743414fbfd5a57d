// AVX2: products of int16 pairs, which cannot overflow, unlike those of unsigned by signed bytes.
#define LANE_BYTES 32
#include "lanes.h"
#include "network.h"

#include <immintrin.h>

namespace {

constexpr int STEP_ROWS = 4;
constexpr int TILES_AT_ONCE = 1;
constexpr int STEP_QUERIES = 4;
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

template <int R>
ALWAYS_INLINE void multiply_four(
    Ints (*sums)[R], const uint8_t* weights, const uint8_t* values) {
  const __m256i low_bytes = _mm256_set1_epi16(0xff);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m256i weight = _mm256_loadu_si256((const __m256i*)(weights + 32 * half));
    const __m256i even = _mm256_and_si256(weight, low_bytes);
    const __m256i odd = _mm256_srli_epi16(weight, 8);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      int32_t pairs[2];
      memcpy(pairs, values + 8 * r, 8);
      const __m256i first = _mm256_madd_epi16(even, _mm256_set1_epi32(pairs[0]));
      const __m256i second = _mm256_madd_epi16(odd, _mm256_set1_epi32(pairs[1]));
      sums[0][r].part[half] += (IntPart)_mm256_add_epi32(first, second);
    }
  }
}

template <int R>
ALWAYS_INLINE void dot_keys(Ints* dots, const int16_t* keys, const int16_t* queries, int head_dim) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) dots[r] = splat(0);
  for (int i = 0; i < head_dim; i += 2) {
    const __m256i* key = (const __m256i*)(keys + i * TILE);
    const __m256i low = _mm256_loadu_si256(key), high = _mm256_loadu_si256(key + 1);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      memcpy(&pair, queries + r * head_dim + i, 4);
      const __m256i query = _mm256_set1_epi32(pair);
      dots[r].part[0] += (IntPart)_mm256_madd_epi16(low, query);
      dots[r].part[1] += (IntPart)_mm256_madd_epi16(high, query);
    }
  }
}

}  // namespace

#include "forward.h"

const Path AVX2_PATH = {"avx2", VALUE_BYTES, run_forward};
