// The forward of a Qwen2 or Llama network over T rows, for whatever path includes this.
//
// A path has included lanes.h and defined, all in its unnamed namespace:
//   STEP_ROWS, TILES_AT_ONCE   rows, and tiles of 16 outputs, whose sums fit into registers at once
//   STEP_QUERIES               likewise for queries by 16 keys
//   VALUE_BYTES                bytes of one quantized activation
//   put_values                 sixteen quantized activations of one row, into their block
//   multiply_four              four inputs of R rows by these outputs, added to the sums
//   dot_keys                   R queries by 16 keys
//
// A row's result does not depend on the rows beside it, on where it stands among them, or on the
// number of threads: each row goes through the same operations in the same order. Products of
// weights and of queries by keys are sums of integers, which have no order at all.
//
// Reference: model/network.py. Shapes: T rows, R rows at once, K inputs, N outputs.
#pragma once

#include "network.h"

namespace {

struct Rows {
  int first, count;
};

/// A phase: call `body(unit)` for all units, shared among the threads; `chunk` neighbours go to one.
template <class Body>
ALWAYS_INLINE void share(Member& member, int num_units, int chunk, const Body& body) {
  if (num_units == 0) return;
  for (int begin; (begin = member.take(num_units, chunk)) >= 0;) {
    const int end = begin + chunk < num_units ? begin + chunk : num_units;
    for (int unit = begin; unit < end; ++unit) body(unit);
    member.finish(end - begin, num_units);
  }
  member.pass();
}

ALWAYS_INLINE int ceil_div(int a, int b) { return (a + b - 1) / b; }

/// Neighbouring panels a thread takes at once: few enough to balance, enough to read in one go.
ALWAYS_INLINE int panels_at_once(int num_threads, int num_panels) {
  const int share = num_panels / (num_threads * 8);
  return num_threads == 1 ? num_panels : share < 1 ? 1 : share;
}

// --- activations ---------------------------------------------------------------------------------

/// Round a row to int8, group by group, into its place.
inline void quantize(const float* from, const Matrix& matrix, int row, const Quantized& to) {
  const int num_groups = matrix.num_groups(), group = matrix.group;
  const int64_t block = row / BLOCK_ROWS, within = row % BLOCK_ROWS;
  uint8_t* values = to.values + (block * matrix.num_inputs * BLOCK_ROWS + within * 4) * VALUE_BYTES;
  const int64_t place = block * num_groups * BLOCK_ROWS + within;
  for (int g = 0; g < num_groups; ++g, from += group) {
    Floats widest = splat(0.0f);
    for (int k = 0; k < group; k += LANES) widest = max(widest, abs(load(from + k)));
    const float most = highest(widest);
    const Floats inverse = splat(most > 0.0f ? 127.0f / most : 0.0f);
    Ints total = splat(0);
    for (int k = 0; k < group; k += LANES) {
      const Ints value = rounded(load(from + k) * inverse);
      total = total + value;
      put_values(value, values);
      values += LANES * BLOCK_ROWS * VALUE_BYTES;
    }
    to.scales[place + g * BLOCK_ROWS] = most / 127.0f;
    alignas(64) int32_t lanes[LANES];
    store(lanes, total);
    int32_t all = 0;
    for (int i = 0; i < LANES; ++i) all += lanes[i];
    to.corrections[place + g * BLOCK_ROWS] = -128 * all;
  }
}

/// Root mean square norm of a row.
inline void normalize(const float* from, const float* weight, int width, float eps, float* to) {
  Floats squares = splat(0.0f);
  for (int k = 0; k < width; k += LANES) {
    const Floats x = load(from + k);
    squares = squares + x * x;
  }
  const Floats inverse = splat(1.0f / __builtin_sqrtf(sum(squares) / (float)width + eps));
  for (int k = 0; k < width; k += LANES) {
    store(to + k, (load(from + k) * inverse) * load(weight + k));
  }
}

// --- weights -------------------------------------------------------------------------------------

/// Adds what one group of inputs gives R rows of one block and TILES_AT_ONCE tiles of a panel.
template <int R>
ALWAYS_INLINE void multiply_group(
    int group, const uint8_t* weights, int tile, const uint8_t* values, const float* scales,
    const int32_t* corrections, Floats (*sums)[MAX_ROWS]) {
  Ints dots[TILES_AT_ONCE][R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    dots[0][r] = splat(corrections[r]);
    if (TILES_AT_ONCE == 2) dots[TILES_AT_ONCE - 1][r] = dots[0][r];
  }
  const uint8_t* quads = weights + PANEL * 4 + tile * TILE * 4;
  for (int k = 0; k < group; k += 4) {
    multiply_four<R>(dots, quads, values);
    quads += PANEL * 4;
    values += 4 * BLOCK_ROWS * VALUE_BYTES;
  }
#pragma GCC unroll 2
  for (int t = 0; t < TILES_AT_ONCE; ++t) {
    const Floats weight_scales = load((const float*)weights + (tile + t) * TILE);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      Floats& sum = sums[tile + t][r];
      sum = sum + to_floats(dots[t][r]) * (weight_scales * splat(scales[r]));
    }
  }
}

