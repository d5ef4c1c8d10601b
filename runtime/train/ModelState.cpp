#include "runtime/train/ModelState.h"

#include "runtime/comm/MessageTags.h"
#include "runtime/exec/MeshGroups.h"
#include "runtime/executable/TensorSplit.h"
#include "runtime/train/Random.h"
#include "runtime/train/Safetensors.h"
#include "runtime/train/WeightFiles.h"

#include <algorithm>
#include <map>
#include <openssl/evp.h>
#include <tuple>

namespace stagewright::runtime {

namespace {

/// Pieces in which tensors travel to the first process.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

/// One tensor of the state, or a replica's part of it, on the rank that owns it.
struct StateTensor {
  std::string name;      ///< of the parameter or the buffer
  std::string state;     ///< empty: the weight or the buffer itself
  bool isBuffer = false; ///< no part of the weights' hash
  executable::DType dtype = executable::DType::F32;
  int rank = 0;
  unsigned arena = 0;
  std::uint64_t offset = 0, bytes = 0;
  std::uint64_t first = 0;                      ///< element: a part of a state that replicas divide
  const executable::Parameter *split = nullptr; ///< of it or of its state: the part of a tensor rank
  int tensorRank = 0;
};

/// Of a parameter or a buffer.
template <typename Table>
std::vector<std::int64_t> shapeOf(const Table &table) {
  return {table.shape()->begin(), table.shape()->end()};
}
template <typename Table>
std::uint64_t elementsOf(const Table &table) {
  return static_cast<std::uint64_t>(catalogue::elements(shapeOf(table)));
}
std::uint64_t bytesOf(const executable::Buffer &buffer) {
  return elementsOf(buffer) * catalogue::byteSize(static_cast<catalogue::DType>(buffer.dtype()));
}

/// On which of the ranks of a tensor rank the bytes of a replica's part lie, and where.
std::pair<int, std::uint64_t> placeOf(const LocalRanks &ranks, int pipelineRank, int tensorRank,
                                      const executable::StateSlice &part) {
  const int replica = std::max(0, part.replica());
  if (ranks.mesh.servers > 0) {
    return {ranks.mesh.serverRank(pipelineRank, replica, tensorRank), part.offset()};
  }
  if (ranks.mesh.replicas > 1) {
    return {ranks.mesh.rank(pipelineRank, replica, tensorRank), part.offset()};
  }
  const executable::Arena &arena = *ranks.executable.rank(pipelineRank).arenas()->Get(part.arena());
  const std::uint64_t stride = RankMemory::strideOf(arena, ranks.executable, ranks.mesh);
  return {ranks.mesh.rank(pipelineRank, 0, tensorRank),
          part.offset() + static_cast<unsigned>(replica % ranks.executable.shardGroup()) * stride};
}

/// What a tensor rank has of a parameter, and of its states if the ranks train.
void addParameter(std::vector<StateTensor> &tensors, const LocalRanks &ranks, int pipelineRank,
                  int tensorRank, const executable::Placement &placement, bool trains) {
  const executable::Parameter &parameter =
      *ranks.executable.file().parameters()->Get(static_cast<unsigned>(placement.parameter()));
  StateTensor tensor{.name = parameter.name()->str(),
                     .split = parameter.split() ? &parameter : nullptr,
                     .tensorRank = tensorRank};
  const auto addPart = [&](const executable::StateSlice &part) {
    const auto [rank, offset] = placeOf(ranks, pipelineRank, tensorRank, part);
    tensor.state = part.name()->str();
    tensor.rank = rank;
    tensor.arena = part.arena();
    tensor.offset = offset;
    tensor.bytes = 4 * elementsOf(part);
    tensor.first = part.first();
    tensors.push_back(tensor);
  };
  const auto *shards = placement.shards();
  if (!shards || shards->size() == 0) {
    tensor.rank = ranks.mesh.rank(pipelineRank, 0, tensorRank);
    tensor.arena = placement.arena();
    tensor.offset = placement.offset();
    tensor.bytes = 4 * elementsOf(parameter);
    tensors.push_back(tensor);
  }
  for (unsigned i = 0; shards && i < shards->size(); ++i) {
    addPart(*shards->Get(i));
  }
  for (unsigned i = 0; trains && placement.states() && i < placement.states()->size(); ++i) {
    const executable::StateSlice &state = *placement.states()->Get(i);
    if (state.name()->str() != "gradient" && !isResidual(state)) {
      addPart(state);
    }
  }
}

/// What the replicas of a tensor rank have not sent of their gradients.
void addResiduals(std::vector<StateTensor> &tensors, const LocalRanks &ranks, int pipelineRank,
                  int tensorRank, const executable::Placement &placement) {
  const executable::Parameter &parameter =
      *ranks.executable.file().parameters()->Get(static_cast<unsigned>(placement.parameter()));
  for (unsigned i = 0; placement.states() && i < placement.states()->size(); ++i) {
    const executable::StateSlice &state = *placement.states()->Get(i);
    for (int replica = 0; isResidual(state) && replica < ranks.mesh.replicas; ++replica) {
      tensors.push_back({.name = parameter.name()->str(),
                         .state = state.name()->str() + " of replica " + std::to_string(replica),
                         .rank = ranks.mesh.rank(pipelineRank, replica, tensorRank),
                         .arena = state.arena(),
                         .offset = state.offset(),
                         .bytes = 4 * elementsOf(state),
                         .split = parameter.split() ? &parameter : nullptr,
                         .tensorRank = tensorRank});
    }
  }
}

/// Weights, buffers and optimizer states of the first replica, the parts of states that others have, and
/// what each of them has not sent of its gradients, sorted by name, the weight itself first, then by state,
/// element and tensor rank. A run on one replica of several trains nothing and leaves out the states.
std::vector<StateTensor> stateTensors(const LocalRanks &ranks) {
  const Executable &executable = ranks.executable;
  std::vector<StateTensor> tensors;
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    for (const executable::Placement *placement : *executable.rank(rank).placements()) {
      const executable::Parameter &parameter =
          *executable.file().parameters()->Get(static_cast<unsigned>(placement->parameter()));
      const bool isOwner =
          executable.trainSchedule().rankOfStage[parameter.stage()] == rank; // others: copies
      const bool trains = ranks.mesh.replicas == executable.mesh().replicas;
      for (int tensorRank = 0; tensorRank < (parameter.split() ? ranks.mesh.tensor : 1); ++tensorRank) {
        if (isOwner) {
          addParameter(tensors, ranks, rank, tensorRank, *placement, trains);
        }
        if (trains) {
          addResiduals(tensors, ranks, rank, tensorRank, *placement);
        }
      }
    }
    const auto *buffers = executable.rank(rank).buffers();
    for (unsigned i = 0; buffers && i < buffers->size(); ++i) {
      const executable::BufferPlacement &placement = *buffers->Get(i);
      const executable::Buffer &buffer =
          *executable.file().buffers()->Get(static_cast<unsigned>(placement.buffer()));
      tensors.push_back({.name = buffer.name()->str(),
                         .isBuffer = true,
                         .dtype = buffer.dtype(),
                         .rank = ranks.mesh.rank(rank, 0),
                         .arena = placement.arena(),
                         .offset = placement.offset(),
                         .bytes = bytesOf(buffer)});
    }
  }
  std::sort(tensors.begin(), tensors.end(), [](const StateTensor &a, const StateTensor &b) {
    const auto key = [](const StateTensor &tensor) {
      return std::tuple(tensor.dtype != executable::DType::I64, std::string_view(tensor.name),
                        std::string_view(tensor.state), tensor.first, tensor.tensorRank);
    };
    return key(a) < key(b);
  });
  return tensors;
}

/// Calls use(parameter, tensor rank, first, weights), which makes them, for what lies in this process of each
/// parameter, or of a tensor rank's part of it, from element `first` on, for each of its copies.
template <typename Use>
Result<void> forEachLocalWeight(const LocalRanks &ranks, Use use) {
  for (const Executor *executor : ranks.executors) {
    if (!executor) {
      continue;
    }
    const int tensorRank = ranks.mesh.tensorRank(executor->rank());
    for (const executable::Placement *placement : *executor->plan().placements()) {
      const executable::Parameter &parameter =
          *ranks.executable.file().parameters()->Get(static_cast<unsigned>(placement->parameter()));
      const auto *shards = placement->shards();
      if (!shards || shards->size() == 0) {
        auto *data = reinterpret_cast<float *>(executor->data(placement->arena(), placement->offset()));
        if (Result<void> ok = use(parameter, tensorRank, 0, std::span<float>(data, elementsOf(parameter)));
            !ok) {
          return ok;
        }
      }
      for (unsigned i = 0; shards && i < shards->size(); ++i) {
        const executable::StateSlice &part = *shards->Get(i);
        const auto [rank, offset] =
            placeOf(ranks, ranks.mesh.pipelineRank(executor->rank()), tensorRank, part);
        if (!sameShardOf(ranks.mesh, rank, ranks.executable.shardGroup()).contains(executor->rank())) {
          continue;
        }
        const Place place = executor->tiers().at(part.arena(), offset);
        std::vector<float> made(place.memory ? 0 : elementsOf(part)); // of a file
        std::span<float> weights = made;
        if (place.memory) {
          weights = {reinterpret_cast<float *>(place.memory), elementsOf(part)};
        }
        Result<void> ok = use(parameter, tensorRank, part.first(), weights);
        if (ok && place.file) {
          ok = place.file->write(place.offset, weights.size_bytes(),
                                 reinterpret_cast<const std::byte *>(weights.data()));
        }
        if (!ok) {
          return ok;
        }
      }
    }
  }
  return {};
}

/// Calls use(buffer, bytes) for each buffer that lies in this process.
template <typename Use>
Result<void> forEachLocalBuffer(const LocalRanks &ranks, Use use) {
  for (const Executor *executor : ranks.executors) {
    const auto *buffers = executor && executor->replica() >= 0 ? executor->plan().buffers() : nullptr;
    for (unsigned i = 0; buffers && i < buffers->size(); ++i) {
      const executable::BufferPlacement &placement = *buffers->Get(i);
      const executable::Buffer &buffer =
          *ranks.executable.file().buffers()->Get(static_cast<unsigned>(placement.buffer()));
      if (Result<void> ok = use(buffer, executor->data(placement.arena(), placement.offset())); !ok) {
        return ok;
      }
    }
  }
  return {};
}

/// SHA-256 of bytes that come in pieces.
class Digest {
public:
  Digest() : context(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    good = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  }
  void add(std::span<const std::byte> bytes) {
    good = good && EVP_DigestUpdate(context.get(), bytes.data(), bytes.size());
  }
  Result<std::string> hex() {
    unsigned char digest[32];
    if (!good || !EVP_DigestFinal_ex(context.get(), digest, nullptr)) {
      return environmentError("", "libcrypto cannot compute SHA-256", "check the OpenSSL installation");
    }
    std::string text;
    for (const unsigned char byte : digest) {
      constexpr const char *digits = "0123456789abcdef";
      text += digits[byte >> 4];
      text += digits[byte & 15];
    }
    return text;
  }

private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context;
  bool good = false;
};

/// Where the bytes are, or what `buffer` gets of a file.
Result<const std::byte *> bytesOf(const Executor &owner, const StateTensor &tensor, std::uint64_t begin,
                                  std::size_t bytes, std::vector<std::byte> &buffer) {
  const Place place = owner.tiers().at(tensor.arena, tensor.offset + begin);
  if (place.memory) {
    return place.memory;
  }
  auto ok = place.file->read(place.offset, bytes, buffer.data());
  return ok ? Result<const std::byte *>(buffer.data()) : ok.takeError();
}

/// Calls use(piece) on the first process for `piece` bytes of a tensor; its owner sends them if it is
/// elsewhere.
Result<void> visit(const LocalRanks &ranks, const StateTensor &tensor, std::uint64_t begin, std::size_t piece,
                   std::vector<std::byte> &buffer,
                   const std::function<void(std::span<const std::byte>)> &use) {
  const Executor *owner = ranks.executors[tensor.rank];
  const bool first = ranks.isFirst();
  if (!owner && !first) {
    return {};
  }
  buffer.resize(kPieceBytes);
  const std::byte *data = nullptr;
  if (owner) {
    auto held = bytesOf(*owner, tensor, begin, piece, buffer);
    if (!held) {
      return held.takeError();
    }
    data = *held;
  }
  if (owner && first) {
    use({data, piece});
    return {};
  }
  auto request = owner ? ranks.communicator->postSend(0, tags::kState, data, piece)
                       : ranks.communicator->postReceive(tensor.rank, tags::kState, buffer.data(), piece);
  if (!request) {
    return request.takeError();
  }
  if (auto ok = ranks.communicator->wait(*request); !ok) {
    return ok;
  }
  if (first) {
    use({buffer.data(), piece});
  }
  return {};
}

} // namespace

