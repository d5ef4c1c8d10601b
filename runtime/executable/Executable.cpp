#include "runtime/executable/Executable.h"

#include "catalogue/Target.h"
#include "runtime/executable/Proof.h"
#include "runtime/executable/ServerRanks.h"
#include "schema/Checksum.h"
#include "schema/Version.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

namespace stagewright::runtime {

static Result<std::vector<std::uint8_t>> readFile(const std::string &path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return userError(path, std::string("cannot open the file: ") + std::strerror(errno),
                     "give the path of a .stage file that `stagewright compile` wrote");
  }
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    return userError(path, "this is not a regular file", "give the path of a .stage file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > kMaxExecutableBytes) {
    return userError(path,
                     "the file has " + std::to_string(size) + " bytes, more than the " +
                         std::to_string(kMaxExecutableBytes) + " that a staged executable may have",
                     "give the path of a .stage file");
  }
  std::vector<std::uint8_t> bytes(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(descriptor, bytes.data() + done, size - done);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return environmentError(path + " at byte " + std::to_string(done), "the file cannot be read to its end",
                              "check the disk");
    }
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

/// FlatBuffers structure, checksum, version and features.
static Result<void> verifyStructure(const std::vector<std::uint8_t> &bytes, const std::string &name) {
  const char *advice = "compile the model again, or copy the file again";
  if (bytes.size() < 16 || !executable::ExecutableBufferHasIdentifier(bytes.data())) {
    return userError(name, "this is not a staged executable (the file identifier STGW is missing)", advice);
  }
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), /*max_depth=*/32, /*max_tables=*/1u << 26);
  if (!executable::VerifyExecutableBuffer(verifier)) {
    return userError(name, "the file is truncated or damaged (its FlatBuffers structure does not verify)",
                     advice);
  }
  auto digest = executable::checksum(bytes);
  if (!digest) {
    return digest.takeError();
  }
  const executable::Executable &file = *executable::GetExecutable(bytes.data());
  if (std::memcmp(digest->data(), file.checksum(), digest->size()) != 0) {
    return userError(name + " at checksum", "the file is damaged (its SHA-256 does not match its contents)",
                     advice);
  }
  if (file.version_major() != executable::kVersionMajor) {
    return userError(name + " at version_major",
                     "the file has format version " + std::to_string(file.version_major()) + "." +
                         std::to_string(file.version_minor()) + ", this program reads version " +
                         std::to_string(executable::kVersionMajor),
                     "compile the model again with this version of stagewright");
  }
  if (const std::uint64_t unknown = file.required_features() & ~executable::kKnownFeatures) {
    return userError(name + " at required_features",
                     "the file needs features that this program does not have (bits " +
                         std::to_string(unknown) + ")",
                     "use a newer stagewright, or compile the model again with this one");
  }
  return {};
}

Result<Executable> Executable::load(const std::string &path, std::string_view wanted) {
  auto bytes = readFile(path);
  if (!bytes) {
    return bytes.takeError();
  }
  return fromBytes(std::move(*bytes), path, wanted);
}

/// The targets are known and differ, and the contract names their families.
static Result<void> verifyTargets(const Proof &proof, const std::vector<std::string> &targets) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::string field = indexed("variants", i) + ".target";
    if (catalogue::familyOf(targets[i]).empty()) {
      return proof.fail(field, "there is no target \"" + targets[i] + "\"",
                        "use a newer stagewright, or compile the model again with this one");
    }
    if (std::count(targets.begin(), targets.end(), targets[i]) > 1) {
      return proof.fail(field, "the file has programs for the target " + targets[i] + " twice");
    }
  }
  if (targets.empty()) {
    return proof.fail("variants", "the file has no programs for any target");
  }
  const std::string named = proof.file.contract()->device_family()->str();
  if (const std::string families = catalogue::familiesOf(targets); named != families) {
    return proof.fail("contract.device_family", "the result contract is of \"" + named +
                                                    "\", and the file has programs for \"" + families + "\"");
  }
  return {};
}

/// Memory and programs of proof.variant; each check relies on those before.
static Result<void> verifyVariant(Proof &proof) {
  if (auto ok = verifyMemory(proof); !ok) {
    return ok;
  }
  if (auto ok = verifyPrograms(proof); !ok) {
    return ok;
  }
  for (const auto verify : {verifyTransfers, verifyTensorRanks, verifyServers, verifyReplicas}) {
    if (auto ok = verify(proof); !ok) {
      return ok;
    }
  }
  return {};
}

Result<Executable> Executable::fromBytes(std::vector<std::uint8_t> bytes, std::string name,
                                         std::string_view wanted) {
  if (auto ok = verifyStructure(bytes, name); !ok) {
    return ok.takeError();
  }
  Executable result;
  result.bytes = std::move(bytes);
  result.path = std::move(name);
  Proof proof{result.path, result.file(), {}, {}, {}, {}};
  const std::vector<std::string> targets = result.targets();
  if (auto ok = verifyTargets(proof, targets); !ok) {
    return ok.takeError();
  }
  if (auto ok = verifyModel(proof); !ok) {
    return ok.takeError();
  }
  if (auto ok = verifySchedules(proof); !ok) {
    return ok.takeError();
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    proof.variant = proof.file.variants()->Get(static_cast<unsigned>(i));
    if (auto ok = verifyVariant(proof); !ok) {
      Error error = ok.takeError();
      error.what = (targets.size() > 1 ? "in the programs for " + targets[i] + ": " : "") + error.what;
      return error;
    }
    result.rules.push_back(proof.integerRules);
  }
  result.train = std::move(proof.train);
  result.evaluate = std::move(proof.evaluate);
  if (auto ok = result.choose(wanted); !ok) {
    return ok.takeError();
  }
  return result;
}

