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

# Replicas whose samples are one batch of BatchNorm; the second time each has one value per channel.
for replicas, samples, positions in ((2, 3, 5), (3, 1, 1)):
    count = replicas * samples * positions
    x, g = (eighths(replicas * samples, 4, positions, seed=20 + i) for i in range(2))
    module = torch.nn.BatchNorm1d(4, eps=1e-3, momentum=0.25)
    module.weight, module.bias = torch.nn.Parameter(wd.clone()), torch.nn.Parameter(bd.clone())
    x.requires_grad_()
    y = module(x)
    y.backward(g)
    xd, (mean, variance) = x.detach(), (x.detach().mean((0, 2)), x.detach().var((0, 2), unbiased=False))
    parts = [slice(r * samples, (r + 1) * samples) for r in range(replicas)]
    moments = torch.stack([torch.stack([xd[p].mean((0, 2)), xd[p].var((0, 2), unbiased=False)]) for p in parts])
    means = torch.stack([torch.stack([g[p].mean((0, 2)), (g[p] * (xd[p] - mean[:, None])).mean((0, 2))]) for p in parts])
    for replica, part in enumerate(parts):
        mine = xd[part].contiguous()
        golden('channel_moments', [mine, zeros(moments[0])], {1: moments[replica]})
        golden('sync_batch_norm', [mine, moments, zeros(mine), c, c, wd, bd], {2: y[part], 3: mean, 4: variance}, epsilon=1e-3)
        golden('channel_gradient_means', [g[part], mine, mean, zeros(means[0])], {3: means[replica]})
        golden('sync_batch_norm_grad', [g[part], mine, mean, variance, means, zeros(mine), wd], {5: x.grad[part]}, epsilon=1e-3)
    golden('batch_norm_update', [mean, variance, c, c + 1, torch.tensor([0])],
           {2: module.running_mean, 3: module.running_var, 4: torch.tensor([1])}, momentum=0.25, count=count)

x, g = eighths(3, 4, 5).requires_grad_(), eighths(3, 4, 5, seed=1)
xd = x.detach()
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
