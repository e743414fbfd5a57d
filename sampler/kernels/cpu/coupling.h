// Tokens of a branch chosen one after the other. Reference: model/coupling.py.
#pragma once

#include "network.h"

/// A layer of `rank` between a row's state, with the token in its place, and what is added to it.
struct Coupling {
  int rank = 0, width = 0;
  float* state = nullptr;  // [rank][width]
  float* token = nullptr;  // likewise
  float* back = nullptr;   // likewise: the transposed matrix that leads back
};

/// What the rows of one branch have given, in their order.
struct Branch {
  int32_t num_rows, num_candidates, first;  // first: the token in the place of the first row
  const float* states;                      // [row][width]
  const int32_t* candidates;                // [row][candidate]
  const float* log_probabilities;           // likewise
  int32_t* tokens;                          // [row]: what is chosen
  float* probabilities;                     // [row]
};

/// Floats of room that `couple` needs.
inline int64_t room_to_couple(const Coupling& coupling) { return int64_t{4} * coupling.width; }
