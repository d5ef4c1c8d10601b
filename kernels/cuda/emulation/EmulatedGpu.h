// A GPU that is none: an implementation of the function table that keeps what streams are given and computes
// it on the host when somebody waits, in an order that events allow and the tests choose. A wait that is
// missing lets a stream run ahead, and the results are others.
//
//   stream 0   launch A | record e |                launch C
//   stream 1                        wait e | copy B             order StreamFirst(1): A B C, not A C B;
//                                                               without the wait: B A C
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDGPU_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDGPU_H

#include "kernels/cuda/Api.h"
#include "kernels/cuda/emulation/EmulatedNccl.h"
#include "kernels/cuda/emulation/Emulator.h"
#include "kernels/cuda/emulation/RaceFinder.h"

#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

namespace stagewright::cuda::emulation {

/// What the tables of all ranks share. May be used by several threads; outlives its tables.
class EmulatedGpu {
public:
  /// Which of the streams that may go on does: the one whose work is oldest (what the host did, in that
  /// order), or one stream whenever it can, or that one only when no other can.
  struct Policy {
    enum Kind { Oldest, Prefer, Avoid } kind = Oldest;
    unsigned stream = 0; ///< number, in the order of creation
  };

  Policy policy;
  Order order = Order::Ascending; ///< of threads and blocks
  /// Launches of more blocks along x get only so many: for kernels whose blocks go on in strides of the grid.
  unsigned mostBlocks = 0x7FFFFFFF;
  /// False: kernels and products change nothing, for tests that look at orders alone.
  bool computes = true;
  /// A stream's wait that is left out, by its number among that stream's.
  struct Wait {
    unsigned stream = 0;
    std::uint64_t number = 0;
  };
  std::optional<Wait> omittedWait;

  /// Which epilogues cuBLASLt has algorithms for; as given, those whose matrices have rows of whole packs.
  std::function<bool(const Product &)> hasEpilogue = [](const Product &p) { return p.n % 8 == 0; };
  /// What cuDNN has plans for; as given: for nothing.
  std::function<bool(const Convolution &)> hasConvolution;
  std::function<bool(const Attention &)> hasAttention;

  /// Of NCCL's communicators: the error that failureOf() finds from now on. While ranks run.
  void failConnections(const Error &error);

  /// A table for one rank, which by its `bus` has a GPU of its own; or that of another rank.
  std::unique_ptr<Api> api(std::string bus = "");

  struct Counts {
    std::int64_t allocations = 0, releases = 0, waits = 0, launches = 0, copies = 0, hostCalls = 0,
                 products = 0, graphLaunches = 0, graphs = 0, synchronizations = 0, plans = 0,
                 dnnQuestions = 0, dnnRuns = 0, tf32Products = 0, exchanges = 0, connections = 0, aborts = 0,
                 hangs = 0;                     ///< disconnects with work under way
    std::array<std::int64_t, 5> epilogues = {}; ///< products by cuda::Epilogue
  };
  Counts counts() const;
  std::int64_t launchesOf(const std::string &kernel) const;
  /// Waits of each stream so far, by its number.
  std::vector<std::uint64_t> waitsOfStreams() const;
  /// On the device.
  std::size_t allocatedBytes() const;
  /// Work that no event puts in an order, as text.
  std::vector<std::string> races() const;

private:
  friend class EmulatedApi;
  using Work = std::function<Result<void>()>;
  struct Item {
    Work work;                                        ///< none: a record or a wait
    std::uint64_t number = 0;                         ///< in the order of calls
    std::uint64_t after = 0;                          ///< of a wait: the record that must have run; 0: none
    std::shared_ptr<EmulatedNccl::Exchange> exchange; ///< else none
  };
  /// What a launch, a copy or a product does, and where.
  struct Step {
    Work work;
    std::vector<Access> accesses;
  };
  struct StreamState {
    unsigned number = 0;
    Clock clock;
    std::vector<Access> declared;
    std::uint64_t waits = 0;
    std::deque<Item> items;
    std::vector<Step> *capture = nullptr;
  };
  struct EventState {
    std::uint64_t record = 0; ///< number of the last one
    Clock clock;              ///< that it stands behind
  };

  /// `host`: what the calling thread has waited for.
  Result<void> give(Stream stream, Step step, const Clock &host);
  /// Runs what streams have been given until this one has done all; with messages in it others may have to
  /// give something first.
  Result<void> drain(const StreamState &awaited, std::unique_lock<std::mutex> &lock);
  /// The same as far as it goes now; whether it has done all.
  Result<bool> drain(const StreamState &awaited);
  StreamState *next();
  bool mayRun(const StreamState &stream) const;
  StreamState *choose(StreamState *a, StreamState *b) const;

  mutable std::mutex mutex;
  std::condition_variable changed; ///< streams have been given something, ranks connect
  EmulatedNccl nccl;
  unsigned tables = 0;
  std::optional<Error> connectionFailure;
  std::vector<std::unique_ptr<StreamState>> states; ///< also of destroyed ones, so that numbers stay
  std::set<StreamState *> living;
  std::set<std::uint64_t> openRecords; ///< that have not run
  std::map<const void *, std::size_t> sizes;
  std::set<const void *> pinned; ///< of them, on the host
  std::uint64_t calls = 0;
  std::uint64_t moves = 0; ///< pieces of work given and done
  RaceFinder finder;
  Counts count;
  std::map<std::string, std::int64_t> launched; ///< by the kernel's name
};

} // namespace stagewright::cuda::emulation

#endif
