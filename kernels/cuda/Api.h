// The function table of CUDA: every call that reaches the driver, cuBLASLt, cuDNN or NCCL goes through it.
// What decides which calls are made, in which order and on which stream is plain C++ on this side of the
// table; the plug-in (kernels/cuda/plugin) is its implementation on a GPU, and tests have one that records
// and computes on the host.
#ifndef STAGEWRIGHT_KERNELS_CUDA_API_H
#define STAGEWRIGHT_KERNELS_CUDA_API_H

#include "call/Call.h"
#include "error/Error.h"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace stagewright::cuda {

using kernels::Element;

// Handles: what they mean is the table's business; null: none.
struct Stream {
  void *handle = nullptr;
  auto operator<=>(const Stream &) const = default;
};
struct Event {
  void *handle = nullptr;
  auto operator<=>(const Event &) const = default;
};
struct Graph {
  void *handle = nullptr;
};
struct Function {
  const void *handle = nullptr;
};
/// What a library needs to run a product or a convolution again.
struct Plan {
  void *handle = nullptr;
};

/// NCCL: a rank's end of a communicator of some ranks, and what makes them find each other.
struct Connection {
  void *handle = nullptr;
};
using ConnectionId = std::array<std::byte, 128>;

struct DeviceProperties {
  std::string name;
  std::string bus;          ///< the same for two ranks of a machine: they share the GPU
  int major = 0, minor = 0; ///< compute capability
  std::size_t bytes = 0;    ///< of memory
  std::size_t freeBytes = 0;
  int multiprocessors = 0;
};

/// A kernel of ours: it takes one struct by value (kernels/cuda/device/*Arguments.h).
struct Launch {
  Function function;
  std::array<unsigned, 3> grid = {1, 1, 1}; ///< blocks
  unsigned threads = 1;                     ///< of a block
  std::size_t sharedBytes = 0;              ///< dynamic
  const void *arguments = nullptr;
  std::size_t argumentBytes = 0;
};

/// What a product computes of v = op(A) op(B) + bias in fp32, before it rounds.
enum class Epilogue {
  None,     ///< D = v
  Gelu,     ///< D = gelu(v), the form with tanh
  GeluAux,  ///< likewise, and aux = v
  GeluGrad, ///< D = v gelu'(aux)
  RowSums   ///< D as ever, and aux[i] = the sum of row i of op(A), in f32
};

/// D[m,n] = op(A) op(B), or D += op(A) op(B), one for each of `batch`, all row-major and dense; sums in fp32.
struct Product {
  Element element = Element::F32;     ///< of A and B
  Element result = Element::F32;      ///< of D
  bool transposesA = false;           ///< A is [k,m], else [m,k]
  bool transposesB = false;           ///< B is [n,k], else [k,n]
  bool accumulates = false;           ///< D +=
  bool hasBias = false;               ///< of the result's type, [n], added to every row
  bool allowsTf32 = false;            ///< of f32: products of values rounded to 10 bits of mantissa
  Epilogue epilogue = Epilogue::None; ///< others of one product (batch 1)
  std::int64_t m = 0, n = 0, k = 0, batch = 1;
  auto operator<=>(const Product &) const = default;
};

struct ProductOperands {
  const void *a = nullptr, *b = nullptr;
  void *d = nullptr;
  const void *bias = nullptr;
  void *aux = nullptr; ///< of the epilogue: of the result's type [m,n], or sums [m]
};

/// A function of the host as work of a stream. It calls nothing of the table and waits for no other work;
/// what `context` points at lives until the function has run.
struct HostCall {
  void (*run)(void *context) = nullptr;
  void *context = nullptr;
};

/// Memory that work reads, or writes (and perhaps reads).
struct Access {
  const void *data = nullptr;
  std::size_t bytes = 0;
  bool writes = false;
};

/// y = x * weight + bias over images [N,C,H,W] in groups, or a gradient of it, all dense; sums in fp32.
struct Convolution {
  enum class Kind { Forward, InputGradient, WeightGradient };
  using Pair = std::array<std::int64_t, 2>; ///< rows, columns
  Kind kind = Kind::Forward;
  Element element = Element::F32; ///< of what is read
  Element result = Element::F32;  ///< of what is written
  bool hasBias = false;           ///< of Forward: of the type `element`, [outputs]
  bool allowsTf32 = false;        ///< of f32: products of values rounded to 10 bits of mantissa
  std::int64_t samples = 0, inputs = 0, outputs = 0, groups = 1;
  Pair image = {}, filter = {}, positions = {}; ///< of x, of the weight, of y
  Pair stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
  auto operator<=>(const Convolution &) const = default;
};

/// y = softmax(scale q k^T) v for each head, or its gradient: q and y [batch, queries, heads, headSize], k
/// and v [batch, keys, keyHeads, headSize], dense; head h meets head h * keyHeads / heads of k and v. All
/// keys are seen, or those up to the query's own number.
struct Attention {
  bool isGradient = false;
  Element element = Element::F32;
  std::int64_t batch = 0, queries = 0, keys = 0, heads = 0, keyHeads = 0, headSize = 0;
  bool isCausal = false;
  float scale = 1;
  auto operator<=>(const Attention &) const = default;
};

/// What cuDNN needs to run an operation again, or why it does not: it is not installed, or has nothing for
/// such a call.
struct DnnPlan {
  void *handle = nullptr; ///< null: there is none
  std::string refusal;
};

