#include "kernels/cuda/plugin/CudnnGraphs.h"

namespace stagewright::cuda {
namespace {

namespace fe = cudnn_frontend;
using Sizes = std::vector<std::int64_t>;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

fe::DataType_t typeOf(Element element) {
  return element == Element::F16    ? fe::DataType_t::HALF
         : element == Element::BF16 ? fe::DataType_t::BFLOAT16
                                    : fe::DataType_t::FLOAT;
}

void setTypes(fe::graph::Graph &graph, Element element) {
  graph.set_io_data_type(typeOf(element))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
}

Sizes denseStrides(const Sizes &sizes) {
  Sizes strides(sizes.size(), 1);
  for (std::size_t i = sizes.size() - 1; i > 0; --i) {
    strides[i - 1] = strides[i] * sizes[i];
  }
  return strides;
}

struct Layout {
  Sizes sizes, strides;
};
Layout dense(const Sizes &sizes) {
  return {sizes, denseStrides(sizes)};
}
/// [batch, length, heads, size] in memory, as cuDNN has it: [batch, heads, length, size].
Layout ofHeads(std::int64_t batch, std::int64_t length, std::int64_t heads, std::int64_t size) {
  return {{batch, heads, length, size}, {length * heads * size, size, heads * size, 1}};
}

Tensor input(fe::graph::Graph &graph, int operand, const Layout &layout, Element element) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_name("operand" + std::to_string(operand))
                          .set_uid(operand)
                          .set_dim(layout.sizes)
                          .set_stride(layout.strides)
                          .set_data_type(typeOf(element)));
}

void output(const Tensor &tensor, int operand, const Layout &layout, Element element) {
  tensor->set_output(true)
      .set_uid(operand)
      .set_dim(layout.sizes)
      .set_stride(layout.strides)
      .set_data_type(typeOf(element));
}

template <typename Attributes>
Attributes windows(const Convolution &c) {
  const auto sizes = [](const Convolution::Pair &pair) { return Sizes(pair.begin(), pair.end()); };
  return Attributes()
      .set_padding(sizes(c.padding))
      .set_stride(sizes(c.stride))
      .set_dilation(sizes(c.dilation));
}

Tensor addBias(fe::graph::Graph &graph, const Convolution &c, const Tensor &sums) {
  const Tensor bias = input(graph, 3, dense({1, c.outputs, 1, 1}), c.element);
  return graph.pointwise(sums, bias, fe::graph::Pointwise_attributes().set_mode(fe::PointwiseMode_t::ADD));
}

} // namespace

void describe(const Convolution &c, fe::graph::Graph &graph) {
  setTypes(graph, c.element);
  const Layout x = dense({c.samples, c.inputs, c.image[0], c.image[1]}),
               weight = dense({c.outputs, c.inputs / c.groups, c.filter[0], c.filter[1]}),
               y = dense({c.samples, c.outputs, c.positions[0], c.positions[1]});
  const Tensor first = input(graph, 0, c.kind == Convolution::Kind::Forward ? x : y, c.element),
               second = input(graph, 1, c.kind == Convolution::Kind::WeightGradient ? x : weight, c.element);
  switch (c.kind) {
  case Convolution::Kind::Forward: {
    const Tensor sums = graph.conv_fprop(first, second, windows<fe::graph::Conv_fprop_attributes>(c));
    output(c.hasBias ? addBias(graph, c, sums) : sums, 2, y, c.result);
    break;
  }
  case Convolution::Kind::InputGradient:
    output(graph.conv_dgrad(first, second, windows<fe::graph::Conv_dgrad_attributes>(c)), 2, x, c.result);
    break;
  case Convolution::Kind::WeightGradient:
    output(graph.conv_wgrad(first, second, windows<fe::graph::Conv_wgrad_attributes>(c)), 2, weight,
           c.result);
    break;
  }
}

void describe(const Attention &a, fe::graph::Graph &graph) {
  setTypes(graph, a.element);
  const Layout q = ofHeads(a.batch, a.queries, a.heads, a.headSize),
               k = ofHeads(a.batch, a.keys, a.keyHeads, a.headSize),
               statistics = dense({a.batch, a.heads, a.queries, 1});
  const int first = a.isGradient ? 1 : 0; // operand q
  const Tensor query = input(graph, first, q, a.element), key = input(graph, first + 1, k, a.element),
               value = input(graph, first + 2, k, a.element);
  if (!a.isGradient) {
    const auto [y, sums] = graph.sdpa(query, key, value,
                                      fe::graph::SDPA_attributes()
                                          .set_name("attention")
                                          .set_generate_stats(true)
                                          .set_causal_mask(a.isCausal)
                                          .set_attn_scale(a.scale));
    output(y, 3, q, a.element);
    output(sums, 4, statistics, Element::F32);
    return;
  }
  const Tensor g = input(graph, 0, q, a.element), y = input(graph, 4, q, a.element),
               sums = input(graph, 5, statistics, Element::F32);
  const auto [dq, dk, dv] = graph.sdpa_backward(query, key, value, y, g, sums,
                                                fe::graph::SDPA_backward_attributes()
                                                    .set_name("attention_grad")
                                                    .set_causal_mask(a.isCausal)
                                                    .set_attn_scale(a.scale)
                                                    .set_deterministic_algorithm(true));
  output(dq, 6, q, a.element);
  output(dk, 7, k, a.element);
  output(dv, 8, k, a.element);
}

std::vector<fe::NumericalNote_t> unwanted(const Convolution &c) {
  using Note = fe::NumericalNote_t;
  std::vector<Note> notes = {Note::NONDETERMINISTIC,
                             Note::DOWN_CONVERT_INPUTS,
                             Note::REDUCED_PRECISION_REDUCTION,
                             Note::FFT,
                             Note::WINOGRAD,
                             Note::WINOGRAD_TILE_4x4,
                             Note::WINOGRAD_TILE_6x6,
                             Note::WINOGRAD_TILE_13x13};
  if (c.element == Element::F32 && !c.allowsTf32) {
    notes.push_back(Note::TENSOR_CORE);
  }
  return notes;
}

std::vector<fe::NumericalNote_t> unwanted(const Attention &) {
  return {fe::NumericalNote_t::NONDETERMINISTIC};
}

} // namespace stagewright::cuda
