// AVX-512 with VNNI: 64 products an instruction.
#include "avx512.h"
#include "expand.h"

namespace {

constexpr int STEP_ROWS = 8;
constexpr int TILES_AT_ONCE = 2;
constexpr int EXPANDED_ROWS = 2 * STEP_ROWS;

ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  alignas(16) int32_t quads[4];
  _mm_store_si128((__m128i*)quads, _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)value.part[0]));
  for (int i = 0; i < 4; ++i) memcpy(to + i * 4 * BLOCK_ROWS, quads + i, 4);
}

template <int R, int BITS>
ALWAYS_INLINE void multiply_set(
    Ints (*sums)[R], const uint8_t* weights, int, const uint8_t* values) {
  Bytes bytes[2][4];
#pragma GCC unroll 2
  for (int tile = 0; tile < 2; ++tile) {
    if constexpr (BITS == 8) {
#pragma GCC unroll 4
      for (int quad = 0; quad < 4; ++quad) {
        bytes[tile][quad] = load_bytes(weights + (2 * quad + tile) * 64);
      }
    } else {
      // Shifts and masks have ports of their own, beside those that multiply.
      expand_set<BITS>(weights + tile * SET_BYTES * BITS / 8, nullptr, bytes[tile]);
    }
  }
#pragma GCC unroll 4
  for (int quad = 0; quad < 4; ++quad) {
    // Bit by bit: more lines at once would hold up what is needed now. Few rows are read as fast as
    // the machine itself looks ahead.
    if (R > 4) __builtin_prefetch(weights + READ_AHEAD + quad * 64);
    if (R > 4 && quad < BITS - 4) __builtin_prefetch(weights + READ_AHEAD + (4 + quad) * 64);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int32_t four;
      memcpy(&four, values + quad * 4 * BLOCK_ROWS + 4 * r, 4);
      const __m512i value = _mm512_set1_epi32(four);
#pragma GCC unroll 2
      for (int tile = 0; tile < 2; ++tile) {
        IntPart& sum = sums[tile][r].part[0];
        sum = (IntPart)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)bytes[tile][quad].part[0], value);
      }
    }
  }
}

}  // namespace

#include "products.h"

#include "forward.h"

const Path AVX512_PATH = {"avx512", VALUE_BYTES, run_forward, probe, couple};
