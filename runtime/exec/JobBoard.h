// Where the watchdogs of a job's processes on one machine note how far their ranks are and what they wait
// for, so that each of them can tell whether anybody moves, and if not, which rank stands still: the one at
// the end of the chain, or the one whose process no longer writes.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_JOBBOARD_H
#define STAGEWRIGHT_RUNTIME_EXEC_JOBBOARD_H

#include "error/Error.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace stagewright::runtime {

class JobBoard {
public:
  /// Of ranks that are threads of this process.
  static Result<std::unique_ptr<JobBoard>> local(int ranks);

  /// Of ranks that are processes: memory shared under a name that only this job has. Ranks of other machines
  /// never write to it. Error: Environment.
  static Result<std::unique_ptr<JobBoard>> shared(int ranks, const std::string &jobName);

  ~JobBoard();
  JobBoard(const JobBoard &) = delete;
  JobBoard &operator=(const JobBoard &) = delete;

  /// Takes the name away once every process has opened the board; the memory goes with the last of them.
  void forgetName();

  static constexpr int kNobody = -1;
  struct Entry {
    std::int64_t written = 0; ///< nanoseconds of the monotonic clock; 0: never
    int waitsFor = kNobody;   ///< a rank
    std::uint64_t moves = 0;  ///< changes while the rank moves
  };
  void write(int rank, Entry entry);
  Entry read(int rank) const;

private:
  struct Cell {
    std::atomic<std::int64_t> written{0};
    std::atomic<int> waitsFor{kNobody};
    std::atomic<std::uint64_t> moves{0};
  };
  JobBoard(Cell *cells, std::size_t bytes, std::string name)
      : cells(cells), bytes(bytes), name(std::move(name)) {}
  static Result<std::unique_ptr<JobBoard>> map(int ranks, int descriptor, std::string name);

  Cell *cells;
  std::size_t bytes;
  std::string name; ///< empty: none, or forgotten
};

} // namespace stagewright::runtime

#endif
