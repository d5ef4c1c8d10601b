// What cuDNN is asked to compute, as its graphs. Tensor i of a graph is operand i of Api::run.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUDNNGRAPHS_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUDNNGRAPHS_H

#include "kernels/cuda/Api.h"

#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

namespace stagewright::cuda {

void describe(const Convolution &convolution, cudnn_frontend::graph::Graph &graph);
void describe(const Attention &attention, cudnn_frontend::graph::Graph &graph);

/// Properties of algorithms that are not used: other bits in every run, fewer bits than fp32 in sums or
/// factors, sums that are not of products.
std::vector<cudnn_frontend::NumericalNote_t> unwanted(const Convolution &convolution);
std::vector<cudnn_frontend::NumericalNote_t> unwanted(const Attention &attention);

} // namespace stagewright::cuda

#endif
