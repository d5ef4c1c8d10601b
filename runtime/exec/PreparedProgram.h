// A program of the .stage file, ready to run: kernels prepared for their shapes, operands as addresses.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_PREPAREDPROGRAM_H
#define STAGEWRIGHT_RUNTIME_EXEC_PREPAREDPROGRAM_H

#include "kernels/host/Host.h"
#include "runtime/exec/GroupKernels.h"
#include "runtime/exec/Hooks.h"
#include "runtime/exec/RankStatus.h"
#include "runtime/exec/TaskPlan.h"

#include <memory>
#include <span>
#include <vector>

namespace stagewright::runtime {

class PreparedProgram {
public:
  /// The commands that `rank` of the job runs. Errors: Environment, the instruction set is not there.
  static Result<PreparedProgram> prepare(const Executable &executable, const Mesh &mesh, int rank,
                                         const executable::Program &program, const ArenaBases &arenas,
                                         kernels::Isa isa, GroupKernels &group);

  /// Commands that are collectives, ascending.
  const std::vector<unsigned> &collectives() const { return groupCommands; }
  /// Runs one of them. The calling thread holds no permit. Errors: those of the communicator.
  Result<void> runCollective(unsigned command, const std::uint64_t *slotOffsets, GroupKernels &group,
                             RankStatus &status, std::span<const Hooks> hooks);

  /// Runs commands [begin, end) of the file's, none of them a collective, on the micro-batch whose slots are
  /// `slotOffsets` (TaskPlan::slotsOf). The calling thread holds a permit of `tiles`. Allocates nothing.
  void run(unsigned begin, unsigned end, const std::uint64_t *slotOffsets, kernels::TileRunner &tiles,
           RankStatus &status, std::span<const Hooks> hooks);
  unsigned commands() const { return static_cast<unsigned>(firstCall.size()) - 1; }

private:
  /// Address: base + slotOffsets[slot]; slot 0 is fixed memory. Null base: an optional operand that is
  /// absent.
  struct Operand {
    std::byte *base = nullptr;
    std::uint32_t slot = 0;
  };
  struct Call {
    std::unique_ptr<kernels::PreparedKernel> kernel; ///< null: a collective
    GroupCall group;
    std::uint32_t firstOperand = 0, operands = 0;
    void *workspace = nullptr;
    KernelEvent event;
  };
  template <typename Body>
  void around(const Call &call, const std::uint64_t *slotOffsets, RankStatus &status,
              std::span<const Hooks> hooks, Body body);

  std::vector<Call> calls;
  std::vector<unsigned>
      firstCall; ///< [commands + 1] index of a command's call, or of the next one that has one
  std::vector<unsigned> groupCommands;
  std::vector<Operand> operands;
  std::vector<KernelOperand> views; ///< of all operands, for hooks
  std::vector<void *> addresses;    ///< of one call
};

} // namespace stagewright::runtime

#endif
