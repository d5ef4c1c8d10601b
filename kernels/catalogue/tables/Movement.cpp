// Family movement: elements change places, are repeated, or are summed over what would repeat them.
#include "catalogue/CudaSums.h"
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

namespace {

std::string text(const Shape &shape) {
  std::string out = "[";
  for (std::int64_t size : shape)
    out += (out.size() > 1 ? "," : "") + std::to_string(size);
  return out + "]";
}

/// As NumPy: dimensions are aligned at the right, those of size 1 and missing ones are repeated.
bool broadcasts(const Shape &from, const Shape &to) {
  if (from.size() > to.size())
    return false;
  const std::size_t missing = to.size() - from.size();
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i] != 1 && from[i] != to[missing + i])
      return false;
  return true;
}

Result<void> checkExpand(std::span<const Shape> shapes, std::span<const Attribute>) {
  if (!broadcasts(shapes[0], shapes[1]))
    return userError("kernel expand",
                     "x of shape " + text(shapes[0]) + " cannot be repeated to " + text(shapes[1]));
  return {};
}

Result<void> checkReduceSum(std::span<const Shape> shapes, std::span<const Attribute>) {
  if (!broadcasts(shapes[1], shapes[0]))
    return userError("kernel reduce_sum",
                     "x of shape " + text(shapes[0]) + " cannot be summed to " + text(shapes[1]));
  return {};
}

Result<void> checkPermute(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const Shape &x = shapes[0], &y = shapes[1], dims = listAttribute(*find("permute", 1), attributes, "dims");
  Shape sorted = dims, numbers;
  std::ranges::sort(sorted);
  for (std::size_t i = 0; i < x.size(); ++i)
    numbers.push_back(std::int64_t(i));
  if (sorted != numbers)
    return userError("kernel permute",
                     "dims " + text(dims) + " is no permutation of the dimensions of " + text(x));
  for (std::size_t i = 0; i < dims.size(); ++i)
    if (y.size() != dims.size() || y[i] != x[std::size_t(dims[i])])
      return userError("kernel permute",
                       "y has shape " + text(y) + ", not that of x " + text(x) + " with dims " + text(dims));
  return {};
}

/// A slice of shape `part` of something of shape `whole`.
Result<void> checkSlice(std::string_view kernel, const Shape &whole, const Shape &part,
                        std::span<const Attribute> attributes) {
  const Shape starts = listAttribute(*find(kernel, 1), attributes, "starts");
  bool fits = whole.size() == part.size() && starts.size() == whole.size();
  for (std::size_t i = 0; fits && i < starts.size(); ++i)
    fits = starts[i] >= 0 && starts[i] <= whole[i] && part[i] <= whole[i] - starts[i];
  if (!fits)
    return userError("kernel " + std::string(kernel), "a slice " + text(part) + " that starts at " +
                                                          text(starts) + " does not lie inside " +
                                                          text(whole));
  return {};
}

Result<void> checkConcat(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const Shape &a = shapes[0], &b = shapes[1], &y = shapes[2];
  const std::int64_t dim = integerAttribute(*find("concat", 1), attributes, "dim");
  bool fits = a.size() == b.size() && a.size() == y.size() && dim >= 0 && dim < std::int64_t(a.size());
  for (std::size_t i = 0; fits && i < a.size(); ++i)
    fits = std::int64_t(i) == dim ? a[i] + b[i] == y[i] : a[i] == b[i] && a[i] == y[i];
  if (!fits)
    return userError("kernel concat", text(a) + " and " + text(b) + " joined at dimension " +
                                          std::to_string(dim) + " are not " + text(y));
  return {};
}

/// Partial sums: of long rows; on CUDA of chunks, where one launch does not do.
std::size_t sumResults(std::span<const Shape> shapes, std::string_view target) {
  if (shapes.size() < 2 || elements(shapes[0]) <= 0 || elements(shapes[0]) > kMaxElements)
    return 0;
  if (target == "host")
    return elements(shapes[0]) <= kGranule ? 0 : std::size_t(elements(shapes[0]) / kGranule * 2 + 1) * 8;
  const std::int64_t sums = std::clamp<std::int64_t>(elements(shapes[1]), 1, elements(shapes[0]));
  const std::int64_t terms = elements(shapes[0]) / sums;
  const std::int64_t chunks =
      std::max(cudaSumPlan(sums, terms, false).chunks, cudaSumPlan(sums, terms, true).chunks);
  return chunks == 1 ? 0 : std::size_t(chunks * sums) * 8;
}

} // namespace

std::vector<Kernel> movementKernels() {
  const std::vector<std::int64_t> none;
  return {
      entry<"permute", "x T[X...] R, y T[Y...] W">({{"dims", none}}, {}, nullptr, checkPermute),
      entry<"slice", "x T[X...] R, y T[Y...] W">(
          {{"starts", none}}, {}, nullptr,
          [](std::span<const Shape> shapes, std::span<const Attribute> a) {
            return checkSlice("slice", shapes[0], shapes[1], a);
          }),
      entry<"slice_grad", "g T[Y...] R, dx T[X...] W">(
          {{"starts", none}}, {}, nullptr,
          [](std::span<const Shape> shapes, std::span<const Attribute> a) {
            return checkSlice("slice_grad", shapes[1], shapes[0], a);
          }),
      entry<"concat", "a T[A...] R, b T[B...] R, y T[Y...] W">({{"dim", std::int64_t(0)}}, {}, nullptr,
                                                               checkConcat),
      // y = scale * x, repeated as NumPy broadcasts; its gradient is reduce_sum.
      entry<"expand", "x T[X...] R, y T[Y...] W">({{"scale", 1.0}}, {}, nullptr, checkExpand),
      entry<"reduce_sum", "x T[X...] R, y T[Y...] W">({{"scale", 1.0}}, {}, sumResults, checkReduceSum),
  };
}

} // namespace stagewright::catalogue
