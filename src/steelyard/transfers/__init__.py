"""From one model into another: which layer is which, how each is turned, and the proof that nothing went wrong."""
