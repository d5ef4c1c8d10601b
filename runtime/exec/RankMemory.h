// The arenas of one rank, in the tiers that the plan says.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_RANKMEMORY_H
#define STAGEWRIGHT_RUNTIME_EXEC_RANKMEMORY_H

#include "runtime/device/FileStore.h"
#include "runtime/device/HostDevice.h"
#include "runtime/exec/TaskPlan.h"
#include "runtime/executable/Executable.h"

#include <memory>
#include <vector>

namespace stagewright::runtime {

/// Bytes of an arena: in memory, or in a file.
struct Place {
  std::byte *memory = nullptr;
  FileStore *file = nullptr; ///< when there is no memory
  std::uint64_t offset = 0;  ///< in the file
};

class RankMemory {
public:
  /// Zeros, on the device and in `host`, the memory for what is offloaded. Errors: Environment.
  static Result<RankMemory> allocate(const Executable &executable, const Mesh &mesh, int rank,
                                     HostDevice &device, HostDevice &host);
  /// The host's side of a rank that computes elsewhere: `pinned` where there is such memory, which outlives
  /// it, else zeros of `host`, for arenas of classes that it `holds`. Errors: Environment.
  static Result<RankMemory> mirror(const Executable &executable, const Mesh &mesh, int rank, HostDevice &host,
                                   const ArenaBases &pinned, bool (*holds)(executable::ArenaClass));

  /// How often the rank has the bytes of an arena: a replica that is alone has the shards of all of a group
  /// (ZeRO 3).
  static std::uint64_t copiesOf(const executable::Arena &arena, const Executable &executable,
                                const Mesh &mesh);
  /// Bytes from one replica's shards to the next one's in it; 0: the rank has those of one.
  static std::uint64_t strideOf(const executable::Arena &arena, const Executable &executable,
                                const Mesh &mesh) {
    return copiesOf(arena, executable, mesh) > 1 ? arena.bytes() : 0;
  }

  /// Addresses of the arenas; null: in a file.
  const ArenaBases &addresses() const { return bases; }
  Place at(unsigned arena, std::uint64_t offset) const {
    return bases[arena] ? Place{bases[arena] + offset} : Place{nullptr, files[arena].get(), offset};
  }
  /// In the shard of one of the replicas that the rank stands for.
  Place at(unsigned arena, std::uint64_t offset, int replica) const {
    return at(arena, offset + strides[arena] * static_cast<unsigned>(replica % group));
  }
  void poison(unsigned arena, std::uint64_t offset, std::uint64_t bytes) {
    arenas[arena].poison(offset, bytes);
  }

private:
  std::vector<Arena> arenas;
  std::vector<std::unique_ptr<FileStore>> files; ///< null: in memory
  ArenaBases bases;
  std::vector<std::uint64_t> strides;
  int group = 1; ///< replicas that divide weights
};

} // namespace stagewright::runtime

#endif
