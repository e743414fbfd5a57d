// AVX2 with VNNI, as processors for laptops have it that lack AVX-512: 32 products an instruction.
#include "avx2.h"

namespace {

constexpr int VALUE_BYTES = 1;

ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  alignas(64) int32_t lanes[LANES];
  store(lanes, value);
  for (int i = 0; i < LANES; ++i) to[i / 4 * 4 * BLOCK_ROWS + i % 4] = (uint8_t)lanes[i];
}

ALWAYS_INLINE void add_pairs(IntPart& sum, __m256i left, __m256i right) {
  sum = (IntPart)_mm256_dpwssd_avx_epi32((__m256i)sum, left, right);
}

template <int R>
ALWAYS_INLINE void multiply_four(
    Ints (*sums)[R], const uint8_t* weights, const uint8_t* values) {
  const __m256i first = _mm256_loadu_si256((const __m256i*)weights);
  const __m256i second = _mm256_loadu_si256((const __m256i*)(weights + 32));
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m256i value = broadcast_four(values + 4 * r);
    IntPart* sum = sums[0][r].part;
    sum[0] = (IntPart)_mm256_dpbusd_avx_epi32((__m256i)sum[0], first, value);
    sum[1] = (IntPart)_mm256_dpbusd_avx_epi32((__m256i)sum[1], second, value);
  }
}

}  // namespace

#include "quads.h"

#include "products.h"

#include "forward.h"

const Path AVXVNNI_PATH = {"avxvnni", VALUE_BYTES, run_forward, probe, couple};
