"""How sharp pictures are."""

import numpy as np


def fine_power(x: np.ndarray, above: float = 0.25) -> np.ndarray:
    """The variance of each picture that lies at spatial frequencies above `above` cycles a pixel, (n, H, W) -> (n,).

        1 / (HW)² Σ_{|f| > above} |Σ_x x e^{−2πi f·x}|²,    f = 0.5 being the finest that a line of pixels can hold

    By Parseval, all frequencies but 0 give the picture's variance. Over the data's own it is 1 where pictures are as
    sharp as the data, and below 1 where they are blurred; noise raises it, so it is no measure of quality by itself.
    """
    x = np.asarray(x, float)
    frequency = np.hypot(np.fft.fftfreq(x.shape[1])[:, None], np.fft.fftfreq(x.shape[2]))
    power = np.abs(np.fft.fft2(x) / (x.shape[1] * x.shape[2])) ** 2
    return power[:, frequency > above].sum(1)
