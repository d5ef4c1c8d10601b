#include "runtime/train/EvaluationOutputs.h"

#include "runtime/train/HalfPrecision.h"

#include <cstring>

namespace stagewright::runtime {

Result<int> outputRank(const Executable &executable) {
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    if (const auto *outputs = executable.rank(rank).outputs(); outputs && outputs->size() > 0) {
      return rank;
    }
  }
  return userError(executable.name(), "the file does not say where its model's outputs are",
                   "compile the model again with this version");
}

static const executable::Operand &valueOf(const Executable &executable, int rank) {
  return *executable.rank(rank).outputs()->Get(0)->value();
}

static std::uint64_t elementsOf(const executable::Operand &value) {
  return static_cast<std::uint64_t>(
      catalogue::elements(catalogue::Shape(value.shape()->begin(), value.shape()->end())));
}

Result<EvaluationOutputs> EvaluationOutputs::create(const std::string &path, const Executable &executable,
                                                    std::uint64_t samples) {
  auto rank = outputRank(executable);
  if (!rank) {
    return rank.takeError();
  }
  if (!schedule::isPlanInvariant(executable.evaluateSchedule())) {
    return userError(executable.name(), "its evaluation takes samples out of their order",
                     "compile the model with another schedule");
  }
  const executable::Operand &value = valueOf(executable, *rank);
  std::vector<std::uint64_t> shape(value.shape()->begin(), value.shape()->end());
  shape[0] = samples;
  auto file = NpzWriter::create(path, "outputs", shape);
  if (!file) {
    return file.takeError();
  }
  EvaluationOutputs outputs(std::move(*file));
  outputs.widened.resize(value.dtype() == executable::DType::F32 ? 0 : elementsOf(value));
  return outputs;
}

Result<void> EvaluationOutputs::take(int microBatch, const executable::Operand &value,
                                     const std::byte *data) {
  const std::uint64_t count = elementsOf(value) / static_cast<std::uint64_t>(value.shape()->Get(0)) *
                              static_cast<std::uint64_t>(validRows(microBatch));
  if (value.dtype() == executable::DType::F32) {
    return file.write(reinterpret_cast<const float *>(data), count);
  }
  const bool isHalf = value.dtype() == executable::DType::F16;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, data + 2 * i, sizeof bits);
    widened[i] = isHalf ? fromF16(bits) : fromBF16(bits);
  }
  return file.write(widened.data(), count);
}

} // namespace stagewright::runtime
