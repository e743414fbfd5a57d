// Linear layers of all rows, with their low-rank updates. The path has defined `multiply`.
#pragma once

#include "expand.h"
#include "phases.h"
#include "rows.h"

namespace {

/// The next rows, among those from `row` to `end`, that are gated and stand in one block.
inline Rows gated_run(const uint8_t* gate, int row, int end) {
  if (gate == nullptr) return {end, 0};
  while (row < end && !gate[row]) ++row;
  int behind = row;
  while (behind < end && gate[behind] && behind / BLOCK_ROWS == row / BLOCK_ROWS) ++behind;
  return {row, behind - row};
}

/// Like `multiply`, and the low-rank update on gated rows. The weights of the panel are in `weight`,
/// as its panel `panel_of_weight`.
inline void project(
    const Network& network, const Linear& linear, const Quantized& input, const Matrix& weight,
    int panel_of_weight, int panel, int row, int count, const uint8_t* gate,
    Floats (*y)[MAX_ROWS]) {
  const int end = row + count;
  Rows run = gated_run(gate, row, end);
  const Matrix& b = linear.update.b;
  if (run.count > 0) {  // asked for now, it is there when the weights have been multiplied
    for (int64_t at = 0; at < b.panel_bytes(); at += 64) __builtin_prefetch(b.panel(panel) + at);
  }
  multiply(weight, panel_of_weight, input, row, count, y);
  for (; run.count > 0; run = gated_run(gate, run.first + run.count, end)) {
    Floats updates[2][MAX_ROWS];
    multiply(b, panel, network.low_rank, run.first, run.count, updates);
    for (int r = 0; r < run.count; ++r) {
      const int at = run.first - row + r;
      for (int tile = 0; tile < 2; ++tile) y[tile][at] = y[tile][at] + updates[tile][r];
    }
  }
}

/// The inner numbers of the update, of the gated rows among `count` from `first` on; `buffer` is
/// scratch.
inline void lower(
    const Network& network, const Linear& linear, const Quantized& input, int first, int count,
    const uint8_t* gate, float* buffer) {
  const int rank = linear.update.b.num_inputs;
  Rows run = gated_run(gate, first, first + count);
  for (; run.count > 0; run = gated_run(gate, run.first + run.count, first + count)) {
    for (int panel = 0; panel < rank / PANEL; ++panel) {
      Floats y[2][MAX_ROWS];
      multiply(linear.update.a, panel, input, run.first, run.count, y);
      for (int r = 0; r < run.count; ++r) {
        for (int tile = 0; tile < 2; ++tile) {
          store(buffer + r * rank + panel * PANEL + tile * TILE, y[tile][r]);
        }
      }
    }
    for (int r = 0; r < run.count; ++r) {
      quantize(buffer + r * rank, linear.update.b, run.first + r, network.low_rank);
    }
  }
}

/// Phase: `body(first, count, buffer)` for blocks of up to eight rows; `buffer` is scratch.
template <class Body>
ALWAYS_INLINE void each_block(
    const Network& network, int num_rows, Member& member, const Body& body) {
  float* buffer = network.row_buffer + (int64_t)member.thread() * 3 * network.row_width;
  share(member, ceil_div(num_rows, BLOCK_ROWS), 1, [&](int block) {
    const int first = block * BLOCK_ROWS;
    body(first, num_rows - first < BLOCK_ROWS ? num_rows - first : BLOCK_ROWS, buffer);
  });
}

/// Phase: make rows the input of `linear`, normed if there is a `norm`.
inline void prepare(
    const Network& network, const Linear& linear, const float* from, int num_rows,
    const float* norm, const uint8_t* gate, Member& member) {
  const Matrix& weight = linear.weight;
  each_block(network, num_rows, member, [&](int first, int count, float* buffer) {
    for (int row = first; row < first + count; ++row) {
      const float* source = from + (int64_t)row * weight.num_inputs;
      if (norm != nullptr) {
        normalize(source, norm, weight.num_inputs, network.shape.norm_eps, buffer);
        source = buffer;
      }
      quantize(source, weight, row, network.input);
    }
    lower(network, linear, network.input, first, count, gate, buffer);
  });
}

/// Phase: `body(panel, row, count, y)` for all panels of a linear layer and up to MAX_ROWS rows. So many
/// panels as `together` says go to one thread, one after the other.
template <class Body>
ALWAYS_INLINE void each_panel(
    const Network& network, const Linear& linear, const Quantized& input, int num_rows,
    const uint8_t* gate, Member& member, int together, const Body& body) {
  const Matrix& packed = linear.weight;
  const int num_panels = packed.num_panels();
  const int at_once = panels_at_once(member.num_threads(), num_panels, together);
  // Who goes over a panel several times makes bytes of it once.
  const bool is_expanded = packed.bits != 8 && num_rows > PASS_ROWS;
  const Matrix bytes =
      packed.as_bytes(network.panel_buffer + network.panel_width * member.thread());
  share(member, num_panels, at_once, [&](int panel) {
    if (is_expanded) expand_panel(packed, panel, bytes);
    const Matrix& weight = is_expanded ? bytes : packed;
    for (int row = 0; row < num_rows; row += MAX_ROWS) {
      const int count = num_rows - row < MAX_ROWS ? num_rows - row : MAX_ROWS;
      Floats y[2][MAX_ROWS];
      project(network, linear, input, weight, is_expanded ? 0 : panel, panel, row, count, gate, y);
      body(panel, row, count, y);
    }
  });
}

}  // namespace
