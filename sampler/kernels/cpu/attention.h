// Attention over the cache, and the rows' own keys and values into it.
//
// The path has defined STEP_QUERIES, dot_keys and add_pair, see forward.h.
//
// Queries by keys, and weights by values, are sums of integers. Both factors of the latter are
// rounded: the weights of a row to 14 bits of the largest, the values' scales in them, values to 10
// and a sign.
#pragma once

#include "lanes.h"
#include "network.h"
#include "phases.h"

namespace {

/// Largest magnitude of a quantized query or key: its products with head_dim others fit in 31 bits.
ALWAYS_INLINE float attention_limit(int head_dim) { return head_dim <= 128 ? 4095.0f : 2047.0f; }

ALWAYS_INLINE int32_t nearest(float x) {
  const float moved = x + ROUNDER;
  int32_t bits, offset;
  memcpy(&bits, &moved, 4);
  memcpy(&offset, &ROUNDER, 4);
  return bits - offset;
}

/// Largest magnitudes of a rounded weight and value: the products of BLEND_SLOTS fit in 31 bits.
constexpr float WEIGHT_LIMIT = 16383.0f, VALUE_LIMIT = 1023.0f;
constexpr int BLEND_SLOTS = 128;

/// Round to int16, `to` with a step between numbers; returns the scale.
inline float round_to(const float* from, int count, float limit, int16_t* to, int step) {
  float most = 0.0f;
  for (int i = 0; i < count; ++i) {
    const float magnitude = __builtin_fabsf(from[i]);
    most = magnitude > most ? magnitude : most;
  }
  const float inverse = most > 0.0f ? limit / most : 0.0f;
  for (int i = 0; i < count; ++i) to[i * step] = (int16_t)nearest(from[i] * inverse);
  return most / limit;
}

/// Rotary position embedding, halves convention, then int16; returns the scale.
inline float rotate(
    const float* from, const float* cosines, const float* sines, int head_dim, int16_t* to) {
  const int half = head_dim / 2;
  float rotated[512];
  for (int i = 0; i < half; ++i) {
    rotated[i] = from[i] * cosines[i] - from[half + i] * sines[i];
    rotated[half + i] = from[half + i] * cosines[i] + from[i] * sines[i];
  }
  return round_to(rotated, head_dim, attention_limit(head_dim), to, 1);
}

/// A row's key of one head, not yet rotated, into the cache. `kv_head` counts over all layers.
inline void place_key(
    const Network& network, const Call& call, int64_t kv_head, int row, const float* from) {
  const int head_dim = network.shape.head_dim, half = head_dim / 2;
  const Place& place = call.places[row];
  const Cache& cache = call.caches[place.cache];
  const int64_t slot = place.slot, position = place.position;
  int16_t key[512];
  cache.key_scales[kv_head * cache.num_slots + slot] = rotate(
      from, network.cosines + position * half, network.sines + position * half, head_dim, key);
  int16_t* to =
      cache.keys + (kv_head * cache.num_slots + slot / TILE * TILE) * head_dim + slot % TILE * 2;
  for (int i = 0; i < half; ++i) memcpy(to + (int64_t)i * TILE * 2, key + 2 * i, 4);
}

/// Likewise its value.
inline void place_value(
    const Network& network, const Call& call, int64_t kv_head, int row, const float* from) {
  const int head_dim = network.shape.head_dim;
  const Cache& cache = call.caches[call.places[row].cache];
  const int64_t slot = call.places[row].slot;
  int16_t* to = cache.values + (kv_head * cache.num_slots + slot / 2 * 2) * head_dim + slot % 2;
  cache.value_scales[kv_head * cache.num_slots + slot] =
      round_to(from, head_dim, VALUE_LIMIT, to, 2);
}

/// Phase: queries, and the rows' keys and values into the cache. One unit is one head of all rows.
inline void place_heads(
    const Network& network, const Call& call, int layer, const Live& live, Member& member) {
  const Shape& shape = network.shape;
  const int head_dim = shape.head_dim, num_kv_heads = shape.num_kv_heads;
  const int heads_per_kv = shape.num_heads / num_kv_heads, half = head_dim / 2;
  const int width = (shape.num_heads + 2 * num_kv_heads) * head_dim;
  const int64_t first_head = (int64_t)layer * num_kv_heads;
  share(member, shape.num_heads + 2 * num_kv_heads, 1, [&](int head) {
    for (int row = 0; row < live.count; ++row) {
      const float* from = network.qkv + (int64_t)row * width + head * head_dim;
      if (head < shape.num_heads) {
        const int64_t position = call.places[live.origin(row)].position;
        const int64_t index = (int64_t)(head / heads_per_kv) * call.num_rows * heads_per_kv +
                              (int64_t)row * heads_per_kv + head % heads_per_kv;
        network.query_scales[index] = rotate(
            from, network.cosines + position * half, network.sines + position * half, head_dim,
            network.queries + index * head_dim);
      } else if (head < shape.num_heads + num_kv_heads) {
        place_key(network, call, first_head + head - shape.num_heads, live.origin(row), from);
      } else {
        const int64_t kv_head = first_head + head - shape.num_heads - num_kv_heads;
        place_value(network, call, kv_head, live.origin(row), from);
      }
    }
  });
}

/// Phase: keys and values of the rows that leave early, of all layers from there on.
inline void place_early(const Network& network, const Call& call, Member& member) {
  const Shape& shape = network.shape;
  const int num_kv_heads = shape.num_kv_heads, num_heads = 2 * num_kv_heads;
  const int64_t width = network.early.weight.num_outputs;
  share(member, (shape.num_layers - network.early_layer) * num_heads, 1, [&](int unit) {
    const int layer = network.early_layer + unit / num_heads, head = unit % num_heads;
    const int64_t first_head = (int64_t)layer * num_kv_heads;
    for (int row = 0; row < call.num_early; ++row) {
      const float* from = network.early_kv + row * width + unit * shape.head_dim;
      if (head < num_kv_heads) {
        place_key(network, call, first_head + head, row, from);
      } else {
        place_value(network, call, first_head + head - num_kv_heads, row, from);
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

/// Scores to rounded weights in place, zero where nothing is seen up to the last tile. What they
/// stand for is each times the result: weight of the slot, times its value's scale.
inline float soften(
    float* scores, float scale, const float* value_scales, const Seen& seen, int num_tiles) {
  const Ints lanes = lane_numbers();
  const Ints first = splat((int32_t)seen.first), end = splat((int32_t)seen.end);
  const Ints before = splat((int32_t)seen.begin - 1);
  const Floats nothing = splat(-3e38f), zero = splat(0.0f), scales = splat(scale);
  const int num_seen = ceil_div(seen.num_slots(), TILE), num_whole = seen.first / TILE;
  const auto is_visible = [&](int tile) {
    const Ints slots = lanes + splat((int32_t)(tile * TILE));
    return less(slots, first) | (less(before, slots) & less(slots, end));
  };
  Floats most = nothing;
  for (int tile = 0; tile < num_seen; ++tile) {
    Floats x = load(scores + tile * TILE) * scales;
    if (tile >= num_whole) x = choose(is_visible(tile), x, nothing);
    store(scores + tile * TILE, x);
    most = max(most, x);
  }
  const Floats top = splat(highest(most));
  Floats total = zero, widest = zero;
  for (int tile = 0; tile < num_seen; ++tile) {
    Floats weight = exponential(load(scores + tile * TILE) - top);
    if (tile >= num_whole) weight = choose(is_visible(tile), weight, zero);
    total = total + weight;
    weight = weight * load(value_scales + tile * TILE);
    store(scores + tile * TILE, weight);
    widest = max(widest, weight);
  }
  const float largest = highest(widest);
  const Floats inverse = splat(largest > 0.0f ? WEIGHT_LIMIT / largest : 0.0f);
  int16_t* rounded_weights = (int16_t*)scores;  // tile by tile in front of what is still to be read
  for (int tile = 0; tile < num_seen; ++tile) {
    narrow(rounded_weights + tile * TILE, rounded(load(scores + tile * TILE) * inverse));
  }
  for (int tile = num_seen; tile < num_tiles; ++tile) {
    narrow(rounded_weights + tile * TILE, splat(0));
  }
  return largest / WEIGHT_LIMIT / sum(total);
}

/// R rows of rounded weights by rounded values: 16 · D dimensions of the sums, times `factors`.
template <int R, int D>
inline void blend(
    const int16_t* weights, int64_t stride, const int16_t* values, int head_dim, int num_slots,
    const float* factors, float* const* to, int first_dim) {
  Floats totals[R][D];
  for (int r = 0; r < R; ++r) {
    for (int d = 0; d < D; ++d) totals[r][d] = splat(0.0f);
  }
  values += first_dim * 2;
  for (int begin = 0; begin < num_slots; begin += BLEND_SLOTS) {
    const int end = begin + BLEND_SLOTS < num_slots ? begin + BLEND_SLOTS : num_slots;
    Ints sums[R][D];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int d = 0; d < D; ++d) sums[r][d] = splat(0);
    }
    for (int slot = begin; slot < end; slot += 2) {
      add_pair<R, D>(sums, values + (int64_t)slot * head_dim, weights + slot, stride);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int d = 0; d < D; ++d) totals[r][d] = totals[r][d] + to_floats(sums[r][d]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int d = 0; d < D; ++d) {
      store(to[r] + first_dim + d * LANES, totals[r][d] * splat(factors[r]));
    }
  }
}

/// Rows and sixteens of dimensions whose sums fit into registers at once.
constexpr int BLEND_ROWS = PARTS == 1 ? 6 : 2;
constexpr int BLEND_LANES = PARTS == 1 ? 4 : 2;

template <int R>
inline void blend_rows(
    const int16_t* weights, int64_t stride, const int16_t* values, int head_dim, int num_slots,
    const float* factors, float* const* to) {
  int dim = 0;
  for (; dim + BLEND_LANES * LANES <= head_dim; dim += BLEND_LANES * LANES) {
    blend<R, BLEND_LANES>(weights, stride, values, head_dim, num_slots, factors, to, dim);
  }
  for (; dim < head_dim; dim += LANES) {
    blend<R, 1>(weights, stride, values, head_dim, num_slots, factors, to, dim);
  }
}

/// Rows from `row` on whose keys and values are in one cache.
template <class CacheOf>
ALWAYS_INLINE int run_of_rows(int row, int num_rows, const CacheOf& cache_of) {
  int behind = row + 1;
  while (behind < num_rows && cache_of(behind) == cache_of(row)) ++behind;
  return behind - row;
}

/// Units of up to `width` queries, each of rows of one cache.
template <class CacheOf>
inline int count_units(int num_rows, int heads_per_kv, int width, const CacheOf& cache_of) {
  int count = 0;
  for (int row = 0, run; row < num_rows; row += run) {
    run = run_of_rows(row, num_rows, cache_of);
    count += ceil_div(run * heads_per_kv, width);
  }
  return count;
}

/// The queries of unit `unit`.
template <class CacheOf>
inline Rows find_unit(
    int unit, int num_rows, int heads_per_kv, int width, const CacheOf& cache_of) {
  for (int row = 0, run;; row += run) {
    run = run_of_rows(row, num_rows, cache_of);
    const int num_queries = run * heads_per_kv, num_units = ceil_div(num_queries, width);
    if (unit < num_units) {
      const int left = num_queries - unit * width;
      return {row * heads_per_kv + unit * width, left < width ? left : width};
    }
    unit -= num_units;
  }
}

/// Phase: attention of `rows` of those that are left, written one after the other. A unit is up to
/// 16 queries of a KV head.
inline void attend(
    const Network& network, const Call& call, int layer, const Live& live, Rows rows,
    Member& member) {
  const Shape& shape = network.shape;
  const int head_dim = shape.head_dim, num_kv_heads = shape.num_kv_heads;
  const int heads_per_kv = shape.num_heads / num_kv_heads;
  const int evenly = ceil_div(rows.count * heads_per_kv * num_kv_heads, 2 * member.num_threads());
  const int width = evenly > MAX_QUERIES ? MAX_QUERIES : evenly;
  const auto cache_of = [&](int row) { return call.places[live.origin(rows.first + row)].cache; };
  const int num_units = count_units(rows.count, heads_per_kv, width, cache_of);
  const int64_t stride = network.num_slots;
  float* scores = network.scores + (int64_t)member.thread() * MAX_QUERIES * stride;
  const float root = __builtin_sqrtf((float)head_dim);
  const auto seen = [&](int query) -> Seen {
    const Place& place = call.places[live.origin(rows.first + query / heads_per_kv)];
    return {place.first, place.begin, place.end};
  };
  share(member, num_units * num_kv_heads, 1, [&](int unit) {
    const int kv_head = unit % num_kv_heads;
    // The last rows of a causal call see most: they come first, so that threads end together.
    const Rows queries_of_unit =
        find_unit(num_units - 1 - unit / num_kv_heads, rows.count, heads_per_kv, width, cache_of);
    const int first = queries_of_unit.first, count = queries_of_unit.count;
    const Cache& cache = call.caches[cache_of(first / heads_per_kv)];
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
    const int16_t* values = cache.values + place * cache.num_slots * head_dim;
    const float* value_scales = cache.value_scales + place * cache.num_slots;
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
    float factors[MAX_QUERIES];
    float* to[MAX_QUERIES];
    for (int i = 0; i < count; ++i) {
      const int query = first + i, head = kv_head * heads_per_kv + query % heads_per_kv;
      factors[i] = soften(
          scores + i * stride, network.query_scales[index + i] / root, value_scales, seen(query),
          num_tiles);
      to[i] = network.attended +
              ((int64_t)(query / heads_per_kv) * shape.num_heads + head) * head_dim;
    }
    for (int i = 0; i < count; i += BLEND_ROWS) {
      const int16_t* weights = (const int16_t*)(scores + i * stride);
#define CASE(R)                                                                                  \
  case R:                                                                                        \
    if constexpr (R <= BLEND_ROWS) {                                                             \
      blend_rows<R>(                                                                             \
          weights, 2 * stride, values, head_dim, num_tiles * TILE, factors + i, to + i);         \
    }                                                                                            \
    break;
      switch (count - i < BLEND_ROWS ? count - i : BLEND_ROWS) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
      }
#undef CASE
    }
  });
}

}  // namespace
