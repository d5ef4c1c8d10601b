// Family movement.
#include "kernels/host/reference/Values.h"

#include <algorithm>

namespace stagewright::kernels {

namespace {

using catalogue::Shape;

/// The position of element `index` in a tensor of this shape.
Shape positionOf(std::size_t index, const Shape &shape) {
  Shape out(shape.size());
  for (std::size_t i = shape.size(); i-- > 0; index /= std::size_t(shape[i]))
    out[i] = std::int64_t(index % std::size_t(shape[i]));
  return out;
}

std::size_t indexOf(const Shape &position, const Shape &shape) {
  std::int64_t index = 0;
  for (std::size_t i = 0; i < shape.size(); ++i)
    index = index * shape[i] + position[i];
  return std::size_t(index);
}

/// Of an element at `position` in a larger tensor, the index in one of `shape` that was broadcast to it.
std::size_t broadcastIndex(Shape position, const Shape &shape) {
  position.erase(position.begin(), position.end() - std::ptrdiff_t(shape.size()));
  for (std::size_t i = 0; i < shape.size(); ++i)
    position[i] = shape[i] == 1 ? 0 : position[i];
  return indexOf(position, shape);
}

void permute(const Values &v) {
  const Shape &x = v.instance.shapes[0], &y = v.instance.shapes[1], dims = v.list("dims");
  for (std::size_t i = 0; i < v[1].size(); ++i) {
    const Shape position = positionOf(i, y);
    Shape from(position.size());
    for (std::size_t k = 0; k < dims.size(); ++k)
      from[std::size_t(dims[k])] = position[k];
    v[1][i] = v[0][indexOf(from, x)];
  }
}

/// The index in `whole` of element i of a slice.
std::size_t sliceIndex(const Values &v, std::size_t i, const Shape &part, const Shape &whole) {
  Shape position = positionOf(i, part);
  const Shape starts = v.list("starts");
  for (std::size_t k = 0; k < starts.size(); ++k)
    position[k] += starts[k];
  return indexOf(position, whole);
}

void slice(const Values &v) {
  for (std::size_t i = 0; i < v[1].size(); ++i)
    v[1][i] = v[0][sliceIndex(v, i, v.instance.shapes[1], v.instance.shapes[0])];
}

void sliceGrad(const Values &v) {
  std::ranges::fill(v[1], 0.0);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][sliceIndex(v, i, v.instance.shapes[0], v.instance.shapes[1])] = v[0][i];
}

void concat(const Values &v) {
  const Shape &a = v.instance.shapes[0], &b = v.instance.shapes[1], &y = v.instance.shapes[2];
  const std::size_t dim = std::size_t(v.integer("dim"));
  for (std::size_t i = 0; i < v[2].size(); ++i) {
    Shape position = positionOf(i, y);
    const bool isFirst = position[dim] < a[dim];
    position[dim] -= isFirst ? 0 : a[dim];
    v[2][i] = isFirst ? v[0][indexOf(position, a)] : v[1][indexOf(position, b)];
  }
}

void expand(const Values &v) {
  for (std::size_t i = 0; i < v[1].size(); ++i)
    v[1][i] =
        v.real("scale") * v[0][broadcastIndex(positionOf(i, v.instance.shapes[1]), v.instance.shapes[0])];
}

void reduceSum(const Values &v) {
  std::ranges::fill(v[1], 0.0);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][broadcastIndex(positionOf(i, v.instance.shapes[0]), v.instance.shapes[1])] += v[0][i];
  for (double &sum : v[1])
    sum *= v.real("scale");
}

constexpr ReferenceEntry kEntries[] = {
    {"permute", permute}, {"slice", slice},   {"slice_grad", sliceGrad},
    {"concat", concat},   {"expand", expand}, {"reduce_sum", reduceSum},
};

} // namespace

ReferenceTable movementReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
