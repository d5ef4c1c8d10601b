#include "runtime/exec/CudaGroupKernels.h"

#include "kernels/cuda/OrderedSum.h"
#include "runtime/comm/MessageTags.h"
#include "runtime/exec/MeshGroups.h"

#include <algorithm>

namespace stagewright::runtime {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 20; // of a slice: longer sums come in chunks
constexpr std::uint64_t kWhole = 64;                         // elements: slices begin at multiples

/// Elements of a rank's slice; the last ones may be shorter, or empty.
std::uint64_t sliceOf(std::uint64_t elements, int ranks, std::uint64_t width) {
  const auto parts = static_cast<std::uint64_t>(ranks);
  const std::uint64_t even = ((elements + parts - 1) / parts + kWhole - 1) / kWhole * kWhole;
  return std::min(even, kMostBytes / width);
}

} // namespace

CudaGroupKernels::CudaGroupKernels(const Executable &executable, const RankEnvironment &environment,
                                   cuda::Api &api, cuda::KernelCache &kernels, OrderedStream &computing)
    : file(executable), environment(environment), api(api), kernels(kernels), computing(computing),
      messages(makeDeviceMessages(api, environment.communicator, environment.usesNccl, 0,
                                  environment.interrupt)) {}

CudaGroupKernels::~CudaGroupKernels() {
  for (const OrderedEvent *event : {&made, &summed}) {
    if (event->handle.handle) {
      api.destroy(event->handle);
    }
  }
  api.release(scratch);
}

RankGroup CudaGroupKernels::groupOf(const GroupCall &call) const {
  const int rank = environment.communicator.rank();
  return call.ofReplicas ? replicasOf(environment.mesh, rank) : tensorRanksOf(environment.mesh, rank);
}

void CudaGroupKernels::expect(const GroupCall &call) {
  const RankGroup group = groupOf(call);
  if (group.size == 1) {
    return;
  }
  if (std::ranges::none_of(groups, [&](const RankGroup &known) { return known.step == group.step; })) {
    groups.push_back(group);
  }
  if (!call.gathers) {
    const std::uint64_t width = catalogue::byteSize(call.dtype);
    dtypes.insert(call.dtype);
    mostSummed = std::max(mostSummed, group.size);
    sliceBytes = std::max(sliceBytes, sliceOf(call.elements, group.size, width) * width);
  }
}

/// Cells that lie one behind the other are added up at once.
void CudaGroupKernels::planSums(const ArenaBases &arenas) {
  const executable::RankPlan &plan =
      file.rank(environment.mesh.pipelineRank(environment.communicator.rank()));
  for (unsigned i = 0; plan.reductions() && i < plan.reductions()->size(); ++i) {
    const executable::Reduction &entry = *plan.reductions()->Get(i);
    if (!entry.tensor()) {
      continue;
    }
    const auto dtype = static_cast<catalogue::DType>(entry.dtype());
    const std::uint64_t width = catalogue::byteSize(dtype);
    std::byte *const data = arenas[entry.arena()] + entry.offset();
    if (!sums.empty() && sums.back().stage == entry.stage() && sums.back().call.dtype == dtype &&
        sums.back().data + sums.back().call.elements * width == data) {
      sums.back().call.elements += entry.bytes() / width;
    } else {
      sums.push_back({entry.stage(), data, {.dtype = dtype, .elements = entry.bytes() / width}});
    }
  }
  for (const Sum &sum : sums) {
    expect(sum.call);
  }
}

Result<void> CudaGroupKernels::open(const ArenaBases &arenas, std::size_t number, std::size_t streams) {
  planSums(arenas);
  if (groups.empty()) {
    return {};
  }
  int most = 1;
  for (const RankGroup &group : groups) {
    most = std::max(most, group.size);
  }
  ranks = static_cast<std::size_t>(most);
  const std::size_t count = groups.size() * kExchanges * 2 * ranks;
  posted.reserve(count);
  awaited.reserve(count + 1);
  if (auto ok = messages->open(count, number, streams); !ok) {
    return ok;
  }
  for (OrderedEvent *event : {&made, &summed}) {
    auto opened = computing.makeEvent();
    if (!opened) {
      return opened.takeError();
    }
    *event = std::move(*opened);
  }
  if (sliceBytes == 0) {
    return {};
  }
  for (const catalogue::DType dtype : dtypes) {
    if (auto ok = cuda::loadOrderedSum(api, kernels, computing.handle(), dtype); !ok) {
      return ok;
    }
  }
  sliceBytes = catalogue::aligned(sliceBytes);
  scratchBytes = wholePages(static_cast<std::uint64_t>(mostSummed - 1) * sliceBytes);
  auto allocated = api.allocate(scratchBytes);
  if (!allocated) {
    return allocated.takeError();
  }
  scratch = static_cast<std::byte *>(*allocated);
  return {};
}

/// Tensor ranks are neighbours: their groups come first on all ranks.
Result<void> CudaGroupKernels::connect() {
  std::ranges::sort(groups, {}, &RankGroup::step);
  return messages->connect({}, groups);
}

Result<void> CudaGroupKernels::run(const GroupCall &call, const std::byte *x, std::byte *y) {
  const RankGroup group = groupOf(call);
  auto ok = computing.record(made);
  if (!ok) {
    return ok;
  }
  return call.gathers ? gather(group, x, y, call.elements * catalogue::byteSize(call.dtype))
                      : addUp(group, call.dtype, x, y, call.elements);
}

