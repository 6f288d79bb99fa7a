"""Networks on images and volumes: segmentation, generation, detection, resampling."""

import torch
import torch.nn.functional as F
from common import model, normal, save
from torch import nn


def double_conv(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()
    )


class UNet(nn.Module):
    pool = staticmethod(F.max_pool2d)

    def __init__(self, c=24, n=4):
        super().__init__()
        w = [c * 2**i for i in range(n + 1)]
        self.d = nn.ModuleList([double_conv(3 if i == 0 else w[i - 1], w[i]) for i in range(n + 1)])
        self.u = nn.ModuleList([nn.ConvTranspose2d(w[i + 1], w[i], 2, 2) for i in range(n)])
        self.b = nn.ModuleList([double_conv(2 * w[i], w[i]) for i in range(n)])
        self.o = nn.Conv2d(c, 2, 1)

    def forward(self, x):
        k = []
        for i, d in enumerate(self.d):
            x = d(x)
            if i < len(self.u):
                k.append(x)
                x = self.pool(x, 2)
        for i in reversed(range(len(self.u))):
            x = self.b[i](torch.cat([k[i], self.u[i](x)], 1))
        return self.o(x)


@model
def unet():
    save("unet", UNet(), (normal(1, 3, 256, 256),))


@model
def unet_dyn():
    save("unet_dyn", UNet(16, 3), (normal(1, 3, 192, 256),), dyn={"x0": {0: "n", 2: "h", 3: "w"}})


class Dcgan(nn.Module):

    def __init__(self):
        super().__init__()
        L = []
        c = [100, 512, 256, 128, 64]
        for i in range(4):
            L += [
                nn.ConvTranspose2d(c[i], c[i + 1], 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=False),
                nn.BatchNorm2d(c[i + 1]),
                nn.ReLU(),
            ]
        self.m = nn.Sequential(*L, nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())

    def forward(self, z):
        return self.m(z)


@model
def dcgan():
    save("dcgan", Dcgan(), (normal(4, 100, 1, 1),))


class SuperResolution(nn.Module):

    def __init__(self):
        super().__init__()
        self.h = nn.Sequential(nn.Conv2d(3, 64, 9, padding=4), nn.PReLU())
        self.b = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(64, 64, 3, padding=1),
                    nn.BatchNorm2d(64),
                    nn.PReLU(),
                    nn.Conv2d(64, 64, 3, padding=1),
                    nn.BatchNorm2d(64),
                )
                for _ in range(4)
            ]
        )
        self.u = nn.Sequential(
            nn.Conv2d(64, 256, 3, padding=1),
            nn.PixelShuffle(2),
            nn.PReLU(),
            nn.Conv2d(64, 256, 3, padding=1),
            nn.PixelShuffle(2),
            nn.PReLU(),
            nn.Conv2d(64, 3, 9, padding=4),
        )

    def forward(self, x):
        x = h = self.h(x)
        for b in self.b:
            x = x + b(x)
        return self.u(x + h)


@model
def srgan():
    save("srgan", SuperResolution(), (normal(1, 3, 64, 64),), dyn={"x0": {2: "h", 3: "w"}})


