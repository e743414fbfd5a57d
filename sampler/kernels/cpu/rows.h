// Rows of activations: the norm, and rounding to int8.
//
// The path has defined row_values, VALUES_STEP and put_values, see forward.h.
#pragma once

#include "lanes.h"
#include "network.h"

namespace {

/// Round a group of a row to int8, into its place.
inline void quantize_group(
    const float* from, const Matrix& matrix, int row, int group, const Quantized& to) {
  uint8_t* values = row_values(matrix, to, row) + group * (matrix.group / LANES) * VALUES_STEP;
  Floats widest = splat(0.0f);
  for (int k = 0; k < matrix.group; k += LANES) widest = max(widest, abs(load(from + k)));
  const float most = highest(widest);
  const Floats inverse = splat(most > 0.0f ? 127.0f / most : 0.0f);
  Ints total = splat(0);
  for (int k = 0; k < matrix.group; k += LANES, values += VALUES_STEP) {
    const Ints value = rounded(load(from + k) * inverse);
    total = total + value;
    put_values(value, values);
  }
  const int64_t place = place_of_scale(row, group, matrix.num_groups());
  to.scales[place] = most / 127.0f;
  to.corrections[place] = -128 * sum(total);
}

/// The same with a whole row.
inline void quantize(const float* from, const Matrix& matrix, int row, const Quantized& to) {
  for (int group = 0; group < matrix.num_groups(); ++group) {
    quantize_group(from + group * matrix.group, matrix, row, group, to);
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
