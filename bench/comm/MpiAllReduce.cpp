// Times MPI_Allreduce of fp32 values in place. Prints one line of JSON per round on rank 0.
//
//   mpirun -n 2 bench_mpi_all_reduce MEBIBYTES ROUNDS
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mpi.h>
#include <vector>

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
  std::vector<float> values(count);
  for (int round = -1; round < rounds; ++round) { // the first warms up
    std::fill(values.begin(), values.end(), 1.0F + static_cast<float>(rank));
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    const double end = MPI_Wtime();
    if (values[0] != 3.0F || values[count - 1] != 3.0F) {
      std::fprintf(stderr, "bench_mpi_all_reduce: the sum is wrong\n");
      return 1;
    }
    if (rank == 0 && round >= 0) {
      std::printf("{\"all_reduce\": %.9f}\n", end - begin);
    }
  }
  MPI_Finalize();
  return 0;
}
