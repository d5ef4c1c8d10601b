// Registration of the plan dialect, and the text form of task lists.
#include "ir/plan/PlanDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "generated/plan/PlanDialect.cpp.inc"
#include "generated/plan/PlanEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "generated/plan/PlanAttributes.cpp.inc"
#define GET_OP_CLASSES
#include "generated/plan/PlanOps.cpp.inc"

namespace stagewright::plan {

void PlanDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "generated/plan/PlanAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "generated/plan/PlanOps.cpp.inc"
      >();
}

// Task names such as "0F0" are no MLIR tokens, so the list is a string: #plan.tasks<"0F0, 0SEND_F0, ...">.
Attribute TasksAttr::parse(AsmParser &parser, Type) {
  std::string text;
  SMLoc place = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseString(&text) || parser.parseGreater()) {
    return {};
  }
  Result<std::vector<schedule::Task>> tasks = schedule::parseTasks(text);
  if (!tasks) {
    parser.emitError(place, tasks.error().text());
    return {};
  }
  return TasksAttr::get(parser.getContext(), *tasks);
}

void TasksAttr::print(AsmPrinter &printer) const {
  printer << "<\"" << schedule::printTasks({getTasks().begin(), getTasks().end()}) << "\">";
}

static schedule::Schedule scheduleOf(ScheduleOp op, bool training) {
  schedule::Schedule value;
  value.kind = training ? op.getKind().str() : "evaluation";
  value.microBatches = static_cast<int>(op.getMicroBatches());
  value.rankOfStage.assign(op.getRankOfStage().begin(), op.getRankOfStage().end());
  value.stages = static_cast<int>(value.rankOfStage.size());
  for (RankOp rank : op.getBody().getOps<RankOp>()) {
    ArrayRef<schedule::Task> tasks = (training ? rank.getTrain() : rank.getEvaluate()).getTasks();
    value.ranks.emplace_back(tasks.begin(), tasks.end());
  }
  return value;
}

schedule::Schedule ScheduleOp::training() {
  return scheduleOf(*this, true);
}
schedule::Schedule ScheduleOp::evaluation() {
  return scheduleOf(*this, false);
}

FunctionOp findFunction(StageOp stage, FunctionKind kind) {
  for (FunctionOp function : stage.getBody().getOps<FunctionOp>()) {
    if (function.getKind() == kind) {
      return function;
    }
  }
  return {};
}

} // namespace stagewright::plan
