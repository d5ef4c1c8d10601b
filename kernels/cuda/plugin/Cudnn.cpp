#include "kernels/cuda/plugin/Cudnn.h"

#include "kernels/cuda/plugin/CudnnFunctions.h"
#include "kernels/cuda/plugin/CudnnGraphs.h"

namespace stagewright::cuda {
namespace {

namespace fe = cudnn_frontend;

struct GraphPlan {
  fe::graph::Graph graph;
};

/// The first line of cuDNN's words, and the first of its reasons.
std::string wordsOf(fe::error_object status) {
  const std::string all = status.get_message();
  const auto lineFrom = [&](std::size_t at) { return all.substr(at, all.find('\n', at) - at); };
  const std::size_t reason = all.find("Reason: ");
  return "cuDNN: " + lineFrom(0) + (reason == std::string::npos ? "" : "; " + lineFrom(reason));
}

class OpenedCudnn final : public Cudnn {
public:
  explicit OpenedCudnn(cudnnHandle_t handle) : handle(handle) {}
  ~OpenedCudnn() override { (void)cudnnDestroy(handle); }

  DnnPlan plan(const Convolution &convolution, std::size_t workspaceBytes) override {
    return make(convolution, workspaceBytes);
  }
  DnnPlan plan(const Attention &attention, std::size_t workspaceBytes) override {
    return make(attention, workspaceBytes);
  }

  Result<void> run(const DnnPlan &plan, std::span<void *const> operands, void *workspace,
                   cudaStream_t stream) override {
    try {
      if (const cudnnStatus_t status = cudnnSetStream(handle, stream); status != CUDNN_STATUS_SUCCESS) {
        return environmentError("cudnnSetStream", cudnnGetErrorString(status));
      }
      std::unordered_map<std::int64_t, void *> tensors;
      for (std::size_t i = 0; i < operands.size(); ++i) {
        tensors.emplace(static_cast<std::int64_t>(i), operands[i]);
      }
      const auto status = static_cast<GraphPlan *>(plan.handle)->graph.execute(handle, tensors, workspace);
      return status.is_good() ? Result<void>() : environmentError("a graph of cuDNN", wordsOf(status));
    } catch (const std::exception &thrown) {
      return environmentError("a graph of cuDNN", thrown.what());
    }
  }

  void destroy(const DnnPlan &plan) override { delete static_cast<GraphPlan *>(plan.handle); }

private:
  template <typename Description>
  DnnPlan make(const Description &description, std::size_t workspaceBytes) {
    try {
      auto made = std::make_unique<GraphPlan>();
      describe(description, made->graph);
      const auto status =
          build(made->graph, unwanted(description), static_cast<std::int64_t>(workspaceBytes));
      if (status.is_good()) {
        return {made.release(), ""};
      }
      return {nullptr, wordsOf(status)};
    } catch (const std::exception &thrown) {
      return {nullptr, std::string("cuDNN: ") + thrown.what()};
    }
  }

  /// The first algorithm of the heuristics, or of those that support most, that is wanted and can be built:
  /// the same on the same GPU with the same library.
  fe::error_object build(fe::graph::Graph &graph, const std::vector<fe::NumericalNote_t> &unwanted,
                         std::int64_t workspaceBytes) {
    auto status = graph.validate();
    status = status.is_good() ? graph.build_operation_graph(handle) : status;
    status = status.is_good() ? graph.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK})
                              : status;
    if (status.is_bad()) {
      return status;
    }
    graph.deselect_numeric_notes(unwanted).deselect_workspace_greater_than(workspaceBytes);
    status = graph.check_support();
    status = status.is_good() ? graph.build_plans(fe::BuildPlanPolicy_t::HEURISTICS_CHOICE) : status;
    if (status.is_good() && graph.get_workspace_size() > workspaceBytes) {
      return {fe::error_code_t::GRAPH_NOT_SUPPORTED,
              "needs " + std::to_string(graph.get_workspace_size()) + " bytes of workspace"};
    }
    return status;
  }

  const cudnnHandle_t handle;
};

} // namespace

Result<std::unique_ptr<Cudnn>> Cudnn::open() {
  if (auto ok = loadCudnn(); !ok) {
    return ok.takeError();
  }
  cudnnHandle_t handle = nullptr;
  if (const cudnnStatus_t status = cudnnCreate(&handle); status != CUDNN_STATUS_SUCCESS) {
    return environmentError("cudnnCreate", cudnnGetErrorString(status), "see whether cuDNN fits the driver");
  }
  return std::unique_ptr<Cudnn>(std::make_unique<OpenedCudnn>(handle));
}

} // namespace stagewright::cuda
