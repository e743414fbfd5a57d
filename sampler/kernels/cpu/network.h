// Weights and buffers of one network, as all paths see them. Plain data, no arithmetic.
//
// Shapes: T rows of a call, K inputs and N outputs of a matrix.
#pragma once

#include <cstdint>

#include "team.h"

/// Rows of activations that lie interleaved; a unit of work of one thread.
constexpr int BLOCK_ROWS = 8;
/// Outputs, or keys, that fill one vector of lanes.
constexpr int TILE = 16;
/// Outputs whose weights lie together.
constexpr int PANEL = 2 * TILE;
/// Bytes of the scales of a panel's group.
constexpr int SCALES_BYTES = PANEL * 2;
/// Inputs of a group at most.
constexpr int MAX_GROUP = 64;
/// Rows that share one pass over a panel of weights.
constexpr int MAX_ROWS = 128;
/// Queries that share one pass over keys and values.
constexpr int MAX_QUERIES = 16;
/// Panels of the head whose statistics are kept together; fixed, so that threads change no result.
constexpr int HEAD_CHUNK = 16;
/// Most candidates that a row can be asked for.
constexpr int MAX_CANDIDATES = 16;
/// Ids that are the likeliest by the leading bits of the head, of which the likeliest is chosen; no
/// fewer than the candidates, which are of these.
constexpr int NUM_SCREENED = MAX_CANDIDATES;

/// Weights of eight bits or fewer with a scale per output and group of inputs.
///
/// Panel by panel of 32 outputs, in it group by group: 32 scales (bfloat16), then the weights. As
/// bytes these are, for each four inputs, 32 outputs × 4 bytes, each the weight + 128 (VNNI multiplies
/// unsigned by signed). A thread reads its panels from front to back, which is what memory does best.
///
/// Few rows take as long as reading the weights, so large matrices are kept shorter (`expand` makes
/// bytes of them). Of a tile of 16 outputs, 16 inputs are four vectors of 64 bytes:
///   6 bits  multiples of four; three vectors: the leading four bits of two vectors each, and what
///           is left of all four
///   4 bits  two vectors, the leading four bits of two each; the other four stand in `rest`
struct Matrix {
  int num_inputs = 0, num_outputs = 0, group = 0;
  int bits = 8;
  uint8_t* data = nullptr;
  uint8_t* rest = nullptr;  // panel by panel, likewise, without scales

  int num_groups() const { return num_inputs / group; }
  int num_panels() const { return (num_outputs + PANEL - 1) / PANEL; }
  int64_t group_bytes() const { return SCALES_BYTES + (int64_t)group * PANEL * bits / 8; }
  int64_t panel_bytes() const { return group_bytes() * num_groups(); }
  int64_t rest_panel_bytes() const { return bits == 4 ? (int64_t)PANEL * num_inputs / 2 : 0; }
  int64_t num_bytes() const {
    return data == nullptr ? 0 : (panel_bytes() + rest_panel_bytes()) * num_panels();
  }
  const uint8_t* panel(int index) const { return data + panel_bytes() * index; }
  const uint8_t* rest_panel(int index) const {
    return rest == nullptr ? nullptr : rest + rest_panel_bytes() * index;
  }
  /// One panel of it as bytes, for `expand_panel`.
  Matrix as_bytes(uint8_t* buffer) const {
    Matrix matrix = *this;
    matrix.num_outputs = PANEL;
    matrix.bits = 8;
    matrix.data = buffer;
    matrix.rest = nullptr;
    return matrix;
  }
};

/// A low-rank update x → b (a x); the factor alpha / rank is in b.
struct LowRank {
  Matrix a, b;
};

struct Linear {
  Matrix weight;
  LowRank update;
};

struct Layer {
  Linear qkv, out, gate_up, down;
  const float *qkv_bias = nullptr, *attention_norm = nullptr, *ffn_norm = nullptr;
};

/// Rows as int8 with a scale per group: value = scale · byte. Blocks of eight rows.
struct Quantized {
  uint8_t* values = nullptr;        // in the order and width that the path likes
  float* scales = nullptr;          // [block][group][8 rows]
  int32_t* corrections = nullptr;   // likewise: what the + 128 of the weights has added
};

/// Where a row's scale, or correction, of a group is.
inline int64_t place_of_scale(int row, int group, int num_groups) {
  return ((int64_t)(row / BLOCK_ROWS) * num_groups + group) * BLOCK_ROWS + row % BLOCK_ROWS;
}

