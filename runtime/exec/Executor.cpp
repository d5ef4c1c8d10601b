#include "runtime/exec/Executor.h"

#include <cstring>

namespace stagewright::runtime {

void *Executor::scalar(std::string_view name) const {
  for (const executable::Scalar *scalar : *plan().scalars()) {
    if (scalar->name()->string_view() == name) {
      return data(scalar->arena(), scalar->offset());
    }
  }
  return nullptr;
}

void Executor::fill(InputSource &source, int input, int microBatch, std::byte *destination) const {
  const std::int32_t own = tensorRank();
  if (input == kTensorRankInput) {
    std::memcpy(destination, &own, sizeof own);
  } else if (input == kTensorRandomInput) {
    std::uint32_t words[4]; // seed low, seed high, step, micro-batch
    source.fill(kRandomInput, microBatch, words);
    words[1] ^= 0x9e3779b9u * static_cast<std::uint32_t>(own + 1); // another key of Philox
    std::memcpy(destination, words, sizeof words);
  } else {
    source.fill(input, microBatch, destination);
  }
}

} // namespace stagewright::runtime
