// A few small products with nothing to share among threads. The path has included lanes.h.
#pragma once

#include "coupling.h"
#include "lanes.h"
#include "packing.h"

#include <math.h>

namespace {

inline float dot(const float* a, const float* b, int width) {
  Floats total = splat(0.0f);
  for (int k = 0; k < width; k += LANES) total = total + load(a + k) * load(b + k);
  return sum(total);
}

/// To a root mean square of one.
inline void scale(float* row, int width) {
  const float inverse = 1.0f / __builtin_sqrtf(dot(row, row, width) / (float)width + 1e-6f);
  for (int k = 0; k < width; k += LANES) store(row + k, load(row + k) * splat(inverse));
}

/// Choose the tokens of a branch; `room` is scratch, see `room_to_couple`.
inline void couple(const Coupling& coupling, const Matrix& embedding, const Matrix& head,
                   const Branch& branch, float* room) {
  const int width = coupling.width, wanted = branch.num_candidates;
  float *state = room, *token = room + width, *change = token + width, *row_of_head = change + width;
  int32_t before = branch.first;
  for (int row = 0; row < branch.num_rows; ++row) {
    memcpy(state, branch.states + (int64_t)row * width, sizeof(float) * width);
    scale(state, width);
    unpack_row(embedding, before, token);
    scale(token, width);
    memset(change, 0, sizeof(float) * width);
    for (int c = 0; c < coupling.rank; ++c) {
      const int64_t at = (int64_t)c * width;
      const float z = dot(coupling.state + at, state, width) +
                      dot(coupling.token + at, token, width);
      const Floats open = splat(z / (1.0f + expf(-z)));
      for (int k = 0; k < width; k += LANES) {
        store(change + k, load(change + k) + open * load(coupling.back + at + k));
      }
    }
    const int32_t* ids = branch.candidates + (int64_t)row * wanted;
    const float* log_p = branch.log_probabilities + (int64_t)row * wanted;
    float coupled[MAX_CANDIDATES];
    int best = 0;
    for (int i = 0; i < wanted; ++i) {
      unpack_row(head, ids[i], row_of_head);
      coupled[i] = log_p[i] + dot(row_of_head, change, width);
      if (coupled[i] > coupled[best]) best = i;
    }
    float total = 0.0f, share = 0.0f;
    for (int i = 0; i < wanted; ++i) {
      total += expf(coupled[i] - coupled[best]);
      share += expf(log_p[i]);
    }
    before = branch.tokens[row] = ids[best];
    branch.probabilities[row] = share / total;
  }
}

}  // namespace