struct Shape {
  int32_t num_layers, width, num_heads, num_kv_heads, head_dim, ffn_width, vocab_size;
  float norm_eps;
};

struct Network {
  Shape shape;
  Matrix embedding, head;
  Layer* layers;
  /// Keys and values of the layers from `early_layer` on, all from what that layer gets: outputs
  /// [layer][key heads, value heads]. Without weights there is no such layer.
  Linear early;
  const float* early_bias;
  int early_layer;
  const float *final_norm, *mask_embedding;
  const float *cosines, *sines;  // [position][head_dim / 2]
  bool has_update;
  Team* team;
  int32_t interrupt;  // not 0: forwards that may are to end early; set by any thread
  int32_t is_left;    // not 0: a thread has seen that in the present forward, so that all leave it

  // Buffers for `num_rows` rows and `num_slots` slots, overwritten by every forward.
  int num_rows, num_slots, row_width;
  float* stream;      // [T][width]
  float* qkv;         // [T][q, k, v]
  float* attended;    // [T][q width]
  float* activations;  // [thread][T][MAX_GROUP]
  float* early_kv;    // [T][outputs of `early`]
  int16_t* queries;   // [kv head][T · heads per kv head][head_dim]
  float* query_scales;
  Quantized input, activated, low_rank;  // activated: the input of `down`
  float* scores;      // [thread][MAX_QUERIES][num_slots]
  float* row_buffer;  // [thread][3][row_width]
  uint8_t* panel_buffer;  // [thread][panel_width], weights as bytes
  int64_t panel_width;
  float* statistics;  // [chunk of the head][T][highest, sum, id as bits]
  int num_scored;     // rows that there is room for in
  float* highest;     // [chunk of the head][row][16 logits, their ids as bits]
};

/// Keys and values of one sequence, all layers.
struct Cache {
  int16_t* keys;        // [layer][kv head][slot / 16][head_dim / 2][16 slots][2]
  float* key_scales;    // [layer][kv head][slot]
  int16_t* values;      // [layer][kv head][slot / 2][head_dim][2 slots]
  float* value_scales;  // [layer][kv head][slot]
  int32_t num_slots;    // a multiple of 16
};

/// Where a row stands: in which cache and slot its K/V go, its position in the text, and which slots
/// of that cache it sees, the first `first` ones and those from `begin` to `end`.
struct Place {
  int32_t cache, slot, position, first, begin, end;
};

/// One forward; see `forward` in library.h.
struct Call {
  const int64_t* ids;
  const uint8_t* gate;  // one byte a row, or null
  const Place* places;  // [row]
  const Cache* caches;  // of the sequences that the rows belong to
  int32_t num_caches, num_rows, num_slots;  // num_slots: more than any row's slot
  int32_t first_row, end_row;
  int32_t num_early;    // first rows that leave at `early_layer`
  float* logits;        // [row][vocab_size], or null
  int32_t* best;        // [row]: most likely id, or null
  float* confidences;   // [row]: its probability
  float* shares;        // [row]: probability of the next row's id over that of the best; 0 if none
  int32_t num_draft_ids;   // gated rows at the end choose among so many first ids; 0: among all
  int32_t num_candidates;  // of each gated row, or 0; the rest is then asked for, too
  int32_t ranks_all;       // not 0: candidates of the other rows, too
  int32_t* candidates;     // [row][candidate]: most likely ids, the likeliest first
  float* log_probabilities;  // likewise
  float* states;           // [row][width]: what the head takes, before it is rounded
  int32_t may_interrupt;   // not 0: ends early while `interrupt` is set
};

struct Coupling;
struct Branch;

struct Path {
  const char* name;
  int bytes_per_value;
  void (*forward)(Network& network, const Call& call, Member& member);
  void (*probe)(const Matrix& matrix, const float* rows, int num_rows, float* outputs);
  void (*couple)(const Coupling& coupling, const Matrix& embedding, const Matrix& head,
                 const Branch& branch, float* room);
};

extern const Path PORTABLE_PATH;
#if defined(__x86_64__)
extern const Path AVX2_PATH;
extern const Path AVX512_PATH;
// A compiler that does not know their instructions leaves these out.
extern const Path AVXVNNI_PATH __attribute__((weak));
extern const Path AMX_PATH __attribute__((weak));
#endif