@model
def espcn():
    m = nn.Sequential(
        nn.Conv2d(1, 64, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(32, 9, 3, padding=1),
        nn.PixelShuffle(3),
    )
    save("espcn", m, (normal(1, 1, 224, 224),), opset=11)


class ResidualBlock(nn.Module):

    def __init__(self, c, o, t=0):
        super().__init__()
        self.n1 = nn.GroupNorm(32, c)
        self.c1 = nn.Conv2d(c, o, 3, padding=1)
        self.n2 = nn.GroupNorm(32, o)
        self.c2 = nn.Conv2d(o, o, 3, padding=1)
        self.k = nn.Conv2d(c, o, 1) if c != o else nn.Identity()
        self.t = nn.Linear(t, o) if t else None

    def forward(self, x, t=None):
        h = self.c1(F.silu(self.n1(x)))
        if t is not None:
            h = h + self.t(F.silu(t))[:, :, None, None]
        return self.k(x) + self.c2(F.silu(self.n2(h)))


class Attention(nn.Module):

    def __init__(self, c, h=8, ctx=None):
        super().__init__()
        self.n = nn.LayerNorm(c)
        self.h = h
        self.q = nn.Linear(c, c, bias=False)
        self.k = nn.Linear(ctx or c, c, bias=False)
        self.v = nn.Linear(ctx or c, c, bias=False)
        self.o = nn.Linear(c, c)

    def forward(self, x, ctx=None):
        h = self.n(x)
        ctx = h if ctx is None else ctx
        B, T, C = h.shape
        sp = lambda t: t.view(B, -1, self.h, C // self.h).transpose(1, 2)
        return x + self.o(
            F.scaled_dot_product_attention(sp(self.q(h)), sp(self.k(ctx)), sp(self.v(ctx))).transpose(1, 2).reshape(B, T, C)
        )


class Geglu(nn.Module):

    def __init__(self, c):
        super().__init__()
        self.n = nn.LayerNorm(c)
        self.a = nn.Linear(c, 8 * c)
        self.b = nn.Linear(4 * c, c)

    def forward(self, x):
        a, g = self.a(self.n(x)).chunk(2, -1)
        return x + self.b(a * F.gelu(g))


class DiffusionBlock(nn.Module):

    def __init__(self, c=320):
        super().__init__()
        self.r1 = ResidualBlock(c, c, 1280)
        self.g = nn.GroupNorm(32, c)
        self.i = nn.Conv2d(c, c, 1)
        self.a = Attention(c)
        self.x = Attention(c, ctx=768)
        self.f = Geglu(c)
        self.o = nn.Conv2d(c, c, 1)
        self.r2 = ResidualBlock(c, 2 * c, 1280)
        self.d = nn.Conv2d(2 * c, 2 * c, 3, 2, 1)

    def forward(self, x, t, ctx):
        x = self.r1(x, t)
        B, C, H, Call = x.shape
        h = self.i(self.g(x)).flatten(2).transpose(1, 2)
        h = self.f(self.x(self.a(h), ctx))
        x = x + self.o(h.transpose(1, 2).reshape(B, C, H, Call))
        return self.d(self.r2(x, t))


@model
def sd_block():
    save("sd_block", DiffusionBlock(), (normal(1, 320, 32, 32), normal(1, 1280), normal(1, 77, 768)))


@model
def sd_block_dynamo():
    save("sd_block_dynamo", DiffusionBlock(64), (normal(2, 64, 32, 32), normal(2, 1280), normal(2, 77, 768)), dynamo=True, opset=20)


class VaeDecoder(nn.Module):

    def __init__(self, c=128):
        super().__init__()
        self.i = nn.Conv2d(4, 4 * c, 3, padding=1)
        self.m = ResidualBlock(4 * c, 4 * c)
        self.g = nn.GroupNorm(32, 4 * c)
        self.a = Attention(4 * c, 1)
        self.u = nn.ModuleList([ResidualBlock(4 * c, 4 * c), ResidualBlock(4 * c, 2 * c), ResidualBlock(2 * c, c)])
        self.w = nn.ModuleList([nn.Conv2d(k, k, 3, padding=1) for k in (4 * c, 2 * c, c)])
        self.n = nn.GroupNorm(32, c)
        self.o = nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, z):
        x = self.m(self.i(z))
        B, C, H, Call = x.shape
        x = x + self.a(self.g(x).flatten(2).transpose(1, 2)).transpose(1, 2).reshape(B, C, H, Call)
        for u, w in zip(self.u, self.w):
            x = w(F.interpolate(u(x), scale_factor=2.0, mode="nearest"))
        return self.o(F.silu(self.n(x)))


@model
def vae():
    save("vae", VaeDecoder(64), (normal(1, 4, 24, 24),))


class YoloV5(nn.Module):

    def __init__(self, nc=80):
        super().__init__()
        c = lambda i, o, k=1, st=1: nn.Sequential(nn.Conv2d(i, o, k, st, k // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU())

        class C3(nn.Module):

            def __init__(self, i, o, n=1, sc=True):
                super().__init__()
                h = o // 2
                self.a = c(i, h)
                self.b = c(i, h)
                self.o = c(2 * h, o)
                self.m = nn.ModuleList([nn.Sequential(c(h, h), c(h, h, 3)) for _ in range(n)])
                self.sc = sc

            def forward(self, x):
                y = self.a(x)
                for m in self.m:
                    y = y + m(y) if self.sc else m(y)
                return self.o(torch.cat([y, self.b(x)], 1))

        w = 16
        self.s = nn.ModuleList([c(3, w, 6, 2)])
        self.s[0][0].padding = (2, 2)
        self.b = nn.ModuleList(
            [
                nn.Sequential(c(w * 2**i, w * 2 ** (i + 1), 3, 2), C3(w * 2 ** (i + 1), w * 2 ** (i + 1), 1 + (i in (1, 2))))
                for i in range(4)
            ]
        )
        self.p = c(256, 128)
        self.pp = c(512, 256)
        self.l1 = c(256, 128)
        self.h1 = C3(256, 128, 1, False)
        self.l2 = c(128, 64)
        self.h2 = C3(128, 64, 1, False)
        self.d1 = c(64, 64, 3, 2)
        self.h3 = C3(128, 128, 1, False)
        self.d2 = c(128, 128, 3, 2)
        self.h4 = C3(256, 256, 1, False)
        self.det = nn.ModuleList([nn.Conv2d(k, 3 * (nc + 5), 1) for k in (64, 128, 256)])
        self.no = nc + 5
        self.register_buffer("an", torch.rand(3, 3, 2) * 100)

    def forward(self, x):
        x = self.s[0](x)
        f = []
        for b in self.b:
            x = b(x)
            f.append(x)
        x = self.p(x)
        y = [x]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        x = self.l1(self.pp(torch.cat(y, 1)))
        t = self.l2(self.h1(torch.cat([F.interpolate(x, scale_factor=2.0), f[2]], 1)))
        o1 = self.h2(torch.cat([F.interpolate(t, scale_factor=2.0), f[1]], 1))
        o2 = self.h3(torch.cat([self.d1(o1), t], 1))
        o3 = self.h4(torch.cat([self.d2(o2), x], 1))
        z = []
        for i, (o, d) in enumerate(zip((o1, o2, o3), self.det)):
            B, _, H, Wd = o.shape
            o = d(o).view(B, 3, self.no, H, Wd).permute(0, 1, 3, 4, 2)
            gy, gx = torch.meshgrid(torch.arange(H), torch.arange(Wd), indexing="ij")
            g = torch.stack([gx, gy], -1).float() - 0.5
            xy, wh, cf = o.sigmoid().split((2, 2, self.no - 4), 4)
            z.append(
                torch.cat([(xy * 2 + g) * 8 * 2**i, (wh * 2) ** 2 * self.an[i][None, :, None, None], cf], 4).view(B, -1, self.no)
            )
        return torch.cat(z, 1)


@model
def yolov5n():
    save("yolov5n", YoloV5(), (torch.rand(1, 3, 320, 320),), opset=12)


@model
def yolov5n_dyn():
    save("yolov5n_dyn", YoloV5(), (torch.rand(1, 3, 256, 320),), opset=17, dyn={"x0": {0: "n", 2: "h", 3: "w"}})


class Upsampling(nn.Module):

    def __init__(self):
        super().__init__()
        self.a = double_conv(3, 16)
        self.b = double_conv(16, 16)
        self.o = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        h = self.b(F.avg_pool2d(self.a(x), 2))
        return torch.sigmoid(
            self.o(
                F.interpolate(h, size=x.shape[-2:], mode="bilinear", align_corners=True)
                + F.interpolate(h, scale_factor=2.0, mode="bicubic")
            )
        )


@model
def upsample_dyn():
    save("upsample_dyn", Upsampling(), (normal(1, 3, 96, 128),), dyn={"x0": {2: "h", 3: "w"}})


class SpatialTransformer(nn.Module):

    def __init__(self):
        super().__init__()
        self.l = nn.Sequential(
            nn.Conv2d(1, 8, 7),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(8, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(10 * 12 * 12, 6),
        )
        self.c = nn.Conv2d(1, 10, 5)

    def forward(self, x):
        th = self.l(x).view(-1, 2, 3) * 0.1 + torch.tensor([[1.0, 0, 0], [0, 1, 0]])
        return self.c(F.grid_sample(x, F.affine_grid(th, x.shape, align_corners=False), align_corners=False))


@model
def stn():
    save("stn", SpatialTransformer(), (normal(4, 1, 64, 64),), opset=20, dynamo=False)


@model
def style_in():
    n = lambda i, o, k, st=1: nn.Sequential(
        nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, st), nn.InstanceNorm2d(o, affine=True), nn.ReLU()
    )
    m = nn.Sequential(
        n(3, 32, 9),
        n(32, 64, 3, 2),
        n(64, 128, 3, 2),
        n(128, 128, 3),
        n(128, 128, 3),
        nn.Upsample(scale_factor=2),
        n(128, 64, 3),
        nn.Upsample(scale_factor=2),
        n(64, 32, 3),
        nn.ReflectionPad2d(4),
        nn.Conv2d(32, 3, 9),
    )
    save("style_in", m, (normal(1, 3, 224, 224),), opset=11)


@model
def conv3d_unet():
    b = lambda i, o: nn.Sequential(nn.Conv3d(i, o, 3, padding=1), nn.InstanceNorm3d(o), nn.LeakyReLU())

    class U(nn.Module):

        def __init__(self):
            super().__init__()
            self.a = b(1, 8)
            self.b = b(8, 16)
            self.c = b(16, 32)
            self.u = nn.ConvTranspose3d(32, 16, 2, 2)
            self.d = b(32, 16)
            self.v = nn.ConvTranspose3d(16, 8, 2, 2)
            self.e = b(16, 8)
            self.o = nn.Conv3d(8, 3, 1)

        def forward(self, x):
            p = lambda t: F.max_pool3d(t, 2)
            a = self.a(x)
            b_ = self.b(p(a))
            c = self.c(p(b_))
            d = self.d(torch.cat([self.u(c), b_], 1))
            return self.o(self.e(torch.cat([self.v(d), a], 1)))

    save("conv3d_unet", U(), (normal(1, 1, 32, 32, 32),))
