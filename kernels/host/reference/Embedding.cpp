// Family embedding.
#include "kernels/host/reference/Values.h"

#include <limits>

namespace stagewright::kernels {

namespace {

/// Calls body(element of the tokens' rows, id, element of the table), the latter -1 for an id of no row of
/// it.
template <typename Body>
void eachElement(const Values &v, std::int64_t entries, std::int64_t columns, const Body &body) {
  const std::int64_t first = v.has(3) ? std::int64_t(v.scalar(3)) * entries : 0;
  for (std::int64_t token = 0; token < v.size(0, 0); ++token)
    for (std::int64_t i = 0; i < columns; ++i) {
      const std::int64_t id = std::int64_t(v[0][std::size_t(token)]), entry = id - first;
      body(std::size_t(token * columns + i), id, entry < 0 || entry >= entries ? -1 : entry * columns + i);
    }
}

void embedding(const Values &v) {
  eachElement(v, v.size(1, 0), v.size(1, 1), [&](std::size_t to, std::int64_t id, std::int64_t from) {
    const double absent = v.has(3) && id >= 0 ? 0 : std::numeric_limits<double>::quiet_NaN();
    v[2][to] = from < 0 ? absent : v[1][std::size_t(from)];
  });
}

void embeddingGrad(const Values &v) {
  const std::int64_t columns = v.size(2, 1), padding = v.integer("padding_idx");
  eachElement(v, v.size(2, 0), columns, [&](std::size_t from, std::int64_t id, std::int64_t to) {
    if (to >= 0 && id != padding)
      v[2][std::size_t(to)] += v[1][from];
  });
}

constexpr ReferenceEntry kEntries[] = {{"embedding", embedding}, {"embedding_grad", embeddingGrad}};

} // namespace

ReferenceTable embeddingReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
