"""What `log_device_placement` asks for: a line on stderr for each operation that a plan runs, with its device, once."""

from __future__ import annotations

from ...graph.state import to_stderr
from ..stages.parts import all_instructions
from ..stages.plan import Load, Run, StepPlan


class Placements:
    """The operations that a session has told of. What is folded or taken out of a plan goes nowhere, and has no line."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, plan: StepPlan) -> None:
        """Write, in TensorFlow's form, where the operations of a plan go."""
        lines = []
        for part in plan.plans:
            for instruction in all_instructions(part.instructions):
                if isinstance(instruction, (Run, Load)):
                    kind = instruction.definition.type if isinstance(instruction, Run) else "Const"
                    lines.append(f"{instruction.name}: ({kind}): {part.device}")
        new = [line for line in dict.fromkeys(lines) if line not in self._told]
        self._told.update(new)
        if new:
            to_stderr("\n".join(new))
