"""Transfers between models: pairing of layers, layout changes, and the proof by equal outputs."""

from steelyard.transfers.plan import PlanRow, TransferPlan
from steelyard.transfers.proof import LayerError, Proof
from steelyard.transfers.transfer import Transfer

__all__ = ["LayerError", "PlanRow", "Proof", "Transfer", "TransferPlan"]
