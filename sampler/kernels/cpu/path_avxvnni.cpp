// AVX2 with VNNI, as processors for laptops have it that lack AVX-512: 32 products an instruction.
#define LANE_BYTES 32
#include "lanes.h"
#include "network.h"

#include <immintrin.h>

namespace {

constexpr int STEP_ROWS = 4;
constexpr int TILES_AT_ONCE = 1;
constexpr int STEP_QUERIES = 4;
constexpr int VALUE_BYTES = 1;
/// Bytes that are asked of memory ahead of use.
constexpr int PREFETCH = 4096;

ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  alignas(64) int32_t lanes[LANES];
  store(lanes, value);
  for (int i = 0; i < LANES; ++i) to[i / 4 * 4 * BLOCK_ROWS + i % 4] = (uint8_t)lanes[i];
}

/// Four bytes from memory to all lanes, in one instruction.
ALWAYS_INLINE __m256i broadcast_four(const void* from) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)from));
}

template <int R>
ALWAYS_INLINE void multiply_four(
    Ints (*sums)[R], const uint8_t* weights, const uint8_t* values) {
  const __m256i first = _mm256_loadu_si256((const __m256i*)weights);
  const __m256i second = _mm256_loadu_si256((const __m256i*)(weights + 32));
  _mm_prefetch((const char*)weights + PREFETCH, _MM_HINT_T0);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m256i value = broadcast_four(values + 4 * r);
    IntPart* sum = sums[0][r].part;
    sum[0] = (IntPart)_mm256_dpbusd_avx_epi32((__m256i)sum[0], first, value);
    sum[1] = (IntPart)_mm256_dpbusd_avx_epi32((__m256i)sum[1], second, value);
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
      const __m256i query = broadcast_four(queries + r * head_dim + i);
      IntPart* dot = dots[r].part;
      dot[0] = (IntPart)_mm256_dpwssd_avx_epi32((__m256i)dot[0], low, query);
      dot[1] = (IntPart)_mm256_dpwssd_avx_epi32((__m256i)dot[1], high, query);
    }
  }
}

}  // namespace

#include "products.h"

#include "forward.h"

const Path AVXVNNI_PATH = {"avxvnni", VALUE_BYTES, run_forward, probe};
