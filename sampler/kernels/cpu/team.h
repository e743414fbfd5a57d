// A few threads that work through the phases of one forward together. Knows no arithmetic.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

/// The caller's thread and `num_threads - 1` of its own, which sleep between two runs.
class Team {
 public:
  explicit Team(int num_threads);
  ~Team();
  Team(const Team&) = delete;

  int size() const { return num_threads_; }

  /// Run `job(context, thread)` on every thread; returns when all are done.
  void run(void (*job)(void*, int), void* context);

  /// Within a job: the first of the next `chunk` units of this phase, or a number past `num_units`.
  int take(int chunk) { return __atomic_fetch_add(&next_unit_, chunk, __ATOMIC_RELAXED); }

  /// Within a job: end of a phase. What was written before is seen by all after it.
  void barrier();

 private:
  void work(int thread);
  /// Wait until `*word` is no longer `old`: spin, then yield, then sleep.
  void await(const uint32_t* word, uint32_t old, int num_spins);
  void advance(uint32_t* word);

  const int num_threads_;
  void (*job_)(void*, int) = nullptr;
  void* context_ = nullptr;
  alignas(64) int next_unit_ = 0;
  alignas(64) int num_arrived_ = 0;
  alignas(64) uint32_t phase_ = 0;
  alignas(64) uint32_t run_ = 0;
  bool is_ending_ = false;
  int num_sleeping_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};
