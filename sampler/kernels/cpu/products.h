// Quantized rows by a panel of weights, for paths that multiply four inputs at a time.
//
// The path has defined, in its unnamed namespace:
//   STEP_ROWS, TILES_AT_ONCE   rows, and tiles of 16 outputs, whose sums fit into registers at once
//   VALUE_BYTES                bytes of one quantized activation
//   multiply_four              four inputs of R rows by these outputs, added to the sums
#pragma once

#include "lanes.h"
#include "network.h"

namespace {

/// Values lie in blocks of eight rows, four inputs of each row side by side.
constexpr int VALUES_STEP = LANES * BLOCK_ROWS * VALUE_BYTES;

ALWAYS_INLINE uint8_t* row_values(const Matrix& matrix, const Quantized& input, int row) {
  const int64_t block = row / BLOCK_ROWS, within = row % BLOCK_ROWS;
  return input.values + (block * matrix.num_inputs * BLOCK_ROWS + within * 4) * VALUE_BYTES;
}

/// Adds what one group of inputs gives R rows of one block and TILES_AT_ONCE tiles of a panel.
template <int R>
ALWAYS_INLINE void multiply_group(
    int group, const uint8_t* weights, int tile, const uint8_t* values, const float* scales,
    const int32_t* corrections, Floats (*sums)[MAX_ROWS]) {
  Ints dots[TILES_AT_ONCE][R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    dots[0][r] = splat(corrections[r]);
    if (TILES_AT_ONCE == 2) dots[TILES_AT_ONCE - 1][r] = dots[0][r];
  }
  const uint8_t* quads = weights + PANEL * 4 + tile * TILE * 4;
  for (int k = 0; k < group; k += 4) {
    multiply_four<R>(dots, quads, values);
    quads += PANEL * 4;
    values += 4 * BLOCK_ROWS * VALUE_BYTES;
  }
#pragma GCC unroll 2
  for (int t = 0; t < TILES_AT_ONCE; ++t) {
    const Floats weight_scales = load((const float*)weights + (tile + t) * TILE);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      Floats& sum = sums[tile + t][r];
      sum = sum + to_floats(dots[t][r]) * (weight_scales * splat(scales[r]));
    }
  }
}

/// The outputs of a panel for `count` rows, at most MAX_ROWS, from `row`, a multiple of 8, on.
inline void multiply(
    const Matrix& matrix, int panel, const Quantized& input, int row, int count,
    Floats (*sums)[MAX_ROWS]) {
  const int num_groups = matrix.num_groups(), group = matrix.group;
  const int64_t block_scales = (int64_t)num_groups * BLOCK_ROWS;
  for (int r = 0; r < count; ++r) sums[0][r] = sums[1][r] = splat(0.0f);
  const uint8_t* weights = matrix.panel(panel);
  for (int g = 0; g < num_groups; ++g) {
    for (int r = 0; r < count; r += STEP_ROWS) {
      const int64_t block = (row + r) / BLOCK_ROWS, within = r % BLOCK_ROWS;
      const uint8_t* values =
          row_values(matrix, input, row + r) + (int64_t)g * group / LANES * VALUES_STEP;
      const int64_t place = block * block_scales + (int64_t)g * BLOCK_ROWS + within;
      for (int tile = 0; tile < 2; tile += TILES_AT_ONCE) {
        Floats(*at)[MAX_ROWS] = (Floats(*)[MAX_ROWS])(&sums[0][r]);
#define CASE(R)                                                                        \
  case R:                                                                              \
    if constexpr (R <= STEP_ROWS) {                                                    \
      multiply_group<R>(group, weights, tile, values, input.scales + place,            \
                        input.corrections + place, at);                                \
    }                                                                                  \
    break;
        switch (count - r < STEP_ROWS ? count - r : STEP_ROWS) {
          CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
        }
#undef CASE
      }
    }
    weights += matrix.group_bytes();
  }
}

}  // namespace
