#include "team.h"

#include <sched.h>

namespace {

constexpr int SPINS_IN_A_RUN = 1 << 14;
/// Tens of microseconds: bridges the gap between two forwards of one loop, and costs nothing idle.
constexpr int SPINS_BETWEEN_RUNS = 1 << 11;
constexpr int NUM_YIELDS = 64;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Team::Team(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads) {
  for (int thread = 1; thread < num_threads_; ++thread) {
    threads_.emplace_back([this, thread] { work(thread); });
  }
}

Team::~Team() {
  is_ending_ = true;
  advance(&run_);
  for (std::thread& thread : threads_) thread.join();
}

void Team::run(void (*job)(void*, int), void* context) {
  job_ = job;
  context_ = context;
  next_unit_ = 0;
  if (num_threads_ > 1) advance(&run_);
  job(context, 0);
  barrier();
}

void Team::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    await(&run_, seen, SPINS_BETWEEN_RUNS);
    ++seen;
    if (is_ending_) return;
    job_(context_, thread);
    barrier();
  }
}

void Team::barrier() {
  const uint32_t phase = __atomic_load_n(&phase_, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&num_arrived_, 1, __ATOMIC_ACQ_REL) == num_threads_) {
    num_arrived_ = 0;
    next_unit_ = 0;
    if (num_threads_ > 1) advance(&phase_);
    return;
  }
  await(&phase_, phase, SPINS_IN_A_RUN);
}

void Team::await(const uint32_t* word, uint32_t old, int num_spins) {
  for (int i = 0; i < num_spins; ++i) {
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != old) return;
    pause();
  }
  for (int i = 0; i < NUM_YIELDS; ++i) {
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != old) return;
    sched_yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  __atomic_add_fetch(&num_sleeping_, 1, __ATOMIC_SEQ_CST);
  changed_.wait(lock, [&] { return __atomic_load_n(word, __ATOMIC_SEQ_CST) != old; });
  __atomic_sub_fetch(&num_sleeping_, 1, __ATOMIC_SEQ_CST);
}

void Team::advance(uint32_t* word) {
  __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
  // Either this sees the sleeper, or the sleeper, who counts itself first, sees the new word.
  if (__atomic_load_n(&num_sleeping_, __ATOMIC_SEQ_CST) == 0) return;
  { std::lock_guard<std::mutex> lock(mutex_); }
  changed_.notify_all();
}
