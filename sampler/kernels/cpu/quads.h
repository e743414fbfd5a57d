// `multiply_set` of paths that multiply four inputs of bytes at a time, see products.h. The path has
// defined `multiply_four`: four inputs of R rows by 16 outputs, added to the sums.
#pragma once

#include "expand.h"

namespace {

template <int R, int BITS>
ALWAYS_INLINE void multiply_set(
    Ints (*sums)[R], const uint8_t* weights, int tile, const uint8_t* values) {
  for (int quad = 0; quad < 4; ++quad) {
    const uint8_t* at = weights + quad * PANEL * 4 + tile * TILE * 4;
    __builtin_prefetch(at + READ_AHEAD);
    multiply_four<R>(sums, at, values + quad * 4 * BLOCK_ROWS * VALUE_BYTES);
  }
}

}  // namespace
