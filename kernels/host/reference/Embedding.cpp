// Family embedding.
#include "kernels/host/reference/Values.h"

#include <limits>

namespace stagewright::kernels {

namespace {

/// Calls body(element of the tokens' rows, element of the table), -1 for an id that is no row.
template <typename Body>
void eachElement(const Values &v, std::int64_t entries, std::int64_t columns, const Body &body) {
  for (std::int64_t token = 0; token < v.size(0, 0); ++token)
    for (std::int64_t i = 0; i < columns; ++i) {
      const std::int64_t id = std::int64_t(v[0][std::size_t(token)]);
      body(std::size_t(token * columns + i), id < 0 || id >= entries ? -1 : id * columns + i);
    }
}

void embedding(const Values &v) {
  eachElement(v, v.size(1, 0), v.size(1, 1), [&](std::size_t to, std::int64_t from) {
    v[2][to] = from < 0 ? std::numeric_limits<double>::quiet_NaN() : v[1][std::size_t(from)];
  });
}

void embeddingGrad(const Values &v) {
  const std::int64_t columns = v.size(2, 1), padding = v.integer("padding_idx");
  eachElement(v, v.size(2, 0), columns, [&](std::size_t from, std::int64_t to) {
    if (to >= 0 && to / columns != padding)
      v[2][std::size_t(to)] += v[1][from];
  });
}

constexpr ReferenceEntry kEntries[] = {{"embedding", embedding}, {"embedding_grad", embeddingGrad}};

} // namespace

ReferenceTable embeddingReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
