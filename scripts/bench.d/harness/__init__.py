"""The benchmark's harness; scripts/bench is its door. One module a mode, and what modes share."""
