// Networks with their weights and buffers. The arithmetic of a forward is in forward.h.
#include "library.h"
#include "machine.h"
#include "packing.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace {

constexpr size_t HUGE_PAGE = size_t{1} << 21;

/// Memory at a cache line's start; large pieces on huge pages where the system grants them, but for
/// their ends, which would fill a whole page each.
void* allocate(size_t num_bytes) {
  const size_t alignment = num_bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
  const size_t size = (num_bytes + 63) / 64 * 64;
  void* memory = std::aligned_alloc(alignment, size == 0 ? 64 : size);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (alignment == HUGE_PAGE) madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return memory;
}

template <class T>
void reallocate(T*& pointer, int64_t count) {
  std::free(pointer);
  pointer = static_cast<T*>(allocate(sizeof(T) * static_cast<size_t>(count)));
  std::memset(static_cast<void*>(pointer), 0, sizeof(T) * static_cast<size_t>(count));
}

/// A network and everything it owns.
struct OwnNetwork : Network {
  const Path* path = nullptr;
  std::vector<Layer> own_layers;
  std::map<std::pair<int, int>, float*> vectors;  // by layer and kind
  bool is_tied = false;
  Call call = {};
  std::vector<Place> places;  // those of the call
  std::vector<Cache> caches;
  Coupling coupling;
  int rank = 0;

  Matrix& matrix(int layer, int kind) {
    if (kind == EMBEDDING) return embedding;
    if (kind == HEAD) return head;
    if (kind == EARLY) return early.weight;
    Layer& of = own_layers[static_cast<size_t>(layer)];
    Linear* linears[] = {&of.qkv, &of.out, &of.gate_up, &of.down};
    if (kind < FIRST_UPDATE) return linears[kind - QKV]->weight;
    LowRank& update = linears[(kind - FIRST_UPDATE) / 2]->update;
    return (kind - FIRST_UPDATE) % 2 == 0 ? update.a : update.b;
  }
};

OwnNetwork& own(Network* network) { return *static_cast<OwnNetwork*>(network); }

std::string names(const std::vector<const Path*>& paths) {
  std::string list;
  for (const Path* path : paths) list += (list.empty() ? "" : ",") + std::string(path->name);
  return list;
}

void grow(OwnNetwork& network, int num_rows, int num_slots, int num_scored) {
  const Shape& shape = network.shape;
  const int q_width = shape.num_heads * shape.head_dim;
  const int kv_width = shape.num_kv_heads * shape.head_dim;
  const int num_threads = network.team->size();
  int widest = shape.width > q_width ? shape.width : q_width;
  if (shape.ffn_width > widest) widest = shape.ffn_width;
  if (num_slots > network.num_slots) {
    network.num_slots = (num_slots + 1023) / 1024 * 1024;
    reallocate(network.scores, int64_t{num_threads} * MAX_QUERIES * network.num_slots);
  }
  const int row_width = widest > BLOCK_ROWS * network.rank ? widest : BLOCK_ROWS * network.rank;
  const bool is_wider = row_width > network.row_width;
  if (is_wider) {
    network.row_width = row_width;
    reallocate(network.row_buffer, int64_t{num_threads} * 3 * row_width);
    network.panel_width = int64_t{widest} * PANEL + int64_t{widest} / TILE * SCALES_BYTES;
    reallocate(network.panel_buffer, num_threads * network.panel_width);
  }
  const int num_chunks = (network.head.num_panels() + HEAD_CHUNK - 1) / HEAD_CHUNK;
  if (num_scored > network.num_scored) {
    network.num_scored = (num_scored + 15) / 16 * 16;
    reallocate(network.highest, int64_t{network.num_scored} * num_chunks * 2 * TILE);
  }
  const bool has_rank = network.low_rank.values != nullptr || network.rank == 0;
  if (num_rows <= network.num_rows && has_rank && !is_wider) return;
  if (num_rows > network.num_rows) network.num_rows = (num_rows + 15) / 16 * 16;
  const int64_t rows = network.num_rows;
  reallocate(network.stream, rows * shape.width);
  reallocate(network.qkv, rows * (q_width + 2 * kv_width));
  reallocate(network.attended, rows * q_width);
  reallocate(network.activations, num_threads * rows * MAX_GROUP);
  reallocate(network.early_kv, rows * network.early.weight.num_outputs);
  reallocate(network.queries, rows * q_width);
  reallocate(network.query_scales, rows * shape.num_heads);
  reallocate(network.statistics, rows * num_chunks * 3);
  const std::pair<Quantized*, int> inputs[] = {
      {&network.input, shape.width > q_width ? shape.width : q_width},
      {&network.activated, shape.ffn_width},
      {&network.low_rank, network.rank},
  };
  for (const auto& [input, width] : inputs) {
    reallocate(input->values, rows * width * network.path->bytes_per_value);
    reallocate(input->scales, rows * width / 16);
    reallocate(input->corrections, rows * width / 16);
  }
}

