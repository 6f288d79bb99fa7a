"""Networks on sequences of sound and numbers: recurrences, dilated convolutions, scans."""

import torch
import torch.nn.functional as F
from common import model, normal, save
from torch import nn


class Recurrent(nn.Module):

    def __init__(self, kind, i, h, l, bi):
        super().__init__()
        self.r = getattr(nn, kind)(i, h, l, bidirectional=bi, batch_first=True)
        self.o = nn.Linear(h * (2 if bi else 1), 10)

    def forward(self, x):
        return self.o(self.r(x)[0])


@model
def bilstm():
    save("bilstm", Recurrent("LSTM", 80, 256, 3, True), (normal(1, 100, 80),))


@model
def bilstm_dyn():
    save("bilstm_dyn", Recurrent("LSTM", 80, 128, 2, True), (normal(4, 50, 80),), dyn={"x0": {0: "n", 1: "t"}})


@model
def gru():
    save("gru", Recurrent("GRU", 64, 128, 2, False), (normal(8, 60, 64),), opset=14)


@model
def bigru():
    save("bigru", Recurrent("GRU", 64, 200, 2, True), (normal(1, 75, 64),))


class CausalConvolutions(nn.Module):

    def __init__(self):
        super().__init__()
        self.c = nn.ModuleList([nn.Conv1d(64, 64, 3, padding=2 * 2**i, dilation=2**i) for i in range(8)])
        self.i = nn.Conv1d(1, 64, 1)
        self.o = nn.Conv1d(64, 10, 1)

    def forward(self, x):
        x = self.i(x)
        for i, c in enumerate(self.c):
            x = x + F.relu(c(x)[..., : -2 * 2**i])
        return self.o(x)


@model
def tcn():
    save("tcn", CausalConvolutions(), (normal(1, 1, 4000),))


@model
def tcn_dyn():
    save("tcn_dyn", CausalConvolutions(), (normal(2, 1, 1000),), dyn={"x0": {0: "n", 2: "t"}})


class Mamba(nn.Module):

    def __init__(self, d=128, n=16):
        super().__init__()
        self.i = nn.Linear(d, 4 * d)
        self.c = nn.Conv1d(2 * d, 2 * d, 4, groups=2 * d, padding=3)
        self.p = nn.Linear(2 * d, 2 * n + 2 * d)
        self.A = nn.Parameter(-torch.rand(2 * d, n))
        self.o = nn.Linear(2 * d, d)
        self.n = n

    def forward(self, x):
        T = x.shape[1]
        u, z = self.i(x).chunk(2, -1)
        u = F.silu(self.c(u.transpose(1, 2))[..., :T].transpose(1, 2))
        B, C, dt = torch.split(self.p(u), [self.n, self.n, u.shape[-1]], -1)
        dt = F.softplus(dt) * 0.05
        la = torch.cumsum(dt[..., None] * self.A, 1)
        bu = dt[..., None] * B[:, :, None] * u[..., None]
        h = torch.exp(la) * torch.cumsum(bu * torch.exp(-la), 1)
        return x + self.o((h * C[:, :, None]).sum(-1) * F.silu(z))


@model
def mamba():
    save("mamba", Mamba(), (normal(1, 64, 128),))


class ScanLoop(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.w = nn.Linear(64, 64)
        self.u = nn.Linear(64, 64)

    def forward(self, x):
        return scan_loop(x, self.w.weight, self.u.weight)


@torch.jit.script
def scan_loop(x, w, u):
    h = torch.zeros(x.shape[0], 64)
    out = []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ w.t() + h @ u.t())
        out.append(h)
    return torch.stack(out, 1)


@model
def loop_rnn():
    save("loop_rnn", ScanLoop(), (normal(2, 40, 64),), dyn={"x0": {0: "n", 1: "t"}}, opset=13)


