// What a rank sends in each step to ranks that may take it some steps later: of the last steps it keeps a
// copy each, so that its own memory is free at once.
//
//   step        1       2       3       4          of a rank that keeps two steps
//   copies    | 1 |   | 1 2 | | 3 2 | | 3 4 |     step 3 waits until all have taken step 1
#ifndef STAGEWRIGHT_RUNTIME_EXEC_OUTBOX_H
#define STAGEWRIGHT_RUNTIME_EXEC_OUTBOX_H

#include "runtime/comm/Communicator.h"

#include <cstddef>
#include <vector>

namespace stagewright::runtime {

class Outbox {
public:
  /// `memory`: `steps` times `stepBytes`. With none nothing is copied, and settle() waits for what has been
  /// sent. `messages`: of a step, at most.
  Outbox(Communicator &communicator, std::byte *memory, std::size_t stepBytes, int steps,
         std::size_t messages);

  /// Where `bytes` at `data` can be sent from. Errors, here and below: those of the communicator.
  Result<const std::byte *> keep(const void *data, std::size_t bytes);
  Result<void> send(int peer, int tag, const std::byte *kept, std::size_t bytes);
  /// Behind it the caller may write to what it has sent.
  Result<void> settle();
  void endStep();
  /// Returns when all has been taken.
  Result<void> flush();

private:
  Result<void> waitFor(std::vector<Request> &requests);
  std::vector<Request> &current() { return sent[step % sent.size()]; }

  Communicator &communicator;
  std::byte *const memory;
  const std::size_t stepBytes;
  const int steps;
  std::vector<std::vector<Request>> sent; ///< by place of the copy
  std::size_t step = 0, used = 0;
  bool isNew = true; ///< nothing of this step yet
};

} // namespace stagewright::runtime

#endif
