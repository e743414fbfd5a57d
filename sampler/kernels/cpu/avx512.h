// What all paths with AVX-512 share: queries by keys.
#pragma once

#define LANE_BYTES 64
#include "lanes.h"
#include "network.h"

#include <immintrin.h>

namespace {

constexpr int STEP_QUERIES = 16;
constexpr int VALUE_BYTES = 1;

template <int R>
ALWAYS_INLINE void dot_keys(Ints* dots, const int16_t* keys, const int16_t* queries, int head_dim) {
  __m512i sums[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
  for (int i = 0; i < head_dim; i += 2) {
    const __m512i key = _mm512_loadu_si512(keys + i * TILE);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      memcpy(&pair, queries + r * head_dim + i, 4);
      sums[r] = _mm512_dpwssd_epi32(sums[r], key, _mm512_set1_epi32(pair));
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) dots[r].part[0] = (IntPart)sums[r];
}

/// Adds a pair of slots: D sixteens of values, weighed for R rows.
template <int R, int D>
ALWAYS_INLINE void add_pair(
    Ints (*sums)[D], const int16_t* values, const int16_t* weights, int64_t stride) {
  __m512i value[D];
#pragma GCC unroll 4
  for (int d = 0; d < D; ++d) value[d] = _mm512_loadu_si512(values + d * TILE * 2);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    int32_t pair;
    memcpy(&pair, weights + r * stride, 4);
    const __m512i weight = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) {
      sums[r][d].part[0] =
          (IntPart)_mm512_dpwssd_epi32((__m512i)sums[r][d].part[0], value[d], weight);
    }
  }
}

}  // namespace
