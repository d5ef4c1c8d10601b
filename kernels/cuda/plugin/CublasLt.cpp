#include "kernels/cuda/plugin/CublasLt.h"

#include "kernels/cuda/plugin/Library.h"

#include <cublasLt.h>

namespace stagewright::cuda {
namespace {

#define STAGEWRIGHT_FUNCTIONS(one)                                                                           \
  one(cublasLtCreate) one(cublasLtGetStatusString) one(cublasLtMatmul) one(cublasLtMatmulAlgoGetHeuristic)   \
      one(cublasLtMatmulDescCreate) one(cublasLtMatmulDescDestroy) one(cublasLtMatmulDescSetAttribute)       \
          one(cublasLtMatrixLayoutCreate) one(cublasLtMatrixLayoutDestroy)                                   \
              one(cublasLtMatrixLayoutSetAttribute) one(cublasLtMatmulPreferenceCreate)                      \
                  one(cublasLtMatmulPreferenceDestroy) one(cublasLtMatmulPreferenceSetAttribute)

/// The functions of the library that are used.
struct Functions {
#define STAGEWRIGHT_MEMBER(name) decltype(&::name) name = nullptr;
  STAGEWRIGHT_FUNCTIONS(STAGEWRIGHT_MEMBER)
#undef STAGEWRIGHT_MEMBER
};

cudaDataType typeOf(Element element) {
  return element == Element::F16 ? CUDA_R_16F : element == Element::BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

cublasLtEpilogue_t epilogueOf(const Product &p) {
  switch (p.epilogue) {
  case Epilogue::None:
    return p.hasBias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  case Epilogue::Gelu:
    return p.hasBias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  case Epilogue::GeluAux:
    return p.hasBias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  case Epilogue::GeluGrad:
    return CUBLASLT_EPILOGUE_DGELU;
  case Epilogue::RowSums:
    return CUBLASLT_EPILOGUE_BGRADB; // of its second factor, our A
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}
bool hasMatrixBeside(const Product &p) {
  return p.epilogue == Epilogue::GeluAux || p.epilogue == Epilogue::GeluGrad;
}

/// cuBLASLt's matrices are column-major, so that it computes D^T = op(B)^T op(A)^T: its first factor is B.
///
///   ours, row-major                    its, column-major
///   A [m,k]    transposed: [k,m]       [k,m]    transposed: [m,k]
///   B [k,n]    transposed: [n,k]       [n,k]    transposed: [k,n]
///   D [m,n]                            [n,m], bias along its rows
///   aux [m,n]                          [n,m]
struct ProductPlan {
  Product product;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
  std::size_t workspaceBytes = 0;
};

class OpenedCublasLt final : public CublasLt {
public:
  Result<void> load() {
    auto library = Library::open("libcublasLt.so.13", "cuBLAS of the CUDA Toolkit 13");
    if (!library) {
      return library.takeError();
    }
#define STAGEWRIGHT_LOAD(name)                                                                               \
  if (auto ok = library->load(#name, lt.name); !ok) {                                                        \
    return ok;                                                                                               \
  }
    STAGEWRIGHT_FUNCTIONS(STAGEWRIGHT_LOAD)
#undef STAGEWRIGHT_LOAD
    return check(lt.cublasLtCreate(&handle), "cublasLtCreate");
  }

  Result<void *> plan(const Product &product, std::size_t workspaceBytes) override {
    auto made = std::make_unique<ProductPlan>();
    made->product = product;
    auto ok = describe(*made);
    auto found = ok ? choose(*made, workspaceBytes) : ok.takeError();
    if (!found || !*found) {
      release(*made);
      return found ? Result<void *>(nullptr) : found.takeError();
    }
    return static_cast<void *>(made.release());
  }

  Result<void> run(void *plan, const ProductOperands &operands, void *workspace,
                   cudaStream_t stream) override {
    ProductPlan &made = *static_cast<ProductPlan *>(plan);
    if (auto ok = point(made, operands.bias, operands.aux); !ok) {
      return ok;
    }
    const float one = 1, beta = made.product.accumulates ? 1 : 0;
    const auto &[a, b, d, bias, aux] = operands;
    return check(lt.cublasLtMatmul(handle, made.operation, &one, b, made.b, a, made.a, &beta, d, made.d, d,
                                   made.d, &made.algorithm, workspace, made.workspaceBytes, stream),
                 "cublasLtMatmul");
  }

  void destroy(void *plan) override {
    auto *made = static_cast<ProductPlan *>(plan);
    release(*made);
    delete made;
  }

private:
  Result<void> check(cublasStatus_t status, const char *call) const {
    if (status == CUBLAS_STATUS_SUCCESS) {
      return {};
    }
    return environmentError(call, lt.cublasLtGetStatusString(status),
                            "see whether other programs leave this GPU memory, and update its driver");
  }

  template <typename Value>
  Result<void> set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, Value value) {
    return check(lt.cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value),
                 "cublasLtMatmulDescSetAttribute");
  }

  Result<void> describe(ProductPlan &made) {
    const Product &p = made.product;
    const auto compute =
        p.element == Element::F32 && p.allowsTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    auto ok =
        check(lt.cublasLtMatmulDescCreate(&made.operation, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const auto first = p.transposesB ? CUBLAS_OP_T : CUBLAS_OP_N;
    const auto second = p.transposesA ? CUBLAS_OP_T : CUBLAS_OP_N;
    ok = ok ? set(made.operation, CUBLASLT_MATMUL_DESC_TRANSA, first) : std::move(ok);
    ok = ok ? set(made.operation, CUBLASLT_MATMUL_DESC_TRANSB, second) : std::move(ok);
    ok = ok ? set(made.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogueOf(p)) : std::move(ok);
    if (p.hasBias || p.epilogue == Epilogue::RowSums) {
      ok = ok ? set(made.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, typeOf(p.result)) : std::move(ok);
    }
    if (hasMatrixBeside(p)) {
      ok = ok ? set(made.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.n) : std::move(ok);
    }
    if (p.hasBias || p.epilogue != Epilogue::None) { // the heuristics look at alignments
      const auto somewhere = reinterpret_cast<const void *>(std::uintptr_t{64}); // that of all our memory
      ok = ok ? point(made, somewhere, somewhere) : std::move(ok);
    }
    ok = ok ? layOut(made.b, p.element, p.transposesB ? p.k : p.n, p.transposesB ? p.n : p.k, p.batch)
            : std::move(ok);
    ok = ok ? layOut(made.a, p.element, p.transposesA ? p.m : p.k, p.transposesA ? p.k : p.m, p.batch)
            : std::move(ok);
    return ok ? layOut(made.d, p.result, p.n, p.m, p.batch) : std::move(ok);
  }

  /// What the epilogue reads and writes.
  Result<void> point(ProductPlan &made, const void *bias, const void *aux) {
    const Product &p = made.product;
    Result<void> ok;
    if (p.hasBias || p.epilogue == Epilogue::RowSums) {
      ok = set(made.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
               p.epilogue == Epilogue::RowSums ? aux : bias);
    }
    if (ok && hasMatrixBeside(p)) {
      ok = set(made.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    }
    return ok;
  }

  /// Column-major and dense, one behind the other.
  Result<void> layOut(cublasLtMatrixLayout_t &layout, Element element, std::int64_t rows,
                      std::int64_t columns, std::int64_t batch) {
    auto ok = check(lt.cublasLtMatrixLayoutCreate(&layout, typeOf(element), static_cast<std::uint64_t>(rows),
                                                  static_cast<std::uint64_t>(columns), rows),
                    "cublasLtMatrixLayoutCreate");
    const auto count = static_cast<std::int32_t>(batch);
    const std::int64_t stride = rows * columns;
    if (ok && batch > 1) {
      ok = check(lt.cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                                     sizeof count),
                 "cublasLtMatrixLayoutSetAttribute");
    }
    if (ok && batch > 1) {
      ok = check(lt.cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                                     &stride, sizeof stride),
                 "cublasLtMatrixLayoutSetAttribute");
    }
    return ok;
  }

  /// The first of the heuristics' algorithms: the same for the same product on the same GPU and library.
  /// False: there is none for this epilogue.
  Result<bool> choose(ProductPlan &made, std::size_t workspaceBytes) {
    cublasLtMatmulPreference_t preference = nullptr;
    auto ok = check(lt.cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      ok = ok ? check(lt.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
                      "cublasLtMatmulPreferenceSetAttribute")
              : std::move(ok);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspaceBytes);
    // Parts of a sum stay in fp32 until they are added up.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(attribute, std::uint32_t{16});
    }
    cublasLtMatmulHeuristicResult_t found = {};
    int count = 0;
    const bool isPlain = made.product.epilogue == Epilogue::None;
    if (ok) {
      const cublasStatus_t status = lt.cublasLtMatmulAlgoGetHeuristic(
          handle, made.operation, made.b, made.a, made.d, made.d, preference, 1, &found, &count);
      const bool isAnswer = status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;
      ok = isAnswer ? std::move(ok) : check(status, "cublasLtMatmulAlgoGetHeuristic");
    }
    if (preference) {
      lt.cublasLtMatmulPreferenceDestroy(preference);
    }
    if (!ok) {
      return ok.takeError();
    }
    if (count == 0 && !isPlain) {
      return false;
    }
    if (count == 0) {
      return environmentError("cuBLASLt",
                              "has no algorithm for a product of " + std::to_string(made.product.m) + " x " +
                                  std::to_string(made.product.k) + " and " + std::to_string(made.product.k) +
                                  " x " + std::to_string(made.product.n),
                              "use sizes that are multiples of 8");
    }
    made.algorithm = found.algo;
    made.workspaceBytes = found.workspaceSize;
    return true;
  }

  void release(ProductPlan &made) {
    if (made.operation) {
      lt.cublasLtMatmulDescDestroy(made.operation);
    }
    for (const cublasLtMatrixLayout_t layout : {made.a, made.b, made.d}) {
      if (layout) {
        lt.cublasLtMatrixLayoutDestroy(layout);
      }
    }
  }

  Functions lt;
  cublasLtHandle_t handle = nullptr; // lives as long as the process: so does the library
};

} // namespace

Result<std::unique_ptr<CublasLt>> CublasLt::open() {
  auto opened = std::make_unique<OpenedCublasLt>();
  if (auto ok = opened->load(); !ok) {
    return ok.takeError();
  }
  return std::unique_ptr<CublasLt>(std::move(opened));
}

} // namespace stagewright::cuda
