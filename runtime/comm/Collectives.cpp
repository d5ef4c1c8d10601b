// The collectives, over sends and receives only: every implementation of Communicator gets the same code and
// so the same bits.
#include "runtime/comm/Communicator.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {
namespace {

// Of a reduction: what an owner receives from one rank at a time. Two such sets fit the second-level cache.
constexpr std::size_t kChunkBytes = 64 << 10;
// How far the sends of a collective may run ahead.
constexpr std::size_t kWindow = 64;

std::size_t bytesOf(Element element) {
  return element == Element::F32 ? sizeof(float) : sizeof(double);
}

template <typename T>
void addTo(void *sum, const void *term, std::size_t bytes) {
  T *__restrict to = static_cast<T *>(sum);
  const T *__restrict from = static_cast<const T *>(term);
  for (std::size_t i = 0; i < bytes / sizeof(T); ++i) {
    to[i] = to[i] + from[i];
  }
}

void addTo(void *sum, const void *term, std::size_t bytes, Element element) {
  element == Element::F32 ? addTo<float>(sum, term, bytes) : addTo<double>(sum, term, bytes);
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

Result<void> Communicator::allGather(std::span<const Segment> segments) {
  const std::size_t window = std::min(kWindow, ringCapacity);
  tracked.reserve(window * rankCount);
  std::size_t posted = 0;
  for (const Segment &segment : segments) {
    if (segment.bytes == 0) {
      continue;
    }
    if (segment.rank == ownRank) {
      for (int step = 1; step < rankCount; ++step) {
        const int peer = (ownRank + step) % rankCount;
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

std::byte *Communicator::contribution(int half, int rank) {
  const int slot = rank < ownRank ? rank : rank - 1;
  return contributions.data() + static_cast<std::size_t>(half * (rankCount - 1) + slot) * kChunkBytes;
}

// All ranks walk the same list of chunks: the first one of every segment, then the second one of every
// segment, ... A rank sends those that it does not own. Of its own it receives chunk k+1 while it adds up
// chunk k:
//
//     half 0   | receive own 0 | add own 0     | receive own 2 | ...
//     half 1                   | receive own 1 | add own 1     | ...
Result<void> Communicator::reduceScatter(std::span<const Segment> segments, Element element) {
  std::size_t longest = 0;
  for (const Segment &segment : segments) {
    longest = std::max(longest, segment.bytes);
    if (segment.bytes % bytesOf(element) != 0) {
      return bugError("reduceScatter", std::to_string(segment.bytes) + " bytes are not whole elements");
    }
  }
  if (rankCount == 1) {
    return {};
  }
  const std::size_t window = std::min(kWindow, ringCapacity);
  tracked.reserve(window);
  contributions.resize(2 * (rankCount - 1) * kChunkBytes);
  arrivals.resize(2 * (rankCount - 1));
  Segment unfinished;
  int half = 0;
  for (std::size_t offset = 0; offset < longest; offset += kChunkBytes) {
    for (const Segment &segment : segments) {
      if (offset >= segment.bytes) {
        continue;
      }
      const Segment chunk{segment.rank, static_cast<std::byte *>(segment.data) + offset,
                          std::min(kChunkBytes, segment.bytes - offset)};
      Result<void> done;
      if (chunk.rank != ownRank) {
        done = track(post(Direction::Send, chunk.rank, kCollectiveTag, chunk.data, chunk.bytes));
        if (done && tracked.size() == window) {
          done = waitForTracked();
        }
      } else {
        done = beginChunk(chunk, half);
        half ^= 1;
        if (done && unfinished.bytes > 0) {
          done = finishChunk(unfinished, half, element);
        }
        unfinished = chunk;
      }
      if (!done) {
        return done;
      }
    }
  }
  if (unfinished.bytes > 0) {
    if (Result<void> done = finishChunk(unfinished, half ^ 1, element); !done) {
      return done;
    }
  }
  return waitForTracked();
}

Result<void> Communicator::beginChunk(const Segment &chunk, int half) {
  int slot = half * (rankCount - 1);
  for (int rank = 0; rank < rankCount; ++rank) {
    if (rank != ownRank) {
      Result<Request> posted =
          post(Direction::Receive, rank, kCollectiveTag, contribution(half, rank), chunk.bytes);
      if (!posted) {
        return posted.takeError();
      }
      arrivals[slot++] = *posted;
    }
  }
  return {};
}

Result<void> Communicator::finishChunk(const Segment &chunk, int half, Element element) {
  for (int slot = 0; slot < rankCount - 1; ++slot) {
    if (Result<void> arrived = wait(arrivals[half * (rankCount - 1) + slot]); !arrived) {
      return arrived;
    }
  }
  const auto term = [&](int rank) -> void * {
    return rank == ownRank ? chunk.data : contribution(half, rank);
  };
  void *const sum = term(0);
  for (int rank = 1; rank < rankCount; ++rank) {
    addTo(sum, term(rank), chunk.bytes, element);
  }
  if (sum != chunk.data) {
    std::memcpy(chunk.data, sum, chunk.bytes);
  }
  return {};
}

Result<void> Communicator::allReduce(void *data, std::size_t count, Element element) {
  const std::size_t unit = bytesOf(element);
  const std::size_t share = (count / rankCount / 16 + 1) * 16; // whole cache lines, or whole pairs of them
  pieces.resize(rankCount);
  for (int rank = 0; rank < rankCount; ++rank) {
    const std::size_t begin = std::min(count, rank * share);
    const std::size_t end = std::min(count, begin + share);
    pieces[rank] = {rank, static_cast<std::byte *>(data) + begin * unit, (end - begin) * unit};
  }
  if (Result<void> reduced = reduceScatter(pieces, element); !reduced) {
    return reduced;
  }
  return allGather(pieces);
}

} // namespace stagewright::runtime
