// Rows of activations: the norm, and rounding to int8.
//
// The path has defined row_values, VALUES_STEP and put_values, see forward.h.
#pragma once

#include "lanes.h"
#include "network.h"

namespace {

/// Round a row to int8, group by group, into its place.
inline void quantize(const float* from, const Matrix& matrix, int row, const Quantized& to) {
  const int num_groups = matrix.num_groups(), group = matrix.group;
  uint8_t* values = row_values(matrix, to, row);
  const int64_t place = place_of_scale(row, 0, num_groups);
  for (int g = 0; g < num_groups; ++g, from += group) {
    Floats widest = splat(0.0f);
    for (int k = 0; k < group; k += LANES) widest = max(widest, abs(load(from + k)));
    const float most = highest(widest);
    const Floats inverse = splat(most > 0.0f ? 127.0f / most : 0.0f);
    Ints total = splat(0);
    for (int k = 0; k < group; k += LANES) {
      const Ints value = rounded(load(from + k) * inverse);
      total = total + value;
      put_values(value, values);
      values += VALUES_STEP;
    }
    to.scales[place + g * BLOCK_ROWS] = most / 127.0f;
    to.corrections[place + g * BLOCK_ROWS] = -128 * sum(total);
  }
}

/// Like `quantize`, into plain numbers: `values` (K), `scales` (groups).
inline void quantize_plainly(
    const float* from, const Matrix& matrix, int32_t* values, float* scales) {
  for (int g = 0; g < matrix.num_groups(); ++g) {
    Floats widest = splat(0.0f);
    for (int k = 0; k < matrix.group; k += LANES) widest = max(widest, abs(load(from + k)));
    const float most = highest(widest);
    const Floats inverse = splat(most > 0.0f ? 127.0f / most : 0.0f);
    for (int k = 0; k < matrix.group; k += LANES, from += LANES, values += LANES) {
      store(values, rounded(load(from) * inverse));
    }
    scales[g] = most / 127.0f;
  }
}

/// Root mean square norm of a row.
inline void normalize(const float* from, const float* weight, int width, float eps, float* to) {
  Floats squares = splat(0.0f);
  for (int k = 0; k < width; k += LANES) {
    const Floats x = load(from + k);
    squares = squares + x * x;
  }
  const Floats inverse = splat(1.0f / __builtin_sqrtf(sum(squares) / (float)width + eps));
  for (int k = 0; k < width; k += LANES) {
    store(to + k, (load(from + k) * inverse) * load(weight + k));
  }
}

}  // namespace