/// The outputs of a panel for `count` rows, at most MAX_ROWS, from `row`, a multiple of 8, on.
inline void multiply(
    const Matrix& matrix, int panel, const Quantized& input, int row, int count,
    Floats (*sums)[MAX_ROWS]) {
  const int num_groups = matrix.num_groups(), group = matrix.group;
  const int64_t block_values = (int64_t)matrix.num_inputs * BLOCK_ROWS * VALUE_BYTES;
  const int64_t block_scales = (int64_t)num_groups * BLOCK_ROWS;
  for (int r = 0; r < count; ++r) sums[0][r] = sums[1][r] = splat(0.0f);
  const uint8_t* weights = matrix.panel(panel);
  for (int g = 0; g < num_groups; ++g) {
    for (int r = 0; r < count; r += STEP_ROWS) {
      const int64_t block = (row + r) / BLOCK_ROWS, within = r % BLOCK_ROWS;
      const uint8_t* values = input.values + block * block_values +
                              ((int64_t)g * group * BLOCK_ROWS + within * 4) * VALUE_BYTES;
      const int64_t place = block * block_scales + (int64_t)g * BLOCK_ROWS + within;
      for (int tile = 0; tile < 2; tile += TILES_AT_ONCE) {
        Floats(*at)[MAX_ROWS] = (Floats(*)[MAX_ROWS])(&sums[0][r]);
#define CASE(R)                                                                        \
  case R:                                                                              \
    if constexpr (R <= STEP_ROWS) {                                                    \
      multiply_group<R>(group, weights, tile, values, input.scales + place,            \
                        input.corrections + place, at);                                \
    }                                                                                  \
    break;
        switch (count - r < STEP_ROWS ? count - r : STEP_ROWS) {
          CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
        }
#undef CASE
      }
    }
    weights += matrix.group_bytes();
  }
}

/// Like `multiply`, and the low-rank update on gated rows.
inline void project(
    const Network& network, const Linear& linear, int panel, int row, int count,
    const uint8_t* gate, Floats (*y)[MAX_ROWS]) {
  multiply(linear.weight, panel, network.input, row, count, y);
  if (gate == nullptr) return;
  Floats updates[2][MAX_ROWS];
  multiply(linear.update.b, panel, network.low_rank, row, count, updates);
  for (int r = 0; r < count; ++r) {
    if (!gate[row + r]) continue;
    for (int tile = 0; tile < 2; ++tile) y[tile][r] = y[tile][r] + updates[tile][r];
  }
}

/// Phase: make rows the input of `linear`, normed if there is a `norm`.
inline void prepare(
    const Network& network, const Linear& linear, const float* from, int num_rows,
    const float* norm, const uint8_t* gate, Member& member) {
  const Matrix& weight = linear.weight;
  float* buffer = network.row_buffer + (int64_t)member.thread() * network.row_width;
  share(member, ceil_div(num_rows, BLOCK_ROWS), 1, [&](int block) {
    const int first = block * BLOCK_ROWS;
    const int count = num_rows - first < BLOCK_ROWS ? num_rows - first : BLOCK_ROWS;
    for (int row = first; row < first + count; ++row) {
      const float* source = from + (int64_t)row * weight.num_inputs;
      if (norm != nullptr) {
        normalize(source, norm, weight.num_inputs, network.shape.norm_eps, buffer);
        source = buffer;
      }
      quantize(source, weight, row, network.input);
    }
    if (gate == nullptr) return;
    const Matrix& a = linear.update.a;
    const int rank = linear.update.b.num_inputs;
    for (int panel = 0; panel < rank / PANEL; ++panel) {
      Floats y[2][MAX_ROWS];
      multiply(a, panel, network.input, first, count, y);
      for (int r = 0; r < count; ++r) {
        for (int tile = 0; tile < 2; ++tile) {
          store(buffer + r * rank + panel * PANEL + tile * TILE, y[tile][r]);
        }
      }
    }
    for (int r = 0; r < count; ++r) {
      quantize(buffer + r * rank, linear.update.b, first + r, network.low_rank);
    }
  });
}

