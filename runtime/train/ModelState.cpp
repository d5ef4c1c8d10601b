#include "runtime/train/ModelState.h"

#include "runtime/train/Random.h"
#include "runtime/train/Safetensors.h"

#include <algorithm>
#include <map>
#include <openssl/evp.h>

namespace stagewright::runtime {

namespace {

/// Pieces in which tensors travel to the first process.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr int kStateTag = 2;

/// One tensor of the state on the rank that owns it.
struct StateTensor {
  std::string parameter;
  std::string state; ///< empty: the weight itself
  int rank = 0;
  unsigned arena = 0;
  std::uint64_t offset = 0, bytes = 0;
};

std::vector<std::int64_t> shapeOf(const executable::Parameter &parameter) {
  return {parameter.shape()->begin(), parameter.shape()->end()};
}

std::uint64_t elementsOf(const executable::Parameter &parameter) {
  return static_cast<std::uint64_t>(catalogue::elements(shapeOf(parameter)));
}

/// Weights and optimizer states of all ranks, sorted by parameter, weight first, then by state.
std::vector<StateTensor> stateTensors(const Executable &executable) {
  std::vector<StateTensor> tensors;
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    for (const executable::Placement *placement : *executable.rank(rank).placements()) {
      const executable::Parameter &parameter =
          *executable.file().parameters()->Get(static_cast<unsigned>(placement->parameter()));
      const std::string name = parameter.name()->str();
      const std::uint64_t bytes = 4 * elementsOf(parameter);
      tensors.push_back({name, "", rank, placement->arena(), placement->offset(), bytes});
      for (unsigned i = 0; placement->states() && i < placement->states()->size(); ++i) {
        const executable::StateSlice &state = *placement->states()->Get(i);
        if (state.name()->str() != "gradient") {
          tensors.push_back({name, state.name()->str(), rank, state.arena(), state.offset(), bytes});
        }
      }
    }
  }
  std::sort(tensors.begin(), tensors.end(), [](const StateTensor &a, const StateTensor &b) {
    return a.parameter != b.parameter ? a.parameter < b.parameter : a.state < b.state;
  });
  return tensors;
}

/// Calls use(parameter, weights) for each parameter that lies in this process.
template <typename Use>
Result<void> forEachLocalWeight(const LocalRanks &ranks, Use use) {
  for (const Executor *executor : ranks.executors) {
    if (!executor) {
      continue;
    }
    for (const executable::Placement *placement : *executor->plan().placements()) {
      const executable::Parameter &parameter =
          *ranks.executable.file().parameters()->Get(static_cast<unsigned>(placement->parameter()));
      auto *data = reinterpret_cast<float *>(executor->data(placement->arena(), placement->offset()));
      if (Result<void> ok = use(parameter, std::span<float>(data, elementsOf(parameter))); !ok) {
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
  if (owner && first) {
    use({owner->data(tensor.arena, tensor.offset + begin), piece});
    return {};
  }
  buffer.resize(kPieceBytes);
  auto request = owner ? ranks.communicator->postSend(0, kStateTag,
                                                      owner->data(tensor.arena, tensor.offset + begin), piece)
                       : ranks.communicator->postReceive(tensor.rank, kStateTag, buffer.data(), piece);
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

std::string listed(const std::vector<std::string> &names) {
  constexpr std::size_t most = 12;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < most; ++i) {
    text += (i ? ", " : "") + names[i];
  }
  return names.size() > most ? text + " and " + std::to_string(names.size() - most) + " more" : text;
}

/// All differences between a file and the model's parameters in one error.
Result<void> checkTensors(const Executable &executable, const SafetensorsReader &reader) {
  std::vector<std::string> missing, unexpected, different;
  std::map<std::string, const executable::Parameter *> expected;
  for (const executable::Parameter *parameter : *executable.file().parameters()) {
    const std::string name = parameter->name()->str();
    expected[name] = parameter;
    const SafetensorsTensor *tensor = reader.find(name);
    if (!tensor) {
      missing.push_back(name);
    } else if (tensor->shape != shapeOf(*parameter)) {
      different.push_back(name + " (" + shapeText(tensor->shape) + ", not " + shapeText(shapeOf(*parameter)) +
                          ")");
    } else if (tensor->dtype != "F32") {
      different.push_back(name + " (" + tensor->dtype + ", not F32)");
    }
  }
  for (const SafetensorsTensor &tensor : reader.tensors()) {
    if (!expected.count(tensor.name)) {
      unexpected.push_back(tensor.name);
    }
  }
  std::string what;
  const auto add = [&](const char *title, const std::vector<std::string> &names) {
    if (!names.empty()) {
      what += (what.empty() ? "" : "; ") + (title + listed(names));
    }
  };
  add("missing: ", missing);
  add("not in the model: ", unexpected);
  add("different: ", different);
  if (!what.empty()) {
    return userError(reader.path(), "the weights are of another model (" + what + ")",
                     "give the weights of the model that " + executable.name() + " was compiled from");
  }
  return {};
}

} // namespace

void initializeWeights(const LocalRanks &ranks) {
  const std::uint64_t seed = ranks.executable.file().recipe()->seed();
  (void)forEachLocalWeight(
      ranks, [&](const executable::Parameter &parameter, std::span<float> weights) -> Result<void> {
        const RandomStream stream(seed, parameter.name()->str());
        const executable::Initializer &initializer = *parameter.initializer();
        const std::string kind = initializer.kind()->str();
        if (kind == "uniform") {
          stream.fillUniform(weights, initializer.bound());
        } else if (kind == "normal") {
          stream.fillNormal(weights, initializer.bound());
        } else {
          std::fill(weights.begin(), weights.end(), static_cast<float>(initializer.value()));
        }
        return {};
      });
}

Result<void> loadWeights(const LocalRanks &ranks, const std::string &path) {
  auto reader = SafetensorsReader::open(path);
  if (!reader) {
    return reader.takeError();
  }
  if (auto ok = checkTensors(ranks.executable, *reader); !ok) {
    return ok;
  }
  return forEachLocalWeight(ranks, [&](const executable::Parameter &parameter, std::span<float> weights) {
    return reader->read(*reader->find(parameter.name()->str()), weights.data());
  });
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
  for (const StateTensor &tensor : stateTensors(ranks.executable)) {
    const Executor *owner = ranks.executors[tensor.rank];
    if (steps > 0 && owner && !isFinite(owner->data(tensor.arena, tensor.offset), tensor.bytes)) {
      return userError(
          "step " + std::to_string(steps),
          "after the last step " + (tensor.state.empty() ? "" : "the state \"" + tensor.state + "\" of ") +
              "parameter \"" + tensor.parameter + "\" has values that are not finite; nothing was written",
          "lower the learning rate, set gradient_clipping, or check the data and the initial "
          "weights");
    }
  }
  return {};
}

Result<StateHashes> finishState(const LocalRanks &ranks, std::span<const std::uint64_t> progress,
                                const std::string &saveTo,
                                const std::function<Result<void>(Result<void>)> &mayGoOn) {
  const std::vector<StateTensor> tensors = stateTensors(ranks.executable);
  std::optional<SafetensorsWriter> writer;
  Result<void> written;
  if (ranks.isFirst() && !saveTo.empty()) {
    std::map<std::string, std::vector<std::int64_t>> shapes;
    for (const executable::Parameter *parameter : *ranks.executable.file().parameters()) {
      shapes[parameter->name()->str()] = shapeOf(*parameter);
    }
    std::vector<SafetensorsTensor> entries;
    for (const auto &[name, shape] : shapes) {
      entries.push_back({name, "F32", shape, 0, 0});
    }
    auto created = SafetensorsWriter::create(saveTo, entries);
    if (created) {
      writer.emplace(std::move(*created));
    } else {
      written = created.takeError();
    }
  }
  Digest weights, state;
  std::vector<std::byte> buffer;
  for (const StateTensor &tensor : tensors) {
    const auto use = [&](std::span<const std::byte> piece) {
      state.add(piece);
      if (!tensor.state.empty()) {
        return;
      }
      weights.add(piece);
      if (writer && written) {
        written = writer->write(piece.data(), piece.size());
      }
    };
    for (std::uint64_t begin = 0; begin < tensor.bytes; begin += kPieceBytes) {
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
