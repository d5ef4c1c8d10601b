// LD_PRELOAD library that counts what a process gives MPI to send, by MPI's profiling interface (MPI
// standard, chapter "Tool Support"): STAGEWRIGHT_MESSAGE_COUNT=PREFIX, and PREFIX.<rank> gets the bytes of
// all MPI_Isend, the only call with which ranks send, to rank 0, rank 1 and so on, when MPI ends. Each rank
// is told that it is alone on its machine, or else collectives would go through shared memory.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { kMostRanks = 64 };
static unsigned long long bytes[kMostRanks];

int MPI_Isend(const void *buffer, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
              MPI_Request *request) {
  int size = 0;
  PMPI_Type_size(type, &size);
  bytes[peer % kMostRanks] += (unsigned long long)count * (unsigned long long)size;
  return PMPI_Isend(buffer, count, type, peer, tag, comm, request);
}

int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *part) {
  int rank = 0;
  PMPI_Comm_rank(comm, &rank);
  return PMPI_Comm_split(comm, rank, 0, part);
}

int MPI_Finalize(void) {
  const char *prefix = getenv("STAGEWRIGHT_MESSAGE_COUNT");
  char path[4096];
  int rank = 0, ranks = 0;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  PMPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (prefix && snprintf(path, sizeof path, "%s.%d", prefix, rank) < (int)sizeof path) {
    FILE *file = fopen(path, "w");
    if (file) {
      for (int peer = 0; peer < ranks && peer < kMostRanks; ++peer) {
        fprintf(file, "%llu\n", bytes[peer]);
      }
      fclose(file);
    }
  }
  return PMPI_Finalize();
}
