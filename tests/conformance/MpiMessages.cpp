// Which messages processes send, by MPI's profiling interface (MPI standard, chapter "Tool Support").
#include "Fleet.h"

#include <atomic>
#include <cstdlib>
#include <mpi.h>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;

static std::atomic<std::size_t> sentBytes{0};

extern "C" int MPI_Isend(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
                         MPI_Request *request) {
  sentBytes += static_cast<std::size_t>(count); // of MPI_BYTE
  return PMPI_Isend(data, count, type, peer, tag, comm, request);
}

/// STAGEWRIGHT_TEST_APART: each rank is told that it is alone on its machine.
extern "C" int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *part) {
  int rank = 0;
  PMPI_Comm_rank(comm, &rank);
  return std::getenv("STAGEWRIGHT_TEST_APART") ? PMPI_Comm_split(comm, rank, 0, part)
                                               : PMPI_Comm_split_type(comm, type, key, info, part);
}

namespace {

class Messages : public Conformance {};

TEST_P(Messages, OnlyCollectivesBetweenMachinesSendThem) {
  run([](Communicator &self) {
    const auto ranks = static_cast<std::size_t>(self.size());
    std::vector<double> values(ranks * 50'000, 1.0);
    must(self.barrier());
    const std::size_t before = sentBytes;
    must(self.allReduce(values.data(), values.size(), Element::F64));
    const std::size_t sent = sentBytes - before;
    must(self.barrier());
    // Each rank owns a part, up to two cache lines more or less. Of each it sends what the others own, and
    // the sum of its own to each of them.
    const std::size_t expected = ranksAreApart() ? 2 * (ranks - 1) * 50'000 * sizeof(double) : 0;
    EXPECT_LE(sent, expected + expected / 1000);
    EXPECT_GE(sent, expected - expected / 1000);
  });
}

TEST_P(Messages, CommunicatorsSideBySide) {
  run([&](Communicator &first) {
    run([&](Communicator &second) {
      const auto use = [](Communicator &self, float value) {
        std::vector<float> values(300'000);
        for (int i = 0; i < 50; ++i) {
          values.assign(values.size(), value);
          must(self.allReduce(values.data(), values.size(), Element::F32));
          const float sum = value * static_cast<float>(self.size());
          EXPECT_EQ(std::count(values.begin(), values.end(), sum), 300'000) << i;
        }
      };
      std::thread other([&] { use(first, 1.0F); });
      use(second, 8.0F);
      other.join();
    });
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Messages, testing::ValuesIn(rankCounts()));

} // namespace
