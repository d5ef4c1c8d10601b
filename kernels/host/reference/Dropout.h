// What dropout keeps, one element at a time.
#ifndef STAGEWRIGHT_KERNELS_HOST_REFERENCE_DROPOUT_H
#define STAGEWRIGHT_KERNELS_HOST_REFERENCE_DROPOUT_H

#include "kernels/host/reference/Values.h"

namespace stagewright::kernels {

/// What `element` is multiplied by: 0 or 1 / (1 - p). `numbers`: the operand random.
double dropoutFactor(const Values &v, std::size_t numbers, std::int64_t element);

} // namespace stagewright::kernels

#endif
