// The commands of a program as calls of kernels on a GPU. Pairs of commands that cuBLASLt computes at once
// are one call; so are updates of many parameters that one launch does.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDACALLS_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDACALLS_H

#include "kernels/cuda/Cuda.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace stagewright::runtime {

/// Address: base + slotOffsets[slot]; slot 0 is fixed memory.
struct CudaOperand {
  std::byte *base = nullptr; ///< null: absent
  std::uint32_t slot = 0;
  std::uint64_t bytes = 0;
};

/// A command of the file that this rank runs.
struct CudaCommand {
  unsigned number = 0; ///< in the program
  int block = -1;
  kernels::KernelInstance instance;
  std::vector<CudaOperand> operands; ///< all of the kernel's
  void *workspace = nullptr;
};

struct CudaCall {
  unsigned command = 0; ///< where it stands
  std::unique_ptr<cuda::PreparedKernel> kernel;
  std::vector<CudaOperand> operands;
  void *workspace = nullptr;
};

/// Device memory of a program's own.
class CudaScratch {
public:
  explicit CudaScratch(cuda::Api &api) : api(api) {}
  ~CudaScratch();
  CudaScratch(const CudaScratch &) = delete;
  Result<void> allocate(std::size_t bytes); ///< once; 0: nothing
  std::byte *data() const { return start; }
  std::size_t bytes() const { return size; }

private:
  cuda::Api &api;
  std::byte *start = nullptr;
  std::size_t size = 0;
};

/// Ascending by command. `cuts`: in front of these commands, ascending, calls may be kept apart. Which
/// commands become one call follows from their block alone: from kernels, shapes and what reads their
/// results, never from other blocks, from where memory lies or from what is exchanged between two commands.
/// `readApart`: what commands between calls read. `fusesGelu`: the file's result contract has the bits of
/// GELU by products. Errors: User, a kernel that CUDA does not have.
Result<std::vector<CudaCall>> cudaCalls(std::vector<CudaCommand> commands, const std::vector<unsigned> &cuts,
                                        const std::vector<CudaOperand> &readApart, bool fusesGelu,
                                        CudaScratch &scratch, cuda::KernelCache &kernels);

} // namespace stagewright::runtime

#endif
