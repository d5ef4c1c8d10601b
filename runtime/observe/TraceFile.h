// A trace: JSON lines, one for each task of each rank, one for each exchange between replicas beside tasks,
// and one for each busy interval of each worker of a tile pool.
//
//   {"rank":0,"step":1,"task":"0F1","begin":123,"end":456}
//   {"rank":0,"step":1,"exchange":0,"stage":0,"bytes":4096,"begin":123,"end":456}
//   {"process":0,"worker":1,"begin":123,"end":456}
//
// Times are nanoseconds of the monotonic clock, which all processes of a machine share; steps count from 1.
#ifndef STAGEWRIGHT_RUNTIME_OBSERVE_TRACEFILE_H
#define STAGEWRIGHT_RUNTIME_OBSERVE_TRACEFILE_H

#include "runtime/device/TilePool.h"
#include "runtime/exec/Hooks.h"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace stagewright::runtime {

class TraceFile {
public:
  /// A trace that keeps its lines until open(). What is at `path` stays as it is. Error: User, it could not
  /// be written.
  static Result<std::unique_ptr<TraceFile>> create(const std::string &path, int process, int ranks);
  ~TraceFile();

  /// Opens the file for lines of this process; process 0 empties it first. The processes of a job write into
  /// one file, whole lines at a time; no process may run tasks before process 0 has opened it. Error: User.
  Result<void> open();

  /// For the executor of each rank of this process. Allocates nothing, now and when called.
  Hooks hooks();
  /// For the tile pool of this process.
  BusyTrace busyTrace();

  /// Writes what is buffered. Error: Environment, some line could not be written.
  Result<void> flush();

private:
  TraceFile(std::string path, int process, int ranks);
  void append(const char *line, int length);
  void writeBuffer();

  std::string path;
  int descriptor = -1; ///< -1: not open yet
  int process;
  std::vector<std::int64_t> begins; ///< per rank, of the task that runs
  std::mutex mutex;
  std::vector<char> buffer;
  std::size_t used = 0;
  bool failed = false;
};

} // namespace stagewright::runtime

#endif
