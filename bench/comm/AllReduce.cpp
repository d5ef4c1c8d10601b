// Times our all-reduce of fp32 values between two processes, and its parts: both ranks sending each other all
// of the values, and a pass that adds them up. Prints one line of JSON per round on rank 0.
//
//   mpirun -n 2 bench_all_reduce MEBIBYTES ROUNDS
#include "runtime/comm/MpiSession.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

[[noreturn]] void fail(const Error &error) {
  std::fprintf(stderr, "bench_all_reduce: %s\n", error.text().c_str());
  std::exit(1);
}
void must(const Result<void> &result) {
  if (!result) {
    fail(result.error());
  }
}
template <typename T>
T must(Result<T> result) {
  if (!result) {
    fail(result.error());
  }
  return std::move(*result);
}

template <typename Work>
double seconds(Communicator &self, Work work) {
  must(self.barrier());
  const auto begin = std::chrono::steady_clock::now();
  work();
  must(self.barrier());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void exchange(Communicator &self, const std::vector<float> &mine, std::vector<float> &theirs) {
  const int peer = 1 - self.rank();
  const std::size_t bytes = mine.size() * sizeof(float);
  const Request receive = must(self.postReceive(peer, 0, theirs.data(), bytes));
  const Request send = must(self.postSend(peer, 0, mine.data(), bytes));
  must(self.wait(receive));
  must(self.wait(send));
}

void add(std::vector<float> &to, const std::vector<float> &from) {
  float *__restrict sum = to.data();
  const float *__restrict term = from.data();
  for (std::size_t i = 0; i < to.size(); ++i) {
    sum[i] += term[i];
  }
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 3 || !startedByMpirun()) {
    std::fprintf(stderr, "usage: mpirun -n 2 bench_all_reduce MEBIBYTES ROUNDS\n");
    return 2;
  }
  const std::size_t count = std::strtoull(argv[1], nullptr, 10) << 18;
  const int rounds = std::atoi(argv[2]);
  auto session = must(MpiSession::start());
  if (session->size() != 2) {
    std::fprintf(stderr, "bench_all_reduce: two processes are needed\n");
    return 2;
  }
  auto communicator = must(session->makeCommunicator());
  Communicator &self = *communicator;
  std::vector<float> values(count, 1.0F), other(count, 0.0F);
  for (int round = -1; round < rounds; ++round) { // the first warms up
    std::fill(values.begin(), values.end(), 1.0F + static_cast<float>(self.rank()));
    const double reduce = seconds(self, [&] { must(self.allReduce(values.data(), count, Element::F32)); });
    if (std::count(values.begin(), values.end(), 3.0F) != static_cast<std::ptrdiff_t>(count)) {
      std::fprintf(stderr, "bench_all_reduce: the sum is wrong\n");
      return 1;
    }
    const double transfer = seconds(self, [&] { exchange(self, values, other); });
    const double pass = seconds(self, [&] { add(values, other); });
    if (self.rank() == 0 && round >= 0) {
      std::printf("{\"all_reduce\": %.9f, \"exchange\": %.9f, \"add\": %.9f}\n", reduce, transfer, pass);
    }
  }
  communicator.reset();
  return 0;
}
