"""Networks on tables, points, graphs and rays."""

import torch
import torch.nn.functional as F
from common import model, normal, save
from torch import nn


class Perceptron(nn.Module):

    def __init__(self):
        super().__init__()
        self.b = nn.BatchNorm1d(40)
        self.m = nn.Sequential(nn.Linear(40, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1), nn.Sigmoid())

    def forward(self, x):
        return self.m(self.b(x))


@model
def mlp_b1():
    save("mlp_b1", Perceptron(), (normal(1, 40),))


@model
def mlp_dyn():
    save("mlp_dyn", Perceptron(), (normal(256, 40),), dyn={"x0": {0: "n"}})


class MatrixFactorisation(nn.Module):

    def __init__(self):
        super().__init__()
        self.u = nn.Embedding(200000, 64)
        self.i = nn.Embedding(100000, 64)
        self.ub = nn.Embedding(200000, 1)
        self.ib = nn.Embedding(100000, 1)

    def forward(self, u, i):
        return (self.u(u) * self.i(i)).sum(-1) + self.ub(u)[..., 0] + self.ib(i)[..., 0]


@model
def matfac():
    save(
        "matfac",
        MatrixFactorisation(),
        (torch.randint(0, 200000, (1024,)), torch.randint(0, 100000, (1024,))),
        dyn={"x0": {0: "n"}, "x1": {0: "n"}},
    )


class DLRM(nn.Module):

    def __init__(self):
        super().__init__()
        self.e = nn.ModuleList([nn.EmbeddingBag(20000, 32, mode="sum") for _ in range(8)])
        self.b = nn.Sequential(nn.Linear(13, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.t = nn.Sequential(nn.Linear(32 + 36, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, d, c):
        x = self.b(d)
        v = torch.stack([x] + [e.weight[c[:, i]] for i, e in enumerate(self.e)], 1)
        z = v @ v.transpose(1, 2)
        li = torch.tensor([i for i in range(9) for j in range(i)])
        lj = torch.tensor([j for i in range(9) for j in range(i)])
        return torch.sigmoid(self.t(torch.cat([x, z[:, li, lj]], 1)))


@model
def dlrm():
    save("dlrm", DLRM(), (normal(128, 13), torch.randint(0, 20000, (128, 8))), dyn={"x0": {0: "n"}, "x1": {0: "n"}})


class NeRF(nn.Module):

    def __init__(self):
        super().__init__()
        self.a = nn.ModuleList([nn.Linear(63 if i == 0 else 256 + 63 if i == 4 else 256, 256) for i in range(8)])
        self.s = nn.Linear(256, 1)
        self.f = nn.Linear(256, 256)
        self.v = nn.Linear(256 + 27, 128)
        self.c = nn.Linear(128, 3)

    def forward(self, x, d):
        enc = lambda p, n: torch.cat([p] + [f(p * 2.0**i) for i in range(n) for f in (torch.sin, torch.cos)], -1)
        e = enc(x, 10)
        h = e
        for i, l in enumerate(self.a):
            h = F.relu(l(torch.cat([e, h], -1) if i == 4 else h))
        return torch.cat([torch.sigmoid(self.c(F.relu(self.v(torch.cat([self.f(h), enc(d, 4)], -1))))), F.relu(self.s(h))], -1)


@model
def nerf():
    save("nerf", NeRF(), (torch.rand(4096, 3), torch.rand(4096, 3)), dyn={"x0": {0: "n"}, "x1": {0: "n"}})


class GatheredExperts(nn.Module):

    def __init__(self, d=256, e=8):
        super().__init__()
        self.g = nn.Linear(d, e)
        self.w1 = nn.Parameter(torch.randn(e, d, 512) * 0.05)
        self.w2 = nn.Parameter(torch.randn(e, 512, d) * 0.05)

    def forward(self, x):
        p, i = torch.topk(torch.softmax(self.g(x), -1), 2)
        y = 0
        for k in range(2):
            h = F.silu(torch.einsum("td,tdh->th", x, self.w1[i[:, k]]))
            y = y + p[:, k : k + 1] * torch.einsum("th,thd->td", h, self.w2[i[:, k]])
        return x + y


@model
def moe_gather():
    save("moe_gather", GatheredExperts(), (normal(4, 256),), dyn={"x0": {0: "t"}})


class IndexedExperts(nn.Module):

    def __init__(self, d=256, e=8):
        super().__init__()
        self.g = nn.Linear(d, e)
        self.e = nn.ModuleList([nn.Sequential(nn.Linear(d, 512), nn.GELU(), nn.Linear(512, d)) for _ in range(e)])
        self.n = e

    def forward(self, x):
        p, i = torch.topk(torch.softmax(self.g(x), -1), 2)
        y = torch.zeros_like(x)
        for k in range(self.n):
            t = (i == k).any(-1).nonzero()[:, 0]
            wgt = (p * (i == k)).sum(-1)[t]
            y = y.index_add(0, t, self.e[k](x[t]) * wgt[:, None])
        return y


@model
def moe_index():
    save("moe_index", IndexedExperts(), (normal(32, 256),), dyn={"x0": {0: "t"}}, opset=18)


class PointNet(nn.Module):

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(
            nn.Conv1d(3, 64, 1),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Conv1d(64, 128, 1),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Conv1d(128, 1024, 1),
            nn.BatchNorm1d(1024),
            nn.ReLU(),
        )
        self.o = nn.Sequential(nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 40))

    def forward(self, x):
        return F.log_softmax(self.o(self.a(x).max(-1)[0]), -1)


@model
def pointnet():
    save("pointnet", PointNet(), (normal(4, 3, 1024),), dyn={"x0": {0: "n", 2: "p"}})


class GraphNetwork(nn.Module):

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(64, 64)
        self.b = nn.Linear(64, 16)

    def forward(self, x, e):
        for l in (self.a, self.b):
            h = l(x)
            y = torch.zeros_like(h).scatter_add(0, e[1][:, None].expand(-1, h.shape[1]), h[e[0]])
            x = F.relu(y)
        return x


@model
def gcn():
    save("gcn", GraphNetwork(), (normal(500, 64), torch.randint(0, 500, (2, 3000))), opset=18)
