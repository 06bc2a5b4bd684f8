"""Taking back what a trial recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter


def mark(interpreter: Interpreter) -> Callable[[], None]:
    """What takes back all operations, names, questions and predicates that are recorded from now on."""
    trace, frame = interpreter.trace, interpreter.trace.frame
    made, bound, asked = len(frame.body), len(frame.bindings), len(interpreter.asked)
    predicates, undecided = interpreter.predicates.copy(), dict(interpreter.undecided)

    def undo() -> None:
        trace.frame = frame
        del frame.body[made:], frame.bindings[bound:], interpreter.asked[asked:]
        interpreter.predicates, interpreter.undecided = predicates, undecided

    return undo
