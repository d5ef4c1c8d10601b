#include "runtime/exec/RankMemory.h"

#include "runtime/executable/ServerRanks.h"

namespace stagewright::runtime {

std::uint64_t RankMemory::copiesOf(const executable::Arena &arena, const Executable &executable,
                                   const Mesh &mesh) {
  const bool isDivided =
      executable.file().recipe()->zero() == 3 && arena.arena_class() == executable::ArenaClass::Parameters;
  return isDivided && mesh.replicas == 1 ? static_cast<std::uint64_t>(executable.shardGroup()) : 1;
}

/// Of an arena in a file: what an update loads of the replicas that the rank stands for.
static std::vector<FileStore::Extent> extentsOf(const executable::RankPlan &plan, unsigned arena,
                                                std::uint64_t stride, int replica) {
  std::vector<FileStore::Extent> extents;
  for (unsigned i = 0; plan.exchanges() && i < plan.exchanges()->size(); ++i) {
    const executable::Exchange &exchange = *plan.exchanges()->Get(i);
    for (const executable::ExchangePiece *piece : *exchange.pieces()) {
      if (exchange.kind() == executable::ExchangeKind::Load &&
          piece->shard_arena() == static_cast<int>(arena) && (stride > 0 || piece->replica() == replica)) {
        extents.push_back(
            {stride * static_cast<unsigned>(piece->replica()) + piece->shard_offset(), piece->bytes()});
      }
    }
  }
  return extents;
}

Result<RankMemory> RankMemory::allocate(const Executable &executable, const Mesh &mesh, int rank,
                                        HostDevice &device, HostDevice &host) {
  const executable::RankPlan &plan = executable.rank(mesh.pipelineRank(rank));
  const executable::Recipe &recipe = *executable.file().recipe();
  RankMemory memory;
  memory.group = executable.shardGroup();
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    const executable::Arena &arena = *plan.arenas()->Get(i);
    const std::uint64_t bytes =
        hasArena(plan, i, mesh.role(rank)) ? arena.bytes() * copiesOf(arena, executable, mesh) : 0;
    memory.strides.push_back(strideOf(arena, executable, mesh));
    memory.files.emplace_back();
    if (arena.tier() == executable::MemoryTier::File) {
      const executable::Offload &offload = arena.arena_class() == executable::ArenaClass::Parameters
                                               ? *recipe.weights_offload()
                                               : *recipe.states_offload();
      auto file =
          FileStore::create(offload.path()->str(), "rank" + std::to_string(rank) + "-" + arena.name()->str(),
                            bytes, extentsOf(plan, i, memory.strides.back(), mesh.replica(rank)));
      if (!file) {
        return file.takeError();
      }
      memory.files.back() = std::move(*file);
      memory.arenas.emplace_back();
      memory.bases.push_back(nullptr);
      continue;
    }
    auto allocated =
        (arena.tier() == executable::MemoryTier::Device ? device : host).allocate(arena.name()->str(), bytes);
    if (!allocated) {
      return allocated.takeError();
    }
    memory.bases.push_back(allocated->data());
    memory.arenas.push_back(std::move(*allocated));
  }
  return memory;
}

Result<RankMemory> RankMemory::mirror(const Executable &executable, const Mesh &mesh, int rank,
                                      HostDevice &host, const ArenaBases &pinned,
                                      bool (*holds)(executable::ArenaClass)) {
  const auto &arenas = *executable.rank(mesh.pipelineRank(rank)).arenas();
  RankMemory memory;
  memory.group = executable.shardGroup();
  memory.files.resize(arenas.size());
  for (unsigned i = 0; i < arenas.size(); ++i) {
    const executable::Arena &arena = *arenas.Get(i);
    const bool isCopied = !pinned[i] && holds(arena.arena_class());
    auto allocated =
        host.allocate(arena.name()->str(), isCopied ? arena.bytes() * copiesOf(arena, executable, mesh) : 0);
    if (!allocated) {
      return allocated.takeError();
    }
    memory.strides.push_back(strideOf(arena, executable, mesh));
    memory.bases.push_back(pinned[i] ? pinned[i] : allocated->data());
    memory.arenas.push_back(std::move(*allocated));
  }
  return memory;
}

} // namespace stagewright::runtime
