// From token ids to the stream, and from the stream to logits and the most likely ids.
#pragma once

#include "linear.h"
#include "packing.h"

#include <math.h>

namespace {

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
    unpack_row(table, (int)id, to);
  });
}

/// What softmax needs to know of logits met so far, lane by lane.
struct Tally {
  Floats top, sum;
  Ints tile;
};

ALWAYS_INLINE void count_in(Tally& tally, const Floats& x, int tile) {
  const Ints is_higher = greater(x, tally.top);
  // Whichever is lower, the sum so far or this logit, is scaled down; the other one counts as it is.
  const Floats factor = exponential(splat(0.0f) - abs(x - tally.top)), one = splat(1.0f);
  tally.sum = tally.sum * choose(is_higher, factor, one) + choose(is_higher, one, factor);
  tally.tile = choose(is_higher, splat((int32_t)tile), tally.tile);
  tally.top = max(x, tally.top);
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

/// Whether a row of those that are judged is asked for candidates.
inline bool has_candidates(const Call& call, int row) {
  return call.num_candidates > 0 && call.gate != nullptr && call.gate[call.first_row + row];
}

/// The id of the row behind row `row` of those that are judged; below 0 if there is none or the head
/// has no row for it.
inline int32_t next_id(const Network& network, const Call& call, int row) {
  const int next = call.first_row + row + 1;
  if (next >= call.num_rows || call.ids[next] >= network.head.num_outputs) return -1;
  return (int32_t)call.ids[next];
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
      int32_t next_ids[MAX_ROWS];
      for (int r = 0; r < count; ++r) {
        tallies[r] = {nothing, splat(0.0f), splat((int32_t)0)};
        next_ids[r] = call.best != nullptr ? next_id(network, call, row + r) : -1;
      }
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
            if (next_ids[r] >= 0 && next_ids[r] / TILE == tile) {
              alignas(64) float lanes[LANES];
              store(lanes, x);
              call.shares[row + r] = lanes[next_ids[r] % TILE];  // `settle` makes a share of it
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
        if (!has_candidates(call, row + r)) continue;
        // The best of each lane: of equal remainder by 16 within 512 neighbours one is enough.
        float* place = network.highest + ((int64_t)chunk * num_rows + row + r) * 2 * LANES;
        alignas(64) int32_t ids[LANES];
        store(ids, tallies[r].tile);
        for (int i = 0; i < LANES; ++i) ids[i] = ids[i] * TILE + i;
        store(place, tallies[r].top);
        memcpy(place + LANES, ids, sizeof(ids));
      }
    }
  });
}

/// The candidates of a row whose logits sum up to `e^log_total`, and its state.
inline void choose_candidates(
    const Network& network, const Call& call, int row, int num_rows, float log_total) {
  const int num_chunks = ceil_div(network.head.num_panels(), HEAD_CHUNK);
  const int width = network.shape.width, wanted = call.num_candidates;
  float logits[MAX_CANDIDATES];
  int32_t* chosen = call.candidates + (int64_t)row * wanted;
  int count = 0;
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    const float* place = network.highest + ((int64_t)chunk * num_rows + row) * 2 * LANES;
    for (int i = 0; i < LANES; ++i) {
      const float logit = place[i];
      if (count == wanted && logit < logits[count - 1]) continue;
      int32_t id;
      memcpy(&id, place + LANES + i, 4);
      const auto is_before = [&](int at) {
        return logit > logits[at] || (logit == logits[at] && id < chosen[at]);
      };
      if (count == wanted && !is_before(count - 1)) continue;
      int at = count < wanted ? count++ : count - 1;
      for (; at > 0 && is_before(at - 1); --at) {
        logits[at] = logits[at - 1];
        chosen[at] = chosen[at - 1];
      }
      logits[at] = logit;
      chosen[at] = id;
    }
  }
  for (int i = 0; i < wanted; ++i) {
    call.log_probabilities[(int64_t)row * wanted + i] = logits[i] - log_total;
  }
  normalize(network.stream + (int64_t)(call.first_row + row) * width, network.final_norm, width,
            network.shape.norm_eps, call.states + (int64_t)row * width);
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
    if (has_candidates(call, row)) {
      choose_candidates(network, call, row, num_rows, top + logf(lanes[0]));
    }
    if (next_id(network, call, row) < 0) {
      call.shares[row] = 0.0f;
      return;
    }
    store(lanes, exponential(splat(call.shares[row] - top)));
    call.shares[row] = lanes[0];
  });
}

}  // namespace