/// Elements [first, first + weights.size()) of the whole.
static void draw(const executable::Parameter &parameter, std::uint64_t seed, std::uint64_t first,
                 std::span<float> weights) {
  const RandomStream stream(seed, parameter.name()->str());
  const executable::Initializer &initializer = *parameter.initializer();
  const std::string kind = initializer.kind()->str();
  if (kind == "uniform") {
    stream.fillUniform(weights, initializer.bound(), first);
  } else if (kind == "normal") {
    stream.fillNormal(weights, initializer.bound(), first);
  } else {
    std::fill(weights.begin(), weights.end(), static_cast<float>(initializer.value()));
  }
  if (initializer.zero_row() >= 0) {
    const auto columns = static_cast<std::uint64_t>(wholeShape(parameter)[1]);
    const std::uint64_t row = static_cast<std::uint64_t>(initializer.zero_row()) * columns;
    const std::uint64_t begin = std::max(row, first), end = std::min(row + columns, first + weights.size());
    if (begin < end) {
      std::fill(weights.begin() + static_cast<std::ptrdiff_t>(begin - first),
                weights.begin() + static_cast<std::ptrdiff_t>(end - first), 0.0f);
    }
  }
}

/// Between the host's memory and where the local ranks compute.
static Result<void> copyState(const LocalRanks &ranks, Result<void> (Executor::*direction)()) {
  for (Executor *executor : ranks.executors) {
    if (executor) {
      if (auto ok = (executor->*direction)(); !ok) {
        return ok;
      }
    }
  }
  return {};
}

