// From token ids to the stream, and from the stream to logits and the most likely ids.
#pragma once

#include "expand.h"
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
  if (call.num_candidates == 0) return false;
  return call.ranks_all || (call.gate != nullptr && call.gate[call.first_row + row]);
}

/// The id of the row behind row `row` of those that are judged; below 0 if there is none or the head
/// has no row for it.
inline int32_t next_id(const Network& network, const Call& call, int row) {
  const int next = call.first_row + row + 1;
  if (next >= call.num_rows || call.ids[next] >= network.head.num_outputs) return -1;
  return (int32_t)call.ids[next];
}

/// Keep what a row has met in a chunk of the head, at the place of both.
inline void put_tally(
    const Network& network, const Call& call, const Tally& tally, int64_t place, int row) {
  conclude(tally, network.statistics + place * 3);
  if (network.head.bits == 8 && !has_candidates(call, row)) return;
  // The best of each lane: of equal remainder by 16 within 512 neighbours one is enough.
  float* tops = network.highest + place * 2 * LANES;
  alignas(64) int32_t ids[LANES];
  store(ids, tally.tile);
  for (int i = 0; i < LANES; ++i) ids[i] = ids[i] * TILE + i;
  store(tops, tally.top);
  memcpy(tops + LANES, ids, sizeof(ids));
}

/// The rows, of those that are judged, that come before the gated ones at the end.
inline int num_before_drafts(const Call& call, int num_rows) {
  int count = num_rows;
  while (call.gate != nullptr && count > 0 && call.gate[call.first_row + count - 1]) --count;
  return count;
}

