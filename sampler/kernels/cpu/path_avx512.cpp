// AVX-512 with VNNI: 64 products an instruction.
#include "avx512.h"

namespace {

constexpr int STEP_ROWS = 8;
constexpr int TILES_AT_ONCE = 2;

ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  alignas(16) int32_t quads[4];
  _mm_store_si128((__m128i*)quads, _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)value.part[0]));
  for (int i = 0; i < 4; ++i) memcpy(to + i * 4 * BLOCK_ROWS, quads + i, 4);
}

template <int R>
ALWAYS_INLINE void multiply_four(
    Ints (*sums)[R], const uint8_t* weights, const uint8_t* values) {
  const __m512i first = _mm512_loadu_si512(weights), second = _mm512_loadu_si512(weights + 64);
  _mm_prefetch((const char*)weights + PREFETCH, _MM_HINT_T0);
  _mm_prefetch((const char*)weights + PREFETCH + 64, _MM_HINT_T0);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    int32_t quad;
    memcpy(&quad, values + 4 * r, 4);
    const __m512i value = _mm512_set1_epi32(quad);
    sums[0][r].part[0] =
        (IntPart)_mm512_dpbusd_epi32((__m512i)sums[0][r].part[0], first, value);
    sums[1][r].part[0] =
        (IntPart)_mm512_dpbusd_epi32((__m512i)sums[1][r].part[0], second, value);
  }
}

}  // namespace

#include "products.h"

#include "forward.h"

const Path AVX512_PATH = {"avx512", VALUE_BYTES, run_forward, probe};