/// Prepared calls of a kernel that cuDNN may run.
struct DnnUse {
  std::int64_t byDnn = 0, byOwn = 0;
};
struct DnnUses {
  std::map<std::string, DnnUse> kernels; ///< by the kernel's name
  std::string refusal;                   ///< the first of cuDNN's refusals, in words; empty: there was none
};

/// One of the messages that are exchanged at a time.
struct Exchanged {
  bool sends = false;
  int peer = 0; ///< number in the communicator
  void *data = nullptr;
  std::size_t bytes = 0;
};

/// One rank's view of one GPU. A table is used by one thread at a time but for allocation,
/// and for copy(), record() and wait(), which threads of other ranks call as well; errors of kind
/// Environment name the call. Work that a stream has been given runs in order; streams are independent of
/// each other but for events.
class Api {
public:
  virtual ~Api() = default;

  virtual Result<DeviceProperties> properties() = 0;
  /// Makes the table's device that of the calling thread: the first call of every thread.
  virtual Result<void> select() = 0;

  // Memory. Addresses of device memory and of pinned host memory are unique in the process.
  virtual Result<void *> allocate(std::size_t bytes) = 0; ///< on the device, at a multiple of 256
  virtual void release(void *data) = 0;
  virtual Result<void *> allocatePinned(std::size_t bytes) = 0; ///< on the host
  virtual void releasePinned(void *data) = 0;

  virtual Result<Stream> createStream() = 0;
  virtual void destroy(Stream stream) = 0;
  virtual Result<Event> createEvent() = 0;
  virtual void destroy(Event event) = 0;

  // Work of a stream.
  virtual Result<void> copy(void *to, const void *from, std::size_t bytes, Stream stream) = 0;
  virtual Result<void> fill(void *to, std::uint8_t byte, std::size_t bytes, Stream stream) = 0;
  virtual Result<void> launch(const Launch &launch, Stream stream) = 0;
  /// On a thread of the table's.
  virtual Result<void> call(const HostCall &call, Stream stream) = 0;
  virtual Result<void> record(Event event, Stream stream) = 0;
  /// What memory the launches, calls and products touch that the stream is given next. For tables that look
  /// at orders.
  virtual void declare(std::span<const Access>, Stream) {}
  /// What the stream is given from now on waits for what the event's last record() stands behind.
  virtual Result<void> wait(Stream stream, Event event) = 0;

  // What waits on the host: at the ends of steps only.
  virtual Result<void> synchronize(Stream stream) = 0;
  /// Whether the stream has done all that it was given; does not wait.
  virtual Result<bool> isDone(Stream stream) = 0;

  // Graphs: what a stream is given between begin and end is not run but kept.
  virtual Result<void> beginCapture(Stream stream) = 0;
  virtual Result<Graph> endCapture(Stream stream) = 0;
  virtual Result<void> launch(Graph graph, Stream stream) = 0;
  virtual void destroy(Graph graph) = 0;

  /// A kernel of the plug-in by its name. Error: Bug, there is none.
  virtual Result<Function> function(const std::string &name) = 0;

  /// cuBLASLt: the first algorithm of its heuristics that needs at most so much workspace. Null: it has none
  /// for this epilogue, which is an answer and no error.
  virtual Result<Plan> plan(const Product &product, std::size_t workspaceBytes) = 0;
  virtual Result<void> multiply(Plan plan, const ProductOperands &operands, void *workspace,
                                Stream stream) = 0;
  virtual void destroy(Plan plan) = 0;

  /// cuDNN: the first plan of its heuristics that has the same bits in every run and needs at most so much
  /// workspace. That there is none is an answer, not an error.
  virtual Result<DnnPlan> plan(const Convolution &convolution, std::size_t workspaceBytes) = 0;
  virtual Result<DnnPlan> plan(const Attention &attention, std::size_t workspaceBytes) = 0;
  /// `operands`:
  ///   Convolution  x, weight, y, bias (if it has one) | g, weight, dx | g, x, dweight
  ///   Attention    q, k, v, y, statistics | g, q, k, v, y, statistics, dq, dk, dv
  /// where statistics is f32 [batch, heads, queries]: the logarithm of the sum of exp(scale q k) over keys.
  virtual Result<void> run(const DnnPlan &plan, std::span<void *const> operands, void *workspace,
                           Stream stream) = 0;
  virtual void destroy(const DnnPlan &plan) = 0;
  /// Of the table's KernelCache, which counts here: whoever has the table can tell.
  DnnUses dnnUses;

  // NCCL. Errors: Environment, it is not installed, or what it says.
  virtual Result<ConnectionId> connectionId() = 0;
  /// Number `rank` of `ranks`, which all call it with the same id, each on a GPU of its own; waits for them.
  /// What is under way holds at most so many blocks of the device.
  virtual Result<Connection> connect(const ConnectionId &id, int rank, int ranks, int mostBlocks) = 0;
  /// All of them, together: what a rank sends to another one meets what that receives from it, in the order
  /// of calls and of the list. The first one between two ranks waits on the host for the other side.
  virtual Result<void> exchange(Connection connection, std::span<const Exchanged> messages,
                                Stream stream) = 0;
  /// What has gone wrong since: on this rank, or on the way to others.
  virtual Result<void> failureOf(Connection connection) = 0;
  /// When all that it was given has been done.
  virtual void disconnect(Connection connection) = 0;
  /// Ends what is under way, here and, as far as NCCL can, on the others.
  virtual void abort(Connection connection) = 0;
};

} // namespace stagewright::cuda

#endif
