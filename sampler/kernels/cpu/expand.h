// Weights of fewer than eight bits into bytes; see Matrix.
#pragma once

#include "lanes.h"
#include "network.h"

namespace {

/// Bytes of weights that are asked of memory ahead of use.
constexpr int READ_AHEAD = 4096;
/// Bytes of 16 inputs of a tile.
constexpr int SET_BYTES = 16 * TILE;

/// 64 bytes.
struct Bytes {
  IntPart part[PARTS];
};

ALWAYS_INLINE Bytes load_bytes(const uint8_t* from) {
  Bytes x;
  memcpy(&x, from, sizeof x);
  return x;
}

/// The bits of `mask` of each byte; `move` to the left before, or to the right where it is negative.
template <int move>
ALWAYS_INLINE Bytes picked(const Bytes& from, int32_t mask) {
  Bytes x;
  // What a shift carries over from the next byte is not in the mask.
  EACH_PART x.part[i] = (move < 0 ? from.part[i] >> -move : from.part[i] << move) & mask;
  return x;
}

ALWAYS_INLINE Bytes operator|(const Bytes& a, const Bytes& b) {
  Bytes x;
  EACH_PART x.part[i] = a.part[i] | b.part[i];
  return x;
}

constexpr int32_t LEADING = (int32_t)0xf0f0f0f0, NEXT_TWO = 0x0c0c0c0c, TRAILING = 0x0f0f0f0f,
                  HALF = 0x08080808;

/// 16 inputs of a tile as bytes, four vectors. Of four bits the others are in `rest`; without, they are
/// taken to be in the middle.
template <int BITS>
ALWAYS_INLINE void expand_set(const uint8_t* from, const uint8_t* rest, Bytes* to) {
  const Bytes first = load_bytes(from), second = load_bytes(from + 64);
  to[0] = picked<0>(first, LEADING);
  to[1] = picked<4>(first, LEADING);
  to[2] = picked<0>(second, LEADING);
  to[3] = picked<4>(second, LEADING);
  if constexpr (BITS == 6) {
    const Bytes left = load_bytes(from + 128);
    to[0] = to[0] | picked<2>(left, NEXT_TWO);
    to[1] = to[1] | picked<0>(left, NEXT_TWO);
    to[2] = to[2] | picked<-2>(left, NEXT_TWO);
    to[3] = to[3] | picked<-4>(left, NEXT_TWO);
  } else if (rest != nullptr) {
    const Bytes third = load_bytes(rest), fourth = load_bytes(rest + 64);
    to[0] = to[0] | picked<-4>(third, TRAILING);
    to[1] = to[1] | picked<0>(third, TRAILING);
    to[2] = to[2] | picked<-4>(fourth, TRAILING);
    to[3] = to[3] | picked<0>(fourth, TRAILING);
  } else {
    Bytes half;
    EACH_PART half.part[i] = IntPart{} + HALF;
    for (int quad = 0; quad < 4; ++quad) to[quad] = to[quad] | half;
  }
}

/// Both tiles of a group of a panel as bytes: from behind its scales to `to`, with the rest of four
/// bits or without.
template <int BITS>
inline void expand(const uint8_t* from, const uint8_t* rest, int group, uint8_t* to) {
  for (int set = 0; set < group / 16 * 2; ++set) {
    Bytes bytes[4];
    expand_set<BITS>(from, rest, bytes);
    __builtin_prefetch(from + READ_AHEAD);
    __builtin_prefetch(from + READ_AHEAD + 64);
    if (BITS == 6) __builtin_prefetch(from + READ_AHEAD + 128);
    for (int quad = 0; quad < 4; ++quad) {
      uint8_t* at = to + (set / 2 * 4 + quad) * PANEL * 4 + set % 2 * TILE * 4;
      memcpy(at, bytes + quad, sizeof(Bytes));
    }
    from += SET_BYTES * BITS / 8;
    if (rest != nullptr) rest += SET_BYTES / 2;
  }
}

/// The same for a matrix of either.
inline void expand(const Matrix& matrix, const uint8_t* from, const uint8_t* rest, uint8_t* to) {
  if (matrix.bits == 6) {
    expand<6>(from, nullptr, matrix.group, to);
  } else {
    expand<4>(from, rest, matrix.group, to);
  }
}

/// A panel of whole weights, scales and all, into the data of `matrix.as_bytes(…)`.
inline void expand_panel(const Matrix& matrix, int panel, const Matrix& bytes) {
  const uint8_t *from = matrix.panel(panel), *rest = matrix.rest_panel(panel);
  uint8_t* to = bytes.data;
  for (int g = 0; g < matrix.num_groups(); ++g) {
    memcpy(to, from, SCALES_BYTES);
    expand(matrix, from + SCALES_BYTES, rest, to + SCALES_BYTES);
    if (rest != nullptr) rest += (int64_t)matrix.group * PANEL / 2;
    from += matrix.group_bytes();
    to += bytes.group_bytes();
  }
}

}  // namespace
