#include "runtime/exec/ServerLink.h"

#include "runtime/comm/MessageTags.h"
#include "runtime/comm/OrderedSum.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

namespace {

std::size_t partsOf(std::size_t bytes) {
  return (bytes + kServerPart - 1) / kServerPart;
}

/// Sends gradients and the loss, takes weights and the norm.
class ReplicaSide final : public ServerLink {
public:
  using ServerLink::ServerLink;

  Result<void> open(HostDevice &device, std::size_t stepBytes) override {
    requests.resize(weights.size());
    std::size_t messages = static_cast<std::size_t>(servers.size);
    for (const Piece &piece : gradients) {
      messages += partsOf(piece.bytes);
    }
    return makeOutbox(device, stepBytes, 0, messages);
  }

  Result<void> reduce(int stage) override {
    for (const Piece &piece : gradients) {
      if (auto ok = piece.stage == stage ? push(piece) : Result<void>(); !ok) {
        return ok;
      }
    }
    if (auto ok = outbox->settle(); !ok) {
      return ok;
    }
    for (const Piece &piece : gradients) { // the next step begins with zeros
      if (piece.stage == stage) {
        std::memset(piece.data, 0, piece.bytes);
      }
    }
    return {};
  }

  /// All replicas have the mean.
  Result<void> shareLoss() override {
    if (own != 0) {
      return {};
    }
    auto sent = sendToAll(servers, tags::kToServers, loss);
    return sent ? outbox->settle() : sent;
  }

  Result<void> gather(int stage) override {
    if (!takes()) {
      return {};
    }
    std::size_t posted = 0;
    for (const Piece &piece : weights) {
      if (piece.stage != stage) {
        continue;
      }
      auto request =
          communicator.postReceive(servers.at(piece.server), tags::kFromServers, piece.data, piece.bytes);
      if (!request) {
        return request.takeError();
      }
      requests[posted++] = *request;
    }
    return receiveAll({requests.data(), posted});
  }

  Result<void> endStep() override {
    const bool hasTaken = takes();
    outbox->endStep();
    ++steps;
    for (int server = 0; staleness > 0 && steps == 1 && server < servers.size; ++server) {
      if (auto ok = receive(servers.at(server), tags::kFromServers, nullptr, 0); !ok) {
        return ok;
      }
    }
    return hasTaken ? takeNorm() : Result<void>();
  }

  std::uint64_t missing() const override { return steps - updates; }
  std::uint64_t beginUpdate() override {
    catchesUp = true;
    return updates + 1;
  }
  Result<void> endUpdate() override {
    catchesUp = false;
    return takeNorm();
  }

private:
  /// Whether GATHER takes an update: in a step the one that is `staleness` steps old.
  bool takes() const { return catchesUp || steps + 1 - updates > static_cast<std::uint64_t>(staleness); }

  Result<void> push(const Piece &piece) {
    auto kept = outbox->keep(piece.data, piece.bytes);
    if (!kept) {
      return kept.takeError();
    }
    for (std::size_t at = 0; at < piece.bytes; at += kServerPart) {
      const std::size_t part = std::min<std::size_t>(kServerPart, piece.bytes - at);
      if (auto ok = outbox->send(servers.at(piece.server), tags::kToServers, *kept + at, part); !ok) {
        return ok;
      }
    }
    return {};
  }

  Result<void> takeNorm() {
    ++updates;
    return norm.data ? receive(servers.at(0), tags::kFromServers, norm.data, norm.bytes) : Result<void>();
  }

  std::uint64_t steps = 0, updates = 0; ///< made, and taken
  bool catchesUp = false;               ///< between steps
  std::vector<Request> requests;
};

//   scratch   | replica 0 | replica 1 | ... |   one part of all of them: added up
//             | replica 0 | replica 1 | ... |   while the next one arrives
class ServerSide final : public ServerLink {
public:
  using ServerLink::ServerLink;

