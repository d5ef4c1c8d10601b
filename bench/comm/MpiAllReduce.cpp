// Times MPI_Allreduce of fp32 values in place, and both ranks sending each other all of the values. Prints
// one line of JSON per round on rank 0.
//
//   mpirun -n 2 bench_mpi_all_reduce MEBIBYTES ROUNDS
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mpi.h>
#include <vector>

namespace {

template <typename Work>
double seconds(Work work) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double begin = MPI_Wtime();
  work();
  MPI_Barrier(MPI_COMM_WORLD);
  return MPI_Wtime() - begin;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: mpirun -n 2 bench_mpi_all_reduce MEBIBYTES ROUNDS\n");
    return 2;
  }
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const std::size_t count = std::strtoull(argv[1], nullptr, 10) << 18;
  const int rounds = std::atoi(argv[2]);
  const int length = static_cast<int>(count);
  std::vector<float> values(count), other(count);
  for (int round = -1; round < rounds; ++round) { // the first warms up
    std::fill(values.begin(), values.end(), 1.0F + static_cast<float>(rank));
    const double reduce = seconds(
        [&] { MPI_Allreduce(MPI_IN_PLACE, values.data(), length, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
    if (std::count(values.begin(), values.end(), 3.0F) != length) {
      std::fprintf(stderr, "bench_mpi_all_reduce: the sum is wrong\n");
      return 1;
    }
    const double transfer = seconds([&] {
      MPI_Sendrecv(values.data(), length, MPI_FLOAT, 1 - rank, 0, other.data(), length, MPI_FLOAT, 1 - rank,
                   0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    });
    if (rank == 0 && round >= 0) {
      std::printf("{\"all_reduce\": %.9f, \"exchange\": %.9f}\n", reduce, transfer);
    }
  }
  MPI_Finalize();
  return 0;
}
