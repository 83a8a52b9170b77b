"""A VAE as a plain PyTorch loop, the way PyTorch's example "vae" writes it, with pythae's networks and loss."""

import torch
from protocol import BATCH, endless, serve
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WIDTH, LATENT = 512, 16


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, WIDTH)
        self.fc21, self.fc22 = nn.Linear(WIDTH, LATENT), nn.Linear(WIDTH, LATENT)
        self.fc3, self.fc4 = nn.Linear(LATENT, WIDTH), nn.Linear(WIDTH, 784)

    def forward(self, x):
        h = torch.relu(self.fc1(x.view(-1, 784)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(torch.relu(self.fc3(z)))), mu, logvar


def begin(images):
    x = torch.from_numpy(images.copy())[:, None].float() / 255
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True, drop_last=True)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches, log = endless(loader), []

    def turns(k):
        for _ in range(k):
            (data,) = next(batches)
            optimizer.zero_grad()
            recon, mu, logvar = model(data)
            square = 0.5 * ((recon - data.view(-1, 784)) ** 2).sum(1)
            kld = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)
            loss = (square + kld).mean()
            loss.backward()
            log.append(loss.item())
            optimizer.step()

    return turns


if __name__ == "__main__":
    serve(begin)