/// Phase: `body(panel, row, count, y)` for all panels of a linear layer and up to MAX_ROWS rows.
template <class Body>
ALWAYS_INLINE void each_panel(
    const Network& network, const Linear& linear, int num_rows, const uint8_t* gate,
    Member& member, const Body& body) {
  const int num_panels = linear.weight.num_panels();
  share(member, num_panels, panels_at_once(member.num_threads(), num_panels), [&](int panel) {
    for (int row = 0; row < num_rows; row += MAX_ROWS) {
      const int count = num_rows - row < MAX_ROWS ? num_rows - row : MAX_ROWS;
      Floats y[2][MAX_ROWS];
      project(network, linear, panel, row, count, gate, y);
      body(panel, row, count, y);
    }
  });
}

// --- attention -----------------------------------------------------------------------------------

/// Largest magnitude of a quantized query or key: its products with head_dim others fit in 31 bits.
ALWAYS_INLINE float attention_limit(int head_dim) { return head_dim <= 128 ? 4095.0f : 2047.0f; }

ALWAYS_INLINE int32_t nearest(float x) {
  const float moved = x + ROUNDER;
  int32_t bits, offset;
  memcpy(&bits, &moved, 4);
  memcpy(&offset, &ROUNDER, 4);
  return bits - offset;
}

/// Rotary position embedding, halves convention, then int16; returns the scale.
inline float rotate(
    const float* from, const float* cosines, const float* sines, int head_dim, int16_t* to) {
  const int half = head_dim / 2;
  float rotated[512];
  float most = 0.0f;
  for (int i = 0; i < half; ++i) {
    rotated[i] = from[i] * cosines[i] - from[half + i] * sines[i];
    rotated[half + i] = from[half + i] * cosines[i] + from[i] * sines[i];
  }
  for (int i = 0; i < head_dim; ++i) {
    const float magnitude = __builtin_fabsf(rotated[i]);
    most = magnitude > most ? magnitude : most;
  }
  const float limit = attention_limit(head_dim);
  const float inverse = most > 0.0f ? limit / most : 0.0f;
  for (int i = 0; i < head_dim; ++i) to[i] = (int16_t)nearest(rotated[i] * inverse);
  return most / limit;
}

/// Phase: queries, and the rows' keys and values into the cache. One unit is one head of all rows.
inline void place_heads(const Network& network, const Call& call, int layer, Member& member) {
  const Shape& shape = network.shape;
  const int head_dim = shape.head_dim, num_kv_heads = shape.num_kv_heads;
  const int heads_per_kv = shape.num_heads / num_kv_heads, half = head_dim / 2;
  const int width = (shape.num_heads + 2 * num_kv_heads) * head_dim;
  const Cache& cache = call.cache;
  share(member, shape.num_heads + 2 * num_kv_heads, 1, [&](int head) {
    for (int row = 0; row < call.num_rows; ++row) {
      const int64_t slot = call.start + row;
      const float* from = network.qkv + (int64_t)row * width + head * head_dim;
      const int64_t position = call.places != nullptr ? call.places[row].position : slot;
      const float* cosines = network.cosines + position * half;
      const float* sines = network.sines + position * half;
      if (head < shape.num_heads) {
        const int64_t index = (int64_t)(head / heads_per_kv) * call.num_rows * heads_per_kv +
                              (int64_t)row * heads_per_kv + head % heads_per_kv;
        network.query_scales[index] =
            rotate(from, cosines, sines, head_dim, network.queries + index * head_dim);
      } else if (head < shape.num_heads + num_kv_heads) {
        const int64_t kv_head = (int64_t)layer * num_kv_heads + head - shape.num_heads;
        int16_t key[512];
        cache.key_scales[kv_head * cache.num_slots + slot] =
            rotate(from, cosines, sines, head_dim, key);
        int16_t* to = cache.keys + (kv_head * cache.num_slots + slot / TILE * TILE) * head_dim +
                      slot % TILE * 2;
        for (int i = 0; i < half; ++i) memcpy(to + (int64_t)i * TILE * 2, key + 2 * i, 4);
      } else {
        const int64_t kv_head =
            (int64_t)layer * num_kv_heads + head - shape.num_heads - num_kv_heads;
        uint16_t* to = cache.values + (kv_head * cache.num_slots + slot) * padded_head_dim(head_dim);
        for (int i = 0; i < head_dim; ++i) {
          to[i / 32 * 32 + i % 16 * 2 + i / 16 % 2] = to_bfloat16(from[i]);
        }
      }
    }
  });
}

