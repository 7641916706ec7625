"""Optimisers: the released Adam without bias correction and AdamW, with rates by parameter patterns.

docs/systems.md section 2.7. A parameter's name is its path, "clip/visual/projection". Its basic rate is `clip_lr` when
the name starts with "clip/", or is that of a logit scale and `logit_scale` is "clip", else `head_lr`; its basic decay
is `weight_decay`, but 0 for names that contain "bias". Groups, (pattern, rule) in order, change that: the first pattern
that matches the whole name decides, and every parameter must match one. A rule is a mapping with any of

    lr            this rate instead of the basic one
    lr_multiple   a factor on the basic rate
    decay         this decay for all of the group, biases too
    frozen        True: no update, no decay, no moments, no part in the global norm. Also right for parameters that the
                  loss does not use, since PyTorch's optimisers skip those
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from eaglenet_jax.errors import UserError

CLIP_PREFIX = "clip/"
LOGIT_SCALE = "head/matching_loss/logit_scale"  # of a softmax loss
MAX_LOGIT_SCALE = math.log(100.0)
_RULE_KEYS = ("lr", "lr_multiple", "decay", "frozen")


class Rates(NamedTuple):
    """Settings of the optimiser for one parameter.

    Attributes:
        pattern: The pattern that decided.
        lr: Learning rate.
        decay: Decoupled weight decay.
        frozen: Whether it is never updated.
    """

    pattern: str
    lr: float
    decay: float
    frozen: bool


def parameter_name(path: Sequence[Any]) -> str:
    """Return the name of a leaf by its path in the tree, as "clip/visual/projection"."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


class _Group(NamedTuple):
    """A rule for the parameters whose whole name matches a pattern."""

    pattern: re.Pattern[str]
    rule: Mapping[str, Any]


def _groups(config: Mapping[str, Any]) -> list[_Group]:
    """Return the groups of a config, those that `freeze` names first.

    Raises:
        UserError: A pattern is no regular expression, or a group is not a pattern and a rule.
    """
    freeze = config.get("freeze", "")
    patterns = freeze.split(",") if isinstance(freeze, str) else freeze
    frozen = [_Group(_compiled("freeze", pattern), {"frozen": True}) for pattern in patterns if pattern]
    try:
        given = [(pattern, rule) for pattern, rule in config["groups"]]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"optimizer.groups is {config['groups']!r}; give pairs of a pattern and a rule, such as "
            '(("clip/.*", {"lr": 1e-7}), (".*", {}))'
        ) from error
    return [*frozen, *(_Group(_compiled("groups", pattern), _checked(pattern, rule)) for pattern, rule in given)]


def _compiled(field: str, pattern: Any) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        hint = "; a comma ends a pattern" if field == "freeze" else ""
        raise UserError(
            f"optimizer.{field}: {pattern!r} is no regular expression ({error}){hint}; give one such as 'clip/.*'"
        ) from error


def _checked(pattern: str, rule: Any) -> Mapping[str, Any]:
    """Return a rule. UserError unless it is a mapping of known keys to numbers."""
    if not hasattr(rule, "items"):  # a Mapping or a ConfigDict
        raise UserError(f"optimizer.groups: the rule of {pattern!r} is {rule!r}; give a mapping, {{}} for no change")
    unknown = sorted(set(rule) - set(_RULE_KEYS))
    if unknown:
        raise UserError(
            f"optimizer.groups: {pattern!r} has unknown keys {unknown}; choose from {', '.join(_RULE_KEYS)}"
        )
    for key, value in rule.items():
        if not isinstance(value, int | float):
            raise UserError(f"optimizer.groups: {key} of {pattern!r} is {value!r}; give a number")
    return rule


def parameter_rates(config: Mapping[str, Any], params: PyTree) -> dict[str, Rates]:
    """List the rates of every parameter, by name.

    Args:
        config: `head_lr`, `clip_lr`, `weight_decay`, `groups` and `freeze` of `make_optimizer`.
        params: Arrays or their shapes.

    Returns:
        Rates by parameter name.

    Raises:
        UserError: A parameter or a pattern has no match, a pattern is no regular expression, or a rule has an unknown
            key or a value that is no number.
    """
    groups = _groups(config)
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    rates: dict[str, Rates] = {}
    for name in names:
        for pattern, rule in groups:
            if pattern.fullmatch(name):
                rates[name] = _rates(config, name, pattern.pattern, rule)
                break
    unmatched = [name for name in names if name not in rates]
    if unmatched:
        raise UserError(
            f"optimizer.groups: no pattern matches {len(unmatched)} of {len(names)} parameters: "
            f"{', '.join(unmatched)}; add a pattern for them, or end the groups with ('.*', {{}})"
        )
    # What one pattern freezes, another may freeze as well: `freeze` names a union, and its groups come first.
    twice = {
        group.pattern.pattern
        for group in groups
        if group.rule.get("frozen") and any(group.pattern.fullmatch(name) and rates[name].frozen for name in names)
    }
    unused = sorted({group.pattern.pattern for group in groups} - {rate.pattern for rate in rates.values()} - twice)
    if unused:
        raise UserError(
            f"optimizer.groups: {', '.join(map(repr, unused))} decides no parameter; a pattern must match whole "
            f"names, such as {names[0]!r}, that no earlier pattern matches"
        )
    return rates


