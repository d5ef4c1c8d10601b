#include "runtime/exec/NcclMessages.h"

#include "runtime/comm/MessageTags.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <tuple>

namespace stagewright::runtime {
namespace {

// Receives whose senders are late hold their blocks: all of them together leave room for what computes.
constexpr int kBlocksOfLane = 4, kBlocksOfGroup = 16;

/// The same order on all ranks, so that those that wait for each other find each other.
std::tuple<int, int, int> orderOf(const DeviceMessages::Channel &channel, int own) {
  return channel.sends ? std::tuple(own, channel.peer, channel.tag)
                       : std::tuple(channel.peer, own, channel.tag);
}

/// Of this machine, as long as it runs, also in containers.
std::string machineId() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

} // namespace

Result<void> checkOwnGpus(cuda::Api &api, Communicator &communicator) {
  auto properties = api.properties();
  if (!properties) {
    return properties.takeError();
  }
  using Name = std::array<char, 96>;
  const auto ranks = static_cast<std::size_t>(communicator.size());
  std::vector<Name> names(ranks, Name{});
  std::vector<Segment> segments;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    segments.push_back({static_cast<int>(rank), names[rank].data(), sizeof(Name)});
  }
  const std::string own = machineId() + " " + properties->bus;
  const auto rank = static_cast<std::size_t>(communicator.rank());
  own.copy(names[rank].data(), sizeof(Name) - 1);
  if (auto ok = communicator.allGather(segments); !ok) {
    return ok;
  }
  for (std::size_t one = 0; one < ranks; ++one) {
    const auto other =
        std::find(names.begin() + static_cast<std::ptrdiff_t>(one) + 1, names.end(), names[one]);
    if (other != names.end()) { // an error on all ranks: nobody waits for others that do not come
      const std::string name = names[one].data();
      return environmentError("NCCL",
                              "ranks " + std::to_string(one) + " and " +
                                  std::to_string(other - names.begin()) + " would share the GPU " +
                                  name.substr(name.find(' ') + 1) + ", and each process needs one of its own",
                              "start no more processes on a machine than it has GPUs, or leave out --ranks "
                              "processes: ranks of one process may share a GPU");
    }
  }
  return {};
}

NcclMessages::~NcclMessages() {
  leave(hasFailed || communicator.aborted());
}

void NcclMessages::leave(bool aborts) {
  const auto end = [&](cuda::Connection &connection) {
    if (connection.handle) {
      aborts ? api.abort(connection) : api.disconnect(connection);
      connection = {};
    }
  };
  for (const auto &lane : lanes) {
    end(lane->connection);
  }
  for (Group &known : groups) {
    end(known.connection);
  }
}

void NcclMessages::abort() {
  hasFailed = true;
  leave(true);
}

void NcclMessages::reserve(std::size_t count) {
  batch.reserve(count);
  batchBehind.reserve(count);
  behind.reserve(count);
  arrivals.resize(count);
}

/// An error ends the talk when this object goes.
Result<void> NcclMessages::noted(Result<void> result) {
  hasFailed = hasFailed || !result;
  return result;
}

Result<void> NcclMessages::connect(std::span<const Channel> channels, std::span<const RankGroup> ofGroups) {
  hasFailed = true; // until all have met
  std::vector<Channel> ordered(channels.begin(), channels.end());
  std::ranges::sort(ordered, {},
                    [&](const Channel &channel) { return orderOf(channel, communicator.rank()); });
  for (const Channel &channel : ordered) {
    const int from = channel.sends ? communicator.rank() : channel.peer;
    const int to = channel.sends ? channel.peer : communicator.rank();
    const RankGroup pair{from, to - from, 2};
    auto met = meet(pair, kBlocksOfLane);
    if (!met) {
      return met.takeError();
    }
    lanes.push_back(std::make_unique<Lane>(api, channel));
    lanes.back()->connection = *met;
    auto ok =
        lanes.back()->stream.open(firstLane + lanes.size() - 1, events.empty() ? 0 : events[0].clock.size());
    ok = ok ? introduce(*met, pair, lanes.back()->stream.handle()) : std::move(ok);
    if (!ok) {
      return ok;
    }
  }
  for (const RankGroup &ranks : ofGroups) {
    auto met = meet(ranks, kBlocksOfGroup);
    if (!met) {
      return met.takeError();
    }
    groups.push_back({ranks, *met});
    if (auto ok = introduce(*met, ranks, stream.handle()); !ok) {
      return ok;
    }
  }
  hasFailed = false;
  return {};
}

/// The first rank tells the others where.
Result<cuda::Connection> NcclMessages::meet(const RankGroup &ranks, int mostBlocks) {
  const int own = ranks.position(communicator.rank());
  cuda::ConnectionId id;
  if (own == 0) {
    auto made = api.connectionId();
    if (!made) {
      return made.takeError();
    }
    id = *made;
  }
  for (int position = 1; position < ranks.size; ++position) {
    if (own != 0 && own != position) {
      continue;
    }
    auto posted = own == 0 ? communicator.postSend(ranks.at(position), tags::kConnect, id.data(), id.size())
                           : communicator.postReceive(ranks.at(0), tags::kConnect, id.data(), id.size());
    auto ok = posted ? communicator.wait(*posted) : Result<void>(posted.takeError());
    if (!ok) {
      return ok.takeError();
    }
  }
  return api.connect(id, own, ranks.size, mostBlocks);
}

