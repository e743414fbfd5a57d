// A few small products with nothing to share among threads; compiled for any machine.
#define LANE_BYTES 16
#include "coupling.h"

#include "lanes.h"
#include "packing.h"

#include <cmath>
#include <vector>

namespace {

float dot(const float* a, const float* b, int width) {
  Floats total = splat(0.0f);
  for (int k = 0; k < width; k += LANES) total = total + load(a + k) * load(b + k);
  return sum(total);
}

/// To a root mean square of one.
void scale(float* row, int width) {
  const float inverse = 1.0f / std::sqrt(dot(row, row, width) / (float)width + 1e-6f);
  for (int k = 0; k < width; k += LANES) store(row + k, load(row + k) * splat(inverse));
}

}  // namespace

void couple(const Coupling& coupling, const Matrix& embedding, const Matrix& head,
            const Branch& branch) {
  const int width = coupling.width, wanted = branch.num_candidates;
  const size_t size = static_cast<size_t>(width);
  std::vector<float> state(size), token(size), change(size), row_of_head(size);
  int32_t before = branch.first;
  for (int row = 0; row < branch.num_rows; ++row) {
    memcpy(state.data(), branch.states + (int64_t)row * width, sizeof(float) * size);
    scale(state.data(), width);
    unpack_row(embedding, before, token.data());
    scale(token.data(), width);
    memset(change.data(), 0, sizeof(float) * size);
    for (int c = 0; c < coupling.rank; ++c) {
      const int64_t at = (int64_t)c * width;
      const float z = dot(coupling.state + at, state.data(), width) +
                      dot(coupling.token + at, token.data(), width);
      const Floats open = splat(z / (1.0f + std::exp(-z)));
      for (int k = 0; k < width; k += LANES) {
        store(change.data() + k, load(change.data() + k) + open * load(coupling.back + at + k));
      }
    }
    const int32_t* ids = branch.candidates + (int64_t)row * wanted;
    const float* log_p = branch.log_probabilities + (int64_t)row * wanted;
    float coupled[MAX_CANDIDATES];
    int best = 0;
    for (int i = 0; i < wanted; ++i) {
      unpack_row(head, ids[i], row_of_head.data());
      coupled[i] = log_p[i] + dot(row_of_head.data(), change.data(), width);
      if (coupled[i] > coupled[best]) best = i;
    }
    float total = 0.0f, share = 0.0f;
    for (int i = 0; i < wanted; ++i) {
      total += std::exp(coupled[i] - coupled[best]);
      share += std::exp(log_p[i]);
    }
    before = branch.tokens[row] = ids[best];
    branch.probabilities[row] = share / total;
  }
}
