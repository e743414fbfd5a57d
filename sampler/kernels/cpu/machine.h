// Which paths this machine can run.
#pragma once

#include <vector>

#include "network.h"

struct Machine {
  /// Best first; the last one is the portable path.
  std::vector<const Path*> usable;
  /// Paths whose instructions are there and which compute something else than the portable path.
  std::vector<const Path*> wrong;
};

/// What is here: looked up and tried out once.
const Machine& this_machine();
