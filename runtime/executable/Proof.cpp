#include "runtime/executable/Proof.h"

#include "runtime/executable/Executable.h"

namespace stagewright::runtime {

/// The FlatBuffers verifier looks at the alignment of a vector's length only, not at that of its elements,
/// and the builder does so too for a vector without any.
static bool isAligned(const flatbuffers::Vector<std::int64_t> &shape) {
  return shape.size() == 0 || reinterpret_cast<std::uintptr_t>(shape.Data()) % alignof(std::int64_t) == 0;
}

std::optional<std::uint64_t> elementsOf(const flatbuffers::Vector<std::int64_t> *shape) {
  std::uint64_t elements = 1;
  if (!shape) {
    return elements;
  }
  if (!isAligned(*shape)) {
    return std::nullopt;
  }
  for (const std::int64_t size : *shape) {
    if (size < 1 || static_cast<std::uint64_t>(size) > kMaxTensorBytes / elements) {
      return std::nullopt;
    }
    elements *= static_cast<std::uint64_t>(size);
  }
  return elements;
}

std::optional<std::uint64_t> bytesOf(executable::DType dtype,
                                     const flatbuffers::Vector<std::int64_t> *shape) {
  const auto elements = elementsOf(shape);
  if (!elements || static_cast<int>(dtype) >= catalogue::kDTypes) {
    return std::nullopt;
  }
  return *elements * catalogue::byteSize(static_cast<catalogue::DType>(dtype)); // at most 8 * 2^48
}

std::string shapeText(const flatbuffers::Vector<std::int64_t> *shape) {
  if (shape && !isAligned(*shape)) {
    return "(misaligned)";
  }
  return shape ? shapeText(std::vector<std::int64_t>(shape->begin(), shape->end())) : "[]";
}

std::optional<std::vector<std::string>> optimizerStates(const std::string &optimizer) {
  if (optimizer == "sgd") {
    return std::vector<std::string>{};
  }
  if (optimizer == "adagrad") {
    return std::vector<std::string>{"sum"};
  }
  if (optimizer == "lion") {
    return std::vector<std::string>{"exp_avg"};
  }
  if (correctsBias(optimizer)) {
    return std::vector<std::string>{"exp_avg", "exp_avg_sq"};
  }
  return std::nullopt;
}

bool hasBetas(const std::string &optimizer) {
  return optimizer == "lion" || correctsBias(optimizer);
}

bool correctsBias(const std::string &optimizer) {
  return optimizer == "adam" || optimizer == "adamw" || optimizer == "lamb";
}

int moment(executable::TaskKind kind) {
  using Kind = executable::TaskKind;
  constexpr Kind order[] = {Kind::ReceiveForward,  Kind::Forward,       Kind::SendForward,
                            Kind::ReceiveBackward, Kind::BackwardInput, Kind::SendBackward,
                            Kind::BackwardWeight,  Kind::Norm,          Kind::AllGather,
                            Kind::Update};
  for (int i = 0; i < static_cast<int>(std::size(order)); ++i) {
    if (order[i] == kind) {
      return i;
    }
  }
  return -1;
}

int moment(executable::ProgramKind kind) {
  switch (kind) {
  case executable::ProgramKind::Forward:
  case executable::ProgramKind::Evaluate:
    return moment(executable::TaskKind::Forward);
  case executable::ProgramKind::BackwardInput:
    return moment(executable::TaskKind::BackwardInput);
  case executable::ProgramKind::BackwardWeight:
    return moment(executable::TaskKind::BackwardWeight);
  default:
    return -1;
  }
}

} // namespace stagewright::runtime
