#include "runtime/exec/CudaProgram.h"

#include "runtime/exec/HostUpdates.h"

#include <set>

namespace stagewright::runtime {

CudaProgram::~CudaProgram() {
  for (const auto &[slots, graph] : captured) {
    api.destroy(graph);
  }
}

Result<void> CudaProgram::prepare(const Executable &executable, const executable::RankPlan &plan, int updater,
                                  const executable::Program &program, const ArenaBases &arenas,
                                  cuda::KernelCache &kernels) {
  std::set<std::uint32_t> used;
  for (const executable::Command *command : *program.commands()) {
    firstCall.push_back(static_cast<unsigned>(calls.size()));
    if (command->replica() >= 0 && command->replica() != updater) {
      continue;
    }
    if (runsOnHost(executable, *command, plan)) {
      commandsApart.push_back({.command = static_cast<unsigned>(firstCall.size()) - 1});
      continue;
    }
    const executable::KernelRef &reference = *executable.file().kernels()->Get(command->kernel());
    kernels::KernelInstance instance{
        catalogue::find(reference.name()->str(), reference.version()), {}, attributesOf(*command)};
    std::vector<catalogue::DType> dtypes;
    Call call;
    for (const executable::Operand *operand : *command->operands()) {
      instance.shapes.emplace_back(operand->shape()->begin(), operand->shape()->end());
      dtypes.push_back(static_cast<catalogue::DType>(operand->dtype()));
      std::byte *base = arenas[operand->arena()] + operand->offset();
      if (operand->pool() >= 0) {
        base += plan.pools()->Get(static_cast<unsigned>(operand->pool()))->offset();
        used.insert(static_cast<std::uint32_t>(operand->pool() + 1));
      }
      call.operands.push_back({base, static_cast<std::uint32_t>(operand->pool() + 1)});
    }
    if (instance.kernel->isCollective) {
      commandsApart.push_back({static_cast<unsigned>(firstCall.size()) - 1, call.operands[0].base,
                               call.operands[1].base, call.operands[0].slot, call.operands[1].slot,
                               bytesOf(*command->operands()->Get(0))});
      continue;
    }
    call.operands.resize(instance.kernel->operands.size());
    instance.element = catalogue::elementOf(*instance.kernel, dtypes);
    auto prepared = cuda::prepare(instance, kernels);
    if (!prepared) {
      return prepared.takeError();
    }
    call.kernel = std::move(*prepared);
    call.workspace = command->workspace()
                         ? arenas[static_cast<unsigned>(workspaceArena(plan))] + command->workspace_offset()
                         : nullptr;
    calls.push_back(std::move(call));
  }
  firstCall.push_back(static_cast<unsigned>(calls.size()));
  slots.assign(used.begin(), used.end());
  key.resize(2 + slots.size());
  return {};
}

const CudaProgram::Key &CudaProgram::keyOf(Part range, const std::uint64_t *slotOffsets) {
  key[0] = range.begin;
  key[1] = range.end;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    key[2 + i] = slotOffsets[slots[i]];
  }
  return key;
}

Result<void> CudaProgram::enqueue(Part range, const std::uint64_t *slotOffsets, cuda::Stream stream) const {
  std::vector<void *> addresses;
  for (unsigned i = range.begin; i < range.end; ++i) {
    const Call &call = calls[i];
    addresses.clear();
    for (const Operand &operand : call.operands) {
      addresses.push_back(operand.base ? operand.base + slotOffsets[operand.slot] : nullptr);
    }
    if (auto ok = call.kernel->enqueue(addresses.data(), call.workspace, stream); !ok) {
      return ok;
    }
  }
  return {};
}

Result<void> CudaProgram::capture(Part part, const std::uint64_t *slotOffsets, cuda::Stream stream) {
  const Part range = callsOf(part);
  if (range.begin == range.end || captured.count(keyOf(range, slotOffsets))) {
    return {};
  }
  if (auto ok = api.beginCapture(stream); !ok) {
    return ok;
  }
  auto given = enqueue(range, slotOffsets, stream);
  auto graph = api.endCapture(stream); // also behind an error: the stream is to be of use again
  if (!given || !graph) {
    return given ? graph.takeError() : given.takeError();
  }
  captured.emplace(key, *graph);
  return {};
}

Result<void> CudaProgram::launch(Part part, const std::uint64_t *slotOffsets, cuda::Stream stream) {
  const Part range = callsOf(part);
  if (range.begin == range.end) {
    return {};
  }
  const auto found = captured.find(keyOf(range, slotOffsets));
  if (found == captured.end()) {
    return bugError("a program on a GPU", "there is no graph for these slots");
  }
  return api.launch(found->second, stream);
}

} // namespace stagewright::runtime
