// The checks of what the replicas of one rank exchange.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_RANKREPLICAS_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_RANKREPLICAS_H

#include "runtime/executable/Proof.h"

#include <map>
#include <set>
#include <vector>

namespace stagewright::runtime {

/// Bytes that the replicas exchange; replica -1: all get the same.
struct Exchanged {
  int stage;
  unsigned arena;
  Range range;
  int replica;
};

class ExchangedBytes {
public:
  void add(const Exchanged &bytes);
  const std::vector<Exchanged> &all() const { return list; }
  /// Whether all of it is exchanged for its replica or, `ofAny`, each part of it for one.
  bool covers(const Exchanged &wanted, bool ofAny = false) const;

private:
  std::vector<Exchanged> list;
  using Key = std::pair<int, unsigned>;                                        // stage, arena
  std::map<Key, std::map<int, std::map<std::uint64_t, std::uint64_t>>> ranges; ///< by replica: begin, end
};

/// Bytes that an exchange uses, of one replica or (-1) of all.
struct UsedRange {
  unsigned arena;
  Range bytes;
  int replica;
};

/// Ranges that do not overlap on any replica.
class RangesInUse {
public:
  bool overlaps(const UsedRange &range) const;
  /// False, and nothing happens: it overlaps with another one.
  bool add(const UsedRange &range);
  void remove(const UsedRange &range);

private:
  using Key = std::pair<unsigned, std::uint64_t>;   // arena, begin
  std::map<int, std::map<Key, std::uint64_t>> sets; ///< by replica: ends
};

/// The checks of one rank.
class RankReplicas {
public:
  RankReplicas(const Proof &proof, int rank)
      : proof(proof), rank(rank), plan(*proof.variant->ranks()->Get(static_cast<unsigned>(rank))),
        at(indexed("ranks", static_cast<unsigned>(rank)) + ".") {}

  Result<void> run();

private:
  Result<void> collectReductions();
  Result<void> collectGathers();
  Result<void> collectExchanges();
  Result<void> exchange(const executable::Exchange &exchange, const std::string &field);
  Result<void> pieces(const executable::Exchange &exchange, const std::string &field);
  Result<void> points();
  Result<void> pointsOf(const executable::Program &program, const std::string &field,
                        std::vector<int> &begun);
  Result<void> point(const executable::Program &program, const std::string &field,
                     const executable::ExchangePoint &point, std::vector<int> &begun,
                     std::set<unsigned> &underWay, RangesInUse &inUse);
  std::vector<UsedRange> rangesOf(const executable::Exchange &exchange) const;
  bool touches(const executable::Command &command, const RangesInUse &inUse) const;
  Range scratchOf(const executable::Exchange &exchange) const;
  Result<void> sums();
  Result<void> loss();
  Result<void> commands();
  Result<void> ofReplica(const executable::Program &program, const executable::Command &command,
                         const std::string &field);
  Result<Range> inside(unsigned arena, std::uint64_t offset, std::uint64_t bytes, std::uint64_t unit,
                       const std::string &field) const;
  Result<void> disjoint(std::vector<Exchanged> list, const std::string &field,
                        bool onEachReplica = false) const;
  Result<void> sharedOnce() const;
  bool sumIsOfReplica(const Exchanged &sum) const;
  /// A list of pieces that a placement has.
  using SlicesOf = const flatbuffers::Vector<flatbuffers::Offset<executable::StateSlice>> *(
      executable::Placement::*)() const;
  bool isOwn(const Exchanged &bytes, SlicesOf slices) const;
  const executable::Arena *arenaAt(int index) const;
  bool isArenaOf(executable::ArenaClass wanted, int index) const;
  Result<void> gatherPiece(const executable::ExchangePiece &piece, const std::string &field) const;
  Result<void> sumPiece(const executable::Exchange &exchange, const executable::ExchangePiece &piece,
                        const std::string &field);
  Result<void> residual(const executable::ExchangePiece &piece, const std::string &field);
  Result<void> movedPiece(const executable::ExchangePiece &piece, const std::string &field, bool loads);
  Result<void> inFiles() const;
  Result<void> accumulatePiece(const executable::Exchange &exchange, const executable::ExchangePiece &piece,
                               const std::string &field);

  const Proof &proof;
  const int rank;
  const executable::RankPlan &plan;
  const std::string at;
  ExchangedBytes reduced, gathered, loaded;
  std::vector<Exchanged> accumulated; ///< in every W
  std::vector<Exchanged> residuals;   ///< of compressed gradients
};

} // namespace stagewright::runtime

#endif
