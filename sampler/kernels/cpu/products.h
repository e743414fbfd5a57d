// Quantized rows by a panel of weights, for paths that multiply four inputs at a time.
//
// The path has defined, in its unnamed namespace:
//   STEP_ROWS, TILES_AT_ONCE   rows, and tiles of 16 outputs, whose sums fit into registers at once
//   VALUE_BYTES                bytes of one quantized activation
//   EXPANDED_ROWS              up to so many rows, weights of fewer than eight bits are taken as they
//                              lie; for more of them bytes are made first
//   multiply_set               16 inputs of R rows by these outputs, added to the sums
#pragma once

#include "expand.h"
#include "lanes.h"
#include "network.h"

namespace {

/// Rows that share one pass over a panel of weights.
constexpr int PASS_ROWS = MAX_ROWS;
/// Values lie in blocks of eight rows, four inputs of each row side by side.
constexpr int VALUES_STEP = LANES * BLOCK_ROWS * VALUE_BYTES;

ALWAYS_INLINE uint8_t* row_values(const Matrix& matrix, const Quantized& input, int row) {
  const int64_t block = row / BLOCK_ROWS, within = row % BLOCK_ROWS;
  return input.values + (block * matrix.num_inputs * BLOCK_ROWS + within * 4) * VALUE_BYTES;
}

/// Adds what one group of inputs gives R rows of one block and TILES_AT_ONCE tiles of a panel.
template <int R, int BITS>
ALWAYS_INLINE void multiply_group(
    int group, const uint8_t* scales_of_weights, const uint8_t* weights, int tile,
    const uint8_t* values, const float* scales, const int32_t* corrections,
    Floats (*sums)[MAX_ROWS]) {
  Ints dots[TILES_AT_ONCE][R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    dots[0][r] = splat(corrections[r]);
    if (TILES_AT_ONCE == 2) dots[TILES_AT_ONCE - 1][r] = dots[0][r];
  }
  for (int k = 0; k < group; k += 16) {
    multiply_set<R, BITS>(dots, weights, tile, values);
    weights += 2 * SET_BYTES * BITS / 8;
    values += VALUES_STEP;
  }
#pragma GCC unroll 2
  for (int t = 0; t < TILES_AT_ONCE; ++t) {
    const Floats weight_scales = load_short(scales_of_weights + (tile + t) * TILE * 2);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      Floats& sum = sums[tile + t][r];
      sum = sum + to_floats(dots[t][r]) * (weight_scales * splat(scales[r]));
    }
  }
}

/// One group of a panel by up to MAX_ROWS rows, whose values, scales and corrections begin there: at
/// the beginning of a block, or wherever they do not reach into the next one.
template <int BITS>
inline void multiply_rows(
    const Matrix& matrix, const uint8_t* scales_of_weights, const uint8_t* weights, int count,
    const uint8_t* values, const float* scales, const int32_t* corrections,
    Floats (*sums)[MAX_ROWS]) {
  const int64_t block_values = (int64_t)matrix.num_inputs * BLOCK_ROWS * VALUE_BYTES;
  const int64_t block_scales = (int64_t)matrix.num_groups() * BLOCK_ROWS;
  for (int r = 0; r < count; r += STEP_ROWS) {
    const int64_t block = r / BLOCK_ROWS, within = r % BLOCK_ROWS;
    const int64_t place = block * block_scales + within;
    const uint8_t* at_row = values + block * block_values + within * 4 * VALUE_BYTES;
    for (int tile = 0; tile < 2; tile += TILES_AT_ONCE) {
      Floats(*at)[MAX_ROWS] = (Floats(*)[MAX_ROWS])(&sums[0][r]);
#define CASE(R)                                                                          \
  case R:                                                                                \
    if constexpr (R <= STEP_ROWS) {                                                      \
      multiply_group<R, BITS>(matrix.group, scales_of_weights, weights, tile, at_row,    \
                              scales + place, corrections + place, at);                  \
    }                                                                                    \
    break;
      switch (count - r < STEP_ROWS ? count - r : STEP_ROWS) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
      }
#undef CASE
    }
  }
}

/// `multiply` by weights of so many bits.
template <int BITS>
inline void multiply_bits(
    const Matrix& matrix, int panel, const Quantized& input, int row, int count,
    Floats (*sums)[MAX_ROWS]) {
  for (int r = 0; r < count; ++r) sums[0][r] = sums[1][r] = splat(0.0f);
  const uint8_t* at_group = matrix.panel(panel);
  const uint8_t* values = row_values(matrix, input, row);
  const int64_t first_scale = place_of_scale(row, 0, matrix.num_groups());
  const float* scales = input.scales + first_scale;
  const int32_t* corrections = input.corrections + first_scale;
  const bool is_copied = BITS != 8 && count > EXPANDED_ROWS;
  alignas(64) uint8_t buffer[MAX_GROUP * PANEL];
  for (int g = 0; g < matrix.num_groups(); ++g) {
    const uint8_t* weights = at_group + SCALES_BYTES;
    if (is_copied) {
      expand<BITS>(weights, nullptr, matrix.group, buffer);
      multiply_rows<8>(matrix, at_group, buffer, count, values, scales, corrections, sums);
    } else if constexpr (BITS == 8 || EXPANDED_ROWS > 0) {
      multiply_rows<BITS>(matrix, at_group, weights, count, values, scales, corrections, sums);
    }
    at_group += matrix.group_bytes();
    values += matrix.group / LANES * VALUES_STEP;
    scales += BLOCK_ROWS;
    corrections += BLOCK_ROWS;
  }
}

/// The outputs of a panel for `count` rows, at most MAX_ROWS, from `row` on, a multiple of 8 unless all
/// of them are in one block; of four bits and a rest by these four.
inline void multiply(
    const Matrix& matrix, int panel, const Quantized& input, int row, int count,
    Floats (*sums)[MAX_ROWS]) {
  switch (matrix.bits) {
    case 4: return multiply_bits<4>(matrix, panel, input, row, count, sums);
    case 6: return multiply_bits<6>(matrix, panel, input, row, count, sums);
    default: return multiply_bits<8>(matrix, panel, input, row, count, sums);
  }
}

}  // namespace