/// R queries against all keys of `num_tiles` tiles of 16: scores, not yet scaled by the query.
template <int R>
inline void score(
    const int16_t* queries, const int16_t* keys, const float* key_scales, int num_tiles,
    int head_dim, int64_t stride, float* scores) {
  for (int tile = 0; tile < num_tiles; ++tile) {
    Ints dots[R];
    dot_keys<R>(dots, keys + (int64_t)tile * TILE * head_dim, queries, head_dim);
    const Floats scales = load(key_scales + tile * TILE);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      store(scores + r * stride + tile * TILE, to_floats(dots[r]) * scales);
    }
  }
}

/// The slots that a row sees: the first `first` ones and those from `begin` to `end`.
struct Seen {
  int first, begin, end;
  int num_slots() const { return first > end ? first : end; }
};

/// Scores to weights in place, zero where nothing is seen up to the last tile; returns 1 / sum.
inline float soften(float* scores, float scale, const Seen& seen, int num_tiles) {
  const Ints lanes = lane_numbers();
  const Ints first = splat((int32_t)seen.first), end = splat((int32_t)seen.end);
  const Ints before = splat((int32_t)seen.begin - 1);
  const Floats nothing = splat(-3e38f), zero = splat(0.0f), scales = splat(scale);
  const int num_seen = ceil_div(seen.num_slots(), TILE);
  const auto is_visible = [&](int tile) {
    const Ints slots = lanes + splat((int32_t)(tile * TILE));
    return less(slots, first) | (less(before, slots) & less(slots, end));
  };
  Floats most = nothing;
  for (int tile = 0; tile < num_seen; ++tile) {
    const Ints is_seen = is_visible(tile);
    const Floats x = choose(is_seen, load(scores + tile * TILE) * scales, nothing);
    store(scores + tile * TILE, x);
    most = max(most, x);
  }
  const Floats top = splat(highest(most));
  Floats total = zero;
  for (int tile = 0; tile < num_seen; ++tile) {
    const Ints is_seen = is_visible(tile);
    const Floats weight =
        choose(is_seen, exponential(load(scores + tile * TILE) - top), zero);
    store(scores + tile * TILE, weight);
    total = total + weight;
  }
  for (int tile = num_seen; tile < num_tiles; ++tile) store(scores + tile * TILE, zero);
  return 1.0f / sum(total);
}

/// R rows of weights by values: 16 · D dimensions of the weighted sums, times `inverses`.
template <int R, int D>
inline void blend(
    const float* weights, int64_t stride, const uint16_t* values, int value_width, int num_slots,
    const float* inverses, float* const* to, int first_dim, int head_dim) {
  Floats sums[R][D];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) sums[r][d] = splat(0.0f);
  }
  values += first_dim;
  for (int slot = 0; slot < num_slots; ++slot) {
    Floats value[D];
#pragma GCC unroll 2
    for (int d = 0; d < D; d += 2) load_bfloat16(values + d * LANES, value[d], value[d + 1]);
    values += value_width;
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Floats weight = splat(weights[r * stride + slot]);
#pragma GCC unroll 4
      for (int d = 0; d < D; ++d) sums[r][d] = sums[r][d] + weight * value[d];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) {
      const int dim = first_dim + d * LANES;
      if (dim < head_dim) store(to[r] + dim, sums[r][d] * splat(inverses[r]));
    }
  }
}

/// Rows and sixteens of dimensions whose sums fit into registers at once.
constexpr int BLEND_ROWS = PARTS == 1 ? 6 : 2;
constexpr int BLEND_LANES = PARTS == 1 ? 4 : 2;

