// What the cases of all families are made with.
#ifndef STAGEWRIGHT_TESTS_KERNELS_CASES_CASEBUILDING_H
#define STAGEWRIGHT_TESTS_KERNELS_CASES_CASEBUILDING_H

#include "../KernelCases.h"

#include <cmath>
#include <functional>
#include <random>

namespace stagewright::kernels {

using catalogue::DType;
using catalogue::Shape;
using Cases = std::vector<KernelCase>;

/// Random numbers: the same for every run of a kernel's cases.
std::mt19937_64 &engine();
double uniform(double low, double high);
std::int64_t integer(std::int64_t low, std::int64_t high);

/// A call whose floating-point operands are uniform in [-1, 1]; integer operands and written ones are zero.
KernelCase makeCase(std::string_view name, std::vector<Shape> shapes,
                    std::vector<catalogue::Attribute> attributes = {}, int version = 1);
void fill(Buffer &buffer, const std::function<double()> &value);

/// Sizes around a vector (16) and a tile (16384; up to 32768 run as one).
std::vector<Shape> elementShapes();
/// Calls whose operands all have one shape, for each of elementShapes(), with contents in [-range, range].
Cases mapCases(std::string_view name, std::vector<catalogue::Attribute> attributes, double range,
               double absolute, double relative);
/// Calls on rows and columns of many sizes; an i32 second operand holds column numbers.
Cases rowCases(std::string_view name,
               const std::function<std::vector<Shape>(std::int64_t, std::int64_t)> &shapes);

struct TableEntry {
  std::string_view kernel;
  std::function<Cases(std::string_view)> cases;
  int version = 1;
};

std::span<const TableEntry> linearCases();
std::span<const TableEntry> activationCases();
std::span<const TableEntry> channelNormCases();
std::span<const TableEntry> convolutionCases();
std::span<const TableEntry> poolingCases();
std::span<const TableEntry> arithmeticCases();
std::span<const TableEntry> movementCases();
std::span<const TableEntry> lossCases();
std::span<const TableEntry> optimizerCases();
std::span<const TableEntry> rowNormCases();
std::span<const TableEntry> softmaxCases();
std::span<const TableEntry> embeddingCases();
std::span<const TableEntry> rotaryCases();
std::span<const TableEntry> dropoutCases();
std::span<const TableEntry> attentionCases();
std::span<const TableEntry> maskedMeanCases();

} // namespace stagewright::kernels

#endif
