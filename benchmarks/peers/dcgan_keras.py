"""The practical's DCGAN and training step as TensorFlow's tutorial "Deep Convolutional GAN" has them."""

import tensorflow as tf
from protocol import BATCH, serve
from tensorflow.keras import layers

LATENT = 100


def generator(height, width):
    grid = (height // 4, width // 4, 256)
    return tf.keras.Sequential([
        layers.Input((LATENT,)), layers.Dense(grid[0] * grid[1] * grid[2], use_bias=False),
        layers.BatchNormalization(), layers.LeakyReLU(), layers.Reshape(grid),
        layers.Conv2DTranspose(128, 5, strides=1, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(64, 5, strides=2, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh"),
    ])  # fmt: skip


def discriminator(height, width):
    return tf.keras.Sequential([
        layers.Input((height, width, 1)), layers.Conv2D(64, 5, strides=2, padding="same"), layers.LeakyReLU(),
        layers.Dropout(0.3), layers.Conv2D(128, 5, strides=2, padding="same"), layers.LeakyReLU(),
        layers.Dropout(0.3), layers.Flatten(), layers.Dense(1),
    ])  # fmt: skip


def game(images):
    """images (n, H, W) in [0, 255], H and W multiples of 4 -> turns(k), which plays k turns, and the generator."""
    x = images[..., None].astype("float32") / 127.5 - 1
    dataset = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(BATCH, drop_remainder=True).repeat()
    G, D = generator(*images.shape[1:]), discriminator(*images.shape[1:])
    cross_entropy = tf.keras.losses.BinaryCrossentropy(from_logits=True)
    adam_G, adam_D = tf.keras.optimizers.Adam(1e-4), tf.keras.optimizers.Adam(1e-4)

    @tf.function
    def train_step(real):
        noise = tf.random.normal([BATCH, LATENT])
        with tf.GradientTape() as gen_tape, tf.GradientTape() as disc_tape:
            fake = G(noise, training=True)
            says_real, says_fake = D(real, training=True), D(fake, training=True)
            gen_loss = cross_entropy(tf.ones_like(says_fake), says_fake)
            disc_loss = cross_entropy(tf.ones_like(says_real), says_real)
            disc_loss += cross_entropy(tf.zeros_like(says_fake), says_fake)
        adam_G.apply_gradients(zip(gen_tape.gradient(gen_loss, G.trainable_variables), G.trainable_variables))
        adam_D.apply_gradients(zip(disc_tape.gradient(disc_loss, D.trainable_variables), D.trainable_variables))
        return gen_loss, disc_loss

    batches = iter(dataset)

    def turns(k):
        for _ in range(k):
            losses = train_step(next(batches))
        [float(loss) for loss in losses]

    return turns, G


if __name__ == "__main__":
    serve(lambda images: game(images)[0])
