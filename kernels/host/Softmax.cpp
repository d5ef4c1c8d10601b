// Family softmax: over the rows of a matrix.
#include "kernels/host/Math16.h"
#include "kernels/host/Rows.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// A NaN or +infinity in the row, or nothing but -infinity, gives a row of NaNs, as in PyTorch.
template <typename T>
void softmax(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  runRows(runner, rows, columns, [&](std::int64_t row, int worker) {
    const T *const from = x + row * columns;
    T *const to = y + row * columns;
    // The exponentials wait for their sum in y; as halves they would be rounded there, and wait in scratch.
    // Those of a row that is too long for it are computed again.
    float *kept = nullptr;
    if constexpr (sizeof(T) == sizeof(float))
      kept = to;
    else if (columns <= std::int64_t(kTileScratchBytes / sizeof(float)))
      kept = static_cast<float *>(runner.scratch(worker));
    const float most = largestOfRow(from, columns);
    RowSum sum;
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 value = expNormal(read(from + i, lanes) - most);
      sum.add(fill(value, Vec16{}, lanes));
      if (kept)
        write(kept + i, value, lanes);
    });
    const float inverse = 1.0f / sum.total();
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      write(to + i, (kept ? read(kept + i, lanes) : expNormal(read(from + i, lanes) - most)) * inverse,
            lanes);
    });
  });
}

/// dx = y * (g - sum(g * y))
template <typename T>
void softmaxGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const T *const g = static_cast<const T *>(operands[0]), *const y = static_cast<const T *>(operands[1]);
  T *const dx = static_cast<T *>(operands[2]);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const std::int64_t begin = row * columns;
    RowSum products;
    eachVector({begin, begin + columns}, [&](std::int64_t i, auto lanes) {
      products.addProduct(read(g + i, lanes), read(y + i, lanes));
    });
    const float total = products.total();
    eachVector({begin, begin + columns}, [&](std::int64_t i, auto lanes) {
      write(dx + i, read(y + i, lanes) * (read(g + i, lanes) - total), lanes);
    });
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("softmax", 1, softmax),
                               STAGEWRIGHT_FOR_ELEMENTS("softmax_grad", 1, softmaxGrad)};

} // namespace

extern const Family Softmax = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