class Conformer(nn.Module):

    def __init__(self, d=144, h=4):
        super().__init__()
        ff = lambda: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d))
        self.f1, self.f2 = (ff(), ff())
        self.n = nn.LayerNorm(d)
        self.a = nn.MultiheadAttention(d, h, batch_first=True)
        self.cn = nn.LayerNorm(d)
        self.p1 = nn.Conv1d(d, 2 * d, 1)
        self.dw = nn.Conv1d(d, d, 31, padding=15, groups=d)
        self.b = nn.BatchNorm1d(d)
        self.p2 = nn.Conv1d(d, d, 1)
        self.o = nn.LayerNorm(d)

    def forward(self, x):
        x = x + 0.5 * self.f1(x)
        h = self.n(x)
        x = x + self.a(h, h, h, need_weights=False)[0]
        c = self.cn(x).transpose(1, 2)
        x = x + self.p2(F.silu(self.b(self.dw(F.glu(self.p1(c), 1))))).transpose(1, 2)
        return self.o(x + 0.5 * self.f2(x))


class ConformerEncoder(nn.Module):

    def __init__(self):
        super().__init__()
        self.s = nn.Sequential(nn.Conv2d(1, 144, 3, 2), nn.ReLU(), nn.Conv2d(144, 144, 3, 2), nn.ReLU())
        self.l = nn.Linear(144 * 19, 144)
        self.b = nn.Sequential(*[Conformer() for _ in range(4)])

    def forward(self, x):
        x = self.s(x[:, None])
        x = self.l(x.transpose(1, 2).flatten(2))
        return self.b(x)


@model
def conformer():
    save("conformer", ConformerEncoder(), (normal(1, 300, 80),))


@model
def conformer_dyn():
    save("conformer_dyn", ConformerEncoder(), (normal(2, 200, 80),), dyn={"x0": {0: "n", 1: "t"}})


@model
def wavenet():

    class N(nn.Module):

        def __init__(self):
            super().__init__()
            self.i = nn.Conv1d(80, 64, 1)
            self.f = nn.ModuleList([nn.Conv1d(64, 128, 3, padding=2 ** (k % 5), dilation=2 ** (k % 5)) for k in range(10)])
            self.r = nn.ModuleList([nn.Conv1d(64, 128, 1) for _ in range(10)])
            self.u = nn.ConvTranspose1d(64, 32, 16, 8, 4)
            self.o = nn.Conv1d(32, 1, 7, padding=3)

        def forward(self, x):
            x = self.i(x)
            k = 0
            for f, r in zip(self.f, self.r):
                a, b = f(x).chunk(2, 1)
                a, b = r(torch.tanh(a) * torch.sigmoid(b)).chunk(2, 1)
                x = x + a
                k = k + b
            return torch.tanh(self.o(F.leaky_relu(self.u(F.relu(k)), 0.1)))

    save("wavenet", N(), (normal(1, 80, 200),))


@model
def hifigan():

    class N(nn.Module):

        def __init__(self, c=128):
            super().__init__()
            self.i = nn.Conv1d(80, c, 7, padding=3)
            self.u = nn.ModuleList([nn.ConvTranspose1d(c >> k, c >> k + 1, 2 * r, r, r // 2) for k, r in enumerate((8, 8, 2, 2))])
            self.r = nn.ModuleList(
                [
                    nn.ModuleList(
                        [nn.Conv1d(c >> k + 1, c >> k + 1, q, padding=q // 2 * d, dilation=d) for q in (3, 7, 11) for d in (1, 3)]
                    )
                    for k in range(4)
                ]
            )
            self.o = nn.Conv1d(c >> 4, 1, 7, padding=3)

        def forward(self, x):
            x = self.i(x)
            for u, r in zip(self.u, self.r):
                x = u(F.leaky_relu(x, 0.1))
                y = 0
                for j in range(0, 6, 2):
                    h = x + r[j](F.leaky_relu(x, 0.1))
                    y = y + h + r[j + 1](F.leaky_relu(h, 0.1))
                x = y / 3
            return torch.tanh(self.o(F.leaky_relu(x)))

    save("hifigan", N(), (normal(1, 80, 50),))
