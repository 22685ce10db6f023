"""Rows of a sweep by hand, for what is made of them."""


def row(arm, accuracy, cost, seed=0, **more):
    """A run that is done, full and dense unless told; `cost` is its active weights x examples."""
    recalls = {"test.recall.a": accuracy + 0.05, "test.recall.b": accuracy - 0.05}
    settings = {"fraction": 1.0, "keep": "all", "density": 1.0, "teacher": "none"}
    settings |= {"order": "together", "mask_on": "same"}
    costs = dict.fromkeys(
        ("cost.flops", "cost.flops_possible", "cost.examples", "cost.steps", "measured.seconds"), 1
    )
    return (
        {"id": "0", "arm": arm, "control": ""}
        | settings
        | {"seed": seed, "status": "done", "test.accuracy": accuracy}
        | {"test.worst_recall": accuracy - 0.05, "validation.accuracy": accuracy}
        | {"cost.weights_examples": cost}
        | costs
        | recalls
        | more
    )
