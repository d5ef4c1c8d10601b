// RUN: sed 's/stages = 2/stages = 5/; s/explicit:3/uniform/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-precision --phase-search 2>&1 | FileCheck %s --check-prefix=MANY
// MANY: error: loc("stages"): 5 stages for 4 blocks
// MANY: note: {{.*}}every stage needs at least one block: use at most 4 stages
// RUN: sed 's/explicit:3/explicit:4/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-precision --phase-search 2>&1 | FileCheck %s --check-prefix=CUT
// CUT: error: loc("partition"): explicit:4: the cuts must be 1 ascending block indexes between 1 and 3
// RUN: sed 's/explicit:3/sideways/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-precision --phase-search 2>&1 | FileCheck %s --check-prefix=METHOD
// METHOD: unknown method "sideways"