/// Bits of a matrix's weights as they are read by every forward. What lies in the caches anyway has
/// nothing to win. Attention has an eighth of the numbers and half of the error that six bits make.
int bits_of(int kind, int num_outputs, int num_inputs) {
  constexpr int64_t MANY_NUMBERS = 1 << 19;
  constexpr int MANY_IDS = 1 << 14;
  if (kind == EMBEDDING || kind == HEAD) return num_outputs >= MANY_IDS ? 4 : 8;
  const bool is_large = int64_t{num_outputs} * num_inputs >= MANY_NUMBERS;
  return is_large && (kind == GATE_UP || kind == DOWN) ? 6 : 8;
}

void run(void* context, Member& member) {
  OwnNetwork& network = *static_cast<OwnNetwork*>(context);
  network.path->forward(network, network.call, member);
}

}  // namespace

int seed_abi() { return SEED_ABI; }

const char* seed_paths() {
  static const std::string list = names(this_machine().usable);
  return list.c_str();
}

const char* seed_wrong_paths() {
  static const std::string list = names(this_machine().wrong);
  return list.c_str();
}

Network* seed_open(const Shape* shape, int num_threads, const char* path) {
  for (const Path* candidate : this_machine().usable) {
    if (path[0] != '\0' && std::strcmp(path, candidate->name) != 0) continue;
    OwnNetwork* network = new OwnNetwork();
    network->shape = *shape;
    network->path = candidate;
    network->own_layers.resize(static_cast<size_t>(shape->num_layers));
    network->layers = network->own_layers.data();
    network->early_layer = -1;
    network->team = new Team(num_threads);
    return network;
  }
  return nullptr;
}

void seed_close(Network* network) {
  OwnNetwork& of = own(network);
  delete of.team;
  if (!of.is_tied) {
    std::free(of.head.data);
    std::free(of.head.rest);
  }
  std::free(of.embedding.data);
  std::free(of.embedding.rest);
  std::free(of.early.weight.data);
  for (int layer = 0; layer < of.shape.num_layers; ++layer) {
    for (int kind = QKV; kind < FIRST_UPDATE + 8; ++kind) std::free(of.matrix(layer, kind).data);
  }
  for (const auto& entry : of.vectors) std::free(entry.second);
  for (float* buffer : {of.stream, of.qkv, of.attended, of.activations, of.early_kv, of.query_scales, of.scores,
                        of.row_buffer, of.statistics, of.highest, of.input.scales, of.activated.scales, of.low_rank.scales,
                        of.coupling.state, of.coupling.token, of.coupling.back}) {
    std::free(buffer);
  }
  std::free(of.queries);
  std::free(of.panel_buffer);
  for (Quantized* input : {&of.input, &of.activated, &of.low_rank}) {
    std::free(input->values);
    std::free(input->corrections);
  }
  delete &of;
}

const char* seed_path(const Network* network) {
  return static_cast<const OwnNetwork*>(network)->path->name;
}

void seed_add_matrix(Network* network, int layer, int kind, int num_outputs, int num_inputs) {
  OwnNetwork& of = own(network);
  of.team->settle();
  Matrix& matrix = of.matrix(layer, kind);
  std::free(matrix.data);
  std::free(matrix.rest);
  matrix = Matrix();
  matrix.num_inputs = num_inputs;
  matrix.num_outputs = num_outputs;
  matrix.group = num_inputs % 64 == 0 ? 64 : num_inputs % 32 == 0 ? 32 : 16;
  matrix.bits = bits_of(kind, num_outputs, num_inputs);
  const auto make_room = [&](int64_t panel_bytes) {
    const int64_t num_bytes = panel_bytes * matrix.num_panels();
    uint8_t* room = static_cast<uint8_t*>(allocate(static_cast<size_t>(num_bytes)));
    std::memset(room + num_bytes - panel_bytes, 0,
                static_cast<size_t>(panel_bytes));  // what is never set has the scale 0
    return room;
  };
  matrix.data = make_room(matrix.panel_bytes());
  if (matrix.rest_panel_bytes() > 0) matrix.rest = make_room(matrix.rest_panel_bytes());
  if (kind == EARLY) {
    of.early_layer = layer;
    of.num_rows = 0;  // buffers are made anew
  }
  if (kind >= FIRST_UPDATE && (kind - FIRST_UPDATE) % 2 == 1 && num_inputs > of.rank) {
    of.rank = num_inputs;
    of.num_rows = 0;  // buffers are made anew
  }
}

