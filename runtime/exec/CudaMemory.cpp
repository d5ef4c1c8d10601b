#include "runtime/exec/CudaMemory.h"

#include <cstring>

namespace stagewright::runtime {

bool hasCopyOnHost(executable::ArenaClass kind) {
  using Class = executable::ArenaClass;
  return kind == Class::Parameters || kind == Class::OptimizerState || kind == Class::Buffers ||
         kind == Class::Scalars;
}

CudaMemory::~CudaMemory() {
  for (std::size_t i = 0; i < bases.size(); ++i) {
    if (bases[i] != onHost[i]) {
      api.release(bases[i]);
    }
  }
}

/// Zeros.
Result<std::byte *> CudaMemory::allocatePinned(std::uint64_t bytes) {
  pins.emplace_back(api);
  if (auto ok = pins.back().allocate(bytes); !ok) {
    return ok.takeError();
  }
  std::memset(pins.back().data(), 0, bytes);
  return pins.back().data();
}

Result<void> CudaMemory::allocate(const Executable &executable, const Mesh &mesh, int rank,
                                  bool pinsWeights) {
  for (const executable::Arena *arena : *executable.rank(mesh.pipelineRank(rank)).arenas()) {
    cleared.push_back(0);
    bases.push_back(nullptr);
    onHost.push_back(nullptr);
    if (arena->bytes() == 0) {
      continue;
    }
    const std::uint64_t used = arena->bytes() * RankMemory::copiesOf(*arena, executable, mesh);
    const std::uint64_t bytes = wholePages(used); // as the plan counts
    const auto failed = [&](Error error, const std::string &advice) {
      error.place = "arena \"" + arena->name()->str() + "\" of " + std::to_string(used) + " bytes";
      error.advice = advice;
      return error;
    };
    const bool isOffloaded = arena->tier() == executable::MemoryTier::Host;
    if (isOffloaded || (pinsWeights && arena->arena_class() == executable::ArenaClass::Parameters)) {
      auto pinned = allocatePinned(bytes);
      if (!pinned) {
        return failed(pinned.takeError(), "free memory of the host, or offload less (\"ratio\")");
      }
      onHost.back() = *pinned;
    }
    if (isOffloaded) {
      bases.back() = onHost.back();
      continue;
    }
    auto made = api.allocate(bytes);
    if (!made) {
      return failed(
          made.takeError(),
          "compile for more stages or smaller micro-batches, or see `stagewright inspect --memory`");
    }
    bases.back() = static_cast<std::byte *>(*made);
    total += bytes;
    const bool isWritten = arena->arena_class() == executable::ArenaClass::Workspace; // before it is read
    cleared.back() = isWritten ? 0 : used;
  }
  return {};
}

Result<void> CudaMemory::clear(cuda::Stream stream) {
  for (std::size_t i = 0; i < bases.size(); ++i) {
    if (auto ok = cleared[i] > 0 ? api.fill(bases[i], 0, cleared[i], stream) : Result<void>(); !ok) {
      return ok;
    }
  }
  return api.synchronize(stream);
}

} // namespace stagewright::runtime
