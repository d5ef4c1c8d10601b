"""ChannelNormGoldens.inc.

    python3 make_channel_norm_goldens.py > ChannelNormGoldens.inc        (needs torch; made with 2.15.0)
"""
import torch

from golden_calls import begin, eighths, end, golden

F = torch.nn.functional
x, g = eighths(3, 4, 5).requires_grad_(), eighths(3, 4, 5, seed=1)
weight, bias = eighths(4, seed=2).requires_grad_(), eighths(4, seed=3).requires_grad_()
zeros, c = torch.zeros_like, torch.zeros(4)

begin('make_channel_norm_goldens.py')
module = torch.nn.BatchNorm1d(4, eps=1e-3, momentum=0.25)
module.weight, module.bias = torch.nn.Parameter(weight.detach()), torch.nn.Parameter(bias.detach())
module.running_mean, module.running_var = eighths(4, seed=4), eighths(4, seed=5, low=1)
running = module.running_mean.clone(), module.running_var.clone()
y = module(x)
y.backward(g)
mean, variance = x.detach().mean((0, 2)), x.detach().var((0, 2), unbiased=False)
xd, wd, bd = x.detach(), weight.detach(), bias.detach()
golden('batch_norm', [xd, zeros(xd), c, c, wd, bd], {1: y, 2: mean, 3: variance}, epsilon=1e-3)
golden('batch_norm_update', [mean, variance, *running, torch.tensor([6])],
       {2: module.running_mean, 3: module.running_var, 4: torch.tensor([7])}, momentum=0.25, count=15)
golden('batch_norm_grad', [g, xd, mean, variance, zeros(xd), wd], {4: x.grad}, epsilon=1e-3)
golden('batch_norm_weight_grad', [g, xd, mean, variance, bd], {4: module.weight.grad + bd}, epsilon=1e-3)
golden('channel_bias_grad', [g, wd], {1: module.bias.grad + wd})
module.eval()
golden('batch_norm_inference', [xd, module.running_mean, module.running_var, zeros(xd), wd, bd], {3: module(xd)},
       epsilon=1e-3)

average = torch.nn.BatchNorm1d(4, momentum=None)
for step in range(3):
    batch = eighths(3, 4, 5, seed=10 + step)
    before = average.running_mean.clone(), average.running_var.clone()
    average(batch)
    golden('batch_norm_update', [batch.mean((0, 2)), batch.var((0, 2), unbiased=False), *before, torch.tensor([step])],
           {2: average.running_mean, 3: average.running_var, 4: torch.tensor([step + 1])}, momentum=-1.0, count=15)

for groups in (1, 2, 4):
    x.grad = weight.grad = bias.grad = None
    y = F.group_norm(x, groups, weight, bias, eps=1e-3)
    y.backward(g)
    cut = xd.reshape(3, groups, -1)
    mean, rstd = cut.mean(2), (cut.var(2, unbiased=False) + 1e-3).rsqrt()
    golden('group_norm', [xd, zeros(xd), zeros(mean), zeros(mean), wd, bd], {1: y, 2: mean, 3: rstd}, epsilon=1e-3)
    golden('group_norm_grad', [g, xd, mean, rstd, zeros(xd), wd], {4: x.grad})
    golden('group_norm_weight_grad', [g, xd, mean, rstd, bd], {4: weight.grad + bd})
end()
