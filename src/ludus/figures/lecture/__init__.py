"""The lecture's figures, drawn from numbers that the tests check. `ludus figure` lists them."""

FIGURES = {
    "generator-costs": "figures.lecture.costs:generator_costs",
    "gradient-share": "figures.lecture.costs:gradient_share",
    "divergences": "figures.lecture.divergences:divergences",
    "density-ratio": "figures.lecture.ratio:density_ratio",
    "dirac": "figures.lecture.portraits:portraits",
    "unrolling": "figures.lecture.unrolling:unrolling",
    "evidence": "figures.lecture.evidence:evidence",
    "family-tree": "figures.lecture.family:family_tree",
}
