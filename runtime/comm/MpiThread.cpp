#include "runtime/comm/MpiThread.h"

#include "runtime/device/Futex.h"
#include "runtime/device/RankPinning.h"
#include "runtime/launch/ProcessLauncher.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <pthread.h>
#include <sched.h>
#include <string_view>
#include <sys/prctl.h>
#include <system_error>
#include <unistd.h>

namespace stagewright::runtime {
namespace {

constexpr std::int64_t kMicrosecond = 1'000;
// Between two polls, from the first one after traffic to the last: doubled each time. A poll costs about 15
// us of a core, so naps of 100 us would cost more than a tenth of it.
constexpr std::int64_t kShortestNap = 10 * kMicrosecond;
constexpr std::int64_t kLongestNap = 200 * kMicrosecond;
// Ranks of the same machine ring, so this one only bounds the loss if MPI needs a poll of which nobody knows.
constexpr std::int64_t kLongestNapOnOneMachine = 1'000 * kMicrosecond;
// How long bytes may flow without an event before naps begin again.
constexpr std::int64_t kFlowPatience = 100'000 * kMicrosecond;
// How long ranks may come to the end of the job one after the other: what they free takes time.
constexpr std::int64_t kEndPatience = 20'000'000 * kMicrosecond;

/// MPI aligns shared memory to 8 bytes. Processes map it at whole pages, so that all find the same place.
void *aligned(void *place) {
  std::size_t room = 2 * alignof(SharedWindow);
  return std::align(alignof(SharedWindow), 1, place, room);
}

void setUnlessGiven(const char *name, const char *value) {
  setenv(name, value, 0);
}

std::string environment(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}

/// The plain point-to-point engine over shared memory, and TCP only if there are other machines: starts in a
/// third of the time of the default (UCX). Copies through shared memory, since reading another process's
/// memory is often forbidden in containers; fragments of 128 KiB make up for it. Figures:
/// docs/communicators.md.
void chooseTransports() {
  const bool oneMachine = environment("OMPI_COMM_WORLD_LOCAL_SIZE") == environment("OMPI_COMM_WORLD_SIZE");
  setUnlessGiven("OMPI_MCA_pml", "ob1");
  setUnlessGiven("OMPI_MCA_btl", oneMachine ? "self,vader" : "self,vader,tcp");
  setUnlessGiven("OMPI_MCA_osc", "sm");
  setUnlessGiven("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
  setUnlessGiven("OMPI_MCA_btl_vader_eager_limit", "131072");
  setUnlessGiven("OMPI_MCA_btl_vader_max_send_size", "131072");
}

} // namespace

Result<void> MpiThread::start() {
  chooseTransports();
  Result<void> started;
  std::atomic<std::uint32_t> ready{0};
  try {
    thread = std::thread([&] {
      started = initialize();
      const bool serves = static_cast<bool>(started);
      ready.store(1);
      futexWake(&ready, 1);
      if (serves) {
        serve();
        finalize();
      }
    });
  } catch (const std::system_error &error) {
    return environmentError("MPI", std::string("cannot start a thread: ") + error.what(),
                            "raise the thread limit");
  }
  while (ready.load() == 0) {
    futexWait(ready, 0);
  }
  if (!started) {
    thread.join();
  }
  return started;
}

MpiThread::~MpiThread() {
  if (thread.joinable()) {
    stopping.store(true);
    wake();
    noticed.store(true);
    thread.join();
  }
}

Result<void> MpiThread::initialize() {
  pthread_setname_np(pthread_self(), "mpi");
  prctl(PR_SET_TIMERSLACK, 1UL); // naps of 100 us are to last 100 us, not 150
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_FUNNELED) {
    return environmentError("MPI", "MPI_Init_thread failed", "check that mpirun and libmpi belong together");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return shareMemory();
}

Result<void> MpiThread::shareMemory() {
  const auto failed = [](const char *what) {
    return environmentError("MPI", std::string(what) + " failed",
                            "check that /dev/shm or /tmp has free space");
  };
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine) != MPI_SUCCESS) {
    return failed("MPI_Comm_split_type");
  }
  MPI_Comm_rank(machine, &localRank);
  MPI_Comm_size(machine, &localSize);
  void *own = nullptr;
  const auto bytes = static_cast<MPI_Aint>(SharedWindow::bytes(size) + alignof(SharedWindow) - 1);
  if (MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, machine, &own, &window) != MPI_SUCCESS) {
    return failed("MPI_Win_allocate_shared");
  }
  ownBell = &SharedWindow::make(aligned(own), size)->mpiBell;
  MPI_Barrier(machine); // all windows are there

  std::vector<int> local(localSize);
  std::vector<int> global(localSize);
  std::iota(local.begin(), local.end(), 0);
  MPI_Group all, here;
  MPI_Comm_group(MPI_COMM_WORLD, &all);
  MPI_Comm_group(machine, &here);
  MPI_Group_translate_ranks(here, localSize, local.data(), all, global.data());
  MPI_Group_free(&here);
  MPI_Group_free(&all);
  windows.resize(size, nullptr);
  for (int i = 0; i < localSize; ++i) {
    MPI_Aint length = 0;
    int unit = 0;
    void *theirs = nullptr;
    MPI_Win_shared_query(window, i, &length, &unit, &theirs);
    windows[global[i]] = static_cast<SharedWindow *>(aligned(theirs));
  }
  return {};
}

