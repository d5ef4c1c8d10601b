// stagewright-opt: runs passes and phases on IR text.
#include "passes/Passes.h"
#include "passes/Pipeline.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<stagewright::layer::LayerDialect, stagewright::plan::PlanDialect,
                  stagewright::command::CommandDialect>();
  stagewright::registerStagewrightPasses();
  stagewright::registerPhasePipelines();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "Stagewright pass driver\n", registry));
}