def _rates(config: Mapping[str, Any], name: str, pattern: str, rule: Mapping[str, Any]) -> Rates:
    if rule.get("frozen", False):
        return Rates(pattern, 0.0, 0.0, True)
    of_clip = name.startswith(CLIP_PREFIX) or (name == LOGIT_SCALE and config.get("logit_scale", "head") == "clip")
    base = config["clip_lr"] if of_clip else config["head_lr"]
    decay = 0.0 if "bias" in name else config["weight_decay"]
    lr = rule.get("lr", base) * rule.get("lr_multiple", 1.0)
    return Rates(pattern, float(lr), float(rule.get("decay", decay)), False)


def describe_groups(config: Mapping[str, Any], params: PyTree) -> str:
    """Return a table of the groups: pattern, learning rate, decay, tensors and parameters.

    Raises:
        UserError: As `parameter_rates`.
    """
    names: dict[Rates, list[str]] = defaultdict(list)
    parameters: Counter[Rates] = Counter()
    rates = parameter_rates(config, params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = parameter_name(path)
        rate = rates[name]
        names[rate].append(name)
        parameters[rate] += math.prod(leaf.shape)
    order = {group.pattern.pattern: index for index, group in enumerate(_groups(config))}
    rows = [("pattern", "lr", "decay", "tensors", "parameters")]
    for rate in sorted(names, key=lambda rate: (order[rate.pattern], -rate.lr, -rate.decay)):
        lr, decay = ("frozen", "") if rate.frozen else (f"{rate.lr:g}", f"{rate.decay:g}")
        several = sum(other.pattern == rate.pattern for other in names) > 1
        biases = " (biases)" if several and all("bias" in name for name in names[rate]) else ""
        rows.append((rate.pattern + biases, lr, decay, f"{len(names[rate]):,}", f"{parameters[rate]:,}"))
    rows.append(("total", "", "", f"{len(rates):,}", f"{sum(parameters.values()):,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def make_optimizer(config: Mapping[str, Any], params: PyTree, total_steps: int) -> optax.GradientTransformation:
    """Make the optimiser that a config describes.

    Args:
        config: `config.optimizer`, or any mapping with
            name: "bert_adam" (as released: no bias correction) or "adamw";
            head_lr, clip_lr, weight_decay, groups: rates by parameter patterns, see the docstring of this file;
            freeze: patterns of parameters that stay as they are, a sequence or one string with commas, which decide
            before the groups (optional);
            schedule, warmup: see `make_schedule`;
            global_clip, per_tensor_clip: largest norm of all gradients together and then of each tensor,
            None or 0 for no limit;
            logit_scale: "head" or "clip", whose rate the logit scale of a softmax loss has (optional);
            clip_storage: "float32", or "float16" to round CLIP's parameters to it after every update, as the released
            program stores them (optional).
        params: Arrays or their shapes.
        total_steps: Updates in the whole run.

    Returns:
        An optax transformation.

    Raises:
        UserError: A name, storage or schedule is unknown, or as in `parameter_rates`.
    """
    moments = {
        "bert_adam": lambda: scale_by_uncorrected_adam(b1=0.9, b2=0.98, eps=1e-6),
        "adamw": lambda: optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
    }
    if config["name"] not in moments:
        raise UserError(f"optimizer.name={config['name']!r} is none of {', '.join(moments)}")
    rates = parameter_rates(config, params)
    steps = [moments[config["name"]](), _descend(rates)]
    if config["per_tensor_clip"]:
        steps.insert(0, clip_each_by_norm(config["per_tensor_clip"]))
    if config["global_clip"]:
        steps.insert(0, clip_by_global_norm(config["global_clip"]))
    steps.append(optax.scale_by_schedule(make_schedule(config["schedule"], config["warmup"], total_steps)))
    if config.get("clip_storage", "float32") == "float16":
        steps.append(round_to_float16(CLIP_PREFIX))
    elif config.get("clip_storage", "float32") != "float32":
        raise UserError(f"optimizer.clip_storage={config['clip_storage']!r} is none of float32, float16")
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "frozen" if rates[parameter_name(path)].frozen else "trained", params
    )
    return optax.partition({"trained": optax.chain(*steps), "frozen": optax.set_to_zero()}, labels)


def make_schedule(kind: str, warmup: float, total_steps: int) -> Callable[[Any], Array]:
    """Build the factor on the learning rates by the number of updates made, x = updates / total_steps.

    Below `warmup` it is x / warmup, so the very first update is zero.

    Args:
        kind: Curve after the warm-up. "cosine": the released ½(1 + cos πx), which jumps a little at the end of the
            warm-up; "warmup_cosine": the usual curve from 1 at the end of the warm-up to 0 at the end of the run;
            "constant": 1.
        warmup: Length of the warm-up as a fraction of the run.
        total_steps: Updates in the whole run.

    Raises:
        UserError: The kind is unknown, or `warmup` is outside [0, 1).
    """
    curves: dict[str, Callable[[Array], Array]] = {
        "cosine": lambda x: (1 + jnp.cos(jnp.pi * x)) / 2,
        "warmup_cosine": lambda x: (1 + jnp.cos(jnp.pi * (x - warmup) / (1 - warmup))) / 2,
        "constant": jnp.ones_like,
    }
    if kind not in curves:
        raise UserError(f"optimizer.schedule={kind!r} is none of {', '.join(curves)}")
    if not 0 <= warmup < 1:
        raise UserError(f"optimizer.warmup={warmup} is not a fraction of the run; give 0 <= warmup < 1")
    curve = curves[kind]

    def factor(updates: Any) -> Array:
        x = jnp.minimum(jnp.asarray(updates) / max(total_steps, 1), 1.0)
        return jnp.where(x < warmup, x / warmup, curve(x)) if warmup else curve(x)

    return factor


class MomentState(NamedTuple):
    """Running means of the gradient and of its square."""

    mu: PyTree
    nu: PyTree


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Scale to m / (√v + eps), m and v running means of g and g², without Adam's correction of their zero start."""

    def init(params: PyTree) -> MomentState:
        return MomentState(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(gradients: PyTree, state: MomentState, params: PyTree | None = None) -> tuple[PyTree, MomentState]:
        del params
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu), MomentState(mu, nu)

    return optax.GradientTransformation(init, update)


def _limit(norm: Array, max_norm: float) -> Array:
    return jnp.minimum(1.0, max_norm / (norm + 1e-6))  # PyTorch's form; optax divides by the bare norm


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Multiply all gradients by min(1, max_norm / (|all| + 1e-6))."""

    def clip(gradients: PyTree, params: PyTree | None) -> PyTree:
        del params
        factor = _limit(optax.tree.norm(gradients), max_norm)
        return jax.tree.map(lambda g: g * factor, gradients)

    return optax.stateless(clip)


def clip_each_by_norm(max_norm: float) -> optax.GradientTransformation:
    """Multiply each tensor x by min(1, max_norm / (|x| + 1e-6))."""
    return optax.stateless_with_tree_map(lambda g, _: g * _limit(jnp.sqrt(jnp.sum(g * g)), max_norm))


def round_to_float16(prefix: str) -> optax.GradientTransformation:
    """Round parameter + update to the nearest float16 number, for names that begin with `prefix`.

    Near 0.01 these numbers are 8e-6 apart, so an update below half of that changes nothing.
    """

    def change(path: Sequence[Any], update: Array, parameter: Array) -> Array:
        if not parameter_name(path).startswith(prefix):
            return update
        return (parameter + update).astype(jnp.float16).astype(parameter.dtype) - parameter

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(change, updates, params))


def _descend(rates: Mapping[str, Rates]) -> optax.GradientTransformation:
    """Turn an update u into −lr (u + decay · parameter), with each parameter's own rates."""

    def scale(updates: PyTree, params: PyTree) -> PyTree:
        def one(path: Sequence[Any], update: Array, parameter: Array) -> Array:
            rate = rates[parameter_name(path)]
            return -rate.lr * (update + rate.decay * parameter)

        return jax.tree_util.tree_map_with_path(one, updates, params)

    return optax.stateless(scale)


def clamp_logit_scale(params: PyTree) -> PyTree:
    """Limit every `logit_scale` to at most ln 100; applied after each update."""

    def clamp(path: Sequence[Any], leaf: Array) -> Array:
        return jnp.minimum(leaf, MAX_LOGIT_SCALE) if parameter_name(path[-1:]) == "logit_scale" else leaf

    return jax.tree_util.tree_map_with_path(clamp, params)
