#include "runtime/observe/TaskSleep.h"

#include <thread>

namespace stagewright::runtime {

Hooks TaskSleep::hooks() {
  Hooks hooks;
  hooks.context = this;
  hooks.replaceBody = [](void *context, const TaskEvent &event) {
    const auto duration = static_cast<TaskSleep *>(context)->duration;
    std::this_thread::sleep_for(event.task.kind == schedule::TaskKind::Backward ? 2 * duration : duration);
  };
  return hooks;
}

} // namespace stagewright::runtime
