#include "catalogue/Entry.h"

#include "catalogue/Target.h"

namespace stagewright::catalogue {

std::size_t productWorkspace(std::span<const Shape>, std::string_view target) {
  return isCuda(target) ? kCudaWorkspace : 0;
}

std::size_t rowResults(std::span<const Shape> shapes, std::string_view) {
  if (shapes.empty() || shapes[0].empty() || elements(shapes[0]) < 0 || elements(shapes[0]) > kMaxElements)
    return 0;
  return std::size_t(shapes[0][0]) * 4;
}

std::size_t granuleResults(std::span<const Shape> shapes, std::string_view) {
  if (shapes.empty() || elements(shapes[0]) < 0 || elements(shapes[0]) > kMaxElements)
    return 0;
  return std::size_t(granules(elements(shapes[0]))) * 8;
}

} // namespace stagewright::catalogue