Result<void> initializeWeights(const LocalRanks &ranks) {
  const std::uint64_t seed = ranks.executable.file().recipe()->seed();
  auto drawn = forEachLocalWeight(
      ranks,
      [&](const executable::Parameter &parameter, int tensorRank, std::uint64_t first,
          std::span<float> weights) -> Result<void> {
        forEachRun(parameter, ranks.mesh.tensor, tensorRank, first, weights.size(),
                   [&](std::uint64_t ofWhole, std::uint64_t ofPart, std::uint64_t count) {
                     draw(parameter, seed, ofWhole, weights.subspan(ofPart - first, count));
                   });
        return {};
      });
  if (drawn) {
    drawn = forEachLocalBuffer(ranks, [](const executable::Buffer &buffer, std::byte *data) -> Result<void> {
      const double value = buffer.initializer()->value();
      if (buffer.dtype() == executable::DType::I64) {
        std::fill_n(reinterpret_cast<std::int64_t *>(data), elementsOf(buffer),
                    static_cast<std::int64_t>(value));
      } else {
        std::fill_n(reinterpret_cast<float *>(data), elementsOf(buffer), static_cast<float>(value));
      }
      return {};
    });
  }
  return drawn ? copyState(ranks, &Executor::upload) : std::move(drawn);
}

