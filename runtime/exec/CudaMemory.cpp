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

Result<void> CudaMemory::allocate(const Executable &executable, const Mesh &mesh, int rank) {
  for (const executable::Arena *arena : *executable.rank(mesh.pipelineRank(rank)).arenas()) {
    cleared.push_back(0);
    bases.push_back(nullptr);
    if (arena->bytes() == 0) {
      continue;
    }
    const std::uint64_t used = arena->bytes() * RankMemory::copiesOf(*arena, executable, mesh);
    const std::uint64_t bytes = wholePages(used); // as the plan counts
    auto made = api.allocate(bytes);
    if (!made) {
      Error error = made.takeError();
      error.place = "arena \"" + arena->name()->str() + "\" of " + std::to_string(used) + " bytes";
      error.advice =
          "compile for more stages or smaller micro-batches, or see `stagewright inspect --memory`";
      return error;
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
