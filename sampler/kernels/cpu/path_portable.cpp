// Plain C++ for whatever machine: right, not fast.
#define LANE_BYTES 16
#include "lanes.h"
#include "expand.h"
#include "network.h"

namespace {

constexpr int STEP_ROWS = 4;
constexpr int TILES_AT_ONCE = 1;
constexpr int EXPANDED_ROWS = 0;
constexpr int STEP_QUERIES = 4;
constexpr int VALUE_BYTES = 2;

ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  alignas(64) int32_t lanes[LANES];
  store(lanes, value);
  for (int i = 0; i < LANES; ++i) {
    const int16_t narrow = (int16_t)lanes[i];
    memcpy(to + (i / 4 * 4 * BLOCK_ROWS + i % 4) * VALUE_BYTES, &narrow, 2);
  }
}

template <int R>
ALWAYS_INLINE void multiply_four(
    Ints (*sums)[R], const uint8_t* weights, const uint8_t* values) {
  for (int r = 0; r < R; ++r) {
    int16_t quad[4];
    memcpy(quad, values + 8 * r, 8);
    int32_t* lanes = (int32_t*)(sums[0] + r);
    for (int n = 0; n < TILE; ++n) {
      const uint8_t* weight = weights + 4 * n;
      lanes[n] += weight[0] * quad[0] + weight[1] * quad[1] + weight[2] * quad[2] +
                  weight[3] * quad[3];
    }
  }
}

template <int R>
ALWAYS_INLINE void dot_keys(Ints* dots, const int16_t* keys, const int16_t* queries, int head_dim) {
  for (int r = 0; r < R; ++r) {
    int32_t lanes[LANES] = {};
    const int16_t* query = queries + r * head_dim;
    for (int i = 0; i < head_dim; i += 2) {
      const int16_t* key = keys + i * TILE;
      for (int n = 0; n < TILE; ++n) lanes[n] += key[2 * n] * query[i] + key[2 * n + 1] * query[i + 1];
    }
    dots[r] = load(lanes);
  }
}

/// Adds a pair of slots: D sixteens of values, weighed for R rows.
template <int R, int D>
ALWAYS_INLINE void add_pair(
    Ints (*sums)[D], const int16_t* values, const int16_t* weights, int64_t stride) {
  for (int r = 0; r < R; ++r) {
    const int16_t* weight = weights + r * stride;
    for (int d = 0; d < D; ++d) {
      const int16_t* value = values + d * TILE * 2;
      int32_t lanes[LANES];
      store(lanes, sums[r][d]);
      for (int n = 0; n < TILE; ++n) {
        lanes[n] += value[2 * n] * weight[0] + value[2 * n + 1] * weight[1];
      }
      sums[r][d] = load(lanes);
    }
  }
}

}  // namespace

#include "quads.h"

#include "products.h"

#include "forward.h"

const Path PORTABLE_PATH = {"portable", VALUE_BYTES, run_forward, probe, couple};
