#define LANE_BYTES 16
#include "packing.h"

#include "lanes.h"

namespace {

constexpr int SET_INPUTS = 16;
constexpr int QUAD_BYTES = TILE * 4;

/// The least bfloat16 that is not below a positive number.
uint16_t rounded_up(float number) {
  uint32_t bits;
  memcpy(&bits, &number, 4);
  return (uint16_t)((bits + 0xffff) >> 16);
}

float widened(uint16_t number) {
  const uint32_t bits = (uint32_t)number << 16;
  float wide;
  memcpy(&wide, &bits, 4);
  return wide;
}

/// Where 16 inputs of a tile stand in a group's weights, of fewer than eight bits, or in what is left
/// of them.
int64_t set_place(int k, int tile, int bits) {
  return (int64_t)(k / SET_INPUTS * 2 + tile) * SET_INPUTS * TILE * bits / 8;
}

/// 16 weights of an output, as bytes, into its lane.
void put_set(const Matrix& matrix, uint8_t* weights, uint8_t* rest, int k, int lane,
             const uint8_t* bytes) {
  const int tile = lane / TILE, within = lane % TILE * 4;
  if (matrix.bits == 8) {
    for (int quad = 0; quad < 4; ++quad) {
      memcpy(weights + (k + 4 * quad) * PANEL + lane * 4, bytes + 4 * quad, 4);
    }
    return;
  }
  uint8_t* at = weights + set_place(k, tile, matrix.bits) + within;
  uint8_t* rest_at = rest == nullptr ? nullptr : rest + set_place(k, tile, 4) + within;
  for (int i = 0; i < 4; ++i) {
    const uint8_t a = bytes[i], b = bytes[4 + i], c = bytes[8 + i], d = bytes[12 + i];
    at[i] = (uint8_t)((a & 0xf0) | b >> 4);
    at[QUAD_BYTES + i] = (uint8_t)((c & 0xf0) | d >> 4);
    if (matrix.bits == 6) {
      at[2 * QUAD_BYTES + i] =
          (uint8_t)((a & 12) >> 2 | (b & 12) | (c & 12) << 2 | (d & 12) << 4);
    } else {
      rest_at[i] = (uint8_t)(a << 4 | (b & 15));
      rest_at[QUAD_BYTES + i] = (uint8_t)(c << 4 | (d & 15));
    }
  }
}

}  // namespace

void pack_row(const Matrix& matrix, int row, bool is_interleaved, const float* weights) {
  int panel = row / PANEL, lane = row % PANEL;
  if (is_interleaved) {
    const int half = matrix.num_outputs / 2, of_half = row < half ? row : row - half;
    panel = of_half / TILE;
    lane = of_half % TILE + (row < half ? 0 : TILE);
  }
  // Of six bits the weights are multiples of four, so that they are bytes of the same meaning.
  const int step = matrix.bits == 6 ? 4 : 1, limit = matrix.bits == 6 ? 31 : 127;
  uint8_t* group = matrix.data + matrix.panel_bytes() * panel;
  uint8_t* rest =
      matrix.rest == nullptr ? nullptr : matrix.rest + matrix.rest_panel_bytes() * panel;
  for (int g = 0; g < matrix.num_groups(); ++g, group += matrix.group_bytes()) {
    Floats widest = splat(0.0f);
    for (int k = 0; k < matrix.group; k += LANES) widest = max(widest, abs(load(weights + k)));
    const float most = highest(widest);
    const uint16_t scale = rounded_up(most / (float)(limit * step));
    const Floats inverse = splat(most > 0.0f ? 1.0f / (widened(scale) * (float)step) : 0.0f);
    memcpy(group + lane * 2, &scale, 2);
    for (int k = 0; k < matrix.group; k += LANES, weights += LANES) {
      alignas(64) int32_t numbers[LANES];
      store(numbers, rounded(load(weights) * inverse));
      uint8_t bytes[LANES];
      for (int i = 0; i < LANES; ++i) bytes[i] = (uint8_t)(numbers[i] * step + 128);
      put_set(matrix, group + SCALES_BYTES, rest, k, lane, bytes);
    }
    if (rest != nullptr) rest += (int64_t)matrix.group * PANEL / 2;
  }
}

void unpack_row(const Matrix& matrix, int row, float* weights) {
  const int lane = row % PANEL, tile = lane / TILE, within = lane % TILE * 4;
  const uint8_t *group = matrix.panel(row / PANEL), *rest = matrix.rest_panel(row / PANEL);
  for (int g = 0; g < matrix.num_groups(); ++g, group += matrix.group_bytes()) {
    uint16_t short_scale;
    memcpy(&short_scale, group + lane * 2, 2);
    const float scale = widened(short_scale);
    for (int k = 0; k < matrix.group; k += SET_INPUTS) {
      uint8_t bytes[SET_INPUTS];
      if (matrix.bits == 8) {
        const uint8_t* quad = group + SCALES_BYTES + k * PANEL + lane * 4;
        for (int i = 0; i < 4; ++i) memcpy(bytes + 4 * i, quad + i * PANEL * 4, 4);
      } else {
        const uint8_t* at = group + SCALES_BYTES + set_place(k, tile, 4) + within;
        const uint8_t* rest_at = rest + set_place(k, tile, 4) + within;
        for (int i = 0; i < 8; ++i) {  // each byte has the half of two inputs
          const int place = i / 4 * QUAD_BYTES + i % 4, to = i / 4 * 8 + i % 4;
          bytes[to] = (uint8_t)((at[place] & 0xf0) | rest_at[place] >> 4);
          bytes[to + 4] = (uint8_t)(at[place] << 4 | (rest_at[place] & 15));
        }
      }
      for (int i = 0; i < SET_INPUTS; ++i) *weights++ = scale * (float)((int)bytes[i] - 128);
    }
    if (rest != nullptr) rest += (int64_t)matrix.group * PANEL / 2;
  }
}

float rest_of_logit(const Matrix& head, int id, const int32_t* values, const float* scales) {
  const int lane = id % PANEL, tile = lane / TILE, within = lane % TILE * 4;
  const uint8_t *group = head.panel(id / PANEL), *rest = head.rest_panel(id / PANEL);
  float total = 0.0f;
  for (int g = 0; g < head.num_groups(); ++g, group += head.group_bytes()) {
    int32_t dot = 0;
    for (int k = 0; k < head.group; k += SET_INPUTS, values += SET_INPUTS) {
      const uint8_t* at = rest + set_place(k, tile, 4) + within;
      for (int i = 0; i < 4; ++i) {
        const int first = at[i], second = at[QUAD_BYTES + i];
        dot += ((first >> 4) - 8) * values[i] + ((first & 15) - 8) * values[4 + i] +
               ((second >> 4) - 8) * values[8 + i] + ((second & 15) - 8) * values[12 + i];
      }
    }
    uint16_t scale;
    memcpy(&scale, group + lane * 2, 2);
    total += (float)dot * (widened(scale) * scales[g]);
    rest += (int64_t)head.group * PANEL / 2;
  }
  return total;
}
