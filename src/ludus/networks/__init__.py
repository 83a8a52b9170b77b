"""Networks: `mlp` for everything, `small`, `dcgan` and `resnet` for images; priors, heads, and their checks."""