  Result<void> open(HostDevice &device, std::size_t stepBytes) override {
    std::size_t messages = weights.size() + 2;
    for (std::vector<Request> &part : parts) {
      part.resize(static_cast<std::size_t>(replicas.size));
    }
    terms.resize(static_cast<std::size_t>(replicas.size));
    return makeOutbox(device, stepBytes, 2 * static_cast<std::size_t>(replicas.size) * kServerPart,
                      messages * static_cast<std::size_t>(replicas.size));
  }

  Result<void> reduce(int stage) override {
    for (const Piece &piece : gradients) {
      if (piece.stage == stage && piece.server == own) {
        if (auto ok = sum(piece); !ok) {
          return ok;
        }
      }
    }
    return {};
  }

  Result<void> shareLoss() override {
    auto ok = greets ? greet() : Result<void>();
    return ok ? receive(replicas.at(0), tags::kToServers, loss.data, loss.bytes) : std::move(ok);
  }

  Result<void> gather(int stage) override {
    for (const Piece &piece : weights) {
      if (piece.stage == stage && piece.server == own) {
        if (auto ok = sendToAll(replicas, tags::kFromServers, piece); !ok) {
          return ok;
        }
      }
    }
    return outbox->settle();
  }

  Result<void> endStep() override {
    auto sent = own == 0 && norm.data ? sendToAll(replicas, tags::kFromServers, norm) : Result<void>();
    sent = sent ? outbox->settle() : std::move(sent);
    outbox->endStep();
    return sent;
  }

  std::uint64_t missing() const override { return 0; }
  std::uint64_t beginUpdate() override { return 0; }
  Result<void> endUpdate() override { return {}; }

private:
  /// In the first step, whose update nobody waits for: an empty message, so that all channels are there.
  Result<void> greet() {
    greets = false;
    return sendToAll(replicas, tags::kFromServers, {-1, 0, loss.data, 0});
  }

  std::byte *contribution(std::size_t part, int replica) const {
    return scratch +
           (part % 2 * static_cast<std::size_t>(replicas.size) + static_cast<std::size_t>(replica)) *
               kServerPart;
  }

  Result<void> post(const Piece &piece, std::size_t part) {
    const std::size_t at = part * kServerPart, bytes = std::min<std::size_t>(kServerPart, piece.bytes - at);
    for (int replica = 0; replica < replicas.size; ++replica) {
      auto request = communicator.postReceive(replicas.at(replica), tags::kToServers,
                                              contribution(part, replica), bytes);
      if (!request) {
        return request.takeError();
      }
      parts[part % 2][static_cast<std::size_t>(replica)] = *request;
    }
    return {};
  }

  Result<void> sum(const Piece &piece) {
    const std::size_t count = partsOf(piece.bytes);
    auto ok = post(piece, 0);
    for (std::size_t part = 0; ok && part < count; ++part) {
      ok = part + 1 < count ? post(piece, part + 1) : Result<void>();
      ok = ok ? receiveAll(parts[part % 2]) : std::move(ok);
      if (!ok) {
        return ok;
      }
      for (int replica = 0; replica < replicas.size; ++replica) {
        terms[static_cast<std::size_t>(replica)] = contribution(part, replica);
      }
      const std::size_t at = part * kServerPart;
      addInOrder(terms, std::min<std::size_t>(kServerPart, piece.bytes - at), Element::F32, piece.data + at);
    }
    return ok;
  }

  bool greets = staleness > 0;
  std::vector<Request> parts[2];
  std::vector<const std::byte *> terms;
};

} // namespace