Result<void> loadWeights(const LocalRanks &ranks, const std::string &path) {
  auto files = WeightFiles::open(ranks.executable, path);
  if (!files) {
    return files.takeError();
  }
  std::vector<float> whole; // of which a part is wanted
  std::string wholeName;
  auto read = forEachLocalWeight(
      ranks,
      [&](const executable::Parameter &parameter, int tensorRank, std::uint64_t first,
          std::span<float> weights) -> Result<void> {
        const std::string name = parameter.name()->str();
        const auto elements = static_cast<std::uint64_t>(catalogue::elements(wholeShape(parameter)));
        if (weights.size() == elements) {
          return files->read(name, weights.data());
        }
        if (wholeName != name) {
          whole.resize(elements);
          wholeName = name;
          if (auto ok = files->read(name, whole.data()); !ok) {
            return ok;
          }
        }
        forEachRun(parameter, ranks.mesh.tensor, tensorRank, first, weights.size(),
                   [&](std::uint64_t ofWhole, std::uint64_t ofPart, std::uint64_t count) {
                     std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(ofWhole), count,
                                 weights.begin() + static_cast<std::ptrdiff_t>(ofPart - first));
                   });
        return {};
      });
  if (read) {
    read = forEachLocalBuffer(ranks, [&](const executable::Buffer &buffer, std::byte *data) {
      return files->read(buffer.name()->str(), data);
    });
  }
  return read ? copyState(ranks, &Executor::upload) : std::move(read);
}

