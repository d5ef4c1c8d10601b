#include "catalogue/Entry.h"

#include "catalogue/CudaSums.h"

namespace stagewright::catalogue {

std::size_t productWorkspace(std::span<const Shape>, std::string_view target) {
  return isCuda(target) ? kCudaWorkspace : 0;
}

std::size_t chunkSums(std::span<const Shape> shapes, std::string_view target) {
  if (!isCuda(target) || shapes.empty() || shapes[0].size() != 2 || elements(shapes[0]) < 1 ||
      elements(shapes[0]) > kMaxElements)
    return 0;
  const std::int64_t chunks = rowChunks(shapes[0][0]);
  return chunks < 2 ? 0 : std::size_t(chunks) * std::size_t(shapes[0][1]) * sizeof(float);
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
