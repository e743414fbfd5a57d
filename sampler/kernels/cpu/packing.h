// Float weights into the order and the precision of a Matrix. Knows no network.
#pragma once

#include "network.h"

/// Round one output's K weights to the matrix's bits, group by group, and put them into its lane of its
/// panel. Rows may be packed side by side.
///
/// Interleaved: the first half of the outputs are gates, the second what they gate, and a panel
/// holds 16 gates, then the 16 that they gate.
void pack_row(const Matrix& matrix, int row, bool is_interleaved, const float* weights);

/// The K weights, of 8 or 4 + 4 bits, of an output that is not interleaved.
void unpack_row(const Matrix& matrix, int row, float* weights);

/// What the four bits that do not lead add to the logit of an id.
///
/// Args:
///   values: the state as rounded to int8, K numbers; scales: of their groups.
float rest_of_logit(const Matrix& head, int id, const int32_t* values, const float* scales);
