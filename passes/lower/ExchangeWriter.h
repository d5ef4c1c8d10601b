// Adds exchanges to a rank, and their points to a program.
#ifndef STAGEWRIGHT_PASSES_LOWER_EXCHANGEWRITER_H
#define STAGEWRIGHT_PASSES_LOWER_EXCHANGEWRITER_H

#include "ir/command/CommandDialect.h"

#include "mlir/IR/Builders.h"
#include "schema/stage_generated.h"

namespace stagewright {

/// Of one program, whose commands `program` writes: points lie where it stands.
class ExchangeWriter {
public:
  ExchangeWriter(command::RankOp rank, std::int64_t stage, mlir::Location location, mlir::OpBuilder &program);

  /// Pieces as command.exchange has them. Returns the exchange's number.
  std::int64_t add(executable::ExchangeKind kind, std::int64_t scratch, mlir::ArrayRef<std::int64_t> pieces);
  /// To an exchange that exists.
  void append(std::int64_t exchange, mlir::ArrayRef<std::int64_t> pieces);

  void begin(std::int64_t exchange) { point(exchange, true); }
  void end(std::int64_t exchange) { point(exchange, false); }

  /// Number of the next one.
  std::int64_t next() const { return count; }

private:
  void point(std::int64_t exchange, bool begins);

  command::RankOp rank;
  const std::int64_t stage;
  const mlir::Location location;
  mlir::OpBuilder &program;
  std::int64_t count = 0;
};

} // namespace stagewright

#endif
