// What may watch or replace the work of a rank. With none installed a task pays one branch.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_HOOKS_H
#define STAGEWRIGHT_RUNTIME_EXEC_HOOKS_H

#include "catalogue/Catalogue.h"
#include "schedule/Schedule.h"

#include <cstdint>
#include <span>

namespace stagewright::runtime {

struct TaskEvent {
  int rank = 0;
  bool training = true;
  std::uint64_t step = 0; ///< of training from 1; of an evaluation the pass, from 1
  int position = 0;       ///< among the tasks that the rank runs
  schedule::Task task;
  const char *text = nullptr; ///< schedule::text(task)
};

struct KernelOperand {
  const void *data = nullptr; ///< null: an optional operand that is absent
  std::uint64_t elements = 0;
  catalogue::DType dtype = catalogue::DType::F32;
};

struct KernelEvent {
  int rank = 0;
  const catalogue::Kernel *kernel = nullptr;
  int block = -1;                          ///< index into the file's blocks
  std::span<const KernelOperand> operands; ///< in the order of the kernel's
};

/// An exchange between replicas that ran beside a task's commands, from its begin to its end.
struct ExchangeEvent {
  int rank = 0;
  std::uint64_t step = 0;
  int stage = 0, number = 0; ///< of the rank's exchanges
  std::uint64_t bytes = 0;
  std::int64_t begin = 0, end = 0; ///< nanoseconds of the monotonic clock
};

/// All members may be null. Called on the rank's thread; must not wait for other ranks.
struct Hooks {
  void *context = nullptr;
  /// A task's own work begins: its receives have arrived, its inputs are filled, its thread has a permit.
  void (*beforeTask)(void *context, const TaskEvent &event) = nullptr;
  void (*afterTask)(void *context, const TaskEvent &event) = nullptr;
  void (*afterExchange)(void *context, const ExchangeEvent &event) = nullptr;
  /// Instead of the programs of F, I, W and B; no permit is held.
  void (*replaceBody)(void *context, const TaskEvent &event) = nullptr;
  void (*beforeKernel)(void *context, const KernelEvent &event) = nullptr;
  void (*afterKernel)(void *context, const KernelEvent &event) = nullptr;
};

} // namespace stagewright::runtime

#endif