void seed_set_rows(
    Network* network, int layer, int kind, int first, int num_rows, const float* rows) {
  const Matrix& matrix = own(network).matrix(layer, kind);
  const bool is_interleaved = kind == GATE_UP || kind == FIRST_UPDATE + 5;
  for (int row = first; row < first + num_rows; ++row, rows += matrix.num_inputs) {
    pack_row(matrix, row, is_interleaved, rows);
  }
}

void seed_tie(Network* network) {
  OwnNetwork& of = own(network);
  of.head = of.embedding;
  of.is_tied = true;
}

void seed_set_vector(Network* network, int layer, int kind, const float* values, int64_t length) {
  OwnNetwork& of = own(network);
  of.team->settle();
  float*& copy = of.vectors[{kind < FINAL_NORM ? layer : -1, kind}];
  reallocate(copy, length);
  std::memcpy(copy, values, sizeof(float) * static_cast<size_t>(length));
  Layer* at = kind < FINAL_NORM ? &of.own_layers[static_cast<size_t>(layer)] : nullptr;
  if (kind == QKV_BIAS) at->qkv_bias = copy;
  if (kind == ATTENTION_NORM) at->attention_norm = copy;
  if (kind == FFN_NORM) at->ffn_norm = copy;
  if (kind == FINAL_NORM) of.final_norm = copy;
  if (kind == MASK_EMBEDDING) of.mask_embedding = copy;
  if (kind == COSINES) of.cosines = copy;
  if (kind == SINES) of.sines = copy;
  if (kind == EARLY_BIAS) of.early_bias = copy;
}

void seed_enable_update(Network* network, int is_enabled) {
  network->has_update = is_enabled != 0;
}

void seed_set_coupling(
    Network* network, int rank, const float* state, const float* token, const float* back) {
  Coupling& coupling = own(network).coupling;
  coupling.rank = rank;
  coupling.width = network->shape.width;
  const int64_t count = int64_t{rank} * coupling.width;
  const std::pair<float*&, const float*> copies[] = {
      {coupling.state, state}, {coupling.token, token}, {coupling.back, back}};
  for (const auto& copy : copies) {
    reallocate(copy.first, count);
    if (count > 0) std::memcpy(copy.first, copy.second, sizeof(float) * static_cast<size_t>(count));
  }
}

void seed_couple(const Network* network, const Branch* branch) {
  const OwnNetwork& of = *static_cast<const OwnNetwork*>(network);
  std::vector<float> room(static_cast<size_t>(room_to_couple(of.coupling)));
  of.path->couple(of.coupling, network->embedding, network->head, *branch, room.data());
}

void seed_trim() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

int64_t seed_weight_bytes(const Network* network) {
  OwnNetwork& of = own(const_cast<Network*>(network));
  int64_t total = of.embedding.num_bytes() + (of.is_tied ? 0 : of.head.num_bytes());
  total += of.early.weight.num_bytes();
  for (int layer = 0; layer < of.shape.num_layers; ++layer) {
    for (int kind = QKV; kind < FIRST_UPDATE + 8; ++kind) total += of.matrix(layer, kind).num_bytes();
  }
  return total;
}

void seed_interrupt(Network* network, int is_on) {
  __atomic_store_n(&network->interrupt, is_on, __ATOMIC_SEQ_CST);
}

int seed_forward(Network* network, const Call* call) {
  OwnNetwork& of = own(network);
  of.team->settle();
  grow(of, call->num_rows, call->num_slots + TILE,
       call->best != nullptr ? call->end_row - call->first_row : 0);
  of.call = *call;
  // A thread that comes late to a phase whose units are all taken still counts them.
  of.places.assign(call->places, call->places + call->num_rows);
  of.caches.assign(call->caches, call->caches + call->num_caches);
  of.call.places = of.places.data();
  of.call.caches = of.caches.data();
  of.is_left = 0;
  of.team->run(run, &of);
  if (__atomic_load_n(&of.is_left, __ATOMIC_SEQ_CST) == 0) return 1;
  of.team->settle();  // who has not left yet still writes into what is the caller's
  return 0;
}
