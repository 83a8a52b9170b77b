"""pythae's VAE in its own trainer, its default networks (784-512-16 and back) and loss."""

import logging
import tempfile
from functools import cache

import torch
from protocol import BATCH, serve
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig


def begin(images):
    logging.disable(logging.INFO)
    x = torch.from_numpy(images.copy())[:, None].float() / 255

    def trainer(k):
        """Of an epoch of k turns."""
        rows = torch.randperm(len(x))[: k * BATCH]
        data = BaseDataset(x[rows], torch.zeros(len(rows)))
        config = BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=BATCH, learning_rate=1e-3, num_epochs=1
        )
        made = BaseTrainer(model, data, training_config=config)
        made.prepare_training()
        return made

    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16))
    made = cache(trainer)  # the first call of a length is not timed
    return lambda k: made(k).train_step(1)


if __name__ == "__main__":
    serve(begin)