template <int R>
inline void blend_rows(
    const float* weights, int64_t stride, const uint16_t* values, int head_dim, int num_slots,
    const float* inverses, float* const* to) {
  const int width = padded_head_dim(head_dim);
  int dim = 0;
  for (; dim + BLEND_LANES * LANES <= width; dim += BLEND_LANES * LANES) {
    blend<R, BLEND_LANES>(
        weights, stride, values, width, num_slots, inverses, to, dim, head_dim);
  }
  for (; dim < width; dim += 2 * LANES) {
    blend<R, 2>(weights, stride, values, width, num_slots, inverses, to, dim, head_dim);
  }
}

/// Phase: attention of `rows`, written one after the other. A unit is up to 16 queries of a KV head.
inline void attend(
    const Network& network, const Call& call, int layer, Rows rows, Member& member) {
  const Shape& shape = network.shape;
  const int head_dim = shape.head_dim, num_kv_heads = shape.num_kv_heads;
  const int heads_per_kv = shape.num_heads / num_kv_heads;
  const int num_queries = rows.count * heads_per_kv;
  const int evenly = ceil_div(num_queries * num_kv_heads, 2 * member.num_threads());
  const int width = evenly > MAX_QUERIES ? MAX_QUERIES : evenly;
  const int num_units = ceil_div(num_queries, width);
  const Cache& cache = call.cache;
  const int64_t stride = network.num_slots;
  float* scores = network.scores + (int64_t)member.thread() * MAX_QUERIES * stride;
  const float root = __builtin_sqrtf((float)head_dim);
  const auto seen = [&](int query) -> Seen {
    const int row = rows.first + query / heads_per_kv;
    if (call.places == nullptr) return {call.start + row + 1, 0, 0};
    const Place& place = call.places[row];
    const int offset = place.end > place.begin ? call.start : 0;
    return {call.start + place.first, offset + place.begin, offset + place.end};
  };
  share(member, num_units * num_kv_heads, 1, [&](int unit) {
    const int kv_head = unit % num_kv_heads;
    // The last rows of a causal call see most: they come first, so that threads end together.
    const int first = (num_units - 1 - unit / num_kv_heads) * width;
    const int count = num_queries - first < width ? num_queries - first : width;
    int num_slots = 0;
    for (int i = 0; i < count; ++i) {
      const int needed = seen(first + i).num_slots();
      num_slots = needed > num_slots ? needed : num_slots;
    }
    const int num_tiles = ceil_div(num_slots, TILE);
    const int64_t place = (int64_t)layer * num_kv_heads + kv_head;
    const int64_t index =
        ((int64_t)kv_head * call.num_rows + rows.first) * heads_per_kv + first;
    const int16_t* queries = network.queries + index * head_dim;
    const int16_t* keys = cache.keys + place * cache.num_slots * head_dim;
    const float* key_scales = cache.key_scales + place * cache.num_slots;
    const uint16_t* values =
        cache.values + place * cache.num_slots * padded_head_dim(head_dim);
    for (int begin = 0; begin < count; begin += STEP_QUERIES) {
      const int left = count - begin < STEP_QUERIES ? count - begin : STEP_QUERIES;
#define CASE(R)                                                                              \
  case R:                                                                                    \
    if constexpr (R <= STEP_QUERIES) {                                                          \
      score<R>(queries + begin * head_dim, keys, key_scales, num_tiles, head_dim, stride,    \
               scores + begin * stride);                                                     \
    }                                                                                        \
    break;
      switch (left) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
        CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15) CASE(16)
      }
#undef CASE
    }
    float inverses[MAX_QUERIES];
    float* to[MAX_QUERIES];
    for (int i = 0; i < count; ++i) {
      const int query = first + i, head = kv_head * heads_per_kv + query % heads_per_kv;
      inverses[i] = soften(
          scores + i * stride, network.query_scales[index + i] / root, seen(query), num_tiles);
      to[i] = network.attended +
              ((int64_t)(query / heads_per_kv) * shape.num_heads + head) * head_dim;
    }
    for (int i = 0; i < count; i += BLEND_ROWS) {
      const float* weights = scores + i * stride;
#define CASE(R)                                                                                  \
  case R:                                                                                        \
    if constexpr (R <= BLEND_ROWS) {                                                             \
      blend_rows<R>(weights, stride, values, head_dim, num_slots, inverses + i, to + i);         \
    }                                                                                            \
    break;
      switch (count - i < BLEND_ROWS ? count - i : BLEND_ROWS) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
      }
#undef CASE
    }
  });
}

