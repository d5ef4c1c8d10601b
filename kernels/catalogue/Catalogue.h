// The kernel catalogue: what kernels there are, what they take, how much workspace they need. The compiler
// selects from it, the .stage file names its entries, the loader checks commands against it, and each device
// implements it. No MLIR, no CUDA, no kernel code.
#ifndef STAGEWRIGHT_CATALOGUE_CATALOGUE_H
#define STAGEWRIGHT_CATALOGUE_CATALOGUE_H

#include "error/Error.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace stagewright::catalogue {

/// Element types. The numbers are those of the .stage file: append only.
enum class DType : std::uint8_t { F32 = 0, F16 = 1, BF16 = 2, F64 = 3, I32 = 4, I64 = 5, U8 = 6 };
inline constexpr int kDTypes = 7;

std::size_t byteSize(DType dtype);  ///< bytes of one element
std::string_view name(DType dtype); ///< "f32", "i32", ...

/// Operands start at multiples of this many bytes, scalars and elements of per-micro-batch vectors excepted.
inline constexpr std::size_t kAlignment = 64;

/// `bytes`, not negative, rounded up to a multiple of kAlignment.
template <typename Integer>
constexpr Integer aligned(Integer bytes) {
  constexpr auto line = static_cast<Integer>(kAlignment);
  return (bytes + line - 1) / line * line;
}

/// Elements of a gradient whose squares are added into one fp64 partial (design: shards are cut at granules).
inline constexpr std::int64_t kGranule = 16384;

enum class Access : std::uint8_t { Read, Write, ReadWrite };

struct OperandRule {
  std::string_view name;
  Access access = Access::Read;
  DType dtype = DType::F32; ///< of an `element` operand: when the call does not say
  bool optional = false;    ///< optional operands are the last ones
  bool element = false;     ///< f32, f16 or bf16: the call's element type, the same for all such operands
};

using AttributeValue = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>>;

struct Attribute {
  std::string name;
  AttributeValue value;
};

/// A declared attribute with its default. Attributes are append-only.
struct AttributeRule {
  std::string_view name;
  AttributeValue fallback;
  std::vector<std::string_view> choices = {}; ///< of a text attribute: the values that it may have
};

/// Limits of one operand, so that no product of sizes overflows: at most 8 dimensions of 1 or more, and 2^44
/// elements.
inline constexpr std::size_t kMaxDimensions = 8;
inline constexpr std::int64_t kMaxElements = std::int64_t(1) << 44;
/// The most entries of an attribute that is a list.
inline constexpr std::size_t kMaxListEntries = 16;

/// The largest arena in bytes: far above any machine, far below overflow.
inline constexpr std::int64_t kMaxArenaBytes = std::int64_t(1) << 48;

/// Shape of one operand, outermost first.
using Shape = std::vector<std::int64_t>;

/// Two operands that may be the same memory: `output` may overwrite `input`.
struct InPlacePair {
  int input = 0;
  int output = 0;
};

/// The devices that have a kernel.
enum class Devices : std::uint8_t { Host, Cuda, All };

struct Kernel {
  std::string_view name;
  int version = 1;
  Devices on = Devices::All; ///< elsewhere the compiler does not choose it, and loaders refuse it
  std::vector<OperandRule> operands;
  std::vector<AttributeRule> attributes;
  std::vector<InPlacePair> inPlace;
  bool isCollective = false; ///< the executor's: the ranks of a group run it together
  /// Operands, shapes and access as one line of text, e.g. "x f32[M,K] R, ..., bias f32[N] R?" (`?`:
  /// optional).
  std::string_view signature;
  /// Checks ranks and sizes against each other; the error's `what` names operand and sizes. Safe on any
  /// input.
  Result<void> (*checkShapes)(std::span<const Shape> shapes) = nullptr;
  /// Bytes of workspace for these shapes on this target ("host", "cuda:sm_90"); null means none.
  std::size_t (*workspaceBytes)(std::span<const Shape> shapes, std::string_view target) = nullptr;
  /// A rule that joins shapes and attributes, both already checked; null means none.
  Result<void> (*checkTogether)(std::span<const Shape> shapes,
                                std::span<const Attribute> attributes) = nullptr;
};

/// Workspace of every matrix product on CUDA: what NVIDIA recommends for cuBLASLt on Hopper.
inline constexpr std::size_t kCudaWorkspace = std::size_t(32) << 20;

/// Whether the device that `target` ("host", "cuda:sm_90") stands for has the kernel.
bool existsOn(const Kernel &kernel, std::string_view target);

/// All kernels, by name.
std::span<const Kernel> kernels();
/// Null when there is no such kernel or version.
const Kernel *find(std::string_view name, int version);

/// Checks operand count, dtypes, shapes and attribute names and types of one call.
Result<void> check(const Kernel &kernel, std::span<const DType> dtypes, std::span<const Shape> shapes,
                   std::span<const Attribute> attributes);

/// The element type of a call: that of its first `element` operand, or F32.
DType elementOf(const Kernel &kernel, std::span<const DType> dtypes);

/// The given value or the declared default.
std::int64_t integerAttribute(const Kernel &kernel, std::span<const Attribute> attributes,
                              std::string_view name);
double floatAttribute(const Kernel &kernel, std::span<const Attribute> attributes, std::string_view name);
std::string stringAttribute(const Kernel &kernel, std::span<const Attribute> attributes,
                            std::string_view name);

std::vector<std::int64_t> listAttribute(const Kernel &kernel, std::span<const Attribute> attributes,
                                        std::string_view name);

/// Elements of a packed matrix with `contraction` rows (the K of the product) and `columns` columns: columns
/// are padded with zeros to a multiple of 32. -1 when a size is negative or the product does not fit.
std::int64_t packedElements(std::int64_t contraction, std::int64_t columns);

/// Elements of the packed form of a convolution's weight [outputs, inputs of a group, rows, columns], for the
/// forward product or for the gradient of the input. -1 for other shapes or when the product does not fit.
std::int64_t packedConv2dElements(const Shape &weight);

/// Granules of a parameter: ceil(elements / kGranule); -1 when `elements` is negative.
std::int64_t granules(std::int64_t elements);

/// Product of the sizes; -1 when a size is negative or the product does not fit.
std::int64_t elements(const Shape &shape);

} // namespace stagewright::catalogue

#endif
