// Kernels of the catalogue that the ranks of a group run together (all_reduce, all_gather): every rank calls
// them in the order of its task list, which is the same for all of a group.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_GROUPKERNELS_H
#define STAGEWRIGHT_RUNTIME_EXEC_GROUPKERNELS_H

#include "runtime/exec/MeshGroups.h"
#include "runtime/exec/WireFormat.h"

#include <map>
#include <memory>
#include <vector>

namespace stagewright::runtime {

/// One call, of a proved command.
struct GroupCall {
  bool gathers = false;     ///< all_gather, else all_reduce
  bool ofReplicas = false;  ///< axis "data", else "tensor"
  catalogue::DType dtype{}; ///< F32, F16, BF16
  std::uint64_t elements = 0;
};

class GroupKernels {
public:
  GroupKernels(Communicator &communicator, const Mesh &mesh) : communicator(communicator), mesh(mesh) {}

  /// Before the first run: allocates what calls of this type need. Errors: Environment, the instruction set.
  Result<void> prepare(const GroupCall &call, kernels::Isa isa);
  /// `operands` as in the catalogue: x, y. The calling thread holds no permit. Errors: those of the
  /// communicator.
  Result<void> run(const GroupCall &call, void *const *operands);

private:
  Result<void> reduceNarrow(const GroupCall &call, const std::byte *x, std::byte *y, RankGroup group);

  Communicator &communicator;
  const Mesh mesh;
  std::map<catalogue::DType, std::unique_ptr<WireFormat>> formats; ///< of 16 bits
  std::vector<float> wide;                                         ///< a part of a sum of 16-bit values
  std::vector<Segment> parts;
};

} // namespace stagewright::runtime

#endif
