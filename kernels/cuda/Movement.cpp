// Family movement. Elements that stay neighbours are moved as units of up to 16 bytes.
#include "kernels/cuda/Strided.h"

namespace stagewright::cuda {
namespace {

std::int64_t elementBytes(const Enqueue &call) {
  return call.call.element == kernels::Element::F32 ? 4 : 2;
}

/// The largest unit that all these numbers of bytes are multiples of.
std::int64_t unitOf(std::initializer_list<std::int64_t> bytes) {
  std::int64_t unit = 16;
  for (const std::int64_t number : bytes) {
    while (number % unit != 0) {
      unit /= 2;
    }
  }
  return unit;
}

template <typename Arguments>
Result<void> launchUnits(const Enqueue &call, const char *name, std::int64_t unit, std::int64_t units,
                         const Arguments &arguments) {
  return call.launch((name + ("_" + std::to_string(unit))).c_str(), gridFor(units), arguments);
}

/// y = x, from `begin` on walked as `source` says: all in elements.
Result<void> gather(const Enqueue &call, Strided source, std::int64_t begin) {
  const std::int64_t bytes = elementBytes(call);
  std::int64_t unit = bytes;
  const int inner = source.rank - 1;
  if (inner >= 0 && source.strides[inner] == 1) {
    unit = unitOf({begin * bytes, source.sizes[inner] * bytes});
    for (int i = 0; i < inner; ++i) {
      unit = std::min(unit, unitOf({source.strides[i] * bytes}));
    }
    source.sizes[inner] /= unit / bytes;
    for (int i = 0; i < inner; ++i) {
      source.strides[i] /= unit / bytes;
    }
  }
  const std::int64_t units = elementsOf(source);
  const auto *const x = call.operand<const std::byte>(0) + begin * bytes;
  return launchUnits(call, "gather", unit, units, GatherArguments{x, call.operand(1), units, source});
}

/// The columns of y lie apart in x; the dimension that lies together there gives the rows. The rest is outer.
TransposeArguments transposition(const Enqueue &call, const Strided &source) {
  const int inner = source.rank - 1;
  TransposeArguments out{.x = call.operand(0),
                         .y = call.operand(1),
                         .outer = 1,
                         .rows = 1,
                         .columns = source.sizes[inner],
                         .xStride = source.strides[inner],
                         .yStride = 1};
  std::int64_t ofY[8] = {}, stride = 1;
  for (int i = inner; i >= 0; --i) {
    ofY[i] = stride;
    stride *= source.sizes[i];
  }
  for (int i = 0; i < inner; ++i) {
    if (source.strides[i] == 1) {
      out.rows = source.sizes[i];
      out.yStride = ofY[i];
    } else { // not joined: both must have the same dimensions
      const int at = out.outerOfX.rank;
      out.outerOfX.rank = out.outerOfY.rank = at + 1;
      out.outerOfX.sizes[at] = out.outerOfY.sizes[at] = source.sizes[i];
      out.outerOfX.strides[at] = source.strides[i];
      out.outerOfY.strides[at] = ofY[i];
      out.outer *= source.sizes[i];
    }
  }
  return out;
}

Result<void> permute(const Enqueue &call) {
  const auto strides = rowMajor(call.call.operands[0]);
  Strided source{};
  for (int i = 0; i < call.call.operands[1].rank; ++i) {
    addDimension(source, call.call.size(1, i),
                 strides[static_cast<std::size_t>(call.call.lists[0].values[i])]);
  }
  if (source.rank > 0 && source.strides[source.rank - 1] != 1) {
    constexpr std::int64_t kTile = 32, kFewest = 8; // of narrow ones a tile would be empty
    const TransposeArguments arguments = transposition(call, source);
    if (arguments.rows >= kFewest && arguments.columns >= kFewest) {
      const std::int64_t tiles = arguments.outer * ((arguments.rows + kTile - 1) / kTile) *
                                 ((arguments.columns + kTile - 1) / kTile);
      return launchUnits(call, "transpose", elementBytes(call), tiles * 256, arguments);
    }
  }
  return gather(call, source, 0);
}

Result<void> slice(const Enqueue &call) {
  const auto strides = rowMajor(call.call.operands[0]);
  std::int64_t begin = 0;
  Strided source{};
  for (int i = 0; i < call.call.operands[1].rank; ++i) {
    const std::int64_t stride = strides[static_cast<std::size_t>(i)];
    addDimension(source, call.call.size(1, i), stride);
    begin += call.call.lists[0].values[i] * stride;
  }
  return gather(call, source, begin);
}

/// A dimension that is wholly in the slice becomes one with the one outside of it.
Result<void> sliceGrad(const Enqueue &call) {
  const std::int64_t bytes = elementBytes(call);
  SliceGradArguments arguments{
      .g = call.operand(0), .dx = call.operand(1), .rank = 0, .sizes = {1}, .starts = {0}, .parts = {1}};
  for (int i = 0; i < call.call.operands[1].rank; ++i) {
    const std::int64_t whole = call.call.size(1, i), part = call.call.size(0, i);
    if (arguments.rank == 0 || part != whole) {
      arguments.sizes[arguments.rank] = arguments.parts[arguments.rank] = 1;
      arguments.starts[arguments.rank++] = 0;
    }
    const int at = arguments.rank - 1;
    arguments.sizes[at] *= whole;
    arguments.parts[at] *= part;
    arguments.starts[at] = arguments.starts[at] * whole + call.call.lists[0].values[i];
  }
  arguments.rank = std::max(arguments.rank, 1);
  const int inner = arguments.rank - 1;
  const std::int64_t unit = unitOf(
      {arguments.sizes[inner] * bytes, arguments.parts[inner] * bytes, arguments.starts[inner] * bytes});
  for (std::int64_t *const sizes : {arguments.sizes, arguments.parts, arguments.starts}) {
    sizes[inner] /= unit / bytes;
  }
  arguments.units = call.call.elements(1) / (unit / bytes);
  return launchUnits(call, "slice_grad", unit, arguments.units, arguments);
}

Result<void> concat(const Enqueue &call) {
  std::int64_t first = elementBytes(call), second = first; // bytes of each row of y
  for (int i = static_cast<int>(call.call.integers[0]); i < call.call.operands[0].rank; ++i) {
    first *= call.call.size(0, i);
    second *= call.call.size(1, i);
  }
  const std::int64_t unit = unitOf({first, second});
  const std::int64_t units = call.call.elements(2) / (unit / elementBytes(call));
  return launchUnits(
      call, "concat", unit, units,
      ConcatArguments{call.operand(0), call.operand(1), call.operand(2), units, first / unit, second / unit});
}

const CudaKernel kKernels[] = {
    {"permute", 1, permute}, {"slice", 1, slice}, {"slice_grad", 1, sliceGrad}, {"concat", 1, concat}};

} // namespace

Family movementFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
