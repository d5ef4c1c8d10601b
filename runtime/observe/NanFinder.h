// Names the kernel that first writes a value that is not finite (`train --find-nan`).
#ifndef STAGEWRIGHT_RUNTIME_OBSERVE_NANFINDER_H
#define STAGEWRIGHT_RUNTIME_OBSERVE_NANFINDER_H

#include "runtime/exec/Hooks.h"
#include "runtime/executable/Executable.h"

#include <atomic>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// Looks at every result of every kernel, so a step takes longer. One per process; the first find of the
/// process is reported, on the rank's thread:
///
///     rank 1, step 7, 1F3: kernel layer_norm of layer "ln1" made y[5] = nan (operand y, 3360 values); all
///     that it read was finite
class NanFinder {
public:
  /// Of a job of `ranks` ranks. `report` gets the line, once. `executable` outlives this.
  NanFinder(const Executable &executable, int ranks, void (*report)(const std::string &line));

  /// Used by executors for as long as they live.
  Hooks hooks();

private:
  void look(const KernelEvent &event);
  std::string describe(const KernelEvent &event, std::size_t operand, std::uint64_t index) const;

  const Executable &executable;
  void (*report)(const std::string &line);
  std::atomic<bool> found{false};
  std::vector<TaskEvent> tasks; ///< by rank: what it does; its thread's own
};

} // namespace stagewright::runtime

#endif
