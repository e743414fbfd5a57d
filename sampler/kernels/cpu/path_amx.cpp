// AMX: 16,384 products an instruction, of up to 16 rows, 64 inputs and 16 outputs; the rest AVX-512.
//
// A group of weights is what a tile takes: a row of it is four inputs of 16 outputs. Sums are the
// same integers as on all paths, scaled and added up in the same order.
#include "avx512.h"
#include "expand.h"

namespace {

constexpr int TILE_ROWS = 16;
/// Rows that share one pass over a panel of weights.
constexpr int PASS_ROWS = 2 * TILE_ROWS;
/// Values lie row by row.
constexpr int VALUES_STEP = LANES;

ALWAYS_INLINE uint8_t* row_values(const Matrix& matrix, const Quantized& input, int row) {
  return input.values + (int64_t)row * matrix.num_inputs;
}

ALWAYS_INLINE void put_values(const Ints& value, uint8_t* to) {
  _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8((__m512i)value.part[0]));
}

// Tiles: 0 to 3 the sums of rows 0 to 15, then of rows 16 to 31, by the first and the second 16
// outputs; 4 and 5 the rows' values, 6 and 7 weights.

/// What `ldtilecfg` reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t num_rows[16] = {};

  void set(int tile, int rows, int bytes) {
    num_rows[tile] = (uint8_t)rows;
    row_bytes[tile] = (uint16_t)(rows == 0 ? 0 : bytes);
  }
};

/// Shape the tiles for `upper` rows and `lower` further ones, and groups of `group` inputs.
inline void shape_tiles(int upper, int lower, int group) {
  TileShapes shapes;
  for (int tile = 0; tile < 2; ++tile) {
    shapes.set(tile, upper, TILE * 4);
    shapes.set(2 + tile, lower, TILE * 4);
    shapes.set(6 + tile, group / 4, TILE * 4);
  }
  shapes.set(4, upper, group);
  shapes.set(5, lower, group);
  // Not _tile_loadconfig: gcc 12 takes it to read eight bytes and drops the stores to all others.
  // Nor does it know that tiles are loaded from memory: what was stored must be there from here on.
  asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}

/// `multiply` for at most PASS_ROWS rows.
inline void multiply_pass(
    const Matrix& matrix, int panel, const Quantized& input, int row, int count,
    Floats (*sums)[MAX_ROWS]) {
  const int num_groups = matrix.num_groups(), group = matrix.group;
  const int64_t stride = matrix.num_inputs;
  const int upper = count < TILE_ROWS ? count : TILE_ROWS, lower = count - upper;
  for (int r = 0; r < count; ++r) sums[0][r] = sums[1][r] = splat(0.0f);
  shape_tiles(upper, lower, group);
  const uint8_t* weights = matrix.panel(panel);
  const uint8_t* values = row_values(matrix, input, row);
  alignas(64) int32_t dots[2][PASS_ROWS][TILE];
  alignas(64) uint8_t buffer[MAX_GROUP * PANEL];
  for (int g = 0; g < num_groups; ++g) {
    const uint8_t* quads = weights + SCALES_BYTES;
    if (matrix.bits == 8) {
      for (int64_t at = 0; at < matrix.group_bytes(); at += 64) {
        __builtin_prefetch(weights + at + READ_AHEAD);
      }
    } else {
      expand(matrix, quads, nullptr, buffer);
      quads = buffer;
    }
    // The compiler does not know that tiles are loaded from memory.
    asm volatile("" : : "r"(quads) : "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(4, values, stride);
    _tile_loadd(6, quads, PANEL * 4);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, quads + TILE * 4, PANEL * 4);
    _tile_dpbsud(1, 4, 7);
    if (lower > 0) {
      _tile_zero(2);
      _tile_zero(3);
      _tile_loadd(5, values + TILE_ROWS * stride, stride);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
      _tile_stored(2, dots[0][TILE_ROWS], TILE * 4);
      _tile_stored(3, dots[1][TILE_ROWS], TILE * 4);
    }
    _tile_stored(0, dots[0][0], TILE * 4);
    _tile_stored(1, dots[1][0], TILE * 4);
    for (int tile = 0; tile < 2; ++tile) {
      const Floats weight_scales = load_short(weights + tile * TILE * 2);
      for (int r = 0; r < count; ++r) {
        const int64_t place = place_of_scale(row + r, g, num_groups);
        const Ints dot = load(dots[tile][r]) + splat(input.corrections[place]);
        Floats& sum = sums[tile][r];
        sum = sum + to_floats(dot) * (weight_scales * splat(input.scales[place]));
      }
    }
    weights += matrix.group_bytes();
    values += group;
  }
  _tile_release();
}

/// The outputs of a panel for `count` rows, at most MAX_ROWS, from `row` on; of four bits and a rest by
/// these four.
inline void multiply(
    const Matrix& matrix, int panel, const Quantized& input, int row, int count,
    Floats (*sums)[MAX_ROWS]) {
  for (int r = 0; r < count; r += PASS_ROWS) {
    const int num_here = count - r < PASS_ROWS ? count - r : PASS_ROWS;
    multiply_pass(matrix, panel, input, row + r, num_here, (Floats(*)[MAX_ROWS])(&sums[0][r]));
  }
}

}  // namespace

#include "forward.h"

const Path AMX_PATH = {"amx", VALUE_BYTES, run_forward, probe, couple};