/// A byte from each to each: NCCL makes its connections with the first message, and waits for the other side
/// on the host meanwhile.
Result<void> NcclMessages::introduce(cuda::Connection connection, const RankGroup &ranks, cuda::Stream on) {
  const int own = ranks.position(communicator.rank());
  auto made = api.allocate(static_cast<std::size_t>(ranks.size));
  if (!made) {
    return made.takeError();
  }
  auto *const bytes = static_cast<std::byte *>(*made);
  std::vector<cuda::Exchanged> first;
  for (int position = 0; position < ranks.size; ++position) {
    if (position != own) {
      first.push_back({.sends = true, .peer = position, .data = bytes + own, .bytes = 1});
      first.push_back({.sends = false, .peer = position, .data = bytes + position, .bytes = 1});
    }
  }
  auto ok = api.exchange(connection, first, on);
  ok = ok ? api.synchronize(on) : std::move(ok);
  api.release(bytes);
  return ok;
}

Result<void> NcclMessages::post(std::size_t number, bool send, int peer, int tag, void *data,
                                std::size_t bytes, const OrderedEvent *ready) {
  if (group) {
    batchFirst = batch.empty() ? number : batchFirst;
    arrivals[number] = batchFirst;
    batch.push_back({.sends = send, .peer = group->ranks.position(peer), .data = data, .bytes = bytes});
    if (ready) {
      batchBehind.push_back(ready);
    }
    return {};
  }
  const Channel channel{send, peer, tag};
  const auto lane = std::ranges::find_if(lanes, [&](const auto &known) { return known->channel == channel; });
  if (lane == lanes.end()) {
    return bugError("a message by NCCL", "its channel has not been connected");
  }
  OrderedStream &own = (*lane)->stream;
  auto ok = ready ? own.wait(*ready) : Result<void>();
  ok = ok && !send ? own.wait(behind) : std::move(ok);
  // In the lane's communicator the sender is 0.
  const cuda::Exchanged one{.sends = send, .peer = send ? 1 : 0, .data = data, .bytes = bytes};
  ok = ok ? api.exchange((*lane)->connection, std::span(&one, 1), own.handle()) : std::move(ok);
  arrivals[number] = number;
  return noted(ok ? own.record(events[number]) : std::move(ok));
}

Result<void> NcclMessages::beginGroup(const RankGroup &ranks) {
  batch.clear();
  batchBehind.clear();
  const auto known = std::ranges::find_if(groups, [&](const Group &one) {
    return one.ranks.first == ranks.first && one.ranks.step == ranks.step && one.ranks.size == ranks.size;
  });
  group = known == groups.end() ? nullptr : &*known;
  return group || ranks.size == 1 ? Result<void>()
                                  : bugError("a group by NCCL", "its ranks have not been connected");
}

Result<void> NcclMessages::endGroup() {
  const Group *const ended = std::exchange(group, nullptr);
  if (!ended || batch.empty()) {
    return {};
  }
  auto ok = stream.wait(batchBehind);
  ok = ok ? api.exchange(ended->connection, batch, stream.handle()) : std::move(ok);
  return noted(ok ? stream.record(events[batchFirst]) : std::move(ok));
}

Result<const OrderedEvent *> NcclMessages::arrival(std::size_t number) {
  return &events[arrivals[number]];
}

/// Lanes wait when they receive next.
Result<void> NcclMessages::receiveBehind(std::span<const OrderedEvent *const> awaited) {
  behind.assign(awaited.begin(), awaited.end());
  return {};
}

Result<void> NcclMessages::failure() {
  for (const auto &lane : lanes) {
    if (auto ok = api.failureOf(lane->connection); !ok) {
      return ok;
    }
  }
  for (const Group &known : groups) {
    if (auto ok = api.failureOf(known.connection); !ok) {
      return ok;
    }
  }
  return {};
}

/// A stream that waits for a rank that is gone waits for ever: so the host looks again and again.
Result<void> NcclMessages::finish(const OrderedStream &awaited, std::span<DeviceMessages *const> others) {
  constexpr auto kPause = std::chrono::microseconds(20);
  constexpr int kLooks = 500; // at the stream, for one at failures
  for (int look = 1;; ++look) {
    auto done = api.isDone(awaited.handle());
    if (!done) {
      return noted(done.takeError());
    }
    if (*done) {
      return {};
    }
    if (look % kLooks == 0) {
      if (interrupt && interrupt->raised()) {
        return noted(Error{ErrorKind::Interrupted, "", "interrupted", ""});
      }
      if (auto other = communicator.aborted()) {
        return noted(*other);
      }
      auto ok = failure();
      for (DeviceMessages *const other : others) {
        ok = ok ? other->failure() : std::move(ok);
      }
      if (!ok) {
        return noted(std::move(ok));
      }
    }
    std::this_thread::sleep_for(kPause);
  }
}

void NcclMessages::follow(const OrderedStream &other) {
  DeviceMessages::follow(other);
  for (const auto &lane : lanes) {
    lane->stream.follow(other);
  }
}

} // namespace stagewright::runtime