// --- ends ----------------------------------------------------------------------------------------

/// Phase: embeddings of the rows' tokens; the id one past the vocabulary is MASK.
inline void embed(const Network& network, const Call& call, Member& member) {
  const Matrix& table = network.embedding;
  const int width = network.shape.width;
  share(member, call.num_rows, BLOCK_ROWS, [&](int row) {
    float* to = network.stream + (int64_t)row * width;
    const int64_t id = call.ids[row];
    if (id == network.shape.vocab_size) {
      memcpy(to, network.mask_embedding, sizeof(float) * width);
      return;
    }
    const int lane = (int)(id % PANEL);
    const uint8_t* group = table.panel((int)(id / PANEL));
    for (int k = 0; k < width; ++k) {
      if (k > 0 && k % table.group == 0) group += table.group_bytes();
      float scale;
      memcpy(&scale, group + lane * 4, 4);
      const uint8_t* quad = group + PANEL * 4 + (int64_t)(k % table.group / 4) * PANEL * 4;
      to[k] = scale * (float)((int)quad[lane * 4 + k % 4] - 128);
    }
  });
}

/// What softmax needs to know of logits met so far, lane by lane.
struct Tally {
  Floats top, sum;
  Ints tile;
};

ALWAYS_INLINE void count_in(Tally& tally, const Floats& x, int tile) {
  const Floats top = max(x, tally.top);
  tally.tile = choose(greater(x, tally.top), splat((int32_t)tile), tally.tile);
  tally.sum = tally.sum * exponential(tally.top - top) + exponential(x - top);
  tally.top = top;
}

/// Highest logit, sum of e^(logit - highest), id of the highest; the first of equal ones.
inline void conclude(const Tally& tally, float* place) {
  alignas(64) float lanes[LANES];
  alignas(64) int32_t tiles[LANES];
  store(lanes, tally.top);
  store(tiles, tally.tile);
  float top = lanes[0];
  int32_t id = tiles[0] * TILE;
  for (int i = 1; i < LANES; ++i) {
    const int32_t candidate = tiles[i] * TILE + i;
    if (lanes[i] > top || (lanes[i] == top && candidate < id)) {
      top = lanes[i];
      id = candidate;
    }
  }
  place[0] = top;
  place[1] = sum(tally.sum * exponential(tally.top - splat(top)));
  memcpy(place + 2, &id, 4);
}

/// Phase: logits of `num_rows` rows, as far as they are asked for, and what softmax needs of them.
inline void score_vocabulary(
    const Network& network, const Call& call, int num_rows, Member& member) {
  const Matrix& head = network.head;
  const int num_panels = head.num_panels(), num_ids = head.num_outputs;
  const Floats nothing = splat(-3e38f);
  share(member, ceil_div(num_panels, HEAD_CHUNK), 1, [&](int chunk) {
    const int begin = chunk * HEAD_CHUNK;
    const int end = begin + HEAD_CHUNK < num_panels ? begin + HEAD_CHUNK : num_panels;
    for (int row = 0; row < num_rows; row += MAX_ROWS) {
      const int count = num_rows - row < MAX_ROWS ? num_rows - row : MAX_ROWS;
      Tally tallies[MAX_ROWS];
      for (int r = 0; r < count; ++r) tallies[r] = {nothing, splat(0.0f), splat((int32_t)0)};
      for (int panel = begin; panel < end; ++panel) {
        Floats logits[2][MAX_ROWS];
        multiply(head, panel, network.input, row, count, logits);
        for (int tile = 2 * panel; tile < 2 * panel + 2; ++tile) {
          const int num_left = num_ids - tile * TILE;
          if (num_left <= 0) break;
          const int num_here = num_left < TILE ? num_left : TILE;
          for (int r = 0; r < count; ++r) {
            Floats& x = logits[tile % 2][r];
            if (call.logits != nullptr) {
              float* place = call.logits + (int64_t)(row + r) * num_ids + tile * TILE;
              memcpy(place, &x, sizeof(float) * num_here);
            }
            if (num_here < TILE) {
              x = choose(less(lane_numbers(), splat((int32_t)num_here)), x, nothing);
            }
            count_in(tallies[r], x, tile);
          }
        }
      }
      for (int r = 0; r < count; ++r) {
        conclude(tallies[r], network.statistics + ((int64_t)chunk * num_rows + row + r) * 3);
      }
    }
  });
}

