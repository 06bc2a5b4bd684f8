"""Classes and the top model as source text, for one framework."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence, Set

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.classes import ClassPlan, Program, is_in_list, offsets_of
from codegen.lowering.components import HELPER_NAMES
from codegen.lowering.dialect import Dialect, attribute, lines, name, unparse
from codegen.lowering.functions import (
    Functions,
    ambients,
    annotate,
    annotate_ambients,
    call_function,
    component,
    held_names,
    passed_ambients,
    return_state,
    special,
    state,
    state_returned,
)
from codegen.lowering.instances import CONTAINERS, Instance, absolute, without_parameters
from codegen.lowering.leaves import Leaves
from codegen.lowering.loops import LoopWriter
from codegen.lowering.numbers import Leaf, to_syntax
from codegen.lowering.patterns import LAYER, Decision, LayerKinds, Parts, Patterns, decided
from codegen.lowering.printing import BodyPrinter, print_apart
from codegen.lowering.recurrent import print_within
from codegen.lowering.roundings import rounding
from codegen.lowering.syntax import Unspellable
from codegen.lowering.torch_dialect import choice, over_layers, question
from ir.expressions import Apply, Const, Index, Key, Local
from ir.graph import (
    Branch,
    Call,
    FunctionTarget,
    Loop,
    Module,
    ModuleTarget,
    Number,
    Op,
    Operand,
    Parameter,
    Raised,
    Region,
    Scan,
)
from ir.records import dataclass, field

BEFORE = frozenset({"here", "order", "seen", "slots", "start", "valid"})
"""Names that the top model's methods have for what they make masks and positions of, before the network runs."""


