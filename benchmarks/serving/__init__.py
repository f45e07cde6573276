"""How `mien serve` bears load and faults."""