std::vector<std::string> Executable::targets() const {
  std::vector<std::string> names;
  for (const executable::Variant *each : *file().variants()) {
    names.push_back(each->target()->str());
  }
  return names;
}

Result<void> Executable::choose(std::string_view wanted) {
  const std::vector<std::string> all = targets();
  const bool isTarget = wanted == "cuda" || !catalogue::familyOf(wanted).empty();
  std::string names;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (wanted == kAnyTarget || wanted == all[i] || wanted == catalogue::familyOf(all[i])) {
      variant = static_cast<unsigned>(i);
      return {};
    }
    names += (names.empty() ? "" : ",") + all[i];
  }
  return userError(path + " at variants",
                   "the file has programs for " + names + ", and none for " + std::string(wanted),
                   isTarget ? "compile the model again with --target " + names + "," + std::string(wanted)
                            : "name one of " + names);
}

bool Executable::hasLoss() const {
  return (file().required_features() & executable::kFeatureNoLoss) == 0;
}

std::vector<std::string> Executable::lossTerms() const {
  std::vector<std::string> names;
  for (unsigned i = 0; file().loss_terms() && i < file().loss_terms()->size(); ++i) {
    names.push_back(file().loss_terms()->Get(i)->str());
  }
  return names;
}

int accuracyLabel(const executable::Executable &file) {
  int label = 0;
  for (unsigned i = 0; file.accuracy() && i < file.inputs()->size(); ++i) {
    if (file.inputs()->Get(i)->role()->str() == "label" && label++ == file.accuracy_label()) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::uint64_t bytesOf(const executable::Operand &operand) {
  std::uint64_t bytes = catalogue::byteSize(static_cast<catalogue::DType>(operand.dtype()));
  for (const std::int64_t size : *operand.shape()) {
    bytes *= static_cast<std::uint64_t>(size);
  }
  return bytes;
}

std::uint64_t wholePages(std::uint64_t bytes) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

std::uint64_t Executable::plannedBytes(int rank, executable::MemoryTier tier, RankRole role) const {
  const executable::RankPlan &plan = this->rank(rank);
  std::uint64_t total =
      tier == executable::MemoryTier::Device ? wholePages(serverRoom(*this, rank, role)) : 0;
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    const executable::Arena &arena = *plan.arenas()->Get(i);
    total += arena.tier() == tier && hasArena(plan, i, role) ? wholePages(arena.bytes()) : 0;
  }
  return total;
}

schedule::Lifetime lifetimeOf(const executable::SlotPool &pool) {
  return {pool.stage(), static_cast<schedule::TaskKind>(pool.first()),
          static_cast<schedule::TaskKind>(pool.last()), pool.sent()};
}

static int arenaOf(const executable::RankPlan &plan, executable::ArenaClass wanted) {
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    if (plan.arenas()->Get(i)->arena_class() == wanted) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

int workspaceArena(const executable::RankPlan &plan) {
  return arenaOf(plan, executable::ArenaClass::Workspace);
}

int communicationArena(const executable::RankPlan &plan) {
  return arenaOf(plan, executable::ArenaClass::Communication);
}

ExchangeScratch scratchOf(const executable::Exchange &exchange, int replicas,
                          const catalogue::GradientWire &wire) {
  ExchangeScratch scratch;
  std::map<int, std::uint64_t> contributed; // to the pieces of each replica
  for (unsigned i = 0; addsUp(exchange.kind()) && i < exchange.pieces()->size(); ++i) {
    const executable::ExchangePiece &piece = *exchange.pieces()->Get(i);
    const std::uint64_t bytes = catalogue::aligned(wireBytes(piece, wire));
    std::uint64_t &held = contributed[piece.replica()];
    held += static_cast<unsigned>(replicas - 1) * bytes;
    scratch.contributed = std::max(scratch.contributed, held);
    scratch.sent += wire.isExact() ? 0 : bytes;
  }
  return scratch;
}

catalogue::GradientWire gradientWire(const executable::ResultContract &contract) {
  return {static_cast<catalogue::DType>(contract.gradient_wire()),
          static_cast<catalogue::Compression>(contract.gradient_compression()), contract.compression_ratio()};
}

bool isResidual(const executable::StateSlice &state) {
  const std::string_view name = state.name()->string_view();
  return name == "residual" || name.starts_with("residual.");
}

std::string shapeText(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

std::vector<catalogue::Attribute> attributesOf(const executable::Command &command) {
  std::vector<catalogue::Attribute> attributes;
  for (unsigned i = 0; command.attributes() && i < command.attributes()->size(); ++i) {
    const executable::Attribute &attribute = *command.attributes()->Get(i);
    const auto integer = attribute.integer();
    const auto real = attribute.real();
    if (integer.has_value() + real.has_value() + (attribute.text() != nullptr) +
            (attribute.integers() != nullptr) !=
        1) {
      break;
    }
    catalogue::AttributeValue value = std::int64_t{0};
    if (integer) {
      value = *integer;
    } else if (real) {
      value = *real;
    } else if (attribute.text()) {
      value = attribute.text()->str();
    } else {
      value = std::vector<std::int64_t>(attribute.integers()->begin(), attribute.integers()->end());
    }
    attributes.push_back({attribute.name()->str(), std::move(value)});
  }
  return attributes;
}

} // namespace stagewright::runtime