Result<void> checkWritable(const std::string &path) {
  auto file = WholeFile::create(path); // which leaves nothing without commit()
  return file ? Result<void>() : file.takeError();
}

/// Infinities and NaNs have all bits of the exponent set.
static bool isFinite(const std::byte *data, std::uint64_t bytes) {
  constexpr std::uint32_t exponent = 0x7f800000;
  std::uint32_t found = 0;
  for (std::uint64_t i = 0; i < bytes; i += 4) {
    std::uint32_t word;
    std::memcpy(&word, data + i, 4);
    found |= (word & exponent) == exponent;
  }
  return found == 0;
}

Result<void> checkFinite(const LocalRanks &ranks, std::uint64_t steps) {
  if (auto ok = copyState(ranks, &Executor::download); !ok) {
    return ok;
  }
  std::vector<std::byte> buffer(kPieceBytes);
  for (const StateTensor &tensor : stateTensors(ranks)) {
    const Executor *owner = ranks.executors[tensor.rank];
    const bool isReal = steps > 0 && owner && tensor.dtype == executable::DType::F32;
    bool finite = true;
    for (std::uint64_t begin = 0; isReal && finite && begin < tensor.bytes; begin += kPieceBytes) {
      const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, tensor.bytes - begin));
      auto held = bytesOf(*owner, tensor, begin, piece, buffer);
      if (!held) {
        return held.takeError();
      }
      finite = isFinite(*held, piece);
    }
    if (!finite) {
      return userError("step " + std::to_string(steps),
                       "after the last step " +
                           (tensor.state.empty() ? "" : "the state \"" + tensor.state + "\" of ") +
                           (tensor.isBuffer ? "buffer \"" : "parameter \"") + tensor.name +
                           "\" has values that are not finite; nothing was written",
                       "lower the learning rate, set gradient_clipping, or check the data and the initial "
                       "weights");
    }
  }
  return {};
}

namespace {

/// Writes the pieces of tensors as files have them: one that is stored transposed when it is complete.
class WeightWriter {
public:
  WeightWriter(SafetensorsWriter file, std::map<std::string, StoredTensor> stored)
      : file(std::move(file)), stored(std::move(stored)) {}

  Result<void> write(const std::string &name, std::span<const std::byte> piece) {
    const StoredTensor &tensor = stored.at(name);
    if (!tensor.isTransposed) {
      return file.write(piece.data(), piece.size());
    }
    const std::int64_t rows = tensor.shape[1], columns = tensor.shape[0]; // of the model's
    const auto count = static_cast<std::size_t>(rows * columns);
    pieces.insert(pieces.end(), piece.begin(), piece.end());
    if (pieces.size() < 4 * count) {
      return {};
    }
    std::vector<float> values(count);
    transpose(reinterpret_cast<const float *>(pieces.data()), rows, columns, values.data());
    pieces.clear();
    return file.write(values.data(), 4 * count);
  }
  Result<void> commit() { return file.commit(); }

private:
  SafetensorsWriter file;
  std::map<std::string, StoredTensor> stored;
  std::vector<std::byte> pieces; ///< of the tensor that is being written
};

/// Puts the parts of tensor ranks together, which come one behind the other.
class WholeTensor {
public:
  explicit WholeTensor(int tensorRanks) : ranks(tensorRanks) {}