/// A message's number is one of this peer, exchange and direction: its event is recorded again when this peer
/// sends again, who then has read it.
Result<void> CudaGroupKernels::post(const RankGroup &group, Exchange exchange, bool send, int position,
                                    std::byte *data, std::uint64_t bytes, const OrderedEvent *ready) {
  if (bytes == 0) {
    return {};
  }
  const auto known = std::ranges::find(groups, group.step, &RankGroup::step);
  const auto kinds = static_cast<std::size_t>(known - groups.begin()) * kExchanges + exchange;
  posted.push_back((kinds * 2 + (send ? 1 : 0)) * ranks + static_cast<std::size_t>(position));
  return messages->post(posted.back(), send, group.at(position), tags::kTensorRanks, data, bytes, ready);
}

/// What has been posted since the last call.
Result<void> CudaGroupKernels::await() {
  for (const std::size_t number : posted) {
    auto arrived = messages->arrival(number);
    if (!arrived) {
      return arrived.takeError();
    }
    awaited.push_back(*arrived);
  }
  posted.clear();
  environment.status.advance();
  return {};
}

/// The next command may read y and write x: both have to be there.
Result<void> CudaGroupKernels::gather(const RankGroup &group, const std::byte *x, std::byte *y,
                                      std::uint64_t bytes) {
  const int own = group.position(environment.communicator.rank());
  const auto rowOf = [&](int position) { return y + static_cast<unsigned>(position) * bytes; };
  auto ok = messages->beginGroup(group);
  for (int position = 0; position < group.size; ++position) {
    if (position != own) {
      ok =
          ok ? post(group, kGather, true, position, const_cast<std::byte *>(x), bytes, &made) : std::move(ok);
      ok = ok ? post(group, kGather, false, position, rowOf(position), bytes, &made) : std::move(ok);
    }
  }
  ok = ok ? messages->endGroup() : std::move(ok);
  ok = ok ? api.copy(rowOf(own), x, bytes, computing.handle()) : std::move(ok);
  awaited.clear();
  ok = ok ? await() : std::move(ok);
  return ok ? computing.wait(awaited) : std::move(ok);
}

/// Where y is x, a slice of the sum comes behind the event of its owner's sum, and so behind the copy that
/// has read this rank's part of it.
Result<void> CudaGroupKernels::addUp(const RankGroup &group, catalogue::DType dtype, const std::byte *x,
                                     std::byte *y, std::uint64_t elements) {
  const std::uint64_t width = catalogue::byteSize(dtype);
  const std::uint64_t slice = sliceOf(elements, group.size, width);
  Result<void> ok;
  for (std::uint64_t first = 0; ok && first < elements; first += slice * static_cast<unsigned>(group.size)) {
    const Slices slices{group, group.position(environment.communicator.rank()), first, slice, elements,
                        width};
    awaited.clear();
    ok = contribute(slices, x);
    ok = ok ? await() : std::move(ok);
    ok = ok ? addSlice(slices, dtype, x, y) : std::move(ok);
    ok = ok ? spread(slices, y) : std::move(ok);
    ok = ok ? await() : std::move(ok);
    ok = ok ? computing.wait(awaited) : std::move(ok);
  }
  return ok;
}

/// Slices of x to those who add them up.
Result<void> CudaGroupKernels::contribute(const Slices &slices, const std::byte *x) {
  auto ok = messages->beginGroup(slices.group);
  std::byte *place = scratch;
  for (int position = 0; position < slices.group.size; ++position) {
    if (position != slices.own) {
      auto *const part = const_cast<std::byte *>(x) + slices.begin(position);
      ok = ok ? post(slices.group, kContribute, true, position, part, slices.bytes(position), &made)
              : std::move(ok);
      ok = ok ? post(slices.group, kContribute, false, position, place, slices.bytes(slices.own), nullptr)
              : std::move(ok);
      place += sliceBytes;
    }
  }
  return ok ? messages->endGroup() : std::move(ok);
}

Result<void> CudaGroupKernels::addSlice(const Slices &slices, catalogue::DType dtype, const std::byte *x,
                                        std::byte *y) {
  const std::uint64_t at = slices.begin(slices.own), bytes = slices.bytes(slices.own);
  const OrderedSumArguments arguments{.own = x + at,
                                      .others = scratch,
                                      .y = y + at,
                                      .elements = static_cast<std::int64_t>(bytes / slices.width),
                                      .stride = static_cast<std::int64_t>(sliceBytes / slices.width),
                                      .terms = slices.group.size,
                                      .position = slices.own,
                                      .accumulates = 0,
                                      .divisor = 1};
  if (bytes == 0) {
    return {};
  }
  awaited.push_back(&summed);
  return messages->onStream([&](OrderedStream &stream) {
    auto ok = stream.wait(made);
    ok = ok ? cuda::launchOrderedSum(api, kernels, stream.handle(), dtype, arguments) : std::move(ok);
    return ok ? stream.record(summed) : std::move(ok);
  });
}

/// Slices of the sum to all. They stand behind this rank's part of them, and so behind what made that.
Result<void> CudaGroupKernels::spread(const Slices &slices, std::byte *y) {
  auto ok = messages->beginGroup(slices.group);
  for (int position = 0; position < slices.group.size; ++position) {
    if (position != slices.own) {
      ok = ok ? post(slices.group, kSpread, true, position, y + slices.begin(slices.own),
                     slices.bytes(slices.own), &summed)
              : std::move(ok);
      ok = ok ? post(slices.group, kSpread, false, position, y + slices.begin(position),
                     slices.bytes(position), nullptr)
              : std::move(ok);
    }
  }
  return ok ? messages->endGroup() : std::move(ok);
}

Result<void> CudaGroupKernels::reduce(int stage) {
  Result<void> ok;
  for (const Sum &sum : sums) {
    ok = ok && sum.stage == stage ? run(sum.call, sum.data, sum.data) : std::move(ok);
  }
  return ok;
}

} // namespace stagewright::runtime
