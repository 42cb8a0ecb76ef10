"""Many SD hosts behind one service: which of them draws, and what they have together."""
