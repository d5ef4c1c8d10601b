// Sums of what ranks contribute, on a GPU: the bits of runtime/comm/OrderedSum.h.
#ifndef STAGEWRIGHT_KERNELS_CUDA_ORDEREDSUM_H
#define STAGEWRIGHT_KERNELS_CUDA_ORDEREDSUM_H

#include "catalogue/Catalogue.h"
#include "kernels/cuda/Cuda.h"
#include "kernels/cuda/device/OrderedSumArguments.h"

namespace stagewright::cuda {

/// Gives the stream a sum of elements of this type: F64, or F32, F16 and BF16, which are added up in fp32 and
/// rounded once.
Result<void> launchOrderedSum(Api &api, KernelCache &kernels, Stream stream, catalogue::DType dtype,
                              const OrderedSumArguments &arguments);

/// Gives the stream an empty sum: a kernel is loaded when it is first launched, which may wait for all that
/// is under way on the device, messages too.
Result<void> loadOrderedSum(Api &api, KernelCache &kernels, Stream stream, catalogue::DType dtype);

} // namespace stagewright::cuda

#endif
