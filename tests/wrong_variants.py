"""Every wrong form of a scorer that is known to circulate, for the tests and the table of them."""

import wrong_geometry
import wrong_runs

WRONG = [*wrong_runs.WRONG, *wrong_geometry.WRONG]
