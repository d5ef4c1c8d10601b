// What the references of all families share: one call's values, and the tables in which Reference.cpp looks.
#ifndef STAGEWRIGHT_KERNELS_HOST_REFERENCE_VALUES_H
#define STAGEWRIGHT_KERNELS_HOST_REFERENCE_VALUES_H

#include "kernels/host/reference/Reference.h"

#include <span>
#include <string>
#include <string_view>

namespace stagewright::kernels {

/// Sizes, attributes and elements of one call, by operand number.
struct Values {
  const KernelInstance &instance;
  ReferenceOperands &operands;

  std::int64_t size(std::size_t operand, std::size_t dimension) const {
    return instance.shapes[operand][dimension];
  }
  bool has(std::size_t operand) const { return operand < instance.shapes.size(); }
  std::vector<double> &operator[](std::size_t operand) const { return operands[operand]; }
  double scalar(std::size_t operand) const { return operands[operand][0]; }
  double real(const char *name) const {
    return catalogue::floatAttribute(*instance.kernel, instance.attributes, name);
  }
  bool flag(const char *name) const {
    return catalogue::integerAttribute(*instance.kernel, instance.attributes, name) != 0;
  }
  std::string text(const char *name) const {
    return catalogue::stringAttribute(*instance.kernel, instance.attributes, name);
  }
  std::int64_t integer(const char *name) const {
    return catalogue::integerAttribute(*instance.kernel, instance.attributes, name);
  }
  std::vector<std::int64_t> list(const char *name) const {
    return catalogue::listAttribute(*instance.kernel, instance.attributes, name);
  }
};

/// v[last][i] = f(v[0][i], v[1][i]); with two operands the second argument is what was in the output.
template <typename Function>
void map(const Values &v, const Function &f) {
  std::vector<double> &out = v[v.operands.size() - 1];
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = f(v[0][i], v[1][i]);
}

struct ReferenceEntry {
  std::string_view name;
  void (*run)(const Values &v);
  int version = 1;
};
using ReferenceTable = std::span<const ReferenceEntry>;

ReferenceTable linearReferences();
ReferenceTable activationReferences();
ReferenceTable channelNormReferences();
ReferenceTable convolutionReferences();
ReferenceTable poolingReferences();
ReferenceTable arithmeticReferences();
ReferenceTable movementReferences();
ReferenceTable lossReferences();
ReferenceTable optimizerReferences();
ReferenceTable rowNormReferences();
ReferenceTable softmaxReferences();
ReferenceTable embeddingReferences();
ReferenceTable rotaryReferences();
ReferenceTable dropoutReferences();
ReferenceTable attentionReferences();
ReferenceTable maskedMeanReferences();

} // namespace stagewright::kernels

#endif