/// Phase: logits of `num_rows` rows, as far as they are asked for, and what softmax needs of them: of
/// logits by the leading bits, where the head has these by themselves.
inline void score_vocabulary(
    const Network& network, const Call& call, int num_rows, Member& member) {
  const Matrix& head = network.head;
  const int num_panels = head.num_panels(), num_ids = head.num_outputs;
  const Floats nothing = splat(-3e38f);
  // Whoever asks for logits gets them whole; what is most likely is screened all the same.
  const bool has_whole = call.logits != nullptr && head.bits != 8, is_judged = call.best != nullptr;
  const Matrix bytes =
      head.as_bytes(network.panel_buffer + network.panel_width * member.thread());
  share(member, ceil_div(num_panels, HEAD_CHUNK), 1, [&](int chunk) {
    const int begin = chunk * HEAD_CHUNK;
    const int end = begin + HEAD_CHUNK < num_panels ? begin + HEAD_CHUNK : num_panels;
    const bool is_for_all = call.num_draft_ids == 0 || begin * PANEL < call.num_draft_ids;
    const int num_scored = is_for_all ? num_rows : num_before_drafts(call, num_rows);
    for (int row = num_scored; row < num_rows && is_judged; ++row) {
      const Tally none = {nothing, splat(0.0f), splat(begin * 2)};
      put_tally(network, call, none, (int64_t)chunk * num_rows + row, row);
    }
    for (int row = 0; row < num_scored; row += MAX_ROWS) {
      const int count = num_scored - row < MAX_ROWS ? num_scored - row : MAX_ROWS;
      Tally tallies[MAX_ROWS];
      int32_t next_ids[MAX_ROWS];
      for (int r = 0; r < count; ++r) {
        tallies[r] = {nothing, splat(0.0f), splat((int32_t)0)};
        next_ids[r] = is_judged ? next_id(network, call, row + r) : -1;
      }
      for (int panel = begin; panel < end; ++panel) {
        Floats logits[2][MAX_ROWS];
        if (is_judged || !has_whole) multiply(head, panel, network.input, row, count, logits);
        Floats whole[2][MAX_ROWS];
        if (has_whole) {
          expand_panel(head, panel, bytes);
          multiply(bytes, 0, network.input, row, count, whole);
        }
        for (int tile = 2 * panel; tile < 2 * panel + 2; ++tile) {
          const int num_left = num_ids - tile * TILE;
          if (num_left <= 0) break;
          const int num_here = num_left < TILE ? num_left : TILE;
          for (int r = 0; r < count; ++r) {
            Floats& x = logits[tile % 2][r];
            if (call.logits != nullptr) {
              float* place = call.logits + (int64_t)(row + r) * num_ids + tile * TILE;
              memcpy(place, has_whole ? &whole[tile % 2][r] : &x, sizeof(float) * num_here);
            }
            if (!is_judged) continue;
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
      for (int r = 0; r < count && is_judged; ++r) {
        put_tally(network, call, tallies[r], (int64_t)chunk * num_rows + row + r, row + r);
      }
    }
  });
}

/// Ids and their logits, the highest first; of equal ones the lower id.
struct Ranking {
  float logits[MAX_CANDIDATES];
  int32_t ids[MAX_CANDIDATES];
  int count = 0;

  bool is_before(float logit, int32_t id, int at) const {
    return logit > logits[at] || (logit == logits[at] && id < ids[at]);
  }

  /// Take one more, if it is among the first `wanted`.
  void add(float logit, int32_t id, int wanted) {
    if (count == wanted && !is_before(logit, id, count - 1)) return;
    int at = count < wanted ? count++ : count - 1;
    for (; at > 0 && is_before(logit, id, at - 1); --at) {
      logits[at] = logits[at - 1];
      ids[at] = ids[at - 1];
    }
    logits[at] = logit;
    ids[at] = id;
  }
};

/// The ids of a row with the highest logits.
inline Ranking rank(const Network& network, int row, int num_rows, int wanted) {
  const int num_chunks = ceil_div(network.head.num_panels(), HEAD_CHUNK);
  Ranking ranking;
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    const int64_t at = (int64_t)chunk * num_rows + row;
    const bool is_full = ranking.count == wanted;
    if (is_full && network.statistics[at * 3] < ranking.logits[wanted - 1]) continue;
    const float* place = network.highest + at * 2 * LANES;
    for (int i = 0; i < LANES; ++i) {
      int32_t id;
      memcpy(&id, place + LANES + i, 4);
      if (id < network.head.num_outputs) ranking.add(place[i], id, wanted);
    }
  }
  return ranking;
}

ALWAYS_INLINE float exponential(float x) {
  alignas(64) float lanes[LANES];
  store(lanes, exponential(splat(x)));
  return lanes[0];
}

/// What is known of a row: its best ids, and the sum of e^(logit - top) over all ids.
struct Outcome {
  Ranking ranking;
  float top, total;
};

/// The same by whole logits: of the ids that are the likeliest by the leading bits, and of the next
/// row's; the others count with these bits.
inline void see_whole(
    const Network& network, const Call& call, int row, Outcome& outcome, Member& member) {
  const Matrix& head = network.head;
  float* state = network.row_buffer + (int64_t)member.thread() * 3 * network.row_width;
  int32_t* values = (int32_t*)(state + network.row_width);
  float* scales = state + 2 * network.row_width;
  const int width = network.shape.width;
  normalize(network.stream + (int64_t)(call.first_row + row) * width, network.final_norm, width,
            network.shape.norm_eps, state);
  quantize_plainly(state, head, values, scales);
  Ranking whole;
  float screened = 0.0f, exact = 0.0f;
  for (int i = 0; i < outcome.ranking.count; ++i) {
    const int32_t id = outcome.ranking.ids[i];
    const float leading = outcome.ranking.logits[i];
    const float logit = leading + rest_of_logit(head, id, values, scales);
    whole.add(logit, id, NUM_SCREENED);
    screened += exponential(leading - outcome.top);
    exact += exponential(logit - outcome.top);
  }
  const float others = outcome.total - screened;
  outcome.total = (others > 0.0f ? others : 0.0f) + exact;
  outcome.ranking = whole;
  const int32_t next = next_id(network, call, row);
  if (next >= 0) call.shares[row] += rest_of_logit(head, next, values, scales);
}

/// The candidates of a row, and its state.
inline void put_candidates(
    const Network& network, const Call& call, int row, const Outcome& outcome) {
  const int width = network.shape.width, wanted = call.num_candidates;
  const float log_total = outcome.top + logf(outcome.total);
  for (int i = 0; i < wanted; ++i) {
    call.candidates[(int64_t)row * wanted + i] = outcome.ranking.ids[i];
    call.log_probabilities[(int64_t)row * wanted + i] = outcome.ranking.logits[i] - log_total;
  }
  normalize(network.stream + (int64_t)(call.first_row + row) * width, network.final_norm, width,
            network.shape.norm_eps, call.states + (int64_t)row * width);
}

/// Phase: the most likely id of each row and its probability, from the chunks of the head in order.
inline void settle(
    const Network& network, const Call& call, int num_rows, Member& member) {
  const int num_chunks = ceil_div(network.head.num_panels(), HEAD_CHUNK);
  const bool is_screened = network.head.bits != 8;
  share(member, num_rows, is_screened ? 1 : BLOCK_ROWS, [&](int row) {
    const auto statistics = [&](int chunk) {
      return network.statistics + ((int64_t)chunk * num_rows + row) * 3;
    };
    Outcome outcome;
    int best_chunk = 0;
    for (int chunk = 1; chunk < num_chunks; ++chunk) {
      if (statistics(chunk)[0] > statistics(best_chunk)[0]) best_chunk = chunk;
    }
    outcome.top = statistics(best_chunk)[0];
    Floats total = splat(0.0f);
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      const float* place = statistics(chunk);
      total = total + splat(place[1]) * exponential(splat(place[0] - outcome.top));
    }
    alignas(64) float lanes[LANES];
    store(lanes, total);
    outcome.total = lanes[0];
    if (is_screened || has_candidates(call, row)) {
      outcome.ranking =
          rank(network, row, num_rows, is_screened ? NUM_SCREENED : call.num_candidates);
      if (is_screened) see_whole(network, call, row, outcome, member);
    } else {
      int32_t best;
      memcpy(&best, statistics(best_chunk) + 2, 4);
      outcome.ranking.add(outcome.top, best, 1);
    }
    const float highest = outcome.ranking.logits[0];
    call.best[row] = outcome.ranking.ids[0];
    call.confidences[row] = exponential(highest - outcome.top) / outcome.total;
    if (has_candidates(call, row)) put_candidates(network, call, row, outcome);
    const bool has_next = next_id(network, call, row) >= 0;
    call.shares[row] = has_next ? exponential(call.shares[row] - highest) : 0.0f;
  });
}

}  // namespace