/// Phase: the most likely id of each row and its probability, from the chunks of the head in order.
inline void settle(
    const Network& network, const Call& call, int num_rows, Member& member) {
  const int num_chunks = ceil_div(network.head.num_panels(), HEAD_CHUNK);
  share(member, num_rows, BLOCK_ROWS, [&](int row) {
    float top = -3e38f;
    int32_t best = 0;
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      const float* place = network.statistics + ((int64_t)chunk * num_rows + row) * 3;
      if (place[0] > top) {
        top = place[0];
        memcpy(&best, place + 2, 4);
      }
    }
    Floats total = splat(0.0f);
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      const float* place = network.statistics + ((int64_t)chunk * num_rows + row) * 3;
      total = total + splat(place[1]) * exponential(splat(place[0] - top));
    }
    alignas(64) float lanes[LANES];
    store(lanes, total);
    call.best[row] = best;
    call.confidences[row] = 1.0f / lanes[0];
  });
}

void run_forward(const Network& network, const Call& call, Member& member) {
  const Shape& shape = network.shape;
  const int width = shape.width, q_width = shape.num_heads * shape.head_dim;
  const int qkv_width = q_width + 2 * shape.num_kv_heads * shape.head_dim;
  Rows rows = {0, call.num_rows};
  const uint8_t* gate = network.has_update ? call.gate : nullptr;
  float* stream = network.stream;
  embed(network, call, member);
  for (int index = 0; index < shape.num_layers; ++index) {
    const Layer& layer = network.layers[index];
    prepare(network, layer.qkv, stream, rows.count, layer.attention_norm, gate, member);
    each_panel(network, layer.qkv, rows.count, gate, member,
        [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {
      for (int at = panel * PANEL, tile = 0; tile < 2 && at < qkv_width; ++tile, at += TILE) {
        for (int r = 0; r < count; ++r) {
          const Floats x = layer.qkv_bias ? y[tile][r] + load(layer.qkv_bias + at) : y[tile][r];
          store(network.qkv + (int64_t)(row + r) * qkv_width + at, x);
        }
      }
    });
    place_heads(network, call, index, member);
    if (index == shape.num_layers - 1) {  // only rows with logits go on
      rows = {call.first_row, call.end_row - call.first_row};
      if (rows.count == 0) return;
      stream += (int64_t)rows.first * width;
      if (gate != nullptr) gate += rows.first;
    }
    attend(network, call, index, rows, member);
    const auto add = [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {
      for (int at = panel * PANEL, tile = 0; tile < 2 && at < width; ++tile, at += TILE) {
        for (int r = 0; r < count; ++r) {
          float* place = stream + (int64_t)(row + r) * width + at;
          store(place, load(place) + y[tile][r]);
        }
      }
    };
    prepare(network, layer.out, network.attended, rows.count, nullptr, gate, member);
    each_panel(network, layer.out, rows.count, gate, member, add);
    prepare(network, layer.gate_up, stream, rows.count, layer.ffn_norm, gate, member);
    each_panel(network, layer.gate_up, rows.count, gate, member,
        [&](int panel, int row, int count, Floats(*y)[MAX_ROWS]) {  // 16 gates, then what they gate
      for (int r = 0; r < count; ++r) {
        const Floats open = y[0][r] / (splat(1.0f) + exponential(splat(0.0f) - y[0][r]));
        store(network.activated + (int64_t)(row + r) * shape.ffn_width + panel * TILE,
              open * y[1][r]);
      }
    });
    prepare(network, layer.down, network.activated, rows.count, nullptr, gate, member);
    each_panel(network, layer.down, rows.count, gate, member, add);
  }
  Linear head;
  head.weight = network.head;
  prepare(network, head, stream, rows.count, network.final_norm, nullptr, member);
  score_vocabulary(network, call, rows.count, member);
  if (call.best != nullptr) settle(network, call, rows.count, member);
}

}  // namespace
