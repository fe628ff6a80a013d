"""What is known and learned: reference tables, the detector, laws of capacity, simulator, training, evaluation."""
