// Family collective: the ranks of a group do it together, each with its own operands. The executor runs them.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

namespace {

Result<void> checkAllGather(std::span<const Shape> shapes, std::span<const Attribute>) {
  const Shape &x = shapes[0], &y = shapes[1];
  if (y.size() != x.size() + 1 || !std::equal(x.begin(), x.end(), y.begin() + 1))
    return userError("kernel all_gather", "y has not the shape of x behind a dimension for the ranks");
  return {};
}

Kernel collective(Kernel kernel) {
  kernel.isCollective = true;
  return kernel;
}

} // namespace

std::vector<Kernel> collectiveKernels() {
  const AttributeRule axis{"axis", std::string("tensor"), {"tensor", "data"}};
  return {
      // The sum of x over the ranks, ((r0 + r1) + ...) in fp32, rounded once.
      collective(entry<"all_reduce", "x T[X...] R, y T[X...] W">({axis}, {{0, 1}})),
      collective(entry<"all_gather", "x f32[X...] R, y f32[Y...] W">({axis}, {}, nullptr, checkAllGather)),
  };
}

} // namespace stagewright::catalogue
