#define LANE_BYTES 16
#include "packing.h"

#include "lanes.h"

void pack_row(const Matrix& matrix, int row, bool is_interleaved, const float* weights) {
  int panel = row / PANEL, lane = row % PANEL;
  if (is_interleaved) {
    const int half = matrix.num_outputs / 2, of_half = row < half ? row : row - half;
    panel = of_half / TILE;
    lane = of_half % TILE + (row < half ? 0 : TILE);
  }
  uint8_t* group = matrix.data + matrix.panel_bytes() * panel;
  for (int g = 0; g < matrix.num_groups(); ++g, group += matrix.group_bytes()) {
    Floats widest = splat(0.0f);
    for (int k = 0; k < matrix.group; k += LANES) widest = max(widest, abs(load(weights + k)));
    const float most = highest(widest), scale = most / 127.0f;
    const Floats inverse = splat(most > 0.0f ? 127.0f / most : 0.0f);
    memcpy(group + lane * 4, &scale, 4);
    uint8_t* quad = group + PANEL * 4 + lane * 4;
    for (int k = 0; k < matrix.group; k += LANES, weights += LANES) {
      alignas(64) int32_t numbers[LANES];
      store(numbers, rounded(load(weights) * inverse) + splat((int32_t)128));
      for (int i = 0; i < LANES; i += 4, quad += PANEL * 4) {
        const uint8_t bytes[4] = {(uint8_t)numbers[i], (uint8_t)numbers[i + 1],
                                  (uint8_t)numbers[i + 2], (uint8_t)numbers[i + 3]};
        memcpy(quad, bytes, 4);
      }
    }
  }
}

void unpack_row(const Matrix& matrix, int row, float* weights) {
  const int lane = row % PANEL;
  const uint8_t* group = matrix.panel(row / PANEL);
  for (int g = 0; g < matrix.num_groups(); ++g, group += matrix.group_bytes()) {
    float scale;
    memcpy(&scale, group + lane * 4, 4);
    const uint8_t* quad = group + PANEL * 4 + lane * 4;
    for (int k = 0; k < matrix.group; k += 4, quad += PANEL * 4) {
      for (int i = 0; i < 4; ++i) *weights++ = scale * (float)((int)quad[i] - 128);
    }
  }
}
