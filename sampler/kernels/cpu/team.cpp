#include "team.h"

#include <sched.h>

namespace {

constexpr uint64_t OPEN = uint64_t{1} << 31;
constexpr uint64_t NUM_INSIDE = OPEN - 1;
/// Tens of microseconds: longer than threads that all run wait for each other.
constexpr int SPINS_IN_A_JOB = 1 << 11;
/// Bridges the gap between two forwards of one loop, and costs nothing idle.
constexpr int SPINS_BETWEEN_JOBS = 1 << 11;
constexpr int NUM_YIELDS = 16;
/// Bytes that a waiting thread fetches ahead: half of what its second cache holds today.
constexpr int64_t MOST_EXPECTED = int64_t{1} << 19;
constexpr int LINES_AT_ONCE = 8;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <class T>
T read(const T& shared) {
  return __atomic_load_n(&shared, __ATOMIC_SEQ_CST);
}

}  // namespace

int Member::take(int num_units, int chunk) {
  uint64_t ticket = __atomic_load_n(&team_.ticket_, __ATOMIC_ACQUIRE);
  for (;;) {
    const int unit = static_cast<int>(static_cast<uint32_t>(ticket));
    if (static_cast<uint32_t>(ticket >> 32) != phase_ || unit >= num_units) return -1;
    const uint64_t next = ticket + static_cast<uint32_t>(chunk);
    if (__atomic_compare_exchange_n(
            &team_.ticket_, &ticket, next, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
      return unit;
    }
  }
}

void Member::finish(int count, int num_units) {
  if (__atomic_add_fetch(&team_.num_done_, count, __ATOMIC_ACQ_REL) != num_units) return;
  team_.num_done_ = 0;  // nobody adds to it before the ticket tells of the next phase
  __atomic_store_n(&team_.ticket_, uint64_t{phase_ + 1} << 32, __ATOMIC_SEQ_CST);
  team_.wake();
}

bool Member::is_over() const {
  return static_cast<uint32_t>(read(team_.ticket_) >> 32) != phase_;
}

void Member::expect(const void* data, int64_t num_bytes) {
  expected_ = static_cast<const char*>(data);
  expected_end_ = expected_ + (num_bytes < MOST_EXPECTED ? num_bytes : MOST_EXPECTED);
}

void Member::pass() {
  while (expected_ < expected_end_ && !is_over()) {
    for (const char* end = expected_ + LINES_AT_ONCE * 64; expected_ < end; expected_ += 64) {
      __builtin_prefetch(expected_);
    }
  }
  team_.await(SPINS_IN_A_JOB, [this] { return is_over(); });
  ++phase_;
}

Team::Team(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads) {
  for (int thread = 1; thread < num_threads_; ++thread) {
    threads_.emplace_back([this, thread] { work(thread); });
  }
}

Team::~Team() {
  settle();
  is_ending_ = true;
  __atomic_add_fetch(&gate_, uint64_t{1} << 32, __ATOMIC_SEQ_CST);
  wake();
  for (std::thread& thread : threads_) thread.join();
}

void Team::run(Job job, void* context) {
  settle();
  job_ = job;
  context_ = context;
  // The phase of the last job's late threads is over for good.
  first_phase_ = static_cast<uint32_t>(ticket_ >> 32);
  const uint64_t number = (gate_ >> 32) + 1;
  __atomic_store_n(&gate_, (number << 32) | OPEN, __ATOMIC_SEQ_CST);
  wake();
  Member member(*this, 0, first_phase_);
  job(context, member);
  __atomic_and_fetch(&gate_, ~OPEN, __ATOMIC_SEQ_CST);
}

void Team::settle() {
  await(SPINS_IN_A_JOB, [this] { return (read(gate_) & NUM_INSIDE) == 0; });
}

bool Team::enter() {
  uint64_t gate = read(gate_);
  while ((gate & OPEN) != 0) {
    if (__atomic_compare_exchange_n(
            &gate_, &gate, gate + 1, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      return true;
    }
  }
  return false;
}

void Team::work(int thread) {
  uint64_t seen = 0;
  for (;;) {
    await(SPINS_BETWEEN_JOBS, [&] { return (read(gate_) >> 32) != seen; });
    if (is_ending_) return;
    seen = read(gate_) >> 32;
    if (!enter()) continue;
    seen = read(gate_) >> 32;  // no later job opens while this thread is inside
    Member member(*this, thread, first_phase_);
    job_(context_, member);
    __atomic_sub_fetch(&gate_, 1, __ATOMIC_SEQ_CST);
    wake();
  }
}

template <class Condition>
void Team::await(int num_spins, const Condition& condition) {
  for (int i = 0; i < num_spins; ++i) {
    if (condition()) return;
    pause();
  }
  for (int i = 0; i < NUM_YIELDS; ++i) {
    if (condition()) return;
    sched_yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  __atomic_add_fetch(&num_sleeping_, 1, __ATOMIC_SEQ_CST);
  changed_.wait(lock, condition);
  __atomic_sub_fetch(&num_sleeping_, 1, __ATOMIC_SEQ_CST);
}

void Team::wake() {
  // Either this sees the sleeper, or the sleeper, who counts itself first, sees what has changed.
  if (read(num_sleeping_) == 0) return;
  { std::lock_guard<std::mutex> lock(mutex_); }
  changed_.notify_all();
}