  /// Bytes of the tensor from `begin` on. Returns what follows in the whole: all of it with its last piece.
  std::span<const std::byte> add(const StateTensor &tensor, std::uint64_t begin,
                                 std::span<const std::byte> piece) {
    if (!tensor.split) {
      return piece;
    }
    const auto elements = static_cast<std::uint64_t>(catalogue::elements(wholeShape(*tensor.split)));
    if (tensor.first == 0 && tensor.tensorRank == 0 && begin == 0) {
      values.resize(4 * elements);
      held = 0;
    }
    const std::uint64_t first = tensor.first + begin / 4;
    forEachRun(*tensor.split, ranks, tensor.tensorRank, first, piece.size() / 4,
               [&](std::uint64_t ofWhole, std::uint64_t ofPart, std::uint64_t count) {
                 std::memcpy(values.data() + 4 * ofWhole, piece.data() + 4 * (ofPart - first), 4 * count);
                 held += count;
               });
    return held == elements ? std::span<const std::byte>(values) : std::span<const std::byte>();
  }

private:
  const int ranks;
  std::vector<std::byte> values;
  std::uint64_t held = 0; ///< elements
};

} // namespace

Result<StateHashes> finishState(const LocalRanks &ranks, std::span<const std::uint64_t> progress,
                                const std::string &saveTo,
                                const std::function<Result<void>(Result<void>)> &mayGoOn) {
  const std::vector<StateTensor> tensors = stateTensors(ranks);
  std::optional<WeightWriter> writer;
  Result<void> written = copyState(ranks, &Executor::download);
  if (written && ranks.isFirst() && !saveTo.empty()) {
    std::map<std::string, StoredTensor> stored = storedTensors(ranks.executable.file());
    std::vector<SafetensorsTensor> entries;
    for (const StateTensor &tensor : tensors) {
      if (tensor.state.empty() && tensor.first == 0 && tensor.tensorRank == 0) {
        const StoredTensor &entry = stored.at(tensor.name);
        entries.push_back({tensor.name, entry.dtype, entry.shape, 0, 0});
      }
    }
    auto created = SafetensorsWriter::create(saveTo, entries);
    if (created) {
      writer.emplace(std::move(*created), std::move(stored));
    } else {
      written = created.takeError();
    }
  }
  Digest weights, state;
  std::vector<std::byte> buffer;
  WholeTensor whole(ranks.mesh.tensor);
  for (const StateTensor &tensor : tensors) {
    std::uint64_t begin = 0;
    const auto use = [&](std::span<const std::byte> part) {
      const std::span<const std::byte> piece = whole.add(tensor, begin, part);
      state.add(piece);
      if (!tensor.state.empty()) {
        return;
      }
      if (!tensor.isBuffer) {
        weights.add(piece);
      }
      if (writer && written) {
        written = writer->write(tensor.name, piece);
      }
    };
    for (; begin < tensor.bytes; begin += kPieceBytes) {
      if (auto ok = mayGoOn(written); !ok) { // all stop here: no sender is left waiting
        return ok.takeError();
      }
      const std::size_t piece = std::min<std::uint64_t>(kPieceBytes, tensor.bytes - begin);
      if (auto ok = visit(ranks, tensor, begin, piece, buffer, use); !ok) {
        return ok.takeError();
      }
    }
  }
  if (auto ok = mayGoOn(written); !ok) {
    return ok.takeError();
  }
  if (!ranks.isFirst()) {
    return StateHashes{};
  }
  state.add(std::as_bytes(progress));
  if (writer && written) {
    written = writer->commit();
  }
  if (!written) {
    return written.takeError();
  }
  auto weightsHex = weights.hex(), stateHex = state.hex();
  if (!weightsHex || !stateHex) {
    return weightsHex ? stateHex.takeError() : weightsHex.takeError();
  }
  return StateHashes{std::move(*weightsHex), std::move(*stateHex)};
}

} // namespace stagewright::runtime
