#include "runtime/exec/CudaMemory.h"

namespace stagewright::runtime {

bool hasCopyOnHost(executable::ArenaClass kind) {
  using Class = executable::ArenaClass;
  return kind == Class::Parameters || kind == Class::OptimizerState || kind == Class::Buffers ||
         kind == Class::Scalars;
}

CudaMemory::~CudaMemory() {
  for (std::byte *base : bases) {
    api.release(base);
  }
}

Result<void> CudaMemory::allocate(const executable::RankPlan &plan) {
  for (const executable::Arena *arena : *plan.arenas()) {
    bases.push_back(nullptr);
    if (arena->bytes() == 0) {
      continue;
    }
    const std::uint64_t bytes = wholePages(arena->bytes()); // as the plan counts
    auto made = api.allocate(bytes);
    if (!made) {
      Error error = made.takeError();
      error.place = "arena \"" + arena->name()->str() + "\" of " + std::to_string(arena->bytes()) + " bytes";
      error.advice =
          "compile for more stages or smaller micro-batches, or see `stagewright inspect --memory`";
      return error;
    }
    bases.back() = static_cast<std::byte *>(*made);
    total += bytes;
  }
  return {};
}

Result<void> CudaMemory::clear(const executable::RankPlan &plan, cuda::Stream stream) {
  for (unsigned i = 0; i < bases.size(); ++i) {
    const executable::Arena &arena = *plan.arenas()->Get(i);
    const bool isWritten = arena.arena_class() == executable::ArenaClass::Workspace; // before it is read
    if (auto ok = bases[i] && !isWritten ? api.fill(bases[i], 0, arena.bytes(), stream) : Result<void>();
        !ok) {
      return ok;
    }
  }
  return api.synchronize(stream);
}

} // namespace stagewright::runtime
