// The collectives over sends and receives, which every implementation of Communicator has. Those of ranks
// that share memory: SharedCollectives.cpp.
#include "runtime/comm/Communicator.h"
#include "runtime/comm/OrderedSum.h"

#include <algorithm>

namespace stagewright::runtime {
namespace {

// Of a reduction: what an owner receives from one rank at a time, twice. Of few ranks both sets fit the
// second-level cache; of many the chunks get smaller, so that the sets do not grow with them.
constexpr std::size_t kLargestChunk = 64 << 10, kSmallestChunk = 8 << 10, kChunks = 512 << 10;

std::size_t chunkBytes(const RankGroup &group) {
  return std::clamp(kChunks / static_cast<std::size_t>(group.size - 1) / 64 * 64, kSmallestChunk,
                    kLargestChunk);
}
// How far the sends of a collective may run ahead.
constexpr std::size_t kWindow = 64;

std::size_t bytesOf(Element element) {
  return element == Element::F32 ? sizeof(float) : sizeof(double);
}

} // namespace

Result<void> Communicator::track(Result<Request> posted) {
  if (!posted) {
    return posted.takeError();
  }
  tracked.push_back(*posted);
  return {};
}

Result<void> Communicator::waitForTracked() {
  for (const Request request : tracked) {
    if (Result<void> done = wait(request); !done) {
      return done;
    }
  }
  tracked.clear();
  return {};
}

// Dissemination: after round k every rank has heard from the 2^(k+1) - 1 ranks before it.
Result<void> Communicator::barrier() {
  for (int distance = 1; distance < rankCount; distance *= 2) {
    const int next = (ownRank + distance) % rankCount;
    const int previous = (ownRank - distance + rankCount) % rankCount;
    if (Result<void> sent = track(post(Direction::Send, next, kCollectiveTag, nullptr, 0)); !sent) {
      return sent;
    }
    if (Result<void> expected = track(post(Direction::Receive, previous, kCollectiveTag, nullptr, 0));
        !expected) {
      return expected;
    }
    if (Result<void> done = waitForTracked(); !done) {
      return done;
    }
  }
  return {};
}

// A binomial tree; ranks count from the root:  0 -> 4, 2, 1   4 -> 6, 5   2 -> 3   6 -> 7
Result<void> Communicator::broadcast(void *data, std::size_t bytes, int root) {
  if (root < 0 || root >= rankCount) {
    return bugError("broadcast",
                    "rank " + std::to_string(root) + " is not among " + std::to_string(rankCount));
  }
  const int position = (ownRank - root + rankCount) % rankCount;
  const auto rankAt = [&](int place) { return (place + root) % rankCount; };
  int reach = 1; // the lowest set bit of the position: the distance to the parent
  while (reach < rankCount && !(position & reach)) {
    reach *= 2;
  }
  if (position != 0) {
    const int parent = rankAt(position - reach);
    if (Result<void> expected = track(post(Direction::Receive, parent, kCollectiveTag, data, bytes));
        !expected) {
      return expected;
    }
    if (Result<void> done = waitForTracked(); !done) {
      return done;
    }
  }
  for (int distance = reach / 2; distance > 0; distance /= 2) {
    if (position + distance < rankCount) {
      const int child = rankAt(position + distance);
      if (Result<void> sent = track(post(Direction::Send, child, kCollectiveTag, data, bytes)); !sent) {
        return sent;
      }
    }
  }
  return waitForTracked();
}

Result<RankGroup> Communicator::checked(RankGroup group, std::span<const Segment> segments) const {
  group = group.size == 0 ? RankGroup{0, 1, rankCount} : group;
  bool holds =
      group.step > 0 && group.first >= 0 && group.at(group.size - 1) < rankCount && group.contains(ownRank);
  for (const Segment &segment : segments) {
    holds = holds && group.contains(segment.rank);
  }
  if (!holds) {
    return bugError("collective",
                    "rank " + std::to_string(ownRank) + " or the owner of a segment is not in the group of " +
                        std::to_string(group.size) + " ranks from " + std::to_string(group.first) +
                        " in steps of " + std::to_string(group.step));
  }
  return group;
}

Result<void> Communicator::allGather(std::span<const Segment> segments, RankGroup group) {
  auto members = checked(group, segments);
  if (!members) {
    return members.takeError();
  }
  if (sharesMemory(*members)) {
    collectShared(segments, *members, std::nullopt, true);
    return {};
  }
  const std::size_t window = std::min(kWindow, ringCapacity);
  tracked.reserve(window * members->size);
  std::size_t posted = 0;
  for (const Segment &segment : segments) {
    if (segment.bytes == 0) {
      continue;
    }
    if (segment.rank == ownRank) {
      for (int step = 1; step < members->size; ++step) {
        const int peer = members->at((members->position(ownRank) + step) % members->size);
        Result<void> sent = track(post(Direction::Send, peer, kCollectiveTag, segment.data, segment.bytes));
        if (!sent) {
          return sent;
        }
      }
    } else {
      Result<void> expected =
          track(post(Direction::Receive, segment.rank, kCollectiveTag, segment.data, segment.bytes));
      if (!expected) {
        return expected;
      }
    }
    // All ranks walk the list in the same order, so windows that end at different places cannot block each
    // other.
    if (++posted % window == 0) {
      if (Result<void> done = waitForTracked(); !done) {
        return done;
      }
    }
  }
  return waitForTracked();
}

std::byte *Communicator::contribution(const RankGroup &group, int half, int position) {
  const int slot = position < group.position(ownRank) ? position : position - 1;
  return contributions.data() + static_cast<std::size_t>(half * (group.size - 1) + slot) * chunkBytes(group);
}

// All ranks walk the same list of chunks: the first one of every segment, then the second one of every
// segment, ... A rank sends those that it does not own. Of its own it receives chunk k+1 while it adds up
// chunk k:
//
//     half 0   | receive own 0 | add own 0     | receive own 2 | ...
//     half 1                   | receive own 1 | add own 1     | ...
Result<void> Communicator::reduceScatter(std::span<const Segment> segments, Element element,
                                         RankGroup group) {
  auto members = checked(group, segments);
  if (!members) {
    return members.takeError();
  }
  std::size_t longest = 0;
  for (const Segment &segment : segments) {
    longest = std::max(longest, segment.bytes);
    if (segment.bytes % bytesOf(element) != 0) {
      return bugError("reduceScatter", std::to_string(segment.bytes) + " bytes are not whole elements");
    }
  }
  const int others = members->size - 1;
  if (others == 0) {
    return {};
  }
  if (sharesMemory(*members)) {
    collectShared(segments, *members, element, false);
    return {};
  }
  const std::size_t window = std::min(kWindow, ringCapacity);
  tracked.reserve(window);
  const std::size_t most = chunkBytes(*members);
  contributions.resize(std::max(contributions.size(), 2 * others * most));
  arrivals.resize(std::max<std::size_t>(arrivals.size(), 2 * others));
  Segment unfinished;
  int half = 0;
  for (std::size_t offset = 0; offset < longest; offset += most) {
    for (const Segment &segment : segments) {
      if (offset >= segment.bytes) {
        continue;
      }
      const Segment chunk{segment.rank, static_cast<std::byte *>(segment.data) + offset,
                          std::min(most, segment.bytes - offset)};
      Result<void> done;
      if (chunk.rank != ownRank) {
        done = track(post(Direction::Send, chunk.rank, kCollectiveTag, chunk.data, chunk.bytes));
        if (done && tracked.size() == window) {
          done = waitForTracked();
        }
      } else {
        done = beginChunk(*members, chunk, half);
        half ^= 1;
        if (done && unfinished.bytes > 0) {
          done = finishChunk(*members, unfinished, half, element);
        }
        unfinished = chunk;
      }
      if (!done) {
        return done;
      }
    }
  }
  if (unfinished.bytes > 0) {
    if (Result<void> done = finishChunk(*members, unfinished, half ^ 1, element); !done) {
      return done;
    }
  }
  return waitForTracked();
}

Result<void> Communicator::beginChunk(const RankGroup &group, const Segment &chunk, int half) {
  int slot = half * (group.size - 1);
  for (int position = 0; position < group.size; ++position) {
    if (group.at(position) != ownRank) {
      Result<Request> posted = post(Direction::Receive, group.at(position), kCollectiveTag,
                                    contribution(group, half, position), chunk.bytes);
      if (!posted) {
        return posted.takeError();
      }
      arrivals[slot++] = *posted;
    }
  }
  return {};
}

Result<void> Communicator::finishChunk(const RankGroup &group, const Segment &chunk, int half,
                                       Element element) {
  const int others = group.size - 1;
  for (int slot = 0; slot < others; ++slot) {
    if (Result<void> arrived = wait(arrivals[half * others + slot]); !arrived) {
      return arrived;
    }
  }
  const auto own = static_cast<std::byte *>(chunk.data);
  terms.clear();
  for (int position = 0; position < group.size; ++position) {
    terms.push_back(group.at(position) == ownRank ? own : contribution(group, half, position));
  }
  addInOrder(terms, chunk.bytes, element, own);
  return {};
}

Result<void> Communicator::allReduce(void *data, std::size_t count, Element element, RankGroup group) {
  auto members = checked(group, {});
  if (!members) {
    return members.takeError();
  }
  const std::size_t unit = bytesOf(element), size = static_cast<std::size_t>(members->size);
  const std::size_t share = (count / size / 16 + 1) * 16; // whole cache lines, or whole pairs of them
  pieces.resize(size);
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t begin = std::min(count, i * share);
    const std::size_t end = std::min(count, begin + share);
    pieces[i] = {members->at(static_cast<int>(i)), static_cast<std::byte *>(data) + begin * unit,
                 (end - begin) * unit};
  }
  if (sharesMemory(*members)) {
    collectShared(pieces, *members, element, true);
    return {};
  }
  if (Result<void> reduced = reduceScatter(pieces, element, *members); !reduced) {
    return reduced;
  }
  return allGather(pieces, *members);
}

} // namespace stagewright::runtime
