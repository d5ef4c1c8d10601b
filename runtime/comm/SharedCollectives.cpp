// The collectives of ranks that share a machine: through memory that all of them map, without messages.
//
// All ranks cut the list of segments into the same rounds. Of a round a rank first puts into its window what
// others need, then adds up what is its own, then fetches what is others'. Before each step it waits until
// all have done theirs before:
//
//     step       0       1       2       3
//     round 0    put     add     fetch               slot 0
//     round 1            put     add     fetch       slot 1
//     round 2                    put     add         slot 2
//     round 3                            put         slot 0
//
// The windows are written past the caches: a line that another core's cache holds is slow to write.
#include "runtime/comm/Communicator.h"
#include "runtime/comm/OrderedSum.h"
#include "runtime/comm/SharedWindow.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {
namespace {

/// A part of a segment.
struct Part {
  int rank;
  std::byte *data;
  std::size_t bytes;
  std::size_t place; ///< in the slot of its round, from a cache line on
};

/// Walks the rounds of a list: the first part of every segment, then the second part of every segment, ...
class Rounds {
public:
  Rounds(std::span<const Segment> segments, int ranks)
      : segments(segments),
        most(std::max(SharedWindow::kSlotBytes / static_cast<std::size_t>(ranks) / kLineBytes,
                      std::size_t{1}) *
             kLineBytes) {
    for (const Segment &segment : segments) {
      longest = std::max(longest, segment.bytes);
    }
  }

  bool more() const { return offset < longest; }

  /// Calls use(Part) for each part of the next round, if there is one.
  template <typename Use>
  void next(Use use) {
    std::size_t place = 0;
    for (; more(); offset += most, index = 0) {
      for (; index < segments.size(); ++index) {
        const Segment &segment = segments[index];
        if (offset >= segment.bytes) {
          continue;
        }
        const std::size_t bytes = std::min(most, segment.bytes - offset);
        if (place + bytes > SharedWindow::kSlotBytes) {
          return;
        }
        use(Part{segment.rank, static_cast<std::byte *>(segment.data) + offset, bytes, place});
        place += (bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
      }
    }
  }

private:
  std::span<const Segment> segments;
  const std::size_t most;
  std::size_t longest = 0, offset = 0, index = 0;
};

/// To whole lines, past the caches.
void copyOut(std::byte *target, const std::byte *source, std::size_t bytes) {
  using Line [[gnu::vector_size(kLineBytes)]] = std::uint64_t;
  std::size_t i = 0;
  for (Line line; i + kLineBytes <= bytes; i += kLineBytes) {
    std::memcpy(&line, source + i, kLineBytes);
    __builtin_nontemporal_store(line, reinterpret_cast<Line *>(target + i));
  }
  std::memcpy(target + i, source + i, bytes - i);
}

} // namespace

void Communicator::share(std::vector<SharedWindow *> ofRanks, bool crowded) {
  windows = std::move(ofRanks);
  spinToMeet = crowded ? 0 : kSpinNanoseconds;
}

bool Communicator::sharesMemory(const RankGroup &group) const {
  bool shares = !windows.empty() && group.size > 1;
  for (int position = 0; shares && position < group.size; ++position) {
    shares = windows[group.at(position)] != nullptr;
  }
  return shares;
}

void Communicator::collectShared(std::span<const Segment> segments, const RankGroup &group,
                                 std::optional<Element> sums, bool gathers) {
  Rounds puts(segments, group.size), adds(puts), fetches(puts);
  for (std::size_t step = 0; fetches.more(); ++step) {
    const auto slot = [&](int rank, std::size_t round) {
      return windows[rank]->slots[round % SharedWindow::kSlots];
    };
    if (step >= 2) {
      fetches.next([&](const Part &part) {
        if (gathers && part.rank != ownRank) {
          std::memcpy(part.data, slot(part.rank, step - 2) + part.place, part.bytes);
        }
      });
    }
    if (step >= 1) {
      adds.next([&](const Part &part) {
        if (sums && part.rank == ownRank) {
          terms.clear();
          for (int position = 0; position < group.size; ++position) {
            const int rank = group.at(position);
            terms.push_back(rank == ownRank ? part.data : slot(rank, step - 1) + part.place);
          }
          addInOrder(terms, part.bytes, *sums, part.data,
                     gathers ? slot(ownRank, step - 1) + part.place : nullptr);
        }
      });
    }
    puts.next([&](const Part &part) {
      if ((part.rank == ownRank) != sums.has_value()) { // of sums the others' parts, else the own ones
        copyOut(slot(ownRank, step) + part.place, part.data, part.bytes);
      }
    });
    meet(group);
  }
}

} // namespace stagewright::runtime
