#include "runtime/exec/PreparedProgram.h"

#include <algorithm>

namespace stagewright::runtime {

Result<PreparedProgram> PreparedProgram::prepare(const Executable &executable, const Mesh &mesh, int rank,
                                                 const executable::Program &program, const ArenaBases &arenas,
                                                 kernels::Isa isa, GroupKernels &group) {
  const executable::RankPlan &plan = executable.rank(mesh.pipelineRank(rank));
  PreparedProgram result;
  std::size_t most = 0;
  for (const executable::Command *command : *program.commands()) {
    result.firstCall.push_back(static_cast<unsigned>(result.calls.size()));
    if (command->replica() >= 0 && command->replica() != mesh.updater(rank)) {
      continue;
    }
    const executable::KernelRef &reference = *executable.file().kernels()->Get(command->kernel());
    const catalogue::Kernel *kernel = catalogue::find(reference.name()->str(), reference.version());
    kernels::KernelInstance instance{kernel, {}, attributesOf(*command)};
    std::vector<catalogue::DType> dtypes;
    Call call;
    call.firstOperand = static_cast<std::uint32_t>(result.operands.size());
    call.operands = static_cast<std::uint32_t>(kernel->operands.size());
    for (const executable::Operand *operand : *command->operands()) {
      instance.shapes.emplace_back(operand->shape()->begin(), operand->shape()->end());
      dtypes.push_back(static_cast<catalogue::DType>(operand->dtype()));
      std::byte *base = arenas[operand->arena()] + operand->offset();
      if (operand->pool() >= 0) {
        base += plan.pools()->Get(static_cast<unsigned>(operand->pool()))->offset();
      }
      result.operands.push_back({base, static_cast<std::uint32_t>(operand->pool() + 1)});
      result.views.push_back(
          {nullptr, static_cast<std::uint64_t>(catalogue::elements(instance.shapes.back())), dtypes.back()});
    }
    result.operands.resize(call.firstOperand + call.operands); // absent optional operands
    result.views.resize(result.operands.size());
    instance.element = catalogue::elementOf(*kernel, dtypes);
    if (kernel->isCollective) {
      call.group = {kernel->name == "all_gather",
                    catalogue::stringAttribute(*kernel, instance.attributes, "axis") == "data",
                    instance.element, result.views[call.firstOperand].elements};
      result.groupCommands.push_back(static_cast<unsigned>(result.firstCall.size()) - 1);
      if (auto ok = group.prepare(call.group, isa); !ok) {
        return ok.takeError();
      }
    } else {
      auto prepared = kernels::prepare(instance, isa);
      if (!prepared) {
        return prepared.takeError();
      }
      call.kernel = std::move(*prepared);
    }
    call.workspace =
        command->workspace() ? arenas[workspaceArena(plan)] + command->workspace_offset() : nullptr;
    call.event = {rank, kernel, command->block(), {}};
    most = std::max<std::size_t>(most, call.operands);
    result.calls.push_back(std::move(call));
  }
  result.firstCall.push_back(static_cast<unsigned>(result.calls.size()));
  for (Call &call : result.calls) { // where the list of views stays from now on
    call.event.operands = {result.views.data() + call.firstOperand, call.operands};
  }
  result.addresses.resize(most);
  return result;
}

template <typename Body>
void PreparedProgram::around(const Call &call, const std::uint64_t *slotOffsets, RankStatus &status,
                             std::span<const Hooks> hooks, Body body) {
  for (std::uint32_t i = 0; i < call.operands; ++i) {
    const Operand &operand = operands[call.firstOperand + i];
    addresses[i] = operand.base ? operand.base + slotOffsets[operand.slot] : nullptr;
  }
  for (std::uint32_t i = 0; !hooks.empty() && i < call.operands; ++i) {
    views[call.firstOperand + i].data = addresses[i];
  }
  for (const Hooks &hook : hooks) {
    if (hook.beforeKernel) {
      hook.beforeKernel(hook.context, call.event);
    }
  }
  body();
  for (const Hooks &hook : hooks) {
    if (hook.afterKernel) {
      hook.afterKernel(hook.context, call.event);
    }
  }
  status.advance();
}

void PreparedProgram::run(unsigned begin, unsigned end, const std::uint64_t *slotOffsets,
                          kernels::TileRunner &tiles, RankStatus &status, std::span<const Hooks> hooks) {
  for (unsigned index = firstCall[begin]; index < firstCall[end]; ++index) {
    const Call &call = calls[index];
    around(call, slotOffsets, status, hooks,
           [&] { call.kernel->run(addresses.data(), call.workspace, tiles); });
  }
}

Result<void> PreparedProgram::runCollective(unsigned command, const std::uint64_t *slotOffsets,
                                            GroupKernels &group, RankStatus &status,
                                            std::span<const Hooks> hooks) {
  Result<void> outcome;
  const Call &call = calls[firstCall[command]];
  around(call, slotOffsets, status, hooks, [&] { outcome = group.run(call.group, addresses.data()); });
  return outcome;
}

} // namespace stagewright::runtime
