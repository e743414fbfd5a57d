// The forward of a Qwen2 or Llama network over T rows, for whatever path includes this.
//
// A path has included lanes.h and defined, all in its unnamed namespace:
//   VALUE_BYTES      bytes of one quantized activation
//   put_values       sixteen quantized activations of one row, into their place
//   row_values       the place of a row's first sixteen; VALUES_STEP bytes on are the next
//   multiply         rows by a panel of weights
//                    (the last three: its own or those of products.h)
//   STEP_QUERIES     queries whose sums with 16 keys fit into registers at once
//   dot_keys         R queries by 16 keys
//   add_pair         R rows of weights by the values of two slots
//
// A row's result does not depend on the rows beside it, on where it stands among them, or on the
// number of threads: each row goes through the same operations in the same order. Products of
// weights, of queries by keys and, 128 slots at a time, of their weights by values are sums of
// integers, which have no order at all.
//
// Reference: model/network.py. Shapes: T rows, R rows at once, K inputs, N outputs.
#pragma once

#include "attention.h"
#include "couple.h"
#include "linear.h"
#include "vocabulary.h"

#include <vector>

namespace {

/// Rows by a matrix, quantized as in a forward: `outputs` (num_rows, N rounded up to panels). For
/// comparing one path with another.
void probe(const Matrix& matrix, const float* rows, int num_rows, float* outputs) {
  const int num_blocks = ceil_div(num_rows, BLOCK_ROWS), num_outputs = matrix.num_panels() * PANEL;
  const size_t places = (size_t)num_blocks * BLOCK_ROWS;
  std::vector<uint8_t> values(places * matrix.num_inputs * VALUE_BYTES);
  std::vector<float> scales(places * matrix.num_groups());
  std::vector<int32_t> corrections(places * matrix.num_groups());
  const Quantized input = {values.data(), scales.data(), corrections.data()};
  for (int row = 0; row < num_rows; ++row) {
    quantize(rows + (int64_t)row * matrix.num_inputs, matrix, row, input);
  }
  for (int panel = 0; panel < matrix.num_panels(); ++panel) {
    Floats y[2][MAX_ROWS];
    multiply(matrix, panel, input, 0, num_rows, y);
    for (int tile = 0; tile < 2; ++tile) {
      for (int row = 0; row < num_rows; ++row) {
        store(outputs + (int64_t)row * num_outputs + panel * PANEL + tile * TILE, y[tile][row]);
      }
    }
  }
}

/// The call's early rows leave: their keys and values of all further layers are made at once. The
/// first position of a text stays, because all others look at it more than at anything else
/// (attention sink, 2309.17453), and takes the place of the last row that leaves.
Live let_leave(const Network& network, const Call& call, Member& member) {
  const int64_t num_outputs = network.early.weight.num_outputs;
  const int width = network.shape.width, last = call.num_early - 1;
  prepare(network, network.early, network.stream, call.num_early,
          network.layers[network.early_layer].attention_norm, nullptr, member);
  each_panel(network, network.early, network.input, call.num_early, nullptr, member, 1,
      [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {
    for (int at = panel * PANEL, tile = 0; tile < 2; ++tile, at += TILE) {
      for (int r = 0; r < count; ++r) {
        store(network.early_kv + (row + r) * num_outputs + at,
              y[tile][r] + load(network.early_bias + at));
      }
    }
  });
  place_early(network, call, member);
  if (call.places[0].position > 0) {
    return {call.num_early, call.num_rows - call.num_early, false};
  }
  share(member, 1, 1, [&](int) {
    memmove(network.stream + (int64_t)last * width, network.stream, sizeof(float) * (size_t)width);
  });
  return {last, call.num_rows - last, true};
}

/// The feed-forward's gates, and what they let through as the input of `down`: a group of it at a time,
/// as soon as its panels are done, for in one piece it does not fit into the caches.
void activate(
    const Network& network, const Layer& layer, int num_rows, const uint8_t* gate,
    Member& member) {
  const Matrix& down = layer.down.weight;
  const int group = down.group;
  float* activations = network.activations + (int64_t)member.thread() * network.num_rows * MAX_GROUP;
  each_panel(network, layer.gate_up, network.input, num_rows, gate, member, group / TILE,
      [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {  // 16 gates, then what they gate
    const int at = panel * TILE % group;
    for (int r = 0; r < count; ++r) {
      const Floats open = y[0][r] / (splat(1.0f) + exponential(splat(0.0f) - y[0][r]));
      store(activations + (int64_t)(row + r) * group + at, open * y[1][r]);
    }
    for (int r = 0; r < count && at + TILE == group; ++r) {
      quantize_group(activations + (int64_t)(row + r) * group, down, row + r,
                     panel * TILE / group, network.activated);
    }
  });
  if (gate == nullptr) return;
  each_block(network, num_rows, member, [&](int first, int count, float* buffer) {
    lower(network, layer.down, network.activated, first, count, gate, buffer);
  });
}

/// Whether the forward is to end here. Threads may leave it at different layers: those that go on do
/// all units of a phase by themselves.
ALWAYS_INLINE bool must_leave(Network& network, const Call& call) {
  if (call.may_interrupt == 0) return false;
  if (__atomic_load_n(&network.interrupt, __ATOMIC_RELAXED) != 0) {
    __atomic_store_n(&network.is_left, 1, __ATOMIC_SEQ_CST);
  }
  return __atomic_load_n(&network.is_left, __ATOMIC_RELAXED) != 0;
}

void run_forward(Network& network, const Call& call, Member& member) {
  const Shape& shape = network.shape;
  const int width = shape.width, q_width = shape.num_heads * shape.head_dim;
  const int qkv_width = q_width + 2 * shape.num_kv_heads * shape.head_dim;
  Live live = {0, call.num_rows, false};
  Rows rows = {0, call.num_rows};
  const uint8_t* gate = network.has_update ? call.gate : nullptr;
  float* stream = network.stream;
  const auto expect = [&](const Matrix& next) { member.expect(next.data, next.panel_bytes() * next.num_panels()); };
  expect(network.layers[0].qkv.weight);
  embed(network, call, member);
  for (int index = 0; index < shape.num_layers; ++index) {
    const Layer& layer = network.layers[index];
    if (must_leave(network, call)) return;
    if (index == network.early_layer && call.num_early > 0) {
      live = let_leave(network, call, member);
      if (live.count == 0) return;
      rows.count = live.count;
      stream += (int64_t)live.first * width;
      if (gate != nullptr) gate += live.first;
    }
    prepare(network, layer.qkv, stream, rows.count, layer.attention_norm, gate, member);
    expect(layer.out.weight);
    each_panel(network, layer.qkv, network.input, rows.count, gate, member, 1,
        [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {
      for (int at = panel * PANEL, tile = 0; tile < 2 && at < qkv_width; ++tile, at += TILE) {
        for (int r = 0; r < count; ++r) {
          const Floats x = layer.qkv_bias ? y[tile][r] + load(layer.qkv_bias + at) : y[tile][r];
          store(network.qkv + (int64_t)(row + r) * qkv_width + at, x);
        }
      }
    });
    place_heads(network, call, index, live, member);
    if (index == shape.num_layers - 1) {  // only rows with logits go on
      rows = {call.first_row - live.first, call.end_row - call.first_row};
      if (rows.count == 0) return;
      stream += (int64_t)rows.first * width;
      if (gate != nullptr) gate += rows.first;
    }
    attend(network, call, index, live, rows, member);
    const auto add = [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {
      for (int at = panel * PANEL, tile = 0; tile < 2 && at < width; ++tile, at += TILE) {
        for (int r = 0; r < count; ++r) {
          float* place = stream + (int64_t)(row + r) * width + at;
          store(place, load(place) + y[tile][r]);
        }
      }
    };
    prepare(network, layer.out, network.attended, rows.count, nullptr, gate, member);
    expect(layer.gate_up.weight);
    each_panel(network, layer.out, network.input, rows.count, gate, member, 1, add);
    prepare(network, layer.gate_up, stream, rows.count, layer.ffn_norm, gate, member);
    expect(layer.down.weight);
    activate(network, layer, rows.count, gate, member);
    const bool is_last = index == shape.num_layers - 1;
    expect(is_last ? network.head : network.layers[index + 1].qkv.weight);
    each_panel(network, layer.down, network.activated, rows.count, gate, member, 1, add);
  }
  Linear head;
  head.weight = network.head;
  prepare(network, head, stream, rows.count, network.final_norm, nullptr, member);
  score_vocabulary(network, call, rows.count, member);
  if (call.best != nullptr) settle(network, call, rows.count, member);
}

}  // namespace
