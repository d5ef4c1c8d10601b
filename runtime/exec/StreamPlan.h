// What of a rank's work waits for what, when it runs on the streams of a device: for each task of a list
// whether others wait for it, for each fill and transfer behind which task its bytes are free or ready. Plain
// logic on the task list, made when a file is loaded.
//
//   compute   F0      F1      F2        F3            (one stream: in the order of the list)
//   fill    x0  x1  x2   |  x3          x3 goes into the slot of x1, which F1 has read: behind F1's event
//   receive   ...                       likewise; and what is sent stands behind the event of what made it
#ifndef STAGEWRIGHT_RUNTIME_EXEC_STREAMPLAN_H
#define STAGEWRIGHT_RUNTIME_EXEC_STREAMPLAN_H

#include "runtime/exec/TaskPlan.h"

#include <vector>

namespace stagewright::runtime {

/// Positions are those of TaskPlan::tasks; -1: nothing of this step, the last one has ended.
struct StreamPlan {
  std::vector<bool> records;  ///< [tasks] others wait for the task
  std::vector<int> fillAfter; ///< [fills] the task that used the slot last
  std::vector<int> postAfter; ///< [posts] of a receive that task, of a send the one that has made the bytes
  int gatherAfter = -1;       ///< what the collective sends has been made by this task
  int gatherBefore = -1;      ///< the first task that writes what the collective sends; -1: none does
};

/// `training`: of which list `tasks` are. `pipelineRank`: whose plan it is.
StreamPlan planStreams(const Executable &executable, int pipelineRank, const TaskPlan &tasks, bool training);

} // namespace stagewright::runtime

#endif
