#include "catalogue/tables/Windows.h"

namespace stagewright::catalogue {

static std::int64_t floorDivide(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0);
}

std::int64_t Window::outputs(std::int64_t size) const {
  return floorDivide(size + 2 * padding - extent(), stride) + 1;
}

std::int64_t Window::outputsWithCut(std::int64_t size) const {
  const std::int64_t out = floorDivide(size + 2 * padding - extent() + stride - 1, stride) + 1;
  return (out - 1) * stride >= size + padding ? out - 1 : out;
}

Result<std::array<Window, 2>> windowsOf(const Kernel &kernel, std::span<const Attribute> attributes) {
  std::array<Window, 2> out;
  struct Part {
    const char *name;
    std::int64_t Window::*member;
    std::int64_t least;
  };
  for (const Part &part : {Part{"kernel", &Window::kernel, 1}, Part{"stride", &Window::stride, 1},
                           Part{"padding", &Window::padding, 0}, Part{"dilation", &Window::dilation, 1}}) {
    if (std::ranges::find(kernel.attributes, part.name, &AttributeRule::name) == kernel.attributes.end())
      continue;
    const std::vector<std::int64_t> list = listAttribute(kernel, attributes, part.name);
    const auto fits = [&](std::int64_t entry) { return entry >= part.least && entry <= kMaxWindow; };
    if (list.size() != out.size() || !std::ranges::all_of(list, fits))
      return userError("kernel " + std::string(kernel.name),
                       std::string("attribute '") + part.name + "' is not two numbers between " +
                           std::to_string(part.least) + " and " + std::to_string(kMaxWindow),
                       "give one number for rows and one for columns");
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i].*part.member = list[i];
  }
  return out;
}

} // namespace stagewright::catalogue
