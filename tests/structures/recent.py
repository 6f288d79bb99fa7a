"""Parts of recent architectures, small, each with dynamic sizes: latents that attend, linear recurrences, mixers, message passing, transducers,
promptable masks, deformable queries, forecasters, flows, dense depth."""

import math

import torch
import torch.nn.functional as F
from common import model, normal, save
from torch import nn


def mlp(*sizes, act=nn.GELU):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Attend(nn.Module):
    def __init__(self, d, heads, source=None, inner=None):
        super().__init__()
        self.h, inner = heads, inner or d
        self.q, self.k, self.v = nn.Linear(d, inner), nn.Linear(source or d, inner), nn.Linear(source or d, inner)
        self.o = nn.Linear(inner, d)

    def forward(self, x, y, z=None):
        z = y if z is None else z
        split = lambda t: t.reshape(t.shape[0], t.shape[1], self.h, -1).transpose(1, 2)  # noqa: E731
        q, k, v = split(self.q(x)), split(self.k(y)), split(self.v(z))
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1)
        return self.o((a @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, d, heads=4):
        super().__init__()
        self.n1, self.a, self.n2, self.m = nn.LayerNorm(d), Attend(d, heads), nn.LayerNorm(d), mlp(d, 2 * d, d)

    def forward(self, x):
        y = self.n1(x)
        x = x + self.a(y, y)
        return x + self.m(self.n2(x))


def several(*sizes):
    return [tuple(normal(*s) for s in each) for each in sizes]


@model
def perceiver():
    class Perceiver(nn.Module):
        def __init__(self):
            super().__init__()
            self.latents = nn.Parameter(normal(24, 64) * 0.1)
            self.read, self.blocks = Attend(64, 2, 35), nn.ModuleList([Block(64) for _ in range(2)])
            self.norm, self.query, self.write = nn.LayerNorm(35), nn.Linear(12, 48), Attend(48, 3, 64)

        def forward(self, x, where):
            z = self.latents.unsqueeze(0).expand(x.shape[0], -1, -1)
            z = z + self.read(z, self.norm(x))
            for b in self.blocks:
                z = b(z)
            return self.write(self.query(where), z)

    save("perceiver", Perceiver(), (normal(2, 130, 35), normal(2, 7, 12)), {"x0": {0: "b", 1: "n"}, "x1": {0: "b", 1: "q"}},
         more=several([(1, 1, 35), (1, 1, 12)], [(1, 64, 35), (1, 64, 12)], [(3, 7, 35), (3, 2, 12)]))  # fmt: skip


@model
def rwkv():
    """Time mixing by a matrix-valued state that a loop carries, channel mixing with squared ReLU, shifts by one token."""

    @torch.jit.script
    def recurrence(r, k, v, w, u, s):
        outs = []
        for t in range(r.size(1)):
            kv = k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            outs.append((r[:, t].unsqueeze(-2) @ (s + u.unsqueeze(-1) * kv)).squeeze(-2))
            s = w.unsqueeze(-1) * s + kv
        return torch.stack(outs, 1), s

    class Layer(nn.Module):
        def __init__(self, d=48, h=3):
            super().__init__()
            self.h, self.n1, self.n2 = h, nn.LayerNorm(d), nn.LayerNorm(d)
            self.r, self.k, self.v, self.g, self.o = (nn.Linear(d, d, bias=False) for _ in range(5))
            self.mix, self.w, self.u = nn.Parameter(torch.rand(4, d)), nn.Parameter(normal(h, d // h)), nn.Parameter(normal(h, d // h))
            self.gn, self.fk, self.fv = nn.GroupNorm(h, d), nn.Linear(d, 3 * d, bias=False), nn.Linear(3 * d, d, bias=False)

        def forward(self, x, s):
            y = self.n1(x)
            last = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)
            r, k, v, g = (f(y * m + last * (1 - m)) for f, m in zip((self.r, self.k, self.v, self.g), self.mix))
            b, t, d = x.shape
            heads = [z.reshape(b, t, self.h, d // self.h) for z in (r, k, v)]
            y, s = recurrence(heads[0], heads[1], heads[2], torch.exp(-torch.exp(self.w)), self.u, s)
            y = self.gn(y.reshape(b * t, d)).reshape(b, t, d) * F.silu(g)
            x = x + self.o(y)
            return x + self.fv(torch.relu(self.fk(self.n2(x))) ** 2), s

    class Rwkv(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.layers, self.head = nn.Embedding(100, 48), nn.ModuleList([Layer() for _ in range(2)]), nn.Linear(48, 100)

        def forward(self, ids, s):
            x, states = self.e(ids), []
            for i, layer in enumerate(self.layers):
                x, state = layer(x, s[i])
                states.append(state)
            return self.head(x), torch.stack(states)

    token = lambda b, t: (torch.randint(0, 100, (b, t)), normal(2, b, 3, 16, 16) * 0.1)  # noqa: E731
    save("rwkv", Rwkv(), token(2, 9), {"x0": {0: "b", 1: "t"}, "x1": {1: "b"}}, more=[token(1, 1), token(1, 64), token(3, 7)])


@model
def mlp_mixer():
    class Mix(nn.Module):
        def __init__(self, n=49, d=64):
            super().__init__()
            self.n1, self.t, self.n2, self.c = nn.LayerNorm(d), mlp(n, 24, n), nn.LayerNorm(d), mlp(d, 200, d)

        def forward(self, x):
            x = x + self.t(self.n1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.c(self.n2(x))

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body, self.head = nn.Conv2d(3, 64, 16, 16), nn.Sequential(*[Mix() for _ in range(3)]), nn.Linear(64, 10)

        def forward(self, x):
            return self.head(self.body(self.stem(x).flatten(2).transpose(1, 2)).mean(1))

    save("mlp_mixer", Mixer(), (normal(2, 3, 112, 112),), {"x0": {0: "b"}}, more=several([(1, 3, 112, 112)], [(7, 3, 112, 112)]))


@model
def message_passing():
    """Equivariant: distances, edge networks, sums and maxima of edges at nodes, coordinates that move."""

    class Layer(nn.Module):
        def __init__(self, d=40):
            super().__init__()
            self.e, self.x, self.h = mlp(2 * d + 1, 64, 64, act=nn.SiLU), mlp(64, 32, 1, act=nn.SiLU), mlp(d + 128, 64, d, act=nn.SiLU)

        def forward(self, h, p, edges):
            a, b = edges[0], edges[1]
            d = p[a] - p[b]
            m = self.e(torch.cat([h[a], h[b], (d * d).sum(-1, keepdim=True)], -1))
            index = b.unsqueeze(-1)
            total = torch.zeros(h.shape[0], 64).scatter_add(0, index.expand(-1, 64), m)
            most = torch.zeros(h.shape[0], 64).scatter_reduce(0, index.expand(-1, 64), m, "amax", include_self=True)
            moved = torch.zeros_like(p).scatter_add(0, index.expand(-1, 3), d * torch.tanh(self.x(m)))
            return h + self.h(torch.cat([h, total, most], -1)), p + moved

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.out = nn.ModuleList([Layer() for _ in range(3)]), nn.Linear(40, 1)

        def forward(self, h, p, edges):
            for layer in self.layers:
                h, p = layer(h, p, edges)
            return self.out(h).sum(0), p

    graph = lambda n, e: (normal(n, 40) * 0.5, normal(n, 3) * 0.5, torch.randint(0, n, (2, e)))  # noqa: E731
    save("message_passing", Network(), graph(30, 130), {"x0": {0: "n"}, "x1": {0: "n"}, "x2": {1: "e"}}, opset=18, more=[graph(1, 1), graph(64, 7), graph(200, 1000)])


@model
def transducer():
    """One step of greedy decoding: a prediction network, a joint network, the state kept where blank was said."""

    class Transducer(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.lstm, self.a, self.b, self.o = nn.Embedding(50, 32), nn.LSTM(32, 64, 2, batch_first=True), nn.Linear(48, 80), nn.Linear(64, 80), nn.Linear(80, 50)

        def forward(self, frames, last, h, c):
            y, (h2, c2) = self.lstm(self.e(last), (h, c))
            joint = torch.tanh(self.a(frames).unsqueeze(2) + self.b(y).unsqueeze(1))
            scores = F.log_softmax(self.o(joint), -1)
            best = scores[:, 0, 0].argmax(-1)
            blank = (best == 0).unsqueeze(0).unsqueeze(-1)
            return scores, torch.where(blank, h, h2), torch.where(blank, c, c2), best

    step = lambda b, t, u: (normal(b, t, 48), torch.randint(0, 50, (b, u)), normal(2, b, 64), normal(2, b, 64))  # noqa: E731
    axes = {"x0": {0: "b", 1: "t"}, "x1": {0: "b", 1: "u"}, "x2": {1: "b"}, "x3": {1: "b"}}
    save("transducer", Transducer(), step(2, 5, 3), axes, more=[step(1, 1, 1), step(7, 64, 2), step(3, 2, 7)])


@model
def mask_decoder():
    """Tokens and image attend to each other both ways; masks are products of upscaled features and small networks of tokens."""

    class TwoWay(nn.Module):
        def __init__(self, d=64):
            super().__init__()
            self.s, self.t, self.i = Attend(d, 4), Attend(d, 4, inner=32), Attend(d, 4, inner=32)
            self.m, self.n = mlp(d, 128, d, act=nn.ReLU), nn.ModuleList([nn.LayerNorm(d) for _ in range(4)])

        def forward(self, t, x, pt, px):
            t = self.n[0](t + self.s(t + pt, t + pt, t))
            t = self.n[1](t + self.t(t + pt, x + px, x))
            t = self.n[2](t + self.m(t))
            return t, self.n[3](x + self.i(x + px, t + pt, t))

    class LayerNorm2d(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.w, self.b = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

        def forward(self, x):
            u = x.mean(1, keepdim=True)
            s = (x - u).pow(2).mean(1, keepdim=True)
            return self.w[:, None, None] * (x - u) / torch.sqrt(s + 1e-6) + self.b[:, None, None]

    class Decoder(nn.Module):
        def __init__(self, d=64):
            super().__init__()
            self.gauss, self.kinds, self.tokens = nn.Parameter(normal(2, d // 2)), nn.Embedding(4, d), nn.Parameter(normal(5, d))
            self.layers, self.dense = nn.ModuleList([TwoWay() for _ in range(2)]), nn.Parameter(normal(1, d, 16, 16))
            self.up = nn.Sequential(nn.ConvTranspose2d(d, 16, 2, 2), LayerNorm2d(16), nn.GELU(), nn.ConvTranspose2d(16, 8, 2, 2), nn.GELU())
            self.hyper, self.iou = nn.ModuleList([mlp(d, d, d, 8, act=nn.ReLU) for _ in range(4)]), mlp(d, d, 4, act=nn.ReLU)

        def place(self, p):
            p = (2 * p - 1) @ self.gauss * (2 * math.pi)
            return torch.cat([torch.sin(p), torch.cos(p)], -1)

        def forward(self, image, points, labels):
            p = self.place(points)
            for i in range(2):
                p = torch.where((labels == i).unsqueeze(-1), p + self.kinds.weight[i], p)
            p = torch.where((labels == -1).unsqueeze(-1), self.kinds.weight[3].expand_as(p), p)
            pt = torch.cat([self.tokens.unsqueeze(0).expand(p.shape[0], -1, -1), p], 1)
            x = image.expand(p.shape[0], -1, -1, -1).flatten(2).transpose(1, 2)
            px = self.dense.flatten(2).transpose(1, 2)
            t = pt
            for layer in self.layers:
                t, x = layer(t, x, pt, px)
            y = self.up(x.transpose(1, 2).reshape(-1, 64, 16, 16))
            h = torch.stack([f(t[:, i + 1]) for i, f in enumerate(self.hyper)], 1)
            masks = (h @ y.flatten(2)).reshape(-1, 4, 64, 64)
            return F.interpolate(masks, (96, 96), mode="bilinear", align_corners=False), self.iou(t[:, 0])

    prompt = lambda b, n: (normal(1, 64, 16, 16), torch.rand(b, n, 2), torch.randint(-1, 2, (b, n)))  # noqa: E731

    save("mask_decoder", Decoder(), prompt(2, 3), {"x1": {0: "b", 1: "n"}, "x2": {0: "b", 1: "n"}}, more=[prompt(1, 1), prompt(7, 2), prompt(1, 64)])


@model
def deformable_queries():
    """Queries chosen by score from three levels, refined by sampling around their boxes."""

    class Deformable(nn.Module):
        def __init__(self, d=64, h=4, levels=3, points=4):
            super().__init__()
            self.h, self.n, self.p = h, levels, points
            self.offsets, self.weights = nn.Linear(d, h * levels * points * 2), nn.Linear(d, h * levels * points)
            self.v, self.o = nn.Linear(d, d), nn.Linear(d, d)

        def forward(self, q, boxes, maps):
            b, n, d = q.shape
            off = self.offsets(q).reshape(b, n, self.h, self.n, self.p, 2)
            w = torch.softmax(self.weights(q).reshape(b, n, self.h, self.n * self.p), -1).reshape(b, n, self.h, self.n, self.p)
            at = boxes[:, :, None, None, None, :2] + off * boxes[:, :, None, None, None, 2:] * 0.5 / self.p
            total = 0
            for i, m in enumerate(maps):
                v = self.v(m.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(b * self.h, d // self.h, m.shape[2], m.shape[3])
                grid = (2 * at[:, :, :, i] - 1).permute(0, 2, 1, 3, 4).reshape(b * self.h, n, self.p, 2)
                s = F.grid_sample(v, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
                total = total + (s * w[:, :, :, i].permute(0, 2, 1, 3).reshape(b * self.h, 1, n, self.p)).sum(-1)
            return self.o(total.reshape(b, d, n).transpose(1, 2))

    class Detector(nn.Module):
        def __init__(self, d=64):
            super().__init__()
            norm = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.SiLU())  # noqa: E731
            self.stem, self.downs = nn.Sequential(norm(3, 24), norm(24, 48), norm(48, d)), nn.ModuleList([norm(d, d), norm(d, d)])
            self.aifi, self.score, self.box = Block(d), nn.Linear(d, 12), mlp(d, d, 4, act=nn.ReLU)
            self.layers, self.n = nn.ModuleList([Deformable() for _ in range(2)]), nn.LayerNorm(d)
            self.heads, self.s = nn.ModuleList([mlp(d, d, 4, act=nn.ReLU) for _ in range(2)]), nn.Linear(d, 12)

        def forward(self, x):
            maps = [self.stem(x)]
            for f in self.downs:
                maps.append(f(maps[-1]))
            b, d, h, w = maps[-1].shape
            maps[-1] = self.aifi(maps[-1].flatten(2).transpose(1, 2)).transpose(1, 2).reshape(b, d, h, w)
            memory = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
            best = self.score(memory).amax(-1).topk(20, 1).indices.unsqueeze(-1)
            boxes = torch.sigmoid(self.box(memory).gather(1, best.expand(-1, -1, 4)))
            q = memory.gather(1, best.expand(-1, -1, d))
            for f, head in zip(self.layers, self.heads):
                q = self.n(q + f(q, boxes, maps))
                boxes = torch.sigmoid(head(q) + torch.log(boxes.clamp(1e-4, 1 - 1e-4) / (1 - boxes.clamp(1e-4, 1 - 1e-4))))
            return self.s(q).sigmoid(), boxes

    save("deformable_queries", Detector(), (normal(2, 3, 96, 128),), {"x0": {0: "b", 2: "h", 3: "w"}}, opset=17, more=several([(1, 3, 64, 64)], [(1, 3, 160, 96)]))


@model
def dino():
    """A ViT of register tokens whose position embedding is interpolated to the picture."""

    class Dino(nn.Module):
        def __init__(self, d=72):
            super().__init__()
            self.stem, self.cls, self.reg, self.pos = nn.Conv2d(3, d, 14, 14), nn.Parameter(normal(1, 1, d)), nn.Parameter(normal(1, 4, d)), nn.Parameter(normal(1, d, 8, 8) * 0.1)
            self.blocks, self.scale, self.norm = nn.ModuleList([Block(d, 6) for _ in range(3)]), nn.Parameter(torch.full((d,), 0.1)), nn.LayerNorm(d)

        def forward(self, x):
            x = self.stem(x)
            x = x + F.interpolate(self.pos, size=(x.shape[2], x.shape[3]), mode="bicubic", align_corners=False)
            x = x.flatten(2).transpose(1, 2)
            b = x.shape[0]
            x = torch.cat([self.cls.expand(b, -1, -1), self.reg.expand(b, -1, -1), x], 1)
            for f in self.blocks:
                x = x + self.scale * f(x)
            x = self.norm(x)
            return x[:, 0], x[:, 5:]

    save("dino", Dino(), (normal(2, 3, 98, 126),), {"x0": {0: "b", 2: "h", 3: "w"}}, more=several([(1, 3, 112, 112)], [(1, 3, 14, 14)], [(3, 3, 42, 224)]))


@model
def nbeats():
    class Stack(nn.Module):
        def __init__(self, kind, back=70, ahead=14):
            super().__init__()
            self.f = mlp(back, 128, 128, 128, act=nn.ReLU)
            t = torch.arange(back + ahead) / ahead
            basis = torch.stack([t**i for i in range(4)]) if kind == "trend" else torch.cat([torch.stack([torch.cos(2 * math.pi * i * t), torch.sin(2 * math.pi * i * t)]) for i in range(5)])
            self.a, self.b = nn.Linear(128, basis.shape[0]), nn.Linear(128, basis.shape[0])
            self.register_buffer("back", basis[:, :back]), self.register_buffer("ahead", basis[:, back:])

        def forward(self, x):
            z = torch.relu(self.f(x))
            return self.a(z) @ self.back, self.b(z) @ self.ahead

    class Beats(nn.Module):
        def __init__(self):
            super().__init__()
            self.stacks = nn.ModuleList([Stack(k) for k in ("trend", "season") * 3])

        def forward(self, x):
            total = 0
            for f in self.stacks:
                seen, ahead = f(x)
                x, total = x - seen, total + ahead
            return total

    save("nbeats", Beats(), (normal(5, 70),), {"x0": {0: "b"}}, more=several([(1, 70)], [(2, 70)], [(7, 70)], [(64, 70)]))


@model
def fusion_forecaster():
    """Gated residual networks that select variables, an LSTM, attention over what came before."""

    class Gated(nn.Module):
        def __init__(self, i, d, o):
            super().__init__()
            self.a, self.b, self.g, self.skip, self.n = nn.Linear(i, d), nn.Linear(d, d), nn.Linear(d, 2 * o), nn.Linear(i, o), nn.LayerNorm(o)

        def forward(self, x):
            return self.n(self.skip(x) + F.glu(self.g(self.b(F.elu(self.a(x)))), -1))

    class Select(nn.Module):
        def __init__(self, n, d):
            super().__init__()
            self.embed, self.each, self.w = nn.ModuleList([nn.Linear(1, d) for _ in range(n)]), nn.ModuleList([Gated(d, d, d) for _ in range(n)]), Gated(n * d, d, n)

        def forward(self, x):
            e = [f(x[..., i : i + 1]) for i, f in enumerate(self.embed)]
            w = torch.softmax(self.w(torch.cat(e, -1)), -1).unsqueeze(-2)
            return (torch.stack([f(v) for f, v in zip(self.each, e)], -1) * w).sum(-1)

    class Forecaster(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.past, self.future, self.enc, self.dec = Select(6, d), Select(3, d), nn.LSTM(d, d, batch_first=True), nn.LSTM(d, d, batch_first=True)
            self.gate, self.n, self.q, self.k, self.v, self.o = nn.Linear(d, 2 * d), nn.LayerNorm(d), nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d // 4), nn.Linear(d // 4, d)
            self.out = nn.Linear(d, 3)

        def forward(self, past, future):
            a, b = self.past(past), self.future(future)
            x, state = self.enc(a)
            y, _ = self.dec(b, state)
            z = torch.cat([x, y], 1)
            z = self.n(torch.cat([a, b], 1) + F.glu(self.gate(z), -1))
            n, t = z.shape[0], z.shape[1]
            split = lambda m: m.reshape(n, t, 4, -1).transpose(1, 2)  # noqa: E731
            mask = torch.ones(t, t, dtype=torch.bool).tril()
            s = (split(self.q(z)) @ split(self.k(z)).transpose(-1, -2)) / math.sqrt(8)
            s = torch.softmax(s.masked_fill(~mask, float("-inf")), -1)
            z = z + self.o((s @ self.v(z).unsqueeze(1)).mean(1))
            return self.out(z[:, past.shape[1] :])

    save("fusion_forecaster", Forecaster(), (normal(2, 24, 6), normal(2, 7, 3)), {"x0": {0: "b", 1: "p"}, "x1": {0: "b", 1: "f"}},
         more=several([(1, 1, 6), (1, 1, 3)], [(7, 64, 6), (7, 2, 3)]))  # fmt: skip


@model
def informer():
    """Sparse attention: the queries of largest spread attend, the others take the mean; a convolution and a pool between."""

    class Sparse(nn.Module):
        def __init__(self, d=48, h=4, u=6):
            super().__init__()
            self.h, self.u, self.q, self.k, self.v, self.o = h, u, *(nn.Linear(d, d) for _ in range(4))

        def forward(self, x):
            b, t, d = x.shape
            split = lambda m: m.reshape(b, t, self.h, d // self.h).transpose(1, 2)  # noqa: E731
            q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
            s = q @ k.transpose(-1, -2) / math.sqrt(d // self.h)
            spread = s.amax(-1) - s.mean(-1)
            top = spread.topk(self.u, -1).indices
            chosen = torch.softmax(s.gather(2, top.unsqueeze(-1).expand(-1, -1, -1, t)), -1) @ v
            y = v.mean(2, keepdim=True).expand(-1, -1, t, -1).scatter(2, top.unsqueeze(-1).expand(-1, -1, -1, d // self.h), chosen)
            return self.o(y.transpose(1, 2).reshape(b, t, d))

    class Informer(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.e, self.a, self.n = nn.Conv1d(7, d, 3, padding=1, padding_mode="circular"), nn.ModuleList([Sparse() for _ in range(2)]), nn.ModuleList([nn.LayerNorm(d) for _ in range(2)])
            self.c, self.b, self.o = nn.Conv1d(d, d, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(d), nn.Linear(d, 7)

        def forward(self, x):
            x = self.e(x.transpose(1, 2)).transpose(1, 2)
            x = self.n[0](x + self.a[0](x))
            x = F.max_pool1d(F.elu(self.b(self.c(x.transpose(1, 2)))), 3, 2, 1).transpose(1, 2)
            return self.o(self.n[1](x + self.a[1](x)))

    save("informer", Informer(), (normal(2, 48, 7),), {"x0": {0: "b", 1: "t"}}, more=several([(1, 13, 7)], [(7, 64, 7)], [(1, 96, 7)]))


@model
def flow_voice():
    """Text to durations to frames to samples: relative attention, an upsampling by counts, couplings run backwards, a generator."""

    class Wave(nn.Module):
        def __init__(self, d, layers=3):
            super().__init__()
            self.i, self.r = nn.ModuleList([nn.Conv1d(d, 2 * d, 5, padding=2) for _ in range(layers)]), nn.ModuleList([nn.Conv1d(d, 2 * d, 1) for _ in range(layers)])

        def forward(self, x):
            total = torch.zeros_like(x)
            for a, b in zip(self.i, self.r):
                z = a(x)
                z = torch.tanh(z[:, : x.shape[1]]) * torch.sigmoid(z[:, x.shape[1] :])
                z = b(z)
                x, total = x + z[:, : x.shape[1]], total + z[:, x.shape[1] :]
            return total

    class Coupling(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.pre, self.w, self.post = nn.Conv1d(d // 2, d, 1), Wave(d), nn.Conv1d(d, d // 2, 1)

        def forward(self, x):
            a, b = x.chunk(2, 1)
            return torch.flip(torch.cat([a, b - self.post(self.w(self.pre(a)))], 1), [1])

    class Voice(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.e, self.block, self.stats, self.dur = nn.Embedding(40, d), Block(d), nn.Conv1d(d, 2 * d, 1), nn.Sequential(nn.Conv1d(d, d, 3, padding=1), nn.ReLU(), nn.Conv1d(d, 1, 1))
            self.flow, self.pre = nn.ModuleList([Coupling() for _ in range(4)]), nn.Conv1d(d, 64, 7, padding=3)
            self.ups = nn.ModuleList([nn.ConvTranspose1d(64, 32, 8, 4, 2), nn.ConvTranspose1d(32, 16, 4, 2, 1)])
            self.res = nn.ModuleList([nn.ModuleList([nn.Conv1d(c, c, 3, padding=p, dilation=p) for p in (1, 3, 5)]) for c in (32, 16)])
            self.post = nn.Conv1d(16, 1, 7, padding=3)

        def forward(self, ids, noise):
            x = self.block(self.e(ids)).transpose(1, 2)
            m, s = self.stats(x).chunk(2, 1)
            count = torch.ceil(torch.exp(self.dur(x).clamp(-1, 1.2))).long().squeeze(1)
            ends = count.cumsum(1)
            frames = torch.arange(noise.shape[2])
            path = ((frames.unsqueeze(0).unsqueeze(0) < ends.unsqueeze(-1)) & (frames.unsqueeze(0).unsqueeze(0) >= (ends - count).unsqueeze(-1))).float()
            z = m @ path + noise * torch.exp(s @ path) * 0.5
            for f in self.flow:
                z = f(z)
            y = self.pre(z)
            for up, res in zip(self.ups, self.res):
                y = up(F.leaky_relu(y, 0.1))
                for r in res:
                    y = y + r(F.leaky_relu(y, 0.1))
            return torch.tanh(self.post(F.leaky_relu(y))), ends[:, -1]

    said = lambda b, t, f: (torch.randint(0, 40, (b, t)), normal(b, 32, f))  # noqa: E731
    save("flow_voice", Voice(), said(1, 13, 40), {"x0": {0: "b", 1: "t"}, "x1": {0: "b", 2: "f"}}, more=[said(1, 1, 2), said(2, 64, 130), said(1, 7, 64)])


@model
def dense_depth():
    """Tokens of several depths made into maps again, fused from coarse to fine."""

    class Residual(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.a, self.b = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

        def forward(self, x):
            return x + self.b(torch.relu(self.a(torch.relu(x))))

    class Depth(nn.Module):
        def __init__(self, d=64, c=32):
            super().__init__()
            self.stem, self.blocks = nn.Conv2d(3, d, 16, 16), nn.ModuleList([Block(d) for _ in range(4)])
            self.make = nn.ModuleList([nn.ConvTranspose2d(d, c, 4, 4), nn.ConvTranspose2d(d, c, 2, 2), nn.Conv2d(d, c, 1), nn.Conv2d(d, c, 3, 2, 1)])
            self.fuse, self.out = nn.ModuleList([Residual(c) for _ in range(4)]), nn.Sequential(nn.Conv2d(c, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1), nn.ReLU())

        def forward(self, x):
            t, maps = self.stem(x), []
            h, w = t.shape[2], t.shape[3]
            t = t.flatten(2).transpose(1, 2)
            for f, make in zip(self.blocks, self.make):
                t = f(t)
                maps.append(make(t.transpose(1, 2).reshape(x.shape[0], -1, h, w)))
            y = self.fuse[3](maps[3])
            for i in (2, 1, 0):
                y = F.interpolate(y, size=(maps[i].shape[2], maps[i].shape[3]), mode="bilinear", align_corners=True)
                y = self.fuse[i](y + maps[i])
            return self.out(F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=True))

    save("dense_depth", Depth(), (normal(1, 3, 96, 128),), {"x0": {0: "b", 2: "h", 3: "w"}}, more=several([(2, 3, 64, 64)], [(1, 3, 160, 48)]))


@model
def mixing_text():
    """Lines of text: local and global mixing of patches, heights halved, one string of characters."""

    class Svtr(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            unit = lambda i, o: [nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.GELU()]  # noqa: E731
            self.stem, self.local, self.ln = nn.Sequential(*unit(3, 24), *unit(24, d)), nn.Conv2d(d, d, 5, padding=2, groups=4), nn.LayerNorm(d)
            self.down, self.n2, self.blocks, self.o = nn.Conv2d(d, 80, 3, (2, 1), 1), nn.LayerNorm(80), nn.ModuleList([Block(80) for _ in range(2)]), nn.Linear(80, 97)

        def forward(self, x):
            x = self.stem(x)
            x = x + self.local(x)
            b, d, h, w = x.shape
            x = self.ln(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(b, d, h, w)
            x = self.down(x)
            b, d, h, w = x.shape
            x = self.n2(x.flatten(2).transpose(1, 2))
            for f in self.blocks:
                x = f(x)
            x = x.transpose(1, 2).reshape(b, d, h, w).mean(2)
            return torch.softmax(self.o(F.hardswish(x).transpose(1, 2)), -1)

    save("mixing_text", Svtr(), (normal(2, 3, 32, 100),), {"x0": {0: "b", 3: "w"}}, more=several([(1, 3, 32, 64)], [(1, 3, 32, 7)], [(7, 3, 32, 320)]))
