// Kernels of the catalogue that the ranks of a group run together (all_reduce, all_gather), on GPUs; and sums
// over tensor ranks. A sum is cut into a slice for each rank:
//
//   rank 0 of 2   compute  x made |                                        | y is read
//                 group           slice 0 of x from 1 | sum | slice 1 of y from 1
//   rank 1        group           slice 1 of x from 0 | sum | slice 0 of y from 0
//
// Each element is ((r0 + r1) + ...) in fp32 (doubles: fp64), rounded once: the bits of GroupKernels.h.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAGROUPKERNELS_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAGROUPKERNELS_H

#include "kernels/cuda/Cuda.h"
#include "runtime/exec/DeviceMessages.h"
#include "runtime/exec/Executor.h"
#include "runtime/exec/GroupKernels.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

namespace stagewright::runtime {

class CudaGroupKernels {
public:
  /// `computing`: the stream of the rank's programs. All of them outlive it.
  CudaGroupKernels(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
                   cuda::KernelCache &kernels, OrderedStream &computing);
  ~CudaGroupKernels();
  CudaGroupKernels(const CudaGroupKernels &) = delete;

  /// Before open(): the program has such a call.
  void expect(const GroupCall &call);
  /// Its stream is `number` of all `streams`. Errors: Environment, there is not enough memory.
  Result<void> open(const ArenaBases &arenas, std::size_t number, std::size_t streams);
  Result<void> connect();

  // On the thread of the rank; all ranks of a group call them in the same order. They stand behind all that
  // `computing` has been given, and what it is given next stands behind them.

  /// x and y as in the catalogue; y may be x of a sum.
  Result<void> run(const GroupCall &call, const std::byte *x, std::byte *y);
  /// Sums over tensor ranks that REDUCE of the stage has.
  Result<void> reduce(int stage);
  DeviceMessages &talk() { return *messages; }
  /// The host has waited for `other`.
  void follow(const OrderedStream &other) { messages->follow(other); }

  std::uint64_t bytes() const { return scratchBytes; } ///< of device memory, beside the plan's

private:
  enum Exchange { kGather, kContribute, kSpread, kExchanges };

  /// A chunk of a sum, in a slice for each rank; the last ones may be shorter, or empty.
  struct Slices {
    RankGroup group;
    int own = 0;             ///< position
    std::uint64_t first = 0; ///< element
    std::uint64_t elements = 0;
    std::uint64_t end = 0; ///< of the sum
    std::uint64_t width = 0;

    std::uint64_t begin(int position) const { ///< in bytes
      return std::min(end, first + elements * static_cast<unsigned>(position)) * width;
    }
    std::uint64_t bytes(int position) const { return begin(position + 1) - begin(position); }
  };

  /// Over tensor ranks, in place.
  struct Sum {
    int stage = 0;
    std::byte *data = nullptr;
    GroupCall call;
  };

  void planSums(const ArenaBases &arenas);
  RankGroup groupOf(const GroupCall &call) const;
  Result<void> gather(const RankGroup &group, const std::byte *x, std::byte *y, std::uint64_t bytes);
  Result<void> addUp(const RankGroup &group, catalogue::DType dtype, const std::byte *x, std::byte *y,
                     std::uint64_t elements);
  Result<void> post(const RankGroup &group, Exchange exchange, bool send, int position, std::byte *data,
                    std::uint64_t bytes, const OrderedEvent *ready);
  Result<void> await();
  Result<void> contribute(const Slices &slices, const std::byte *x);
  Result<void> addSlice(const Slices &slices, catalogue::DType dtype, const std::byte *x, std::byte *y);
  Result<void> spread(const Slices &slices, std::byte *y);

  const Executable &file;
  const RankEnvironment &environment;
  cuda::Api &api;
  cuda::KernelCache &kernels;
  OrderedStream &computing;
  std::unique_ptr<DeviceMessages> messages;
  std::vector<RankGroup> groups;     ///< of expected calls
  std::set<catalogue::DType> dtypes; ///< of expected sums
  int mostSummed = 1;                ///< ranks of one of them
  std::vector<Sum> sums;
  std::byte *scratch = nullptr; ///< what the others contribute to a slice, one behind the other
  std::uint64_t sliceBytes = 0, scratchBytes = 0;
  OrderedEvent made, summed; ///< x, and a slice of y
  std::size_t ranks = 0;     ///< of the largest group
  std::vector<std::size_t> posted;
  std::vector<const OrderedEvent *> awaited;
};

} // namespace stagewright::runtime

#endif
