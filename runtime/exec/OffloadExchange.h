// Chunks of states and weights that come from another tier of memory in front of an update and go back behind
// it.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_OFFLOADEXCHANGE_H
#define STAGEWRIGHT_RUNTIME_EXEC_OFFLOADEXCHANGE_H

#include "runtime/exec/ProgramExchange.h"
#include "runtime/exec/RankMemory.h"

#include <vector>

namespace stagewright::runtime {

/// Of host memory the copy is made when it begins, of files while commands run.
class OffloadExchange : public ProgramExchange {
public:
  /// Of a proved file: the pieces of `replica`.
  OffloadExchange(const executable::Exchange &exchange, const RankMemory &memory, int replica);

private:
  Result<void> start() override;
  Result<void> complete() override;

  struct Piece {
    std::byte *window = nullptr;
    Place home;
    std::uint64_t bytes = 0;
    FileStore::Operation operation = 0;
  };
  std::vector<Piece> pieces;
};

} // namespace stagewright::runtime

#endif
