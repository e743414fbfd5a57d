#include "machine.h"

#include <cstring>

#include "packing.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers features(unsigned subleaf) {
  Registers x;
  if (__get_cpuid_max(0, nullptr) >= 7) __cpuid_count(7, subleaf, x.a, x.b, x.c, x.d);
  return x;
}

bool has_avxvnni() {
  return __builtin_cpu_supports("avx2") && features(0).a >= 1 && (features(1).a >> 4 & 1) != 0;
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/// Whether there are tiles for bytes, and the system keeps them for this process when it asks.
bool has_amx() {
#if defined(__linux__)
  constexpr unsigned TILES_AND_BYTES = 3u << 24;
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  return has_avx512() && (features(0).d & TILES_AND_BYTES) == TILES_AND_BYTES &&
         syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}

#endif

/// Numbers between -1 and 1 that look random, and are the same everywhere.
std::vector<float> noise(size_t count) {
  std::vector<float> numbers(count);
  uint32_t state = 1;
  for (float& number : numbers) {
    state = state * 1664525u + 1013904223u;
    number = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
  }
  return numbers;
}

/// What a path makes of numbers of rows that differ in code, by every size of group and of weight.
std::vector<float> products(const Path& path) {
  constexpr int NUM_OUTPUTS = 2 * PANEL;
  std::vector<float> all;
  for (const int bits : {8, 6, 4}) {
    for (const int group : {16, 32, 64}) {
      Matrix matrix;
      matrix.num_inputs = 3 * group;
      matrix.num_outputs = NUM_OUTPUTS;
      matrix.group = group;
      matrix.bits = bits;
      const auto num_panels = static_cast<size_t>(matrix.num_panels());
      std::vector<uint8_t> data(static_cast<size_t>(matrix.panel_bytes()) * num_panels);
      std::vector<uint8_t> rest(static_cast<size_t>(matrix.rest_panel_bytes()) * num_panels);
      matrix.data = data.data();
      if (bits == 4) matrix.rest = rest.data();
      const size_t width = static_cast<size_t>(matrix.num_inputs);
      const std::vector<float> numbers = noise((NUM_OUTPUTS + MAX_ROWS) * width);
      for (int row = 0; row < NUM_OUTPUTS; ++row) {
        pack_row(matrix, row, false, numbers.data() + static_cast<size_t>(row) * width);
      }
      for (const int num_rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, MAX_ROWS - 1, MAX_ROWS}) {
        const size_t before = all.size();
        all.resize(before + static_cast<size_t>(num_rows) * NUM_OUTPUTS);
        path.probe(matrix, numbers.data() + NUM_OUTPUTS * width, num_rows, all.data() + before);
      }
    }
  }
  return all;
}

}  // namespace

const Machine& this_machine() {
  static const Machine machine = [] {
    std::vector<const Path*> candidates;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (&AMX_PATH != nullptr && has_amx()) candidates.push_back(&AMX_PATH);
    if (has_avx512()) candidates.push_back(&AVX512_PATH);
    if (&AVXVNNI_PATH != nullptr && has_avxvnni()) candidates.push_back(&AVXVNNI_PATH);
    if (__builtin_cpu_supports("avx2")) candidates.push_back(&AVX2_PATH);
#endif
    Machine found;
    const std::vector<float> expected = products(PORTABLE_PATH);
    for (const Path* path : candidates) {
      const std::vector<float> actual = products(*path);
      const bool is_same =
          std::memcmp(actual.data(), expected.data(), sizeof(float) * expected.size()) == 0;
      (is_same ? found.usable : found.wrong).push_back(path);
    }
    found.usable.push_back(&PORTABLE_PATH);
    return found;
  }();
  return machine;
}
