// Speed of the three matrix products of a linear layer, beside OpenBLAS's sgemm when a BLAS was found, with
// one thread and with two, interleaved in one run. Prints GFLOP/s (best round, because other programs may run
// beside) and the share of the machine's peak. One thread is timed by its CPU time, two by the clock.
//
//   bench_gemm [--rounds N] [--isa portable|avx2|avx512] [--shape MxKxN]
#include "PeakLoop.h"
#include "TileRunners.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <time.h>

#if defined(STAGEWRIGHT_BLAS)
extern "C" void sgemm_(const char *transA, const char *transB, const int *m, const int *n, const int *k,
                       const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
                       const float *beta, float *c, const int *ldc);
extern "C" void openblas_set_num_threads(int threads) __attribute__((weak));
#endif

using namespace stagewright;
using namespace stagewright::kernels;

namespace {

struct Problem {
  int m, k, n; // y[m,n] = x[m,k] W[n,k]^T
};

constexpr Problem kProblems[] = {{16, 784, 256},   {128, 784, 256},   {16, 256, 10},     {512, 384, 1536},
                                 {512, 768, 3072}, {2048, 384, 1152}, {2048, 384, 1536}, {2048, 1536, 384},
                                 {32, 4096, 4096}, {256, 4096, 4096}, {2048, 384, 8192}};
constexpr const char *kProducts[] = {"y", "dx", "dW"};

using Matrix = std::unique_ptr<float, FreeMemory>;

Matrix makeMatrix(std::int64_t elements) {
  constexpr std::size_t kHugePage = 2 << 20; // as the arenas of the runtime
  const std::size_t bytes = (std::size_t(elements) * sizeof(float) + kHugePage - 1) / kHugePage * kHugePage;
  Matrix out(static_cast<float *>(std::aligned_alloc(kHugePage, bytes)));
  madvise(out.get(), bytes, MADV_HUGEPAGE);
  unsigned state = 1;
  for (std::int64_t i = 0; i < elements; ++i)
    out.get()[i] = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24) - 0.5f;
  return out;
}

double now(int threads) {
  timespec time{};
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

double secondsOf(int threads, int repeats, const std::function<void()> &work) {
  const double start = now(threads);
  for (int i = 0; i < repeats; ++i)
    work();
  return (now(threads) - start) / repeats;
}

/// GFLOP/s of `threads` register loops side by side.
double peak(int threads) {
  constexpr long kRounds = 4'000'000;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    double work = 0;
    const double seconds = secondsOf(threads, 1, [&] {
      std::vector<std::jthread> others;
      for (int i = 1; i < threads; ++i)
        others.emplace_back([] { peakLoop(kRounds); });
      work = peakLoop(kRounds) * threads;
    });
    best = std::max(best, work / seconds / 1e9);
  }
  return best;
}

/// All buffers of one problem, and the calls on them.
class Products {
public:
  Products(const Problem &p, Isa isa)
      : problem(p), x(makeMatrix(p.m * p.k)), weight(makeMatrix(std::int64_t(p.n) * p.k)),
        y(makeMatrix(std::int64_t(p.m) * p.n)), acc(makeMatrix(std::int64_t(p.n) * p.k)),
        forward(makeMatrix(catalogue::packedElements(p.k, p.n))),
        inputGrad(makeMatrix(catalogue::packedElements(p.n, p.k))) {
    const catalogue::Shape xs{p.m, p.k}, ys{p.m, p.n}, ws{p.n, p.k};
    kernels[0] = make("linear", {xs, {catalogue::packedElements(p.k, p.n)}, ys}, isa);
    kernels[1] = make("linear_input_grad", {ys, {catalogue::packedElements(p.n, p.k)}, xs}, isa);
    kernels[2] = make("linear_weight_grad", {ys, xs, ws}, isa);
    SerialTileRunner serial;
    void *const packForward[] = {weight.get(), forward.get()};
    make("pack_linear_forward", {ws, {catalogue::packedElements(p.k, p.n)}}, isa)
        ->run(packForward, nullptr, serial);
    void *const packGrad[] = {weight.get(), inputGrad.get()};
    make("pack_linear_input_grad", {ws, {catalogue::packedElements(p.n, p.k)}}, isa)
        ->run(packGrad, nullptr, serial);
  }

