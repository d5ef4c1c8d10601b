#include "kernels/host/reference/Values.h"

#include <algorithm>

namespace stagewright::kernels {

bool runReference(const KernelInstance &instance, ReferenceOperands &operands) {
  for (auto family : {linearReferences, activationReferences, channelNormReferences, convolutionReferences,
                      poolingReferences, arithmeticReferences, movementReferences, lossReferences,
                      optimizerReferences, rowNormReferences, softmaxReferences, embeddingReferences,
                      rotaryReferences, dropoutReferences, attentionReferences, maskedMeanReferences})
    for (const ReferenceEntry &entry : family())
      if (entry.name == instance.kernel->name && entry.version == instance.kernel->version) {
        entry.run({instance, operands});
        return true;
      }
  return false;
}

std::int64_t packedChunk(std::int64_t depth) {
  const std::int64_t chunks = (depth + 127) / 128;
  return ((depth + chunks - 1) / chunks + 7) / 8 * 8;
}

std::int64_t packedIndex(std::int64_t depth, std::int64_t columns, std::int64_t step, std::int64_t column) {
  const std::int64_t chunk = packedChunk(depth), begin = step / chunk * chunk;
  const std::int64_t length = std::min(chunk, depth - begin), panels = (columns + 31) / 32;
  return begin * panels * 32 + column / 32 * length * 32 + (step - begin) * 32 + column % 32;
}

} // namespace stagewright::kernels
