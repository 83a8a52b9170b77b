"""WGAN-GP as a plain PyTorch loop, the way public ports of the paper's code write it, with the practical's networks.

A turn is one move of the critic; the generator moves on every fifth.
"""

import torch
from dcgan_torch import LATENT, discriminator, generator
from protocol import BATCH, endless, serve
from torch.utils.data import DataLoader, TensorDataset


def calc_gradient_penalty(netD, real_data, fake_data):
    alpha = torch.rand(len(real_data), 1, 1, 1).expand(real_data.size())
    interpolates = (alpha * real_data + (1 - alpha) * fake_data).requires_grad_(True)
    disc_interpolates = netD(interpolates)
    gradients = torch.autograd.grad(
        outputs=disc_interpolates, inputs=interpolates, grad_outputs=torch.ones_like(disc_interpolates),
        create_graph=True, retain_graph=True, only_inputs=True,
    )[0]  # fmt: skip
    return ((gradients.view(len(gradients), -1).norm(2, dim=1) - 1) ** 2).mean() * 10


def begin(images):
    x = torch.from_numpy(images.copy())[:, None].float() / 127.5 - 1
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True, drop_last=True)
    netG, netD = generator(), discriminator()
    optimizerD = torch.optim.Adam(netD.parameters(), lr=1e-4, betas=(0.5, 0.9))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-4, betas=(0.5, 0.9))
    batches, done, log = endless(loader), 0, []

    def turns(k):
        nonlocal done
        for _ in range(k):
            (data,) = next(batches)
            for p in netD.parameters():
                p.requires_grad = True
            netD.zero_grad()
            D_real = netD(data).mean()
            with torch.no_grad():
                fake = netG(torch.randn(len(data), LATENT))
            D_fake = netD(fake).mean()
            gradient_penalty = calc_gradient_penalty(netD, data, fake)
            D_cost = D_fake - D_real + gradient_penalty
            D_cost.backward()
            optimizerD.step()
            log.append(D_cost.item())
            done += 1
            if done % 5 == 0:
                for p in netD.parameters():
                    p.requires_grad = False
                netG.zero_grad()
                G_cost = -netD(netG(torch.randn(len(data), LATENT))).mean()
                G_cost.backward()
                optimizerG.step()

    return turns


if __name__ == "__main__":
    serve(begin)