  void ours(int product, TileRunner &runner) {
    void *const operands[3][4] = {{x.get(), forward.get(), y.get(), nullptr},
                                  {y.get(), inputGrad.get(), x.get(), nullptr},
                                  {y.get(), x.get(), acc.get(), nullptr}};
    kernels[product]->run(operands[product], nullptr, runner);
  }

#if defined(STAGEWRIGHT_BLAS)
  /// Row-major C = A B is column-major C^T = B^T A^T.
  void blas(int product) {
    const auto [m, k, n] = problem;
    const float one = 1, zero = 0;
    if (product == 0)
      sgemm_("T", "N", &n, &m, &k, &one, weight.get(), &k, x.get(), &k, &zero, y.get(), &n);
    else if (product == 1)
      sgemm_("N", "N", &k, &m, &n, &one, weight.get(), &k, y.get(), &n, &zero, x.get(), &k);
    else
      sgemm_("N", "T", &k, &n, &m, &one, x.get(), &k, y.get(), &n, &one, acc.get(), &k);
  }
#endif

private:
  static std::unique_ptr<PreparedKernel> make(const char *name, std::vector<catalogue::Shape> shapes,
                                              Isa isa) {
    auto prepared = prepare({catalogue::find(name, 1), std::move(shapes), {}}, isa);
    if (!prepared) {
      std::fprintf(stderr, "%s\n", prepared.error().text().c_str());
      std::exit(2);
    }
    return std::move(*prepared);
  }

  Problem problem;
  Matrix x, weight, y, acc, forward, inputGrad;
  std::unique_ptr<PreparedKernel> kernels[3];
};

void measure(const Problem &problem, Isa isa, int rounds, const double (&peaks)[2], ThreadTileRunner &two) {
  Products products(problem, isa);
  SerialTileRunner one;
  TileRunner *const runners[2] = {&one, &two};
  const double flops = 2.0 * problem.m * problem.k * problem.n;
  const int repeats = std::max(1, int(4e8 / flops));
  for (int product = 0; product < 3; ++product) {
    double ours[2] = {}, blas[2] = {};
    for (int round = 0; round < rounds; ++round)
      for (int i = 0; i < 2; ++i) {
        const double seconds = secondsOf(i + 1, repeats, [&] { products.ours(product, *runners[i]); });
        ours[i] = std::max(ours[i], flops / 1e9 / seconds);
#if defined(STAGEWRIGHT_BLAS)
        if (openblas_set_num_threads)
          openblas_set_num_threads(i + 1);
        blas[i] = std::max(blas[i], flops / 1e9 / secondsOf(i + 1, repeats, [&] { products.blas(product); }));
#endif
      }
    std::printf("%4dx%4dx%5d %-3s", problem.m, problem.k, problem.n, kProducts[product]);
    for (int i = 0; i < 2; ++i)
      std::printf("   %7.1f (%3.0f%%) %8.1f", ours[i], 100 * ours[i] / peaks[i], blas[i]);
    std::printf("\n");
    std::fflush(stdout);
  }
}

} // namespace

int main(int argc, char **argv) {
  int rounds = 7;
  Isa isa = bestIsa();
  std::vector<Problem> problems(std::begin(kProblems), std::end(kProblems));
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    Problem problem{};
    if (option == "--rounds" && std::atoi(value.c_str()) > 0)
      rounds = std::atoi(value.c_str());
    else if (option == "--isa" && value == "portable")
      isa = Isa::Portable;
    else if (option == "--isa" && value == "avx2")
      isa = Isa::Avx2;
    else if (option == "--isa" && value == "avx512")
      isa = Isa::Avx512;
    else if (option == "--shape" &&
             std::sscanf(value.c_str(), "%dx%dx%d", &problem.m, &problem.k, &problem.n) == 3)
      problems = {problem};
    else {
      std::fprintf(stderr, "usage: bench_gemm [--rounds N] [--isa portable|avx2|avx512] [--shape MxKxN]\n");
      return 2;
    }
  }
  setFlushToZero();
  ThreadTileRunner two(2);
  const double peaks[2] = {peak(1), peak(2)};
  std::printf("kernels: %s. Peak (register loop): %.0f GFLOP/s with one thread, %.0f with two.\n",
              std::string(name(isa)).c_str(), peaks[0], peaks[1]);
  std::printf("GFLOP/s: ours (share of peak), OpenBLAS\n%-18s %24s %24s\n", "m x k x n", "1 thread",
              "2 threads");
  for (const Problem &problem : problems)
    measure(problem, isa, rounds, peaks, two);
  return 0;
}
