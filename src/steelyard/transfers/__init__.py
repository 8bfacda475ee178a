"""From one model into another: which layer is which, how each is turned, and the proof that nothing went wrong."""

from steelyard.transfers.plan import PlanRow, TransferPlan
from steelyard.transfers.proof import LayerError, Proof
from steelyard.transfers.transfer import Transfer

__all__ = ["LayerError", "PlanRow", "Proof", "Transfer", "TransferPlan"]
