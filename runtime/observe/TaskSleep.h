// Test mode "order is real": F, I and W sleep instead of computing, B twice as long.
#ifndef STAGEWRIGHT_RUNTIME_OBSERVE_TASKSLEEP_H
#define STAGEWRIGHT_RUNTIME_OBSERVE_TASKSLEEP_H

#include "runtime/exec/Hooks.h"

#include <chrono>

namespace stagewright::runtime {

class TaskSleep {
public:
  explicit TaskSleep(std::chrono::nanoseconds duration) : duration(duration) {}

  /// Used by executors for as long as they live.
  Hooks hooks();

private:
  std::chrono::nanoseconds duration;
};

} // namespace stagewright::runtime

#endif
