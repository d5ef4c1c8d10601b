// What a program of the file begins at one of its points and waits for at a later one.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_PROGRAMEXCHANGE_H
#define STAGEWRIGHT_RUNTIME_EXEC_PROGRAMEXCHANGE_H

#include "error/Error.h"
#include "runtime/device/Futex.h"
#include "runtime/executable/Executable.h"

#include <cstdint>

namespace stagewright::runtime {

class ProgramExchange {
public:
  explicit ProgramExchange(executable::ExchangeKind kind) : kind(kind) {}
  virtual ~ProgramExchange() = default;

  /// Errors: those of the communicator or of a file. Neither allocates anything.
  Result<void> begin() {
    begun = monotonicNanoseconds();
    auto ok = start();
    underWay = bool(ok);
    return ok;
  }
  /// Begins it where that has not happened.
  Result<void> end() {
    if (!underWay) {
      if (auto ok = begin(); !ok) {
        return ok;
      }
    }
    underWay = false;
    return complete();
  }

  executable::ExchangeKind what() const { return kind; }
  bool isUnderWay() const { return underWay; }
  /// That this rank moves; 0: it belongs to other replicas.
  std::uint64_t bytes() const { return total; }
  std::int64_t begunAt() const { return begun; }

protected:
  std::uint64_t total = 0;

private:
  virtual Result<void> start() = 0;
  virtual Result<void> complete() = 0;

  const executable::ExchangeKind kind;
  std::int64_t begun = 0;
  bool underWay = false;
};

} // namespace stagewright::runtime

#endif
