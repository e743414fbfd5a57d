// Float weights into the order and the precision of a Matrix. Knows no network.
#pragma once

#include "network.h"

/// Round one output's K weights to int8, group by group, and put them into its lane of its panel.
///
/// Interleaved: the first half of the outputs are gates, the second what they gate, and a panel
/// holds 16 gates, then the 16 that they gate.
void pack_row(const Matrix& matrix, int row, bool is_interleaved, const float* weights);

/// The K weights of an output that is not interleaved.
void unpack_row(const Matrix& matrix, int row, float* weights);