ServerLink::ServerLink(const Executable &executable, const Mesh &mesh, const ArenaBases &arenas,
                       Communicator &communicator)
    : communicator(communicator), replicas(replicasOf(mesh, communicator.rank())),
      servers(serversOf(mesh, communicator.rank())),
      own(mesh.isServer(communicator.rank()) ? mesh.updater(communicator.rank())
                                             : mesh.replica(communicator.rank())),
      staleness(executable.file().contract()->staleness()) {
  const executable::RankPlan &plan = executable.rank(mesh.pipelineRank(communicator.rank()));
  const auto placed = [&](const std::vector<ServerPiece> &list, std::vector<Piece> &pieces) {
    for (const ServerPiece &piece : list) {
      pieces.push_back({piece.stage, piece.server, arenas[piece.arena] + piece.offset, piece.bytes});
    }
  };
  placed(gradientsOfServers(plan), gradients);
  placed(weightsOfServers(plan), weights);
  for (const executable::Scalar *scalar : *plan.scalars()) {
    const std::string_view name = scalar->name()->string_view();
    const Piece cell{-1, 0, arenas[scalar->arena()] + scalar->offset(),
                     catalogue::byteSize(static_cast<catalogue::DType>(scalar->dtype())) * scalar->count()};
    if (name == "loss" || name == "gradient_norm") {
      (name == "loss" ? loss : norm) = cell;
    }
  }
}

Result<std::unique_ptr<ServerLink>> ServerLink::create(const Executable &executable, const Mesh &mesh,
                                                       const ArenaBases &arenas, HostDevice &device,
                                                       Communicator &communicator) {
  if (mesh.servers == 0) {
    return std::unique_ptr<ServerLink>();
  }
  const int pipelineRank = mesh.pipelineRank(communicator.rank());
  std::unique_ptr<ServerLink> link;
  Result<void> opened;
  if (mesh.isServer(communicator.rank())) {
    link = std::make_unique<ServerSide>(executable, mesh, arenas, communicator);
    opened = link->open(device, sentByServer(executable, pipelineRank));
  } else {
    link = std::make_unique<ReplicaSide>(executable, mesh, arenas, communicator);
    opened = link->open(device, sentToServers(executable, pipelineRank));
  }
  return opened ? Result<std::unique_ptr<ServerLink>>(std::move(link)) : opened.takeError();
}

Result<void> ServerLink::makeOutbox(HostDevice &device, std::size_t stepBytes, std::size_t scratchBytes,
                                    std::size_t messages) {
  const std::size_t copies = static_cast<std::size_t>(staleness) * stepBytes;
  auto made = device.allocate("parameter servers", copies + scratchBytes);
  if (!made) {
    return made.takeError();
  }
  room = std::move(*made);
  scratch = room.data() + copies;
  outbox.emplace(communicator, room.data(), stepBytes, staleness, messages);
  return {};
}

Result<void> ServerLink::sendToAll(const RankGroup &receivers, int tag, const Piece &piece) {
  auto kept = outbox->keep(piece.data, piece.bytes);
  if (!kept) {
    return kept.takeError();
  }
  for (int position = 0; position < receivers.size; ++position) {
    if (auto ok = outbox->send(receivers.at(position), tag, *kept, piece.bytes); !ok) {
      return ok;
    }
  }
  return {};
}

Result<void> ServerLink::receive(int peer, int tag, std::byte *data, std::size_t bytes) {
  auto request = communicator.postReceive(peer, tag, data, bytes);
  return request ? communicator.wait(*request) : request.takeError();
}

Result<void> ServerLink::receiveAll(std::span<const Request> requests) {
  for (const Request request : requests) {
    if (auto ok = communicator.wait(request); !ok) {
      return ok;
    }
  }
  return {};
}

/// Of the steps that may not have been taken and the one that is made.
std::size_t ServerLink::messagesOf(const Executable &executable) {
  std::size_t most = 0;
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    std::size_t gradients = 1;
    for (const ServerPiece &piece : gradientsOfServers(executable.rank(rank))) {
      gradients += partsOf(piece.bytes);
    }
    most = std::max({most, gradients, weightsOfServers(executable.rank(rank)).size() + 2});
  }
  return most * (2 + static_cast<std::size_t>(executable.file().contract()->staleness()));
}

} // namespace stagewright::runtime
