#include "runtime/exec/CudaProgram.h"

#include "runtime/exec/HostUpdates.h"

#include <algorithm>
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
  std::vector<CudaCommand> commands;
  std::vector<CudaOperand> readApart;
  for (unsigned number = 0; number < program.commands()->size(); ++number) {
    const executable::Command &command = *program.commands()->Get(number);
    if (command.replica() >= 0 && command.replica() != updater) {
      continue;
    }
    if (runsOnHost(executable, command, plan)) {
      commandsApart.push_back({.command = number});
      continue;
    }
    const executable::KernelRef &reference = *executable.file().kernels()->Get(command.kernel());
    CudaCommand made{
        number,
        command.block(),
        {catalogue::find(reference.name()->str(), reference.version()), {}, attributesOf(command)},
        {},
        nullptr};
    std::vector<catalogue::DType> dtypes;
    for (const executable::Operand *operand : *command.operands()) {
      made.instance.shapes.emplace_back(operand->shape()->begin(), operand->shape()->end());
      dtypes.push_back(static_cast<catalogue::DType>(operand->dtype()));
      std::byte *base = arenas[operand->arena()] + operand->offset();
      if (operand->pool() >= 0) {
        base += plan.pools()->Get(static_cast<unsigned>(operand->pool()))->offset();
        used.insert(static_cast<std::uint32_t>(operand->pool() + 1));
      }
      made.operands.push_back({base, static_cast<std::uint32_t>(operand->pool() + 1), bytesOf(*operand)});
    }
    const catalogue::Kernel &kernel = *made.instance.kernel;
    if (kernel.isCollective) {
      const CudaOperand &x = made.operands[0], &y = made.operands[1];
      const GroupCall call{kernel.name == "all_gather",
                           catalogue::stringAttribute(kernel, made.instance.attributes, "axis") == "data",
                           dtypes[0], x.bytes / catalogue::byteSize(dtypes[0])};
      commandsApart.push_back({number, x.base, y.base, x.slot, y.slot, call});
      readApart.push_back(x);
      continue;
    }
    made.operands.resize(kernel.operands.size());
    made.instance.element = catalogue::elementOf(kernel, dtypes);
    made.workspace = command.workspace()
                         ? arenas[static_cast<unsigned>(workspaceArena(plan))] + command.workspace_offset()
                         : nullptr;
    commands.push_back(std::move(made));
  }
  std::vector<unsigned> cuts;
  for (unsigned i = 0; program.points() && i < program.points()->size(); ++i) {
    cuts.push_back(program.points()->Get(i)->command());
  }
  for (const Apart &apart : commandsApart) {
    cuts.push_back(apart.command);
  }
  std::sort(cuts.begin(), cuts.end());
  auto made = cudaCalls(std::move(commands), cuts, readApart, executable.file().contract()->gelu_epilogues(),
                        scratch, kernels);
  if (!made) {
    return made.takeError();
  }
  calls = std::move(*made);
  for (unsigned number = 0, call = 0; number <= program.commands()->size(); ++number) {
    while (call < calls.size() && calls[call].command < number) {
      ++call;
    }
    firstCall.push_back(call);
  }
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
    const CudaCall &call = calls[i];
    addresses.clear();
    for (const CudaOperand &operand : call.operands) {
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
