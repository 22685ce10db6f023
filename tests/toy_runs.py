"""Results of runs, as a report takes them."""

from datapruner.report import Result


def runs():
    """Three arms; worked by hand: random 0.80, full 0.92, aum 0.85 ± 0.01 and 5 ± 1 points up."""
    rows = []
    for arm, cost, reached in [
        ("all data", 1000, (0.90, 0.94)),
        ("random 30 %", 300, (0.78, 0.82)),
        ("aum 30 %", 300, (0.84, 0.86)),
    ]:
        for seed, accuracy in enumerate(reached):
            history = [
                {
                    "epoch": epoch,
                    "examples": cost * (epoch + 1) // 2,
                    "steps": cost * (epoch + 1) // 20,
                    "train_loss": 1.0 - epoch / 2,
                    "test_accuracy": accuracy - 0.1 * (1 - epoch),
                }
                for epoch in range(2)
            ]
            rows.append(Result(arm, seed, accuracy, cost, cost // 10, 1.5, history))
    return rows
