// Stand-ins for instructions that the machine at hand may lack, as Intel's manual describes them.
// Included before the sources of the paths that use them; see test_native_machines.py.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_release

namespace emulated {

struct Tiles {
  uint8_t shapes[64];  // palette, start row, 14 reserved, 16 × bytes of a row, 16 × rows
  uint8_t data[8][16][64];
  int rows(int tile) const { return shapes[48 + tile]; }
  int row_bytes(int tile) const { return shapes[16 + 2 * tile] | shapes[17 + 2 * tile] << 8; }
};
inline thread_local Tiles tiles;

inline void configure(const void* shapes) {
  memset(&tiles, 0, sizeof tiles);
  memcpy(tiles.shapes, shapes, 64);
  if (tiles.shapes[0] != 1 || tiles.shapes[1] != 0) __builtin_trap();
  for (int tile = 0; tile < 8; ++tile) {
    const int rows = tiles.rows(tile), bytes = tiles.row_bytes(tile);
    if (rows > 16 || bytes > 64 || (rows == 0) != (bytes == 0)) __builtin_trap();
  }
}

inline void zero(int tile) {
  if (tiles.rows(tile) == 0) __builtin_trap();
  memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
}

inline void load(int tile, const void* from, int64_t stride) {
  if (tiles.rows(tile) == 0) __builtin_trap();
  memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
  for (int row = 0; row < tiles.rows(tile); ++row) {
    memcpy(tiles.data[tile][row], (const uint8_t*)from + row * stride, tiles.row_bytes(tile));
  }
}

inline void store(int tile, void* to, int64_t stride) {
  for (int row = 0; row < tiles.rows(tile); ++row) {
    memcpy((uint8_t*)to + row * stride, tiles.data[tile][row], tiles.row_bytes(tile));
  }
}

/// Signed bytes of `a` by unsigned bytes of `b`, added to `sums`.
inline void multiply(int sums, int a, int b) {
  if (tiles.rows(sums) != tiles.rows(a) || tiles.row_bytes(sums) != tiles.row_bytes(b) ||
      tiles.row_bytes(a) != 4 * tiles.rows(b)) {
    __builtin_trap();
  }
  for (int row = 0; row < tiles.rows(a); ++row) {
    for (int column = 0; column < tiles.row_bytes(b) / 4; ++column) {
      int32_t sum;
      memcpy(&sum, tiles.data[sums][row] + 4 * column, 4);
      for (int k = 0; k < tiles.row_bytes(a); ++k) {
        sum += (int8_t)tiles.data[a][row][k] * tiles.data[b][k / 4][4 * column + k % 4];
      }
      memcpy(tiles.data[sums][row] + 4 * column, &sum, 4);
    }
  }
}

inline void release() { memset(&tiles, 0, sizeof tiles); }

}  // namespace emulated

#define _tile_zero(tile) emulated::zero(tile)
#define _tile_loadd(tile, from, stride) emulated::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store(tile, to, stride)
#define _tile_dpbsud(sums, a, b) emulated::multiply(sums, a, b)
#define _tile_release() emulated::release()
// The same instruction, as processors with AVX-512 encode it.
#define _mm256_dpbusd_avx_epi32 _mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 _mm256_dpwssd_epi32