// Before MPI's own end, which spins: sleep until all ranks have come here. One that has left its work early,
// while others wait for it in another call, would sleep for ever.
void MpiThread::finalize() {
  MPI_Request everyone;
  int done = 0;
  const std::int64_t begin = monotonicNanoseconds();
  for (MPI_Ibarrier(MPI_COMM_WORLD, &everyone); !done;) {
    MPI_Test(&everyone, &done, MPI_STATUS_IGNORE);
    if (!done && monotonicNanoseconds() - begin > kEndPatience) {
      endJob(rankError("rank " + std::to_string(rank), "the rank is at its end and other ranks are not",
                       "see the messages of this rank, or run with --ranks threads"));
    }
    if (!done) {
      usleep(500);
    }
  }
  while (!noticed.load()) { // the bell that is rung at the end lies in the window
    usleep(100);
  }
  MPI_Win_free(&window);
  MPI_Comm_free(&machine);
  MPI_Finalize();
}

// Two threads per rank hand messages to each other; one that spins on the other's core holds both up.
bool MpiThread::crowded() const {
  return 2 * localSize > usableCores();
}

void MpiThread::serve() {
  const std::int64_t spin = crowded() ? 0 : kSpinNanoseconds;
  const std::int64_t longest = localSize == size ? kLongestNapOnOneMachine : kLongestNap;
  std::int64_t nap = kShortestNap;
  std::int64_t lastMove = monotonicNanoseconds();
  std::int64_t flowSince = lastMove;
  while (!stopping.load()) {
    const std::uint32_t seen = ownBell->rings.load();
    if (const Error *error = fatal.load()) {
      endJob(*error);
    }
    runCall();
    Client::Activity all;
    for (Client *client : clients) {
      const Client::Activity one = client->poll();
      all = {all.moved || one.moved, all.flowing || one.flowing, all.open || one.open};
    }
    const std::int64_t now = monotonicNanoseconds();
    const bool flows = all.flowing || ownBell->takers.load() > 0;
    if (all.moved || !flows) {
      flowSince = now;
    }
    if (all.moved) {
      lastMove = now;
      nap = kShortestNap;
    } else if (flows && now - flowSince < kFlowPatience) {
      sched_yield();
    } else if (now - lastMove >= spin) {
      ownBell->sleep(seen, all.open ? nap : -1);
      nap = ownBell->rings.load() != seen ? kShortestNap : std::min(2 * nap, longest);
    }
  }
}

void MpiThread::call(const std::function<void()> &body) {
  callDone.store(0);
  pendingCall.store(&body);
  wake();
  while (callDone.load() == 0) {
    futexWait(callDone, 0);
  }
}

void MpiThread::runCall() {
  if (const std::function<void()> *body = pendingCall.exchange(nullptr)) {
    (*body)();
    callDone.store(1);
    futexWake(&callDone, 1);
  }
}

void MpiThread::abort(const Error &error) {
  const Error *none = nullptr;
  fatal.compare_exchange_strong(none, &error); // only the first one is told
  wake();
  for (;;) {
    pause(); // the MPI thread ends the process; `error` lives until then
  }
}

void MpiThread::check(int code, const char *what, int peer) {
  if (code != MPI_SUCCESS) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    endJob(rankError("rank " + std::to_string(peer), std::string(what) + " failed: " + text,
                     "see whether that rank still runs"));
  }
}

void MpiThread::endJob(const Error &error) {
  if (!reportError(error)) {
    std::fprintf(stderr, "stagewright: rank %d: %s\n", rank, error.text().c_str());
    std::fflush(stderr);
  }
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(error.kind));
  _exit(static_cast<int>(error.kind));
}

} // namespace stagewright::runtime
