// How the threads of a team share a phase of a forward. Knows no arithmetic.
#pragma once

#include "lanes.h"
#include "team.h"

namespace {

struct Rows {
  int first, count;
};

/// The rows of a call that are still worked on, one after the other. The call's first row, where it
/// stays longer than those behind it, has taken the place of the last one that has left.
struct Live {
  int first, count;
  bool has_start;

  /// The row of the call that the `row`th of these is.
  int origin(int row) const { return has_start && row == 0 ? 0 : first + row; }
};

/// A phase: call `body(unit)` for all units, shared among the threads; `chunk` neighbours go to one.
template <class Body>
ALWAYS_INLINE void share(Member& member, int num_units, int chunk, const Body& body) {
  if (num_units == 0) return;
  for (int begin; (begin = member.take(num_units, chunk)) >= 0;) {
    const int end = begin + chunk < num_units ? begin + chunk : num_units;
    for (int unit = begin; unit < end; ++unit) body(unit);
    member.finish(end - begin, num_units);
  }
  member.pass();
}

ALWAYS_INLINE int ceil_div(int a, int b) { return (a + b - 1) / b; }

/// Panels that a thread takes at once at most: a thread that comes late has so many to wait for.
constexpr int MOST_PANELS = 8;

/// Neighbouring panels a thread takes at once: few enough to balance, enough to read in one go, and
/// whole lots of `together`.
ALWAYS_INLINE int panels_at_once(int num_threads, int num_panels, int together) {
  if (num_threads == 1) return num_panels;
  const int share = num_panels / (num_threads * 8);
  const int num_lots = (share < MOST_PANELS ? share : MOST_PANELS) / together;
  return (num_lots < 1 ? 1 : num_lots) * together;
}

}  // namespace
