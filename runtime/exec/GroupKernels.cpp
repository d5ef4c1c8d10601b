#include "runtime/exec/GroupKernels.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

/// Elements of 16 bits that are added up at once.
static constexpr std::size_t kWide = 4 * WireFormat::kBlock;

Result<void> GroupKernels::prepare(const GroupCall &call, kernels::Isa isa) {
  parts.reserve(static_cast<std::size_t>(std::max(mesh.tensor, mesh.replicas)));
  if (call.dtype == catalogue::DType::F32 || call.gathers || formats.count(call.dtype)) {
    return {};
  }
  auto format = WireFormat::create({.dtype = call.dtype}, isa);
  if (!format) {
    return format.takeError();
  }
  formats[call.dtype] = std::move(*format);
  wide.resize(kWide);
  return {};
}

Result<void> GroupKernels::run(const GroupCall &call, void *const *operands) {
  const auto *x = static_cast<const std::byte *>(operands[0]);
  auto *y = static_cast<std::byte *>(operands[1]);
  const int rank = communicator.rank();
  const RankGroup group = call.ofReplicas ? replicasOf(mesh, rank) : tensorRanksOf(mesh, rank);
  const std::size_t bytes = call.elements * catalogue::byteSize(call.dtype);
  if (call.gathers) {
    parts.clear();
    for (int position = 0; position < group.size; ++position) {
      parts.push_back({group.at(position), y + static_cast<std::size_t>(position) * bytes, bytes});
    }
    std::memcpy(parts[static_cast<std::size_t>(group.position(rank))].data, x, bytes);
    return communicator.allGather(parts, group);
  }
  if (call.dtype != catalogue::DType::F32) {
    return reduceNarrow(call, x, y, group);
  }
  if (x != y) {
    std::memcpy(y, x, bytes);
  }
  return communicator.allReduce(y, call.elements, Element::F32, group);
}

/// Sums are of fp32: they are rounded once, whatever the number of ranks.
Result<void> GroupKernels::reduceNarrow(const GroupCall &call, const std::byte *x, std::byte *y,
                                        RankGroup group) {
  WireFormat &format = *formats.at(call.dtype);
  for (std::size_t first = 0; first < call.elements; first += kWide) {
    const std::size_t count = std::min(kWide, call.elements - first);
    const auto inBlocks = [&](auto convert) {
      for (std::size_t at = 0; at < count; at += WireFormat::kBlock) {
        convert(wide.data() + at, 2 * (first + at), std::min(WireFormat::kBlock, count - at));
      }
    };
    inBlocks([&](float *to, std::size_t from, std::size_t size) { format.unpack(x + from, to, size); });
    if (auto ok = communicator.allReduce(wide.data(), count, Element::F32, group); !ok) {
      return ok;
    }
    inBlocks([&](const float *from, std::size_t to, std::size_t size) {
      format.pack(from, nullptr, 1, y + to, size);
    });
  }
  return {};
}

} // namespace stagewright::runtime
