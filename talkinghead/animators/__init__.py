"""The parts that draw frames."""
