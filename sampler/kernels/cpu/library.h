// What library.py calls. Plain C; every pointer that a call is given is its caller's.
//
// A network is opened, gets its vectors and matrices, then runs forwards, one at a time.
#pragma once

#include "coupling.h"
#include "network.h"

/// Raised with every change of what stands here.
#define SEED_ABI 11

/// Matrices by number; `layer` is ignored for the first two and says where rows leave for the third.
/// The last eight are the low-rank updates' a and b, in the order of the four before.
enum MatrixKind { EMBEDDING, HEAD, EARLY, QKV, OUT, GATE_UP, DOWN, FIRST_UPDATE };
enum VectorKind {
  QKV_BIAS,
  ATTENTION_NORM,
  FFN_NORM,
  FINAL_NORM,
  MASK_EMBEDDING,
  COSINES,
  SINES,
  EARLY_BIAS
};

#pragma GCC visibility push(default)
extern "C" {

int seed_abi();

/// A comma-separated list of the paths that this machine can run, best first.
const char* seed_paths();

/// Likewise those that this machine should be able to run, but with which it computes something else.
const char* seed_wrong_paths();

/// An empty network that computes on `path` ("" for the best); null if there is no such path here.
Network* seed_open(const Shape* shape, int num_threads, const char* path);
void seed_close(Network* network);
const char* seed_path(const Network* network);

/// Make room for a matrix (N, K) that has none yet or is to be replaced.
void seed_add_matrix(Network* network, int layer, int kind, int num_outputs, int num_inputs);

/// Quantize and keep `num_rows` contiguous rows of it, the outputs from `first` on. Other threads
/// may set other rows meanwhile.
void seed_set_rows(
    Network* network, int layer, int kind, int first, int num_rows, const float* rows);

/// The head is the embedding.
void seed_tie(Network* network);

/// Keep a copy of `length` floats.
void seed_set_vector(Network* network, int layer, int kind, const float* values, int64_t length);

/// Whether rows are given the low-rank updates.
void seed_enable_update(Network* network, int is_enabled);

/// Keep a copy of a coupling, three matrices (rank, width); none of rank 0.
void seed_set_coupling(
    Network* network, int rank, const float* state, const float* token, const float* back);

/// Choose the tokens of a branch. There must be a coupling.
void seed_couple(const Network* network, const Branch* branch);

/// Give memory that loading has freed back to the system.
void seed_trim();

/// Bytes of all weights.
int64_t seed_weight_bytes(const Network* network);

/// One forward over `num_rows` rows of one or several sequences. `places` say where each row's K/V go
/// and what it sees; neighbouring rows of one sequence attend together.
///
/// The rows from `first_row` to `end_row` get logits, a best id and its probability, and the share of
/// the id in the next row, each where its pointer is not null (the last three come together). Gated
/// rows among them, or all, get candidates, if any are asked for: at most MAX_CANDIDATES and no more than there
/// are ids, with the last three only. Gated rows at the end may be told to choose among the first ids
/// only, in steps of a chunk of the head, at least one; not together with logits.
///
/// The first `num_early` rows, which are not gated and get no logits, leave at the layer that there
/// are early weights for; but a text's first position, if row 0 is one, goes on.
/// Blocks until done. Returns 0 if it was interrupted: then nothing that it has written is of use, and
/// slots behind those that were there before are undefined.
int seed_forward(Network* network, const Call* call);

/// From now on forwards that may be interrupted end at the next layer, the one that runs too, or,
/// with 0, run to their end again. May be called by any thread at any time.
void seed_interrupt(Network* network, int is_on);
}
#pragma GCC visibility pop
