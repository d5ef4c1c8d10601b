// Calls of every kernel to test with: shapes, attributes, contents and the largest error allowed.
#ifndef STAGEWRIGHT_TESTS_KERNELS_KERNELCASES_H
#define STAGEWRIGHT_TESTS_KERNELS_KERNELCASES_H

#include "TileRunners.h"

#include "kernels/host/reference/Reference.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace stagewright::kernels {

/// Contents of one operand between two guards that no kernel may touch.
class Buffer {
public:
  Buffer(catalogue::DType dtype, std::int64_t elements);

  void *data() { return lines.data() + 1; }
  const void *data() const { return lines.data() + 1; }
  template <typename T>
  T *as() {
    return static_cast<T *>(data());
  }
  double at(std::int64_t i) const;
  void set(std::int64_t i, double value);
  std::vector<double> values() const;
  bool guardsIntact() const;
  /// With the guards: data() lies kGuard bytes behind the begin.
  std::span<std::byte> withGuards() { return {lines.front().bytes, lines.size() * sizeof(Line)}; }
  static constexpr std::size_t kGuard = 64;
  /// Equal bit by bit, but any NaN equals any other.
  bool sameBits(const Buffer &other) const;

  catalogue::DType dtype;
  std::int64_t elements;

private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines; ///< a guard, the contents, a guard
};

struct KernelCase {
  KernelInstance instance;
  std::vector<Buffer> operands;
  double absolute = 0, relative = 0; ///< |result - reference| <= absolute + relative |reference|

  std::string text() const; ///< "linear [16,784] ..."
};

/// A call with the first elements of its operands given, the others zero.
KernelCase caseOf(const char *kernel, std::vector<catalogue::Shape> shapes,
                  const std::vector<std::vector<double>> &contents,
                  std::vector<catalogue::Attribute> attributes = {});

/// The same call on elements of another type; two bytes: rounding the result costs half a unit in its last
/// place.
KernelCase withElement(const KernelCase &one, catalogue::DType element);

/// F32, and where the kernel has operands of a call's element type F16 and BF16 as well.
std::vector<catalogue::DType> elementTypes(const catalogue::Kernel &kernel);

/// Told of every call that a test makes of a kernel or of its reference (Coverage.cpp); else null.
inline void (*onKernelCall)(const KernelInstance &) = nullptr;

/// Empty when the table has no entry for the kernel.
std::vector<KernelCase> casesOf(std::string_view kernel, int version = 1);

/// Kernels of the table that the host has, all of version 1, for parametrized tests.
std::vector<std::string> testedKernels();

/// Runs a call on copies of its operands and returns them. `aliased`: that pair of operands is the same
/// memory.
std::vector<Buffer> runCase(const KernelCase &call, Isa isa, TileRunner &runner,
                            std::optional<catalogue::InPlacePair> aliased = {});

std::vector<Isa> supportedIsas();

} // namespace stagewright::kernels

#endif
