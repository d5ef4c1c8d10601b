#include "kernels/cuda/plugin/Nccl.h"

#include "kernels/cuda/plugin/Library.h"

#include <nccl.h>

#include <cstring>

namespace stagewright::cuda {
namespace {

/// NCCL's functions, as nccl.h declares them.
struct Functions {
  decltype(&ncclGetUniqueId) getUniqueId = nullptr;
  decltype(&ncclCommInitRankConfig) commInitRank = nullptr;
  decltype(&ncclCommDestroy) commDestroy = nullptr;
  decltype(&ncclCommAbort) commAbort = nullptr;
  decltype(&ncclCommGetAsyncError) commGetAsyncError = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclGroupStart) groupStart = nullptr;
  decltype(&ncclGroupEnd) groupEnd = nullptr;
  decltype(&ncclGetErrorString) getErrorString = nullptr;
  decltype(&ncclGetLastError) getLastError = nullptr;

  Result<void> load(const Library &library) {
    auto ok = library.load("ncclGetUniqueId", getUniqueId);
    ok = ok ? library.load("ncclCommInitRankConfig", commInitRank) : std::move(ok);
    ok = ok ? library.load("ncclCommDestroy", commDestroy) : std::move(ok);
    ok = ok ? library.load("ncclCommAbort", commAbort) : std::move(ok);
    ok = ok ? library.load("ncclCommGetAsyncError", commGetAsyncError) : std::move(ok);
    ok = ok ? library.load("ncclSend", send) : std::move(ok);
    ok = ok ? library.load("ncclRecv", receive) : std::move(ok);
    ok = ok ? library.load("ncclGroupStart", groupStart) : std::move(ok);
    ok = ok ? library.load("ncclGroupEnd", groupEnd) : std::move(ok);
    ok = ok ? library.load("ncclGetErrorString", getErrorString) : std::move(ok);
    return ok ? library.load("ncclGetLastError", getLastError) : std::move(ok);
  }
};

class OpenNccl final : public Nccl {
public:
  explicit OpenNccl(const Functions &functions) : nccl(functions) {}

  Result<ConnectionId> id() override {
    ncclUniqueId made;
    static_assert(sizeof made == sizeof(ConnectionId));
    if (auto ok = check(nccl.getUniqueId(&made), "ncclGetUniqueId", nullptr); !ok) {
      return ok.takeError();
    }
    ConnectionId bytes;
    std::memcpy(bytes.data(), &made, sizeof made);
    return bytes;
  }

  Result<Connection> connect(const ConnectionId &id, int rank, int ranks, int mostBlocks) override {
    ncclUniqueId given;
    std::memcpy(&given, id.data(), sizeof given);
    ncclConfig_t configuration = NCCL_CONFIG_INITIALIZER;
    configuration.maxCTAs = mostBlocks;
    ncclComm_t made = nullptr;
    if (auto ok = check(nccl.commInitRank(&made, ranks, given, rank, &configuration),
                        "ncclCommInitRankConfig", nullptr);
        !ok) {
      return ok.takeError();
    }
    return Connection{made};
  }

  Result<void> exchange(Connection connection, std::span<const Exchanged> messages,
                        cudaStream_t stream) override {
    const ncclComm_t own = native(connection);
    auto ok = check(nccl.groupStart(), "ncclGroupStart", own);
    if (!ok) {
      return ok;
    }
    for (const Exchanged &message : messages) {
      ok = !ok ? std::move(ok)
           : message.sends
               ? check(nccl.send(message.data, message.bytes, ncclUint8, message.peer, own, stream),
                       "ncclSend", own)
               : check(nccl.receive(message.data, message.bytes, ncclUint8, message.peer, own, stream),
                       "ncclRecv", own);
    }
    auto ended = check(nccl.groupEnd(), "ncclGroupEnd", own); // also behind an error
    return ok ? std::move(ended) : std::move(ok);
  }

  Result<void> failureOf(Connection connection) override {
    ncclResult_t noted = ncclSuccess;
    const ncclResult_t asked = nccl.commGetAsyncError(native(connection), &noted);
    return check(asked == ncclSuccess ? noted : asked, "NCCL, on the way", native(connection));
  }
  void disconnect(Connection connection) override { (void)nccl.commDestroy(native(connection)); }
  void abort(Connection connection) override { (void)nccl.commAbort(native(connection)); }

private:
  static ncclComm_t native(Connection connection) { return static_cast<ncclComm_t>(connection.handle); }

  Result<void> check(ncclResult_t status, const char *call, ncclComm_t comm) const {
    if (status == ncclSuccess || status == ncclInProgress) {
      return {};
    }
    const char *const more = nccl.getLastError(comm);
    std::string text = nccl.getErrorString(status);
    text += more && *more ? std::string(": ") + more : "";
    return environmentError(call, text, "run with NCCL_DEBUG=INFO to see what NCCL does");
  }

  const Functions nccl;
};

} // namespace

Result<std::unique_ptr<Nccl>> Nccl::open() {
  auto library = Library::open("libnccl.so.2", "NCCL 2 for CUDA 13 (libnccl2)");
  if (!library) {
    return library.takeError();
  }
  Functions functions;
  if (auto ok = functions.load(*library); !ok) {
    return ok.takeError();
  }
  return std::unique_ptr<Nccl>(std::make_unique<OpenNccl>(functions));
}

} // namespace stagewright::cuda
