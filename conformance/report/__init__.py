"""Judgements as text for people and for machines."""

from collections.abc import Mapping, Sequence

from conformance.judge import Judgement

Judgements = Mapping[str, Sequence[Judgement]]  # by name of the runtime, in the order of the requirements
