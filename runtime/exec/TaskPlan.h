// One rank's task list, made flat when a file is loaded: for each task what it waits for, what it fills,
// runs, sends and receives, as ranges of plain arrays. The executor only walks over them.
//
// clang-format off
//   task  0RECV_F1   posts: receive into slot 1    (the slot's last reader stands before it: proved)
//   task  0F1        waits: that receive; the send that left the slot which F writes
//                    fills: inputs of micro-batch 1
//                    runs:  Forward
//   task  0SEND_F1   posts: send of that slot
//   task  0NORM      waits: sums of tied parameters from other stages
//   task  1UPDATE    waits: the sums that were sent, which it clears
//   end              waits: sends that nobody had to wait for, and the weights of tied parameters
// clang-format on
#ifndef STAGEWRIGHT_RUNTIME_EXEC_TASKPLAN_H
#define STAGEWRIGHT_RUNTIME_EXEC_TASKPLAN_H

#include "runtime/executable/Executable.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// Where the arenas of the rank begin, by index.
using ArenaBases = std::vector<std::byte *>;

/// [begin, end) of one of the plan's arrays.
struct IndexRange {
  std::uint32_t begin = 0, end = 0;
};

/// A transfer to start. Its request is kept at index `request`.
struct Post {
  bool send = false;
  int peer = 0;
  int tag = 0;
  std::byte *data = nullptr;
  std::size_t bytes = 0;
  std::uint32_t request = 0;
  int pool = -1; ///< of what belongs to a micro-batch
};

/// A model input to fill, kRowsInput or kRandomInput.
struct Fill {
  int input = 0;
  std::byte *data = nullptr;
  std::size_t bytes = 0;
  int pool = 0;
};

/// Bytes of a value that is no longer alive.
struct DeadBytes {
  unsigned arena = 0;
  std::size_t offset = 0, bytes = 0;
};

struct PlannedTask {
  schedule::Task task;
  std::string text;
  IndexRange waits;           ///< requests, before the task
  IndexRange fills;           ///< inputs, behind the waits
  int programs[2] = {-1, -1}; ///< indices into RankPlan.programs; B has two
  bool lastGradient = false;  ///< the stage's last W
  IndexRange posts;           ///< transfers
  bool gathers = false;       ///< runs the collective
  IndexRange waitsAfter;      ///< requests, behind the task (poison mode only)
  IndexRange dead;            ///< values that end with this task (poison mode only)
};

struct TaskPlan {
  std::vector<PlannedTask> tasks;
  std::vector<std::uint32_t> waits;
  std::vector<Fill> fills;
  std::vector<Post> posts;
  std::vector<DeadBytes> dead;
  IndexRange endWaits;              ///< requests, at the end of the list
  std::vector<DeadBytes> deadAtEnd; ///< values that end with the step; poisoned when the next one begins
  std::uint32_t requests = 0;
  /// [micro-batch][1 + pool]: bytes from a pool's beginning to the micro-batch's slot; entry 0 is 0.
  std::vector<std::uint64_t> slotOffsets;
  std::size_t slotStride = 0; ///< 1 + pools

  const std::uint64_t *slotsOf(int microBatch) const {
    return slotOffsets.data() + static_cast<std::size_t>(microBatch < 0 ? 0 : microBatch) * slotStride;
  }
};

/// Which tasks of a list a rank runs: all, with parameter servers those of its role, or those by which a
/// replica takes an update.
enum class TaskShare { All, OfReplica, OfServer, Update };

/// The training or evaluation list of a pipeline rank, for the rank with part `updater` of what is divided.
/// `poison` plans for values that are made NaN when they end.
TaskPlan planTasks(const Executable &executable, int rank, int updater, schedule::Purpose purpose,
                   const ArenaBases &arenas, bool poison, TaskShare share = TaskShare::All);

} // namespace stagewright::runtime

#endif
