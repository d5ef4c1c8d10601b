// Two replicas that exchange gradients in REDUCE: it stands behind the last W and before the sums of ties are sent, half of the loss's gradient, the sums of each stage's uses
// as few ranges, and the mean of the loss behind the gather.
// RUN: sed 's/stages = 1/stages = 2/; s/data_parallel = 1/data_parallel = 2/; s/train_batch_size = 8/train_batch_size = 16/; s/seed =/overlap = false, seed =/' %S/Inputs/tied.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --lower-to-commands --verify-lower | FileCheck %s
// RUN: sed 's/stages = 1/stages = 2/; s/data_parallel = 1/data_parallel = 2/; s/train_batch_size = 8/train_batch_size = 16/' %S/Inputs/tied.mlir | stagewright-opt --phase-precision --phase-search --phase-partition | FileCheck %s --check-prefix=MESH
// RUN: stagewright-opt %S/Inputs/tied.mlir --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel --phase-schedule --phase-memory --lower-to-commands | FileCheck %s --check-prefix=ONE
// MESH: plan.mesh pipe(2) data(2)
// CHECK: plan.rank 0 train(<"{{.*}}0REDUCE, {{.*}}0NORM, ALL_GATHER, 0UPDATE{{.*}}">)
// CHECK: plan.rank 1 train(<"{{.*}}1REDUCE, 1SEND_SUM0, {{.*}}1NORM, ALL_GATHER, {{.*}}1UPDATE{{.*}}">)
// CHECK: command.rank 0
// CHECK: command.reduction stage(0) <{{[0-9]+}}, -1, 0, tensor<30xf32>>
// CHECK-NOT: command.reduction stage(0)
// CHECK: command.collective
// CHECK: command.reduction stage(-1) <{{[0-9]+}}, -1, {{[0-9]+}}, tensor<1xf64>> mean
// CHECK: command.rank 1
// CHECK: command.launch "softmax_cross_entropy_grad" {{.*}}2.500000e-01
// CHECK: command.reduction stage(1)
// ONE-NOT: command.reduction
// ONE-NOT: REDUCE