@dataclass
class Emitter:
    """Prints the classes of one program."""

    program: Program
    dialect: Dialect
    fields: dict[tuple[str | int, ...], str]  # configuration path -> field of Config
    count_of: Callable[[str, int], str]  # path of a module list, its length -> expression over cfg
    patterns: Patterns
    told_apart: Callable[[str, Parts], Decision | None]  # a list, how its items differ -> by what; None: by nothing
    spelled: Callable[[LayerKinds], str]  # a question about `layer`, over cfg
    sequence: Callable[[LayerKinds], str]  # its answers, one a layer, over cfg
    leaves: Leaves
    layers: str  # how many there are in the longest list of them, over cfg
    alone: frozenset[str] = frozenset()  # paths of layers that run outside of loops
    functions: Functions = field(init=False)
    all_count: bool = False  # whether every body of a loop over modules is given the number of the iteration
    indexed: bool = False  # whether one reads it
    unindexed: bool = False  # whether one does not
    kept: dict[int, dict[str, LayerKinds]] = field(
        default_factory=dict
    )  # class -> what its instances know of their layer
    unused: dict[int, frozenset[str]] = field(default_factory=dict)  # class -> what its constructor has no use for

    def __post_init__(self) -> None:
        self.looped = {path for made in self.program.plans for path in lists_run(made)}
        self.stacked = {path for path in self.looped if not is_in_list(path) and self.is_of_layers(path)}
        reserved = {
            *self.dialect.spelling_helpers,
            "weights",
            "sharding",
            "sample",
            "additive",
            "padding_mask",
            "partial",
            "update",
            "run_layer",
            "run_layers",
            "stack_layers",
            "causal_mask",
            "additive_mask",
            "table_device",
            "Model",
            "Cache",
        } | HELPER_NAMES
        self.note_kinds(reserved)
        self.functions = Functions(self.dialect, reserved=reserved)

    def is_of_layers(self, path: str) -> bool:
        """Whether a list of modules has as many as the network has layers."""
        return self.count_of(path, len(self.program.instances[path].module.children)) == self.layers

    def note_count(self, counts: bool) -> None:
        """A loop over modules, whose body reads the number of the iteration or does not."""
        self.indexed, self.unindexed = self.indexed or counts, self.unindexed or not counts

    def classes(self) -> list[str]:
        """The text of every class but the top one, callees first."""
        return [ClassWriter(self, made).text() for made in self.program.plans if made is not self.program.top]

    def top(self, inputs: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Lines of the top model's `__init__` (after cfg is kept) and of what computes its logits, from `inputs`."""
        writer = ClassWriter(self, self.program.top)
        region = self.program.top.example.methods["forward"][0]
        _, body = writer.method_lines("forward", region, inputs)
        return writer.init_lines(), body

    def templates(self) -> list[str]:
        """Templates of the helpers that the printed text calls."""
        return self.dialect.templates()

    def spelled_helpers(self, texts: Iterable[str]) -> list[str]:
        """Helpers that the spelling of some operation calls, in a fixed order."""
        called = {node.id for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        return [text.strip() for name, text in self.dialect.spelling_helpers.items() if name in called]

    def note_kinds(self, reserved: set[str]) -> None:
        """Layers whose loop treats them by kind know their kind: what loops ask of them is found by printing these once."""
        for made in self.program.plans:
            for method, regions in made.example.methods.items():
                for region in regions:
                    if any(isinstance(node, Loop) and len(node.bodies) > 1 for node in region.nodes):
                        self.functions = Functions(self.dialect, reserved=set(reserved))
                        ClassWriter(self, made).method_lines(method, region)

    def keep(self, owner: ClassPlan, container: str, kinds: LayerKinds) -> str:
        """What the modules of a list of `owner` call the answer to a question about their layer."""
        items = self.items_of(owner, container)
        known = {kinds.element: name for item in items for name, kinds in self.kept.get(item, {}).items()}
        wanted = known.get(kinds.element) or _attribute_name(kinds, known.values())
        for at, item in items.items():
            item.needs_layer = True
            self.kept.setdefault(at, {})[wanted] = kinds
        return wanted

    def items_of(self, owner: ClassPlan, container: str) -> dict[int, ClassPlan]:
        """The classes of the modules in a list of `owner`, by identity; none of those that a framework has."""
        prefix = f"{owner.instances[0].path}.{container}".lstrip(".")
        return {id(p): p for path, p in self.program.by_path.items() if path.rpartition(".")[0] == prefix}

    def field(self, leaf: Key) -> str:
        if leaf.path not in self.fields:
            raise CompileError(Diagnostic("unknown-field", f"no field of Config holds {'.'.join(map(str, leaf.path))}"))
        return self.fields[leaf.path]


def _reads(methods: Sequence[str], attribute_name: str) -> bool:
    """Whether printed methods read an attribute: how an operation is spelled may do without a number that it takes."""
    return any(re.search(rf"\bself\.{attribute_name}\b", method) for method in methods)


IDLE = "What a checkpoint holds, and text alone does not run through."


NUMBERS = "something follows from the number of a module in a list within a list"


class ClassWriter:
    """Prints one class: what its methods read decides what its constructor keeps."""

    def __init__(self, emitter: Emitter, made: ClassPlan):
        self.emitter, self.plan, self.dialect = emitter, made, emitter.dialect
        self.kept: dict[str, str] = {}  # attribute -> expression in __init__
        self.turn = "layer"  # the number of what is being made, in the outermost list around it
        self.turns = False  # whether that is read
        self.in_list = is_in_list(made.instances[0].path)
        self.turn_of: dict[
            str, str
        ] = {}  # in the loop that is being printed, the variable of each list that it goes through
        self.inside = self.in_list  # a list, where what is being made stands
        self.buffers = {p.name: p for p in made.example.module.parameters if p.fill is not None and not p.persistent}

    @property
    def target(self) -> Dialect:
        return self.dialect

    @property
    def sees_configuration(self) -> bool:
        return True

    @property
    def makes_constants(self) -> bool:
        return False

    # ------------------------------------------------------------------------------------------------ text

    def text(self) -> str:
        methods = []
        for method, regions in self.plan.example.methods.items():
            for number, region in enumerate(regions):
                params, body = self.method_lines(method, region)
                printed = self.method_name(method, number)
                result = self.dialect.result_annotation(len(region.results), state_returned(self.dialect, region))
                head = f"    def {printed}({', '.join(['self', *params])}) -> {result}:"
                methods.append("\n".join([self.with_slot(head), *("        " + line for line in body)]))
        self.kept = {attribute: expr for attribute, expr in self.kept.items() if _reads(methods, attribute)}
        init = self.init_lines()
        scan = holds_layers(self.plan, self.emitter.program, self.emitter.stacked)
        read = {node.id for node in ast.walk(ast.parse("\n".join(init))) if isinstance(node, ast.Name)}
        words = {"cfg", "layer", *self.plan.parameters, *self.dialect.constructor_words}
        self.emitter.unused[id(self.plan)] = frozenset(words - read)
        signature = ", ".join(self.dialect.signature(self.plan, scan, words - read))
        opening = self.dialect.opening()
        out = [f"class {self.plan.name}({self.dialect.base}):"]
        note = self.note()
        out += [f'    """{note}"""', ""] if note else []
        out.append(f"    def __init__({signature}):")
        body = [*opening, *init] or ["pass"]
        out += ["        " + line for line in body]
        return "\n".join(out) + "".join("\n\n" + method for method in methods) + "\n"

    def with_slot(self, head: str) -> str:
        """The signature of a layer, or of a part of one: what it is given of the cache is that of one layer."""
        slot, paths = self.dialect.slot_type, [instance.path for instance in self.plan.instances]
        if slot == "Any" or not all(any(path.startswith(f"{at}.") for at in self.emitter.looped) for path in paths):
            return head
        return head.replace("kv: Any", f"kv: {slot} | None").replace(", Any]", f", {slot} | None]")

    def note(self) -> str:
        """What the class says of itself, where its code alone would mislead."""
        if not self.runs():
            return IDLE
        return rounding(region for regions in self.plan.example.methods.values() for region in regions)

    def runs(self) -> bool:
        """Whether anything of it, or of what it holds, is called."""
        paths = [member.path for member in self.plan.instances]
        instances = self.emitter.program.instances
        return any(
            instance.methods and (path == own or path.startswith(f"{own}.") or not own)
            for own in paths
            for path, instance in instances.items()
        )

    def method_name(self, method: str, number: int) -> str:
        base = self.dialect.forward if method == "forward" else method
        if number == 0:
            return base
        return f"{'forward' if method == 'forward' else method}{number + 1}"

    def method_lines(self, method: str, region: Region, inputs: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        called = {
            n.target.name.lstrip("_")
            for n in region.nodes
            if isinstance(n, Call) and isinstance(n.target, FunctionTarget)
        }
        made = set(self.buffers) if self.dialect.functional_cache else set()
        reserved = frozenset({"self", "cfg", *called, *made})
        if self.plan is self.emitter.program.top:
            reserved |= BEFORE

        def printer(helpers: frozenset[str]) -> BodyPrinter:
            needed, held = ambients(region), reserved | helpers | held_names(self.dialect, region)
            has_dtype, has_total = "dtype" in needed, "total" in needed
            return BodyPrinter(region, self, held, given=inputs, has_dtype=has_dtype, has_total=has_total)

        params, body = print_apart(printer, self.dialect.spelling_helpers)
        annotated = annotate(region, params, self.dialect) + annotate_ambients(ambients(region), self.dialect)
        at_top = self.plan is self.emitter.program.top and self.dialect.functional_cache
        if state_returned(self.dialect, region) or at_top:
            return_state(body)
        return annotated, lines(body)

    def init_lines(self) -> list[str]:
        example = self.plan.example
        out: list[str] = []
        for text, kinds in self.emitter.kept.get(id(self.plan), {}).items():
            out.append(f"self.{text} = {self.emitter.spelled(kinds)}")
        for attribute_name, expr in self.kept.items():
            out.append(f"self.{attribute_name} = {expr}")
        for parameter in example.module.parameters:
            if parameter.name in self.buffers:
                out += self.buffer_lines(parameter)
            else:
                out.append(f"self.{self.stored(parameter.name)} = {self.filled(parameter)}")
        for child_name, child in example.module.children:
            made = self.child(child_name, child)
            if made:
                out.append(f"self.{child_name} = {made}")
        return out

    def filled(self, parameter: Parameter) -> str:
        """A parameter with the numbers that it starts with."""
        shape = [unparse(to_syntax(size, self.init_leaf)) for size in parameter.shape]
        return self.dialect.parameter_fill(parameter, shape, self.start(parameter))

    def start(self, parameter: Parameter) -> str:
        """The number that a parameter is at first; nothing where it is drawn. Both frameworks ask here.

        What the source leaves open is drawn, but for biases; so are matrices of zeros, which no layer could learn from.
        """
        bias = "bias" in parameter.name
        match parameter.start:
            case None:
                return "0" if bias else ""
            case Const(0) if len(parameter.shape) > 1 and not (bias or parameter.buffer):
                return ""
            case Const(bool() | int() | float() as value):
                return str(int(value)) if value == int(value) else repr(value)
            case start:
                return unparse(to_syntax(start, self.init_leaf))

    def buffer_lines(self, parameter: Parameter) -> list[str]:
        """A tensor that follows from the configuration: PyTorch keeps it as a buffer, Flax computes it where it is read."""
        if self.dialect.functional_cache:
            return []
        return [f"self.register_buffer({parameter.name!r}, {self.constant(parameter, 'cfg')}, persistent=False)"]

    def constant(self, parameter: Parameter, cfg: str) -> str:
        """A call of the helper that computes a constant tensor."""
        assert parameter.fill is not None
        return self.emitter.functions.constant(parameter.name, parameter.fill, self.emitter.field, cfg)

    # ------------------------------------------------------------------------------------------- construction

    def init_leaf(self, leaf: Leaf) -> ast.expr:
        match leaf:
            case Key():
                return attribute(name("cfg"), self.emitter.field(leaf))
            case Index():
                if leaf != LAYER:
                    raise CompileError(Diagnostic("unknown-pattern", NUMBERS))
                self.turns = True
                return ast.parse(self.turn, mode="eval").body
            case Local(text):
                return name(text)
            case _:
                raise Unspellable(f"{leaf} while a module is made")

    def init_number(self, operand: Operand) -> ast.expr:
        match operand:
            case Number(expr):
                return to_syntax(expr, self.init_leaf)
            case None:
                return ast.Constant(None)
            case tuple():
                return ast.Tuple([self.init_number(item) for item in operand], ast.Load())
            case _:
                raise Unspellable(f"{operand} as an argument of a layer")

    def child(self, child_name: str, child: Module) -> str:
        where = f"{self.plan.instances[0].path}.{child_name}".lstrip(".")
        if without_parameters(child):
            return ""
        if child_name in self.plan.chosen:
            return self.chosen(child_name)
        if where in self.emitter.program.by_path:
            return self.construct(where)
        if child.kind in CONTAINERS:
            return self.container(where, child)
        return self.dialect.layer(child, self.init_number)

    def chosen(self, child_name: str) -> str:
        """A child whose class depends on the layer."""
        paths, parts = self.emitter.program.choice(self.plan, child_name)
        items = [self.construct(path, own=False) for path in paths]
        return decided(self.emitter.patterns.decision(parts), items.__getitem__, self.asking(items))

    def asking(self, items: Sequence[str]) -> Callable[[LayerKinds, object, str, str], str]:
        """How a decision among `items` is written."""

        def asked(kinds: LayerKinds, label: object, then: str, otherwise: str) -> str:
            first = then if then in items else f"({then})"
            return f"{first} if {question(self.emitter.spelled(kinds), label)} else {otherwise}"

        return asked

    def construct(self, where: str, own: bool = True) -> str:
        """A call of the constructor; `own`: with what this one was given, where it has to hand it on."""
        made = self.emitter.program.by_path[where]
        unused = self.emitter.unused.get(id(made), frozenset())
        args = ["cfg", "layer"] if made.needs_layer else ["cfg"]
        args = [self.turn if arg == "layer" else arg for arg in args if arg not in unused]
        self.turns |= "layer" in args
        for position, (parameter, expr) in enumerate(zip(made.parameters, made.arguments[where], strict=True)):
            if parameter not in unused:
                handed = self.handed_on(where, position) if own else ""
                args.append(handed or unparse(to_syntax(expr, self.init_leaf)))
        if holds_layers(made, self.emitter.program, self.emitter.stacked) and self.dialect.functional_cache:
            args.append("scan_layers=scan_layers")
        tail = [f"{word}={word}" for word in self.dialect.constructor_words if word not in unused]
        return f"{made.name}({', '.join([*args, *tail])})"

    def handed_on(self, where: str, position: int) -> str:
        """What of its own parameters this class gives a child for one of that one's; nothing where it needs none."""
        columns, by_path = self.plan.columns, self.emitter.program.by_path
        if not columns:
            return ""
        below = where[len(self.plan.paths[0]) :]
        passed = tuple(by_path[path + below].arguments[path + below][position] for path in self.plan.paths)
        offsets = offsets_of(passed) if len(set(passed)) > 1 else None
        if passed not in columns and offsets is not None and offsets in columns:
            return f"{self.turn} + {columns[offsets]}"
        return columns.get(passed, "")

    def parameters_of(self, where: str, child: Module) -> str:
        """A list or dict of parameters."""
        texts = {parameter.name: self.filled(parameter) for parameter in child.parameters}
        if child.kind == "ParameterDict":
            items = ", ".join(f"{key!r}: {text}" for key, text in texts.items())
            return self.dialect.module_list(f"{{{items}}}", "named parameters")
        if len(set(texts.values())) == 1 and not (count := self.emitter.count_of(where, len(texts))).isdigit():
            return self.dialect.module_list(f"[{texts['0']} for layer in range({count})]", "parameters")
        return self.dialect.module_list(f"[{', '.join(texts.values())}]", "parameters")

    def container(self, where: str, child: Module) -> str:
        if child.kind == "ModuleDict":
            items = []
            for child_name, grandchild in child.children:
                made = self.child(f"{where[len(self.plan.instances[0].path) :].lstrip('.')}.{child_name}", grandchild)
                items += [f"{child_name!r}: {made}"] if made else []  # what computes nothing is left out
            return f"{self.dialect.module_list('{' + ', '.join(items) + '}', 'dict')}"
        if child.kind in ("ParameterList", "ParameterDict"):
            return self.parameters_of(where, child)
        before, self.turns = self.turns, False
        texts = self.items(where, child)
        taken = self.turns and self.inside  # then `layer` is the number of what is around
        self.turns |= before
        if not texts or child.kind == "Sequential":
            return self.dialect.module_list(f"[{', '.join(texts)}]", "list")
        if all(text == texts[0] for text in texts):
            count = self.emitter.count_of(where, len(texts))
            kind = self.kind_of_list(where)
            return self.dialect.module_list(f"{texts[0]} for {'_' if taken else 'layer'} in range({count})", kind)
        partition = tuple(list(dict.fromkeys(texts)).index(text) for text in texts)
        if where not in self.emitter.looped and self.emitter.count_of(where, len(texts)).isdigit():
            return self.one_by_one(where, child)
        if taken:
            raise CompileError(Diagnostic("unknown-pattern", NUMBERS))
        decision = self.emitter.told_apart(where, partition)
        if decision is None:
            return self.one_by_one(where, child)
        items = list(dict.fromkeys(texts))
        if all(isinstance(arm, int) for _, arm in decision.arms):
            options = {label: items[arm] for label, arm in decision.arms if isinstance(arm, int)}
            sequence = self.emitter.sequence(decision.kinds)
            if where not in self.emitter.looped:
                each, kind = over_layers(sequence)
                return self.dialect.module_list(f"{choice(options, kind)} for {each}", "items")
            return self.dialect.module_list_by_kind(options, self.emitter.spelled(decision.kinds), sequence)
        item = decided(decision, items.__getitem__, self.asking(items))
        count = self.emitter.count_of(where, len(texts))
        return self.dialect.module_list(f"{item} for layer in range({count})", self.kind_of_list(where))

    def kind_of_list(self, where: str) -> str:
        """Whether a list of modules is one of layers, as many as the network has, which may be stacked."""
        return "layers" if where in self.emitter.stacked else "items"

    def build(self, where: str, module: Module) -> str:
        """One of a list of modules."""
        if without_parameters(module):
            return self.dialect.placeholder
        if where in self.emitter.program.by_path:
            return self.construct(where)
        if module.kind in CONTAINERS:
            return self.container(where, module)
        return self.dialect.layer(module, self.init_number)

    def items(self, where: str, child: Module, *, numbered: bool = False) -> list[str]:
        """What makes the items of a list: for `layer`, or each for its own number. In a list within a list it is the number of
        what is around that counts.
        """
        turn, inside, made = self.turn, self.inside, []
        for at, (child_name, grandchild) in enumerate(child.children):
            if not inside:
                self.turn = str(at) if numbered else "layer"
            self.inside = True
            made.append(self.build(f"{where}.{child_name}", grandchild))
        self.turn, self.inside = turn, inside
        return made

    def one_by_one(self, where: str, child: Module) -> str:
        """A list whose items are written out."""
        return self.dialect.module_list(f"[{', '.join(self.items(where, child, numbered=True))}]", "list")

    # ------------------------------------------------------------------------------------------------ scope

    def require_own_number(self, leaf: Index) -> None:
        """That a number is the one that this module is given.

        Raises:
            CompileError: `unknown-pattern`.
        """
        if leaf != LAYER or not self.in_list:
            raise CompileError(Diagnostic("unknown-pattern", NUMBERS))

    def number(self, leaf: Leaf) -> ast.expr:
        match leaf:
            case Key():
                text = self.emitter.field(leaf)
                if self.plan is self.emitter.program.top:
                    return attribute(name("self"), f"cfg.{text}")
                self.kept[text] = f"cfg.{text}"
                return attribute(name("self"), text)
            case Index():
                self.require_own_number(leaf)
                self.kept["layer"] = "layer"
                return attribute(name("self"), "layer")
            case Local(text):
                self.kept[text] = text
                return attribute(name("self"), text)
            case _:
                raise Unspellable(f"{leaf} in a method")

    def call(self, node: Call, args: list[ast.expr], printer: BodyPrinter) -> ast.expr:
        if isinstance(node.target, FunctionTarget):
            return call_function(self.emitter.functions, node, args, printer)
        callee = self.callee(node.target, node.region)
        made = ast.Call(callee, [*args, *passed_ambients(self.dialect, node.region, printer)], [])
        where = absolute(node.target.path, self.plan.instances[0].path)
        if self.state(node) is None or where not in self.emitter.alone:
            return made
        own = ast.arguments([], [ast.arg("kv")], None, [], [], None, [])
        return ast.Call(name("run_layer"), [ast.Lambda(own, made), name("kv")], [])

    def callee(self, target: ModuleTarget, region: Region) -> ast.expr:
        path = target.path
        if path.startswith("^"):
            raise CompileError(
                Diagnostic("foreign-module", f"`{path[1:]}` is called from a module that does not hold it")
            )
        owner = self.item(path)
        where = absolute(path.replace("{}", "0"), self.plan.instances[0].path)
        instance = self.emitter.program.instances.get(where)
        is_own = instance is not None and not instance.is_layer  # a layer of the library is one for all shapes
        number = _variant(instance, target.method, region) if instance is not None and is_own else 0
        if target.method == "forward" and number == 0 and path:
            return owner
        return ast.Attribute(owner, self.method_name(target.method, number), ast.Load())

    def item(self, path: str) -> ast.expr:
        """`self.path`, or the variable of the loop for a path with `{}`."""
        if "{}" in path:
            container, _, rest = path.partition("{}")
            held = name(self.turn_of[container.removesuffix(".")])
            return attribute(held, rest[1:]) if rest else held
        found: ast.expr = name("self")
        module: Module | None = self.plan.example.module
        for step in path.split(".") if path else ():
            by_name = step.isdigit() and module is not None and module.kind == "ModuleDict"
            found = ast.Subscript(found, ast.Constant(step), ast.Load()) if by_name else attribute(found, step)
            module = dict(module.children).get(step) if module is not None else None
        return found

    def state(self, node: Call) -> str | None:
        return state(self.dialect, node)

    def component(self, node: Raised, printer: BodyPrinter) -> None:
        component(self.dialect, node, printer)

    def special(self, node: Op, printer: BodyPrinter) -> bool:
        return special(self.dialect, node, printer)

    def parameter(self, path: str) -> ast.expr:
        buffer = self.buffers.get(path) or self.buffer_below(path)
        if buffer is not None and self.dialect.functional_cache:
            constant = self.constant(buffer, "self.cfg")
            self.kept |= {"cfg": "cfg"} if "self.cfg" in constant else {}
            assert buffer.fill is not None
            self.kept |= {text: text for text in self.emitter.functions.taken(buffer.name, buffer.fill)}
            return ast.parse(constant, mode="eval").body
        return self.dialect.parameter(self.stored(path), constant=buffer is not None)

    def buffer_below(self, path: str) -> Parameter | None:
        """The computed tensor of a module that this one holds."""
        *steps, last = path.split(".")
        module = self.plan.example.module
        for step in steps:
            found = dict(module.children).get(step)
            if found is None:
                return None
            module = found
        held = {p.name: p for p in module.parameters if p.fill is not None and not p.persistent}
        return held.get(last) if steps else None

    def stored(self, path: str) -> str:
        """The path of a parameter as the framework calls it."""
        if not self.dialect.functional_cache:
            return path
        owner, _, leaf = path.rpartition(".")
        leaf = self.emitter.leaves.of(absolute(owner, self.plan.example.path), leaf)
        return f"{owner}.{leaf}" if owner else leaf

    def loop(self, node: Loop, printer: BodyPrinter) -> None:
        LoopWriter(self, node, printer).write()

    def within(self, node: Scan | Branch, printer: BodyPrinter) -> None:
        print_within(self, node, printer)


def lists_run(made: ClassPlan) -> Iterable[str]:
    """The lists of modules that the methods of a class run through, by their paths."""
    for instance in made.instances:
        for regions in instance.methods.values():
            for node in (node for region in regions for node in region.nodes):
                if isinstance(node, Loop):
                    yield absolute(node.container, instance.path)


def _attribute_name(kinds: LayerKinds, taken: Iterable[str]) -> str:
    """What a layer keeps the answer to a question as: `kind` for its entry in a list, else what the source calls it."""
    match kinds.element:
        case Apply("getitem", (Key(), Index())):
            wanted = "kind"
        case _:
            wanted = kinds.name.lstrip("_") or "kind"
    used, number = set(taken), 2
    while wanted in used:
        wanted, number = f"{wanted.rstrip('0123456789')}{number}", number + 1
    return wanted


def _variant(instance: Instance, method: str, region: Region) -> int:
    for number, other in enumerate(instance.methods.get(method, [])):
        if other is region or other == region:
            return number
    return 0


def holds_layers(made: ClassPlan, program: Program, stacked: Set[str]) -> bool:
    """Whether a loop over one of these lists runs in this class or below it, outside of lists."""
    if not stacked.isdisjoint(lists_run(made)):
        return True
    return any(
        holds_layers(child, program, stacked)
        for where, child in made.children.items()
        if not any(p.isdigit() for p in where.split("."))
    )
