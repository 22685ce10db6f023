"""Weight masks: criterion x allocation x pattern x schedule, and the masks held while training."""

from .allocation import ALLOCATIONS as ALLOCATIONS
from .criteria import CRITERIA as CRITERIA
from .engine import Pruning as Pruning
from .engine import attach as attach
from .making import apply_masks as apply_masks
from .making import make_masks as make_masks
from .patterns import PATTERNS as PATTERNS
from .report import average_active as average_active
from .report import density_report as density_report
from .schedules import SCHEDULES as SCHEDULES
from .scope import prunable as prunable
