// What both paths with AVX2 share: queries by keys.
#pragma once

#define LANE_BYTES 32
#include "expand.h"
#include "lanes.h"
#include "network.h"

#include <immintrin.h>

namespace {

constexpr int STEP_ROWS = 4;
constexpr int TILES_AT_ONCE = 1;
constexpr int EXPANDED_ROWS = 0;
constexpr int STEP_QUERIES = 4;

/// Four bytes from memory to all lanes, in one instruction.
ALWAYS_INLINE __m256i broadcast_four(const void* from) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)from));
}

/// Adds products of int16 pairs; each path has its own instructions.
ALWAYS_INLINE void add_pairs(IntPart& sum, __m256i left, __m256i right);

template <int R>
ALWAYS_INLINE void dot_keys(Ints* dots, const int16_t* keys, const int16_t* queries, int head_dim) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) dots[r] = splat(0);
  for (int i = 0; i < head_dim; i += 2) {
    const __m256i* key = (const __m256i*)(keys + i * TILE);
    const __m256i low = _mm256_loadu_si256(key), high = _mm256_loadu_si256(key + 1);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m256i query = broadcast_four(queries + r * head_dim + i);
      add_pairs(dots[r].part[0], low, query);
      add_pairs(dots[r].part[1], high, query);
    }
  }
}

/// Adds a pair of slots: D sixteens of values, weighed for R rows.
template <int R, int D>
ALWAYS_INLINE void add_pair(
    Ints (*sums)[D], const int16_t* values, const int16_t* weights, int64_t stride) {
#pragma GCC unroll 2
  for (int d = 0; d < D; ++d) {
    const __m256i* value = (const __m256i*)(values + d * TILE * 2);
    const __m256i low = _mm256_loadu_si256(value), high = _mm256_loadu_si256(value + 1);
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const __m256i weight = broadcast_four(weights + r * stride);
      add_pairs(sums[r][d].part[0], low, weight);
      add_pairs(sums[r][d].part[1], high, weight);
    }
  }
}

}  // namespace
