// A few threads that work through the phases of one job together. Knows no arithmetic.
//
// A phase ends when all of its units are done, not when all threads have come by: on a busy machine
// a thread that the system has put aside holds nobody up unless it was put aside within a unit.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

class Team;

/// One thread's part in one job.
class Member {
 public:
  Member(Team& team, int thread, uint32_t phase) : team_(team), thread_(thread), phase_(phase) {}

  int thread() const { return thread_; }
  int num_threads() const;

  /// The first of the next `chunk` units of this phase; below 0 if all are taken.
  int take(int num_units, int chunk);
  /// Units that were taken are done; what they wrote is seen by all in the next phase.
  void finish(int count, int num_units);
  /// What is read when this phase and such as have little to share are over: while this thread waits,
  /// it brings the beginning of it nearer.
  void expect(const void* data, int64_t num_bytes);
  /// Wait until all units of this phase are done, and go on to the next.
  void pass();

 private:
  Team& team_;
  bool is_over() const;

  const int thread_;
  uint32_t phase_;
  const char *expected_ = nullptr, *expected_end_ = nullptr;
};

/// The caller's thread and `num_threads - 1` of its own, which sleep between two jobs.
class Team {
 public:
  using Job = void (*)(void* context, Member& member);

  explicit Team(int num_threads);
  ~Team();
  Team(const Team&) = delete;

  int size() const { return num_threads_; }

  /// Run `job` on every thread that comes in time. What `context` points at must live until the
  /// next `settle`: a thread may be late, although all units are done.
  void run(Job job, void* context);

  /// Wait until no thread is in a job any more.
  void settle();

 private:
  friend class Member;

  void work(int thread);
  bool enter();
  template <class Condition>
  void await(int num_spins, const Condition& condition);
  void wake();

  const int num_threads_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  uint32_t first_phase_ = 0;
  bool is_ending_ = false;
  /// Number of the phase, and in the low half the next unit that nobody has taken.
  alignas(64) uint64_t ticket_ = 0;
  alignas(64) int num_done_ = 0;
  /// Number of the job, whether threads may still join it (OPEN), and how many are in it.
  alignas(64) uint64_t gate_ = 0;
  alignas(64) int num_sleeping_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

inline int Member::num_threads() const { return team_.size(); }
